"""Committed events to every reader, in order, at the reader's own pace.

    feed = Feed(log, settings, worker)
    await feed.open(listen(socket_path(data)))
    feed.publish(log.append(events), events)        # after each commit

Rule 1: a reader is *live* when it has all that is committed; then it is sent each commit as it is
    made. Otherwise it *replays*: pages of the file, read in the worker thread, until it has all.
Rule 2: what a reader has not taken is bounded. Above the bound it stops being live, and replays
    when it has taken enough; nothing is kept for it and no commit waits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol, cast

import msgspec

from hub.errors import HubFault
from hub.frames import Splitter
from hub.log import messages

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from hub.words import Event, Kind

PAGE_ROWS: Final = 2048
"""Seqs looked through for one page: a few ms, in which the interpreter is shared with commits."""
EVENT_BYTES: Final = 64
"""Of a typical event; what `reader_events_max` is turned into bytes with."""
READERS_MAX: Final = 1024
"""Connected at once; more are turned away."""


class Pages(Protocol):
    """What a feed asks of the log; called in the worker thread."""

    def page(
        self, first: int, last: int, agent: str | None, kinds: Sequence[Kind] | None
    ) -> list[Event]:
        """The wanted events with seq `first`..`last`, in order."""
        ...


class Feed:
    """All readers of one log.

    Args:
        log: where pages are read.
        end: last seq given so far.
        reader_events_max: kept for a reader that is slow.
        worker: one thread; readers take turns in it.
        report: told of a reader that was let go, and why.
    """

    def __init__(
        self,
        log: Pages,
        *,
        end: int,
        reader_events_max: int,
        worker: Executor,
        report: Callable[[str, str], None],
    ) -> None:
        self.log = log
        self.end = end
        self.worker = worker
        self.report = report
        self.unsent_bytes_max = reader_events_max * EVENT_BYTES
        self._subscribers: set[Subscriber] = set()
        self._server: asyncio.AbstractServer | None = None

    async def open(self, listening: socket.socket) -> None:
        """Let readers in."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: Subscriber(self), sock=listening)

    def publish(self, seq_first: int, events: Sequence[Event]) -> None:
        """Send a commit to all who are live."""
        for seq, event in enumerate(events, seq_first):
            # Frozen for everyone else: the seq is given here, once, and a copy costs 2 µs.
            msgspec.structs.force_setattr(event, "seq", seq)
        self.end = seq_first + len(events) - 1
        encoded: dict[tuple[object, ...], bytes | None] = {}
        for subscriber in self._subscribers:
            if subscriber.live:
                key = subscriber.key()
                if key not in encoded:
                    encoded[key] = subscriber.select(events)
                subscriber.push(encoded[key])

    def admit(self, subscriber: Subscriber) -> bool:
        """Count a new reader in, unless there are too many."""
        if len(self._subscribers) >= READERS_MAX:
            return False
        self._subscribers.add(subscriber)
        return True

    def forget(self, subscriber: Subscriber) -> None:
        """A reader has gone."""
        self._subscribers.discard(subscriber)

    def close(self) -> None:
        """Listen no more and let all readers go."""
        if self._server is not None:
            self._server.close()
        for subscriber in self._subscribers:
            subscriber.abort()


class Subscriber(asyncio.Protocol):
    """One reader's connection.

    Attributes:
        live: it is sent each commit; else it replays, or its buffer is full.
    """

    def __init__(self, feed: Feed) -> None:
        self.live = False
        self._feed = feed
        self._position = 0
        self._agent: str | None = None
        self._kinds: frozenset[Kind] | None = None
        self._splitter = Splitter()
        self._subscribed = False
        self._paused = False
        self._transport: asyncio.Transport | None = None
        self._replaying: asyncio.Task[None] | None = None

    def key(self) -> tuple[object, ...]:
        """Readers with the same key are sent the same bytes."""
        return (self._agent, self._kinds, self._position)

    def select(self, events: Sequence[Event]) -> bytes | None:
        """The frame with what this reader wants of a commit; None when that is nothing."""
        wanted = [
            event
            for event in events
            if (self._agent is None or event.agent == self._agent)
            and (self._kinds is None or event.kind in self._kinds)
        ]
        return self._page(self._feed.end, wanted, live=True) if wanted else None

    def push(self, page: bytes | None) -> None:
        """Send the frame, which reaches up to the feed's end."""
        if page is not None and self._transport is not None:
            self._position = self._feed.end  # before the write: it may pause us
            self._transport.write(page)

    def abort(self) -> None:
        """Close the connection, unsent pages and all."""
        if self._transport is not None:
            self._transport.abort()

    # --- replay ------------------------------------------------------------------------------

    async def _replay(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._paused and self._transport is not None:
            if self._position >= self._feed.end:
                self.live = True
                self._transport.write(self._page(self._position, [], live=True))
                return
            last = min(self._position + PAGE_ROWS, self._feed.end)
            try:
                page = await loop.run_in_executor(self._feed.worker, self._read, last)
            except HubFault as fault:
                # A broken block is one reader's trouble, who will come again; commits go on.
                self._feed.report("reader dropped", str(fault))
                self.abort()
                return
            if self._transport is not None:
                self._position = last
                self._transport.write(page)

    def _read(self, last: int) -> bytes:
        """In the worker thread."""
        kinds = None if self._kinds is None else sorted(self._kinds)
        events = self._feed.log.page(self._position + 1, last, self._agent, kinds)
        return self._page(last, events, live=False)

    def _page(self, last: int, events: list[Event], *, live: bool) -> bytes:
        return messages.framed(messages.Page(self._position + 1, last, events, live))

    def _start_replay(self) -> None:
        if self._replaying is None or self._replaying.done():
            self._replaying = asyncio.get_running_loop().create_task(self._replay())

    # --- called by the loop --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound what is kept for the reader."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._feed.unsent_bytes_max)
        if not self._feed.admit(self):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take the subscription; whoever sends anything else is let go."""
        try:
            for body in self._splitter.feed(data):
                wanted = messages.from_reader.decode(body)
                if self._subscribed or not 0 <= wanted.after <= self._feed.end:
                    raise HubFault(f"a reader asked for what is after {wanted.after}")
                self._subscribed = True
                self._position = wanted.after
                self._agent = wanted.agent
                self._kinds = None if wanted.kinds is None else frozenset(wanted.kinds)
                self._start_replay()
        except (HubFault, msgspec.DecodeError) as error:
            self._feed.report("reader turned away", str(error))
            self.abort()

    def pause_writing(self) -> None:
        """The reader is slow: keep no more for it."""
        self._paused = True
        self.live = False

    def resume_writing(self) -> None:
        """The reader has taken enough: read on where it is."""
        self._paused = False
        self._start_replay()

    def connection_lost(self, error: Exception | None) -> None:
        """The reader has gone, by its own will or not."""
        del error
        self._transport = None
        self.live = False
        self._feed.forget(self)
