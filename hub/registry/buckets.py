"""Token buckets: how often somebody may do something, and how long to wait who did it too often.

    bucket = Bucket(10, burst_s=2)              # 10 a second, and up to 20 at once
    wait_s = bucket.take(clock.monotonic())     # 0.0 = taken; else nothing was, come again by then

    logins = Buckets(0.2, burst_s=50, most=10_000)          # the same for each address, key, …
    if logins.wait_s(address, now): …                       # looks
    logins.take(address, now)                               # takes

Kept as the time at which the bucket is full again, which is one number instead of two and needs no
timer (the generic cell rate algorithm: ITU-T I.371, appendix A). To take is under 0.3 µs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

Name = TypeVar("Name", bound="Hashable")

EARLY_S: Final = 1e-6
"""So much too early is in time: sums of times are not exact."""
SWEPT_AT_ONCE: Final = 64
"""Buckets looked at for every new one above the limit."""


class Bucket:
    """One allowance.

    Args:
        rate: tokens a second, above 0.
        burst_s: seconds' worth of tokens that a full bucket holds; one token at least.
    """

    __slots__ = ("_full_at", "_holds_s", "_token_s")

    def __init__(self, rate: float, *, burst_s: float) -> None:
        assert rate > 0, "no limit is no bucket"
        self._token_s = 1 / rate
        self._holds_s = max(burst_s, self._token_s)
        self._full_at = 0.0

    def wait_s(self, now_s: float, tokens: float = 1.0) -> float:
        """Seconds until so many tokens are there, 0.0 when they are; takes nothing.

        More than the bucket can hold are there when it is full: a large thing passes, rarely.
        """
        needed_s = min(tokens * self._token_s, self._holds_s)
        wait_s = self._full_at + needed_s - self._holds_s - now_s
        return wait_s if wait_s > EARLY_S else 0.0

    def take(self, now_s: float, tokens: float = 1.0) -> float:
        """Take so many tokens and return 0.0; or take none, and return how long to wait.

        What is taken beyond the bucket's size is owed: whoever comes next waits for it.
        """
        wait_s = self.wait_s(now_s, tokens)
        if not wait_s:
            self.owe(now_s, tokens)
        return wait_s

    def owe(self, now_s: float, tokens: float) -> None:
        """Take so many tokens that are there or not: whoever comes next waits for them."""
        self._full_at = max(self._full_at, now_s) + tokens * self._token_s

    def is_full(self, now_s: float) -> bool:
        """Whether it is as if it had never been used."""
        return self._full_at <= now_s


class Buckets(Generic[Name]):
    """A bucket for each name, made when it is first used and forgotten when it is full again.

    Args:
        rate: as of `Bucket`.
        burst_s: as of `Bucket`.
        most: names remembered at once. Above, one that is full is forgotten, else the oldest: who
            comes under many names costs no more than this.
    """

    def __init__(self, rate: float, *, burst_s: float, most: int) -> None:
        self._rate = rate
        self._burst_s = burst_s
        self._most = most
        self._buckets: dict[Name, Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_s(self, name: Name, now_s: float, tokens: float = 1.0) -> float:
        """As `Bucket.wait_s`; a name that never took anything has a full bucket."""
        bucket = self._buckets.get(name)
        return 0.0 if bucket is None else bucket.wait_s(now_s, tokens)

    def take(self, name: Name, now_s: float, tokens: float = 1.0) -> float:
        """As `Bucket.take`."""
        bucket = self._buckets.get(name)
        if bucket is None:
            if len(self._buckets) >= self._most:
                self._make_room(now_s)
            bucket = self._buckets[name] = Bucket(self._rate, burst_s=self._burst_s)
        return bucket.take(now_s, tokens)

    def _make_room(self, now_s: float) -> None:
        oldest = [name for name, _ in zip(self._buckets, range(SWEPT_AT_ONCE), strict=False)]
        full = [name for name in oldest if self._buckets[name].is_full(now_s)]
        for name in full or oldest[:1]:
            del self._buckets[name]
