"""Committed events to every reader, in order, at the reader's own pace.

    feed = Feed(log, end=last_seq, …)
    await feed.open([listen(socket_path(data))])
    feed.publish(log.append(events), events)        # after each commit

Rule 1: a reader that subscribed is *live* when it has all that is committed; then it is sent each
    commit as it is made, as msgpack. Otherwise it *replays*: Arrow pages of the segments and the
    file, read in the worker thread, until it has all. No Python runs for each row of a page.
Rule 2: what a reader has not taken is bounded. Above the bound it stops being live, and replays
    when it has taken enough; nothing is kept for it and no commit waits.
Rule 3: a reader that fetches is sent one page for each question, and nothing else.
"""

from __future__ import annotations

import asyncio
import hmac
from socket import SO_KEEPALIVE, SOL_SOCKET
from typing import TYPE_CHECKING, Any, Final, Protocol, assert_never, cast

import msgspec
import pyarrow as pa

from hub.errors import HubFault
from hub.frames import Splitter
from hub.log import messages
from hub.log.pages import PageSize

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Sequence
    from concurrent.futures import Executor

    from hub.words import Event, Kind

PAGE_BYTES: Final = 4 << 20
"""Of one page, about: a few ms in the worker thread."""
EVENT_BYTES: Final = 64
"""Of a typical event; what `reader_events_max` is turned into bytes with."""
READERS_MAX: Final = 1024
"""Connected at once; more are turned away."""
UNKNOWN_MAX: Final = 16
"""Of those, connected over TCP without having shown the token yet."""
TOKEN_S: Final = 5.0
"""In which they must."""
QUESTION_BYTES_MAX: Final = 4096
"""What a reader may send at once."""


class Stored(Protocol):
    """What a feed asks of the log; called in the worker thread."""

    def rows(
        self,
        first: int,
        last: int,
        agent: str | None,
        kinds: Sequence[Kind] | None,
        *,
        reveal: bool = True,
    ) -> pa.Table:
        """The wanted events with seq `first`..`last`, in order, in the log's columns."""
        ...


class Feed:
    """All readers of one log.

    Args:
        log: where pages are read.
        end: last seq given so far.
        reader_events_max: kept for a reader that is slow.
        worker: one thread; readers take turns in it.
        report: told of a reader that was let go, and why.
        token: what readers over TCP must say first; None = there are none.
    """

    def __init__(
        self,
        log: Stored,
        *,
        end: int,
        reader_events_max: int,
        worker: Executor,
        report: Callable[[str, str], None],
        token: str | None = None,
    ) -> None:
        self.log = log
        self.end = end
        self.worker = worker
        self.report = report
        self.token = token
        self.unsent_bytes_max = reader_events_max * EVENT_BYTES
        self._subscribers: set[Subscriber] = set()
        self._servers: list[asyncio.AbstractServer] = []

    async def open(self, near: socket.socket, far: socket.socket | None = None) -> None:
        """Let readers in: of this machine through a Unix socket, of others over TCP."""
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_unix_server(lambda: Subscriber(self), sock=near))
        if far is not None:
            assert self.token is not None, "nobody from afar without a token"
            server = await loop.create_server(lambda: Subscriber(self, far=True), sock=far)
            self._servers.append(server)

    def publish(self, seq_first: int, events: Sequence[Event]) -> None:
        """Send a commit to all who are live."""
        self.end = seq_first + len(events) - 1
        live = [subscriber for subscriber in self._subscribers if subscriber.live]
        if not live:
            return
        for seq, event in enumerate(events, seq_first):
            # Frozen for everyone else: the seq is given here, once, and a copy costs 2 µs.
            msgspec.structs.force_setattr(event, "seq", seq)
        encoded: dict[tuple[object, ...], bytes | None] = {}
        for subscriber in live:
            key = subscriber.key()
            if key not in encoded:
                encoded[key] = subscriber.select(events)
            subscriber.push(encoded[key])

    @property
    def position_min(self) -> int | None:
        """How far the reader that is furthest behind has got; None without readers."""
        following = (s for s in self._subscribers if s.following)
        # A live reader has all it wants up to the end, though nothing was sent of the last events.
        return min((self.end if s.live else s.position for s in following), default=None)

    def admit(self, subscriber: Subscriber) -> bool:
        """Count a new reader in, unless there are too many."""
        if len(self._subscribers) >= READERS_MAX:
            return False
        if subscriber.unknown and sum(s.unknown for s in self._subscribers) >= UNKNOWN_MAX:
            return False
        self._subscribers.add(subscriber)
        return True

    def forget(self, subscriber: Subscriber) -> None:
        """A reader has gone."""
        self._subscribers.discard(subscriber)

    def close(self) -> None:
        """Listen no more and let all readers go."""
        for server in self._servers:
            server.close()
        for subscriber in self._subscribers:
            subscriber.abort()


