"""The only place that reads the time; everything else is handed a Clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two hands: `now_us` for people and the log, `monotonic` for waits.

    `now_us` may jump when someone sets the clock; no order or deadline depends on it.
    """

    def now_us(self) -> int:
        """Microseconds since 1970 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only go forward, from an arbitrary start."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_us(self) -> int:
        """Microseconds since 1970 UTC."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds that only go forward, from an arbitrary start."""
        return time.monotonic()
