"""The newest events, which the hot file may lack: as they came, and made ready for it in passing.

    tail = Tail.after(seq)
    tail.recent.add(events)         # under the lock of appending
    settling = tail.begin()         # what came goes into the file as settling.batch()
    tail = tail.settled()

Making columns holds Python's lock, 0.7 µs a row, while DuckDB's insert does not: so the thread that
appends makes them, a few at a time, and the one that settles has little to do but to insert.
Readers keep the `Tail` they saw: no row is in neither place, or in both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Self

import pyarrow as pa

from hub.log import columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.words import Event

CHUNK_ROWS: Final = 512
"""That are made columns at once: no commit is held up by more than 0.4 ms."""


class Recent:
    """What stands in one half of the journal.

    Args:
        first: seq of the first of them, or of the next event when there is none.

    Attributes:
        events: as they are stored; their seqs follow each other.
    """

    def __init__(self, first: int) -> None:
        self.first = first
        self.events: list[Event] = []
        self._chunks: list[pa.RecordBatch] = []
        self._ready = 0
        """How many events the chunks hold."""

    def add(self, events: Sequence[Event]) -> None:
        """They are durable and come next."""
        self.events += events
        if len(self.events) - self._ready >= CHUNK_ROWS:
            self._make_ready()

    def batch(self) -> pa.RecordBatch:
        """All of them, at least one, as columns; nobody may add to them any more."""
        if self._ready < len(self.events):
            self._make_ready()
        return pa.concat_batches(self._chunks)

    def rows(self, first: int, last: int) -> pa.RecordBatch | None:
        """Those with seq `first`..`last`; None when there are none."""
        start = max(first, self.first)
        events = self.events[start - self.first : max(0, last - self.first + 1)]
        return columns.to_batch(events, start) if events else None

    @property
    def next_seq(self) -> int:
        """That of the event after them."""
        return self.first + len(self.events)

    def _make_ready(self) -> None:
        new = self.events[self._ready :]
        self._chunks.append(columns.to_batch(new, self.first + self._ready))
        self._ready += len(new)


class Tail(NamedTuple):
    """The end of the log in two parts, one behind the other."""

    settling: Recent
    """On its way into the file."""
    recent: Recent

    @classmethod
    def after(cls, last: int) -> Self:
        """Of a log of which the file has all, up to this seq."""
        return cls(Recent(last + 1), Recent(last + 1))

    def begin(self) -> Self:
        """With what is recent on its way into the file."""
        return self._replace(settling=self.recent, recent=Recent(self.recent.next_seq))

    def settled(self) -> Self:
        """With nothing on its way."""
        return self._replace(settling=Recent(self.recent.first))
