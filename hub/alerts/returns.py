"""Whether an agent earns less than it did: means of blocks of episodes, beside the best before.

returns = Returns(share=0.25)
for ended in whole_episodes: returns.add(ended.total_reward, block=20)
if returns.fallen is not None: …

A return has fallen when two blocks in a row are below the best before them by `share` of it and by
`ERRORS` standard errors of the difference (Welch 1947). Where nothing changes, the best of eight
blocks is by chance 1.4 standard errors of a mean above their own; for a fall the next two would
both have to be 2.8 below it.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

ERRORS: Final = 3.0
CONFIRMED: Final = 2
"""Blocks in a row."""
BLOCKS: Final = 10
"""That are remembered: an agent that has earned less for longer than that was never fallen."""
RECOVERED: Final = 0.5
"""Share of a fall that must be made good, and more where half would still be a fall."""


class Block(NamedTuple):
    """The returns of some episodes that ended one after the other."""

    mean: float
    error: float
    """Standard error of the mean."""
    episodes: int


class Fall(NamedTuple):
    """What an agent earned at its best, and earns now."""

    best: float
    now: float
    episodes: int
    """That `now` is the mean of."""


class Returns:
    """Of one agent.

    Args:
        share: of the best mean, that is a fall.
        fallen: what was known when the hub was started.
    """

    def __init__(self, share: float, fallen: Fall | None = None) -> None:
        self._share = share
        self._blocks: deque[Block] = deque(maxlen=BLOCKS)
        self._running: list[float] = []
        self.fallen = fallen
        """None while it earns as it did."""

    def add(self, total_reward: float, *, block: int) -> None:
        """One more episode is over; `block` of them are judged together."""
        if not math.isfinite(total_reward):
            return
        self._running.append(total_reward)
        if len(self._running) >= block:
            self._judge(_block_of(self._running))
            self._running.clear()

    def _judge(self, newest: Block) -> None:
        self._blocks.append(newest)
        if self.fallen is not None:
            best, lost = self.fallen.best, self.fallen.best - self.fallen.now
            good = max(best - RECOVERED * lost, best - self._share * abs(best))
            made_good = newest.mean >= good
            self.fallen = None if made_good else self.fallen
            return
        *before, _ = last = list(self._blocks)[-CONFIRMED:]
        earlier = list(self._blocks)[: -len(last)]
        if len(before) < CONFIRMED - 1 or not earlier:
            return
        best_block = max(earlier, key=lambda one: one.mean)
        if all(self._is_below(one, best_block) for one in last):
            self.fallen = Fall(best_block.mean, newest.mean, newest.episodes)

    def _is_below(self, block: Block, best: Block) -> bool:
        error = math.hypot(block.error, best.error)
        return best.mean - block.mean > max(ERRORS * error, self._share * abs(best.mean))


def _block_of(returns: Iterable[float]) -> Block:
    values = list(returns)
    mean = sum(values) / len(values)
    squares = sum((value - mean) * (value - mean) for value in values)  # `**` fails beyond 1e154
    variance = squares / max(1, len(values) - 1)
    return Block(mean, math.sqrt(variance / len(values)), len(values))
