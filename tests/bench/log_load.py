"""A steady stream of events through the real log process, as a hub's loop sends it."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np
from msgspec import Struct

from hub.clock import SystemClock
from tests.bench.log_rows import walk_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.log.link import LogLink
    from hub.words import Event

BATCH_ROWS: Final = 2
"""An observation and its action, as the hub appends them."""
TICK_S: Final = 0.001
STALL_S: Final = 0.020
BATCHES: Final = 10_000
"""Made before the clock starts, and sent again and again."""


class Steady(Struct, frozen=True):
    """What a stream of so many rows a second met, all of it in milliseconds."""

    seconds: float
    rows_per_s: float
    """Acknowledged."""
    wait_p50_ms: float
    """From append to the callback."""
    wait_p99_ms: float
    wait_max_ms: float
    commits: int
    commit_p50_ms: float
    """In the log process, from the batch to the disk."""
    commit_p99_ms: float
    commit_max_ms: float
    stalls: int
    """Times in which nothing was acknowledged for more than 20 ms."""
    late_p99_ms: float
    """The sender's loop: how long after its time a timer of 1 ms was called."""
    late_max_ms: float


async def steady(
    link: LogLink,
    seconds: float,
    rows_per_s: int,
    acknowledged: Callable[[int, float], None] = lambda _seq, _at: None,
) -> Steady:
    """Send for so long, then wait for the last acknowledgement.

    Args:
        link: open.
        seconds: to send for.
        rows_per_s: what is late is caught up with, as devices would.
        acknowledged: told each batch's last seq and the time of its callback.
    """
    stream = _Stream(link, rows_per_s / BATCH_ROWS, seconds, acknowledged)
    stream.tick()
    await stream.done
    return stream.figures()


class _Stream:
    def __init__(
        self,
        link: LogLink,
        batches_per_s: float,
        seconds: float,
        acknowledged: Callable[[int, float], None],
    ) -> None:
        self._link = link
        self._batches_per_s = batches_per_s
        self._seconds = seconds
        self._acknowledged = acknowledged
        self._loop = asyncio.get_running_loop()
        self._now = SystemClock().monotonic
        self._batches = _batches()
        self._began = self._due = self._last = self._now()
        self._sent = 0
        self._stalls = 0
        self._commit_us: list[int] = []
        self._waits_s: list[float] = []
        self._late_s: list[float] = []
        self.done: asyncio.Future[None] = self._loop.create_future()

    def tick(self) -> None:
        """Send what is due, and come again."""
        now = self._now()
        self._late_s.append(max(0.0, now - self._due))
        owed = int(min(now - self._began, self._seconds) * self._batches_per_s) - self._sent
        for _ in range(owed):
            batch = self._batches[self._sent % len(self._batches)]
            self._sent += 1
            self._link.append(batch, partial(self._committed, self._now()))
        if now - self._began < self._seconds or self._sent > len(self._waits_s):
            self._due = self._now() + TICK_S
            self._loop.call_later(TICK_S, self.tick)
        else:
            self.done.set_result(None)

    def _committed(self, sent: float, seq: int) -> None:
        now = self._now()
        self._waits_s.append(now - sent)
        self._stalls += now - self._last > STALL_S
        self._last = now
        if not self._commit_us or self._commit_us[-1] != self._link.commit_us:
            self._commit_us.append(self._link.commit_us)  # the first batch of a commit
        self._acknowledged(seq + BATCH_ROWS - 1, now)

    def figures(self) -> Steady:
        """Of the whole run."""
        waits, commits, late = (
            np.percentile(np.array(values) * scale, (50, 99, 100)).tolist()
            for values, scale in (
                (self._waits_s, 1000), (self._commit_us, 0.001), (self._late_s, 1000)
            )
        )  # fmt: skip
        took_s = self._last - self._began
        return Steady(
            took_s,
            rows_per_s=len(self._waits_s) * BATCH_ROWS / took_s,
            wait_p50_ms=waits[0],
            wait_p99_ms=waits[1],
            wait_max_ms=waits[2],
            commits=len(self._commit_us),
            commit_p50_ms=commits[0],
            commit_p99_ms=commits[1],
            commit_max_ms=commits[2],
            stalls=self._stalls,
            late_p99_ms=late[1],
            late_max_ms=late[2],
        )


def _batches() -> list[list[Event]]:
    events = walk_rows()
    return [list(islice(events, BATCH_ROWS)) for _ in range(BATCHES)]
