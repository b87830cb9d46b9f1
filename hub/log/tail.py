"""The newest events, which the hot file may lack, in columns ready for it.

    tail = Tail.after(seq)
    tail.recent.add(events)         # under the lock of appending
    tail = tail.begin()             # what came goes into the file as tail.settling.batch()
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
"""Made columns at once, at least: commits of a few rows wait 0.4 ms for it, one in a hundred."""


class _Made(NamedTuple):
    """Replaced as a whole, so that another thread reads what belongs together."""

    chunks: list[pa.RecordBatch]
    rest_first: int
    rest: list[Event]
    """What came after the chunks; grows."""


class Recent:
    """What stands in one half of the journal, payloads sealed; its seqs follow each other.

    Args:
        first: seq of the first event, or of the next one when there is none.
    """

    def __init__(self, first: int) -> None:
        self.first = first
        self._made = _Made([], first, [])

    @property
    def next_seq(self) -> int:
        """That of the event after them."""
        return self._made.rest_first + len(self._made.rest)

    def __len__(self) -> int:
        return self.next_seq - self.first

    def add(self, events: Sequence[Event]) -> None:
        """They are durable and come next."""
        chunks, first, rest = self._made
        rest += events
        if len(rest) >= CHUNK_ROWS:
            chunk = columns.to_batch(rest, first)
            self._made = _Made([*chunks, chunk], first + len(rest), [])

    def table(self, first: int, last: int) -> pa.Table:
        """Those with seq `first`..`last`, or as many of these as there are."""
        chunks, rest_first, rest = self._made
        made = pa.Table.from_batches(chunks, columns.SCHEMA)
        first = max(first, self.first)
        found = made.slice(first - self.first, max(0, last - first + 1))
        first = max(first, rest_first)
        if events := rest[first - rest_first : max(0, last - rest_first + 1)]:
            newest = pa.Table.from_batches([columns.to_batch(events, first)])
            found = pa.concat_tables([found, newest])
        return found

    def batch(self) -> pa.RecordBatch:
        """All of them, at least one."""
        (batch,) = self.table(self.first, self.next_seq - 1).combine_chunks().to_batches()
        return batch


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