class Subscriber(asyncio.Protocol):
    """One reader's connection.

    Args:
        feed: it belongs to.
        far: it came over TCP, and has to show the token first.

    Attributes:
        live: it is sent each commit; else it replays, or its buffer is full, or it fetches.
        following: it has subscribed.
        position: all it wants up to this seq was handed to its socket.
        unknown: it came over TCP and has not shown the token yet.
    """

    def __init__(self, feed: Feed, *, far: bool = False) -> None:
        self.live = False
        self.following = False
        self.position = 0
        self._feed = feed
        self.unknown = far
        self._agent: str | None = None
        self._kinds: frozenset[Kind] | None = None
        self._splitter = Splitter(QUESTION_BYTES_MAX)
        self._page_size = PageSize(PAGE_BYTES)
        self._paused = False
        self._transport: asyncio.Transport | None = None
        self._reading: asyncio.Task[None] | None = None

    def key(self) -> tuple[object, ...]:
        """Readers with the same key are sent the same bytes."""
        return (self._agent, self._kinds, self.position)

    def select(self, events: Sequence[Event]) -> bytes | None:
        """The frame with what this reader wants of a commit; None when that is nothing."""
        wanted = [
            event
            for event in events
            if (self._agent is None or event.agent == self._agent)
            and (self._kinds is None or event.kind in self._kinds)
        ]
        return self._page(self._feed.end, wanted) if wanted else None

    def push(self, page: bytes | None) -> None:
        """Send the frame, which reaches up to the feed's end."""
        if page is not None and self._transport is not None:
            self.position = self._feed.end  # before the write: it may pause us
            self._transport.write(page)

    def abort(self) -> None:
        """Close the connection, unsent pages and all."""
        if self._transport is not None:
            self._transport.abort()

    # --- what a reader may say ---------------------------------------------------------------

    def _take(self, message: messages.FromReader) -> None:
        """Do what it asks.

        Raises:
            HubFault: it may not ask that, or not now.
        """
        if self.unknown:
            if not isinstance(message, messages.Token) or not _same(message, self._feed.token):
                raise HubFault("a reader over TCP did not show the token of DATA/feed.token")
            self.unknown = False
            return
        match message:
            case messages.Subscribe(after, agent, kinds):
                self._check(after)
                self.following = True
                self.position = after
                self._agent = agent
                self._kinds = None if kinds is None else frozenset(kinds)
                self._start(self._replay())
            case messages.Fetch(after, agent):
                self._check(after)
                self._start(self._send_page(after, agent))
            case messages.Token():
                raise HubFault("a reader showed a token twice, or where none is asked")
            case _:
                assert_never(message)

    def _check(self, after: int) -> None:
        if self.following or (self._reading is not None and not self._reading.done()):
            raise HubFault("a reader asked before it had its answer")
        if not 0 <= after <= self._feed.end:
            raise HubFault(f"a reader asked for what is after {after}, the end is {self._feed.end}")

    # --- pages -------------------------------------------------------------------------------

    async def _replay(self) -> None:
        while not self._paused and self._transport is not None:
            if self.position >= self._feed.end:
                self.live = True
                self._transport.write(self._page(self.position, []))
                return
            last = min(self.position + self._page_size.rows, self._feed.end)
            page = await self._read(last, self.position, self._agent, reveal=True)
            if page is None or self._transport is None:
                return
            self.position = last
            self._transport.write(page)

    async def _send_page(self, after: int, agent: str | None) -> None:
        last = min(after + self._page_size.rows, self._feed.end)
        page = await self._read(last, after, agent, reveal=False)
        if page is not None and self._transport is not None:
            self._transport.write(page)

    async def _read(
        self, last: int, after: int, agent: str | None, *, reveal: bool
    ) -> bytes | None:
        """A page as a frame, read in the worker thread; None when the reader was let go."""
        kinds = None if self._kinds is None else sorted(self._kinds)

        def read() -> bytes:
            rows = self._feed.log.rows(after + 1, last, agent, kinds, reveal=reveal)
            self._page_size.learn(last - after, rows.nbytes)
            live = not reveal and last >= self._feed.end
            return messages.framed(messages.Rows(after + 1, last, _ipc(rows), live))

        try:
            return await asyncio.get_running_loop().run_in_executor(self._feed.worker, read)
        except Exception as error:  # noqa: BLE001 - no reader may wait for a page that never comes
            # A broken block is one reader's trouble, who will come again; commits go on.
            said = str(error) if isinstance(error, HubFault) else repr(error)
            self._feed.report("reader dropped", said)
            self.abort()
            return None

    def _page(self, last: int, events: list[Event]) -> bytes:
        return messages.framed(messages.Page(self.position + 1, last, events, live=True))

    def _start(self, reading: Coroutine[Any, Any, None]) -> None:
        self._reading = asyncio.get_running_loop().create_task(reading)

    # --- called by the loop --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound what is kept for the reader."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._feed.unsent_bytes_max)
        if not self._feed.admit(self):
            self._transport.abort()
        elif self.unknown:
            self._transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
            asyncio.get_running_loop().call_later(TOKEN_S, self._token_due)

    def _token_due(self) -> None:
        if self.unknown and self._transport is not None:
            self._feed.report("reader turned away", "it showed no token in time")
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Take the subscription or question; whoever sends anything else is let go."""
        try:
            for body in self._splitter.feed(data):
                self._take(messages.from_reader.decode(body))
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
        if self.following and (self._reading is None or self._reading.done()):
            self._start(self._replay())

    def connection_lost(self, error: Exception | None) -> None:
        """The reader has gone, by its own will or not."""
        del error
        self._transport = None
        self.live = False
        self._feed.forget(self)


def _ipc(rows: pa.Table) -> memoryview:
    """An Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    return memoryview(sink.getvalue())


def _same(message: messages.Token, token: str | None) -> bool:
    """In a time that tells nothing about the token."""
    return token is not None and hmac.compare_digest(message.token.encode(), token.encode())
