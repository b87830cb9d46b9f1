"""The hub's end of the log process: append without waiting, hear when it is durable.

    link = LogLink(data, settings.log)
    opened = await link.open()
    link.append([observation, action], committed=lambda seq: acknowledge(device, seq))

Rule 1: callbacks are called in the order of `append`, each once, when its events are durable.
Rule 2: a batch is kept here until then. There is one writer and batches are whole, so when the
    process dies and is started again, its last seq says which batches it has: those are called
    back, the others sent again. Nothing is lost and nothing is there twice.
Rule 3: nothing here blocks the loop. When too much is pending, `crowded` says so, and whoever
    reads from devices pauses until `on_relief`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, assert_never

from msgspec import Raw

from hub.errors import HubFault, LogUnavailable
from hub.histogram import Histogram
from hub.log import messages
from hub.log.append import check_fits
from hub.log.child import Child
from hub.words import Seq

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hub.log.recover import Recovered
    from hub.settings import LogSettings
    from hub.words import Event

log: Final = logging.getLogger("hub.log")

MEBIBYTE: Final = 1 << 20
SEND_BYTES_MAX: Final = 4 * MEBIBYTE
"""Of one Append; more goes in several."""
CLOSE_S: Final = 5.0
"""For pending commits and the last checkpoint; then the process is killed, and nothing is lost."""
RELIEF: Final = 0.5
"""Share of the bounds below which a crowded link is relieved."""


Question = messages.Recover | messages.Rotate | messages.Forget
Answer = messages.Restored | messages.Rotated | messages.Forgotten


class _Batch(NamedTuple):
    rows: int
    body: bytes
    committed: Callable[[Seq], None]


class LogLink:
    """Owns the log process and all batches that are not durable yet.

    Args:
        data: the data folder.
        settings: `[log]`.
        restart_s_first: wait before the first restart of the process; doubles from then on.
        coming: whether more is about to be appended, that is worth waiting `gather_s` for.
        gather_s: how long what there is waits then; two commits cost twice what one does.
        on_relief: called when `crowded` has ended.
        on_reopened: called each time the process has been restarted and reconciled.
    """

    def __init__(
        self,
        data: Path,
        settings: LogSettings,
        *,
        restart_s_first: float = 0.1,
        coming: Callable[[], bool] = lambda: False,
        gather_s: float = 0.001,
        on_relief: Callable[[], None] = lambda: None,
        on_reopened: Callable[[messages.Opened], None] = lambda _: None,
    ) -> None:
        self._data = data
        self._settings = settings
        self._restart_s_first = restart_s_first
        self._wait_s = restart_s_first
        self._coming = coming
        self._gather_s = gather_s
        self._on_relief = on_relief
        self._on_reopened = on_reopened
        self._outstanding: deque[_Batch] = deque()
        self._unsent: list[_Batch] = []
        self._turn_ends: asyncio.Handle | None = None
        """What this turn of the loop appended is looked at then, once for all of it."""
        self._gathering: asyncio.TimerHandle | None = None
        """What is unsent goes then, for more to come until then."""
        self._rows = 0
        self._bytes = 0
        self._crowded = False
        self._next_seq = 1
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._ids = 0
        self._drained = asyncio.Event()
        self._drained.set()
        self.hub = ""
        """The id of the hub that owns the log; empty before `open`."""
        self.commit_us = 0
        """What the newest commit took in the log process, microseconds."""
        self.commits_us = Histogram()
        """The same of all commits since the hub started."""
        self.commits_rows = Histogram()
        """Events of each."""
        self.appended_bytes = 0
        """Of all batches since the hub started, as they were sent."""
        self.restarts = 0
        """How often the process has ended by itself."""
        self.stalled: str | None = None
        """Why the log commits nothing for now, for a person; None when it does."""
        self._child: Child | None = None
        self._keeper: asyncio.Task[None] | None = None

    # --- the main path ---------------------------------------------------------------------

    def append(self, events: Sequence[Event], committed: Callable[[Seq], None]) -> None:
        """Send the events to the log, all of this loop turn in one frame, as one whole batch.

        Args:
            events: at least one; they get consecutive seqs.
            committed: called with the seq of the first event once all are durable.

        Raises:
            HubFault: an event does not fit the log's columns; nothing was sent.
        """
        for event in events:
            check_fits(event)
        batch = _Batch(len(events), messages.encode_events(list(events)), committed)
        self._outstanding.append(batch)
        self._unsent.append(batch)
        self._rows += batch.rows
        self._bytes += len(batch.body)
        self.appended_bytes += len(batch.body)
        self._drained.clear()
        if not self._crowded and self.fill > 1:
            self._crowded = True
        if self._turn_ends is None and self._child is not None:
            self._turn_ends = asyncio.get_running_loop().call_soon(self._end_turn)

    @property
    def crowded(self) -> bool:
        """Too much is waiting for a commit: stop reading from devices until `on_relief`."""
        return self._crowded

    @property
    def last_seq(self) -> int:
        """Seq up to which all is durable and was called back; 0 = nothing."""
        return self._next_seq - 1

    @property
    def available(self) -> bool:
        """The process is up; otherwise what is appended waits for its restart."""
        return self._child is not None

    @property
    def pid(self) -> int | None:
        """Of the log process; None while it is down."""
        return None if self._child is None else self._child.pid

    def _end_turn(self) -> None:
        """Send what is unsent, unless more is on its way."""
        self._turn_ends = None
        if not self._coming():
            self._flush()
        elif self._gathering is None:
            loop = asyncio.get_running_loop()
            self._gathering = loop.call_later(self._gather_s, self._flush)

    def _flush(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        if self._child is None:
            return  # all of it is sent again once the log is open
        bodies: list[Raw] = []
        size = 0
        for batch in self._unsent:
            if bodies and size + len(batch.body) > SEND_BYTES_MAX:
                self._child.send(messages.Append(bodies))
                bodies, size = [], 0
            bodies.append(Raw(batch.body))
            size += len(batch.body)
        if bodies:
            self._child.send(messages.Append(bodies))
        self._unsent.clear()

    def _acknowledge(self, seq_first: int, batches: int) -> None:
        """Call back the oldest batches; one callback's error must not cost the others theirs."""
        assert seq_first == self._next_seq, f"the log gave seq {seq_first}, not {self._next_seq}"
        for _ in range(batches):
            batch = self._outstanding.popleft()
            seq, self._next_seq = self._next_seq, self._next_seq + batch.rows
            self._rows -= batch.rows
            self._bytes -= len(batch.body)
            try:
                batch.committed(Seq(seq))
            except Exception as error:  # noqa: BLE001 - reported by the loop, as for any callback
                asyncio.get_running_loop().call_exception_handler(
                    {"message": f"callback of the commit at seq {seq} failed", "exception": error}
                )
        if not self._outstanding:
            self._drained.set()
        if self._crowded and self.fill <= RELIEF:
            self._crowded = False
            self._on_relief()

    @property
    def fill(self) -> float:
        """Share of the bounds that is pending."""
        return max(
            self._rows / self._settings.pending_rows_max,
            self._bytes / (self._settings.pending_mb_max * MEBIBYTE),
        )

    # --- its life ---------------------------------------------------------------------------

    async def open(self) -> messages.Opened:
        """Start the log process and wait until it has opened the log.

        Raises:
            LogUnavailable: it can't be opened; the message says why.
        """
        child, opened = await Child.start(self._data, self._settings, self._received)
        self._child = child
        self.hub = opened.hub
        self._next_seq = opened.next_seq
        self._keeper = asyncio.create_task(self._keep(child))
        return opened

    async def close(self) -> None:
        """Wait until all is durable and the log is checkpointed, then end the process.

        After `CLOSE_S` it is killed; what was not called back until then may be in the log or not.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drained.wait(), CLOSE_S)
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if (child := self._child) is not None:
            self._child = None
            child.send(messages.Close())
            await child.reap(after_s=CLOSE_S)
        self._give_up_asked("the log is closed")

    async def _keep(self, child: Child) -> None:
        """Start the process again whenever it has ended, at growing intervals."""
        while True:
            await child.gone.wait()
            self._child = None
            self.restarts += 1
            self.stalled = None
            self._give_up_asked("the log process has ended; ask again")
            log.error(
                "the log process has ended: nothing is acknowledged until it is back; it starts "
                "again in %.1f s",
                self._wait_s,
            )
            await child.reap()
            child, opened = await self._start_again()
            log.warning("the log process is back, at event %d", opened.last_seq)
            self._child = child
            self._reconcile(opened)
            self._on_reopened(opened)

    async def _start_again(self) -> tuple[Child, messages.Opened]:
        while True:
            await asyncio.sleep(self._wait_s)
            self._wait_s = min(2 * self._wait_s, self._settings.restart_s_max)
            with contextlib.suppress(LogUnavailable):  # it has said why on stderr
                return await Child.start(self._data, self._settings, self._received)

    def _reconcile(self, opened: messages.Opened) -> None:
        """Call back what the log has, send the rest again (Rule 2)."""
        there, batches = self._next_seq, 0
        for batch in self._outstanding:
            if there + batch.rows > opened.last_seq + 1:
                break
            there += batch.rows
            batches += 1
        self._acknowledge(self._next_seq, batches)
        # Numbers that were acknowledged and lost are not given again (damage).
        assert opened.next_seq >= self._next_seq, "the log went back without saying so"
        self._next_seq = opened.next_seq
        self._unsent = list(self._outstanding)
        self._flush()

    # --- questions --------------------------------------------------------------------------

    async def recover(self) -> Recovered:
        """What the hub must know to go on from where the log ends.

        Raises:
            LogUnavailable: the process is down, ask again.
        """
        answer = await self._ask(messages.Recover(self._new_id()))
        assert isinstance(answer, messages.Restored), "Recover is answered"
        return answer.recovered

    async def rotate(self, upto: int) -> tuple[int, int | None]:
        """Have the log's file begin after a seq, if all before is sealed.

        Returns:
            Seq after which it begins now, and the position of the reader that is furthest behind.

        Raises:
            LogUnavailable: the process is down, ask again.
        """
        answer = await self._ask(messages.Rotate(self._new_id(), upto))
        assert isinstance(answer, messages.Rotated), "Rotate is answered"
        return answer.begins, answer.reader_position

    async def forget(self, device: str) -> None:
        """Make what the device sent besides numbers unreadable, for ever and everywhere.

        Raises:
            LogUnavailable: the process is down, ask again.
        """
        await self._ask(messages.Forget(self._new_id(), device))

    async def _ask(self, question: Question) -> Answer:
        if self._child is None:
            raise LogUnavailable("the log process is down; ask again")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[question.id] = future
        try:
            self._child.send(question)
            return await future
        finally:
            self._asked.pop(question.id, None)

    def _new_id(self) -> int:
        self._ids += 1
        return self._ids

    def _give_up_asked(self, reason: str) -> None:
        for future in self._asked.values():
            if not future.done():
                future.set_exception(LogUnavailable(reason))

    def _received(self, message: messages.ToHub) -> None:
        match message:
            case messages.Committed(seq_first, batches, duration_us):
                self._wait_s = self._restart_s_first
                self.commit_us = duration_us
                self._acknowledge(seq_first, batches)
                self.commits_us.add(duration_us)
                self.commits_rows.add(self._next_seq - seq_first)
            case messages.Stalled(reason):
                self.stalled = reason
            case messages.Restored(id) | messages.Rotated(id) | messages.Forgotten(id):
                if (future := self._asked.get(id)) is not None and not future.done():
                    future.set_result(message)
            case messages.Opened() | messages.Failed():
                raise HubFault("the log process opened twice")
            case _:
                assert_never(message)
