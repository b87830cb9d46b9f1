"""How often which size was seen, to an eighth of it: counted in 0.3 µs, and all that is kept.

As HdrHistogram counts: below 16 each number has its own bucket, above each power of two has eight.
Two histograms can be subtracted, so whoever looks twice knows what came between.

histogram = Histogram()
histogram.add(1700)                      # microseconds, rows: whole numbers of one unit
histogram.seen().quantile(0.99)
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

BITS: Final = 3
"""Eight buckets for each power of two: a quantile is right to 12 %."""
EXACT: Final = 1 << (BITS + 1)
"""Numbers below have a bucket each."""
VALUE_BITS: Final = 33
"""Above, which is two hours in microseconds, all is counted as that."""
VALUE_MAX: Final = (1 << VALUE_BITS) - 1
BUCKETS: Final = ((VALUE_BITS - BITS - 1) << BITS) + EXACT


class Seen(Struct, frozen=True):
    """What a Histogram had counted at one moment."""

    count: int = 0
    total: int = 0
    buckets: dict[int, int] = {}
    """Those that are not empty."""

    def since(self, before: Seen) -> Seen:
        """What came after `before`; all of this, where `before` is of another start."""
        if before.count > self.count:
            return self
        buckets = {at: n - before.buckets.get(at, 0) for at, n in self.buckets.items()}
        left = {at: n for at, n in buckets.items() if n > 0}
        return Seen(self.count - before.count, self.total - before.total, left)

    def quantile(self, share: float) -> float | None:
        """The middle of the bucket in which this share of all lies below; None of nothing."""
        rank = share * self.count
        for at in sorted(self.buckets):
            rank -= self.buckets[at]
            if rank <= 0:
                return (lowest(at) + lowest(at + 1) - 1) / 2
        return None

    def below(self, powers: range) -> list[int]:
        """How many were less than 2^power, for each power; exact, a power is a bucket's edge."""
        edges = [_bucket(1 << power) for power in powers]
        return [sum(n for at, n in self.buckets.items() if at < edge) for edge in edges]


class Histogram:
    """Counts whole numbers from 0 on."""

    __slots__ = ("_buckets", "_count", "_total")

    def __init__(self) -> None:
        self._buckets = [0] * BUCKETS
        self._count = 0
        self._total = 0

    def add(self, value: int) -> None:
        """Count one; a clock that went back counts as nothing."""
        if not 0 <= value <= VALUE_MAX:
            value = 0 if value < 0 else VALUE_MAX
        shift = value.bit_length() - BITS - 1  # as `_bucket`: a call costs as much as the rest
        self._buckets[value if shift <= 0 else (shift << BITS) + (value >> shift)] += 1
        self._count += 1
        self._total += value

    def seen(self) -> Seen:
        """All so far."""
        buckets = {at: count for at, count in enumerate(self._buckets) if count}
        return Seen(self._count, self._total, buckets)


def merged(all_seen: list[Seen]) -> Seen:
    """Several as one."""
    buckets: dict[int, int] = {}
    for seen in all_seen:
        for at, count in seen.buckets.items():
            buckets[at] = buckets.get(at, 0) + count
    return Seen(sum(seen.count for seen in all_seen), sum(seen.total for seen in all_seen), buckets)


def lowest(bucket: int) -> int:
    """The smallest number that falls into a bucket."""
    if bucket < EXACT:
        return bucket
    shift = (bucket >> BITS) - 1
    return ((bucket & ((1 << BITS) - 1)) | (1 << BITS)) << shift


def _bucket(value: int) -> int:
    shift = value.bit_length() - BITS - 1
    return value if shift <= 0 else (shift << BITS) + (value >> shift)
