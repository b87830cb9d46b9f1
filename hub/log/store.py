"""The log as one folder has it: the hot DuckDB file, and sealed segments for what is older.

    log = DuckLog.open(data, settings.log, clock=clock)
    first = log.append(events)          # durable: into the journal, with one fdatasync
    log.settle()                        # from there into the file, as one Arrow batch

    append ──▶ journal ──settle──▶ hot DuckDB file ──seal──▶ segments
                  └────────── rows: read over all three ─────────┘

Rule 1: DuckDB opens a write-ahead log with a torn tail, or without it, and says nothing. So the
    last acknowledged seq stands in a file of its own, and a log that ends before it is damaged:
    said loudly, and the numbers are not given again.
Rule 2: what segments or the journal have and the file has not is taken from there. A folder with
    segments alone is a log.
Rule 3: what a device sent besides numbers is sealed before it is stored; readers get it revealed,
    or as it is stored.

One thread appends; `rows`, `read`, `table` and recovery may run in one other thread; `settle`,
`keep_up` and `checkpoint` in any.
"""

from __future__ import annotations

import os
import secrets
import threading
from typing import TYPE_CHECKING, Final, Self

import pyarrow as pa
from msgspec import structs

from hub.errors import HubFault, LogUnavailable
from hub.log import columns, salvage
from hub.log.duck import LogDamaged
from hub.log.journal import HALF_BYTES
from hub.log.opening import Parts, open_parts
from hub.log.personal import revealed, sealed
from hub.log.tail import Tail
from hub.log.upcast import upcast
from hub.words import Kind, Seq

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hub.clock import Clock
    from hub.settings import LogSettings
    from hub.words import Event

PAGE_ROWS: Final = 16_384
SETTLE_ROWS: Final = 4096
"""New ones that are worth a commit to the file, of about 10 ms."""
SETTLE_BYTES: Final = HALF_BYTES // 4
"""Of the journal, that are worth one too: a few hundred images."""
RECENT_ROWS: Final = 16 * SETTLE_ROWS
"""New ones at most: then appending waits until they are settled. When so many come that settling
falls behind, it takes more at once, and DuckDB writes 16,384 rows and more past its write-ahead
log: 1.4 µs a row, 1.0 for 65,536, where 4,096 take 2.3 with their checkpoint."""


