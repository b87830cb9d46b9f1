"""Thousands of short waits behind one timer of the loop.

    waits = Waits(loop)
    step.timer = waits.call_later(0.25, self._deadline, step)
    step.timer.cancel()

A step is answered long before it would be late, so nearly every wait is cancelled. A timer of the
loop costs 3 µs to be set and cancelled again; here a wait costs 0.5, for it only lies in a heap
until its time is over. That is how long its memory is held: a few hundred bytes for at most a
second.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from hub.step import Step

TICK_S: Final = 0.001
"""The loop is woken no oftener than this; what falls due in between is called together."""


class Wait:
    """One wait that can be cancelled; falls due once."""

    __slots__ = ("callback", "step")

    def __init__(self, callback: Callable[[Step], None], step: Step) -> None:
        self.callback = callback
        self.step: Step | None = step
        """None once it is over or cancelled."""

    def cancel(self) -> None:
        """Never call."""
        self.step = None


class Waits:
    """All waits of one loop.

    Args:
        loop: whose clock counts.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[tuple[float, int, Wait]] = []
        self._count = 0
        """Of all waits so far: two that fall due together are called in the order they were set."""
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        """When the loop's timer goes off."""

    def call_later(self, delay_s: float, callback: Callable[[Step], None], step: Step) -> Wait:
        """Call `callback(step)` after so long, or up to `TICK_S` later."""
        wait = Wait(callback, step)
        due_s = self._loop.time() + delay_s
        self._count += 1
        heappush(self._heap, (due_s, self._count, wait))
        if self._timer is None or due_s < self._due_s - TICK_S:
            self._arm(due_s)
        return wait

    def _arm(self, due_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due_s = max(due_s, self._loop.time() + TICK_S)
        self._timer = self._loop.call_at(self._due_s, self._look)

    def _look(self) -> None:
        """Call what is due, and come again for the first that is not cancelled."""
        now_s, self._due_s = self._loop.time(), 0.0  # so that nobody arms it meanwhile
        try:
            while self._heap and (self._heap[0][0] <= now_s or self._heap[0][2].step is None):
                _, _, wait = heappop(self._heap)
                step, wait.step = wait.step, None
                if step is not None:
                    wait.callback(step)
        finally:  # an error is reported by the loop; the others' time comes all the same
            self._timer = None
            if self._heap:
                self._arm(self._heap[0][0])