class DuckLog:
    """A `Log` in one folder, which this process alone may open.

    Attributes:
        file: the hot file; replaced by rotation.
        begins: seq after which it begins; the events up to there are in segments.
        filing: held for a write to the file, or to replace it.
    """

    def __init__(self, parts: Parts) -> None:
        self.file = parts.file
        self.begins = parts.begins
        self.history = parts.history
        self.keys = parts.keys
        self.state = parts.state
        self._acknowledged = parts.acknowledged
        self._journal = parts.journal
        self._tail = Tail.after(parts.state.next_seq - 1)
        self._hub = parts.hub
        self._appending = threading.Lock()
        """Held for a write to the journal, or to go on in its other half; taken after `filing`."""
        self._room = threading.Condition(self._appending)
        """Told when there is more of it, and when nobody makes any."""
        self._keeping_up = False
        self.filing = threading.RLock()

    @classmethod
    def open(
        cls,
        folder: Path,
        settings: LogSettings,
        *,
        clock: Clock,
        new_hub: Callable[[], str] = lambda: secrets.token_hex(6),
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> Self:
        """Open the log of a data folder, made when absent.

        Args:
            folder: exists.
            settings: `[log]`.
            clock: names folders of damaged files and dates epochs.
            new_hub: the id of a new log.
            random_bytes: for the keys of payloads.

        Raises:
            LogUnavailable: it can't be opened now: another process has it, the disk is full, …
        """
        try:
            return cls(open_parts(folder, settings, clock, new_hub, random_bytes))
        except LogDamaged:  # a block that opening does not look at: now all are looked at
            (folder / salvage.SUSPECT).touch()
            return cls(open_parts(folder, settings, clock, new_hub, random_bytes))

    @property
    def hub(self) -> str:
        """The id of the hub that owns this log."""
        return self._hub

    @property
    def last_seq(self) -> int:
        """Seq of the last durable event, 0 when empty."""
        return self.state.last_seq

    def append(self, events: Sequence[Event]) -> Seq:
        """Make the events durable, in order, and return the seq of the first.

        Raises:
            LogUnavailable: whether they are there is known only after opening the log again.
        """
        first = self.state.next_seq
        if events:
            try:
                stored = sealed(events, self.keys)
            except OSError as error:
                raise LogUnavailable(f"a payload's key can't be made: {error}") from error
            self._commit(first, list(stored))
            last = first + len(events) - 1
            self.state = structs.replace(self.state, last_seq=last, next_seq=last + 1)
            self._acknowledged.write(last)
        return Seq(first)

    def _commit(self, first: int, events: list[Event]) -> None:
        if self._journalled(first, events):
            return
        self.settle()
        if self._journalled(first, events):
            return
        with self.filing, self._appending:  # too large for the journal
            self._tail.recent.add(events)
            self._begin_settling()
            self.file.insert(self._tail.settling.batch())
            self._tail = self._tail.settled()

    def _journalled(self, first: int, events: list[Event]) -> bool:
        """Whether there was room for them."""
        with self._room:
            self._room.wait_for(lambda: self._has_room(events) or not self._keeping_up)
            if not self._has_room(events) or not self._journal.append(first, events):
                return False
            self._tail.recent.add(events)
            return True

    def _has_room(self, events: Sequence[Event]) -> bool:
        return len(self._tail.recent) + len(events) <= RECENT_ROWS

    def keep_up(self, wal_bytes_max: float) -> None:
        """Settle while that is worth a commit to the file; in a thread beside the one that appends.

        Args:
            wal_bytes_max: size of the write-ahead log that is worth a checkpoint.

        Raises:
            LogUnavailable: as `settle` and `checkpoint`.
        """
        try:
            while self._goes_on():
                self.settle()
                if self.wal_bytes >= wal_bytes_max:
                    self.checkpoint()
        finally:
            with self._room:
                self._keeping_up = False
                self._room.notify()

    def _goes_on(self) -> bool:
        """In one step with what follows from it, so that nobody waits for room in vain."""
        with self._room:
            self._keeping_up = self.much_is_new
            return self._keeping_up

    def settle(self) -> None:
        """Take what the journal holds into the file; in any thread, while others append.

        Raises:
            LogUnavailable: it failed; nothing is lost, but the log must be opened again.
        """
        with self.filing:
            with self._appending:
                if not len(self._tail.recent):
                    return
                self._begin_settling()
            self.file.insert(self._tail.settling.batch())
            with self._appending:
                self._tail = self._tail.settled()

    def _begin_settling(self) -> None:
        """Go on in the other half of the journal; under both locks.

        Raises:
            LogUnavailable: the file has not got what stands there.
        """
        if len(self._tail.settling):
            raise LogUnavailable("an earlier commit to the file failed; open the log again")
        self._tail = self._tail.begin()
        self._journal.switch()
        self._room.notify()

    @property
    def unsettled(self) -> int:
        """Events that `settle` would take into the file."""
        return len(self._tail.recent)

    @property
    def much_is_new(self) -> bool:
        """Enough to be worth a commit to the file."""
        return self.unsettled >= SETTLE_ROWS or self.journal_bytes >= SETTLE_BYTES

    @property
    def settled(self) -> int:
        """Seq up to which the file has all."""
        return self._tail.settling.first - 1

    def read(
        self, after: int = 0, *, limit: int = PAGE_ROWS, agent: str | None = None
    ) -> list[Event]:
        """At most `limit` events with seq > `after`, in order; of one agent when named."""
        events: list[Event] = []
        while after < self.last_seq and len(events) < limit:
            last = min(after + PAGE_ROWS, self.last_seq)
            events += columns.to_events(self.rows(after + 1, last, agent, None))
            after = last
        return events[:limit]

    def rows(
        self,
        first: int,
        last: int,
        agent: str | None,
        kinds: Sequence[Kind] | None,
        *,
        reveal: bool = True,
    ) -> pa.Table:
        """The wanted events with seq `first`..`last`, in order, in the log's columns.

        Args:
            first: 1 at least.
            last: not beyond the end.
            agent: None = of all agents.
            kinds: None = of all kinds.
            reveal: else payloads stay as they are stored.

        Raises:
            LogUnavailable: the file or a segment can't be read.
        """
        numbers = None if kinds is None else [int(kind) for kind in kinds]
        tail = self._tail  # once: another thread may settle it
        parts: list[pa.Table] = []
        if first <= self.begins:
            if self.history.seq_last < min(last, self.begins):
                raise LogUnavailable(
                    f"events {self.history.seq_last + 1} to {self.begins} are sealed, and the "
                    "manifest of the segments does not say so; put it back from a backup"
                )
            try:
                parts.append(self.history.page(first, min(last, self.begins), agent, numbers))
            except (HubFault, OSError) as error:
                raise LogUnavailable(f"segments of seq {first}.. can't be read: {error}") from error
        start, end = max(first, self.begins + 1), min(last, tail.settling.first - 1)
        if start <= end:
            page = self.table("page", first=start, last=end, agent=agent, kinds=numbers)
            parts.append(columns.by_seq(page))
        if last >= tail.settling.first:
            newest = [part.table(first, last) for part in tail]
            parts += [columns.wanted(rows, agent, numbers) for rows in newest]
        found = [part.select(columns.FIELDS) for part in parts]
        table = pa.concat_tables(found) if found else columns.SCHEMA.empty_table()
        table = upcast(table, self.keys)
        return revealed(table, self.keys) if reveal else table

    def events(self, table: pa.Table) -> list[Event]:
        """Rows of the file as Events of today, payloads revealed."""
        return columns.to_events(revealed(upcast(table, self.keys), self.keys))

    def table(self, name: str, **parameters: object) -> pa.Table:
        """The result of a named query of `hub/log/sql/` on the hot file alone, as it was settled.

        Raises:
            LogUnavailable: it can't be read; the next start reads the whole file and mends it.
        """
        try:
            return self.file.table(name, **parameters)
        except LogDamaged:
            (self.file.path.parent / salvage.SUSPECT).touch()
            raise

    @property
    def journal_bytes(self) -> int:
        """Bytes of the journal in use, 0 right after everything was settled."""
        return self._journal.position

    @property
    def file_bytes(self) -> int:
        """Size of the file as of its last checkpoint."""
        return self.file.path.stat().st_size

    @property
    def wal_bytes(self) -> int:
        """Size of the write-ahead log, 0 right after a checkpoint."""
        return self.file.wal_bytes

    def checkpoint(self, *, tidy: bool = False) -> None:
        """Settle, and move the write-ahead log into the file, in about 10 ms a MB; in any thread.

        Args:
            tidy: also join small row groups, up to 90 ms: for when nothing else is to be done.

        Raises:
            LogUnavailable: it failed; the events are safe, but the log must be opened again.
        """
        with self.filing:
            self.settle()
            self.file.checkpoint(tidy=tidy)
        self._acknowledged.sync()

    def shed(self) -> bool:
        """Give back the memory that the file's blocks take; in the thread that reads.

        False when the file is being written to: who reads next is not to wait for that.
        """
        if not self.filing.acquire(blocking=False):
            return False
        try:
            self.file.shed()
        finally:
            self.filing.release()
        return True

    def close(self) -> None:
        """Checkpoint and give the files back."""
        with self.filing:
            self.settle()
            self.file.close()
        self._journal.close()
        self._acknowledged.close()
