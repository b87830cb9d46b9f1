"""Where the devices stand: progress lines folded into the numbers a person watches. Pure."""

from __future__ import annotations

from collections import deque
from statistics import fmean
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.simulate.progress import Progress

EPISODES_JUDGED: Final = 20
"""The newest of all devices together."""
SOLVED_RETURN: Final = 475.0
"""CartPole-v1's own reward threshold in Gymnasium's registry."""
RATE_WINDOW_S: Final = 3.0
LATENCIES_KEPT: Final = 4000


class Standing:
    """Folds progress; `now` is any clock that only goes forward, in seconds.

    Args:
        devices: their ids.
        now: when they start.
        solved_return: what counts as solved; None = nothing does.
    """

    def __init__(
        self, devices: Sequence[str], *, now: float, solved_return: float | None = SOLVED_RETURN
    ) -> None:
        self.started = now
        self.solved_return = solved_return
        self.steps = dict.fromkeys(devices, 0)
        self.total_steps = 0
        """Acknowledged, by all devices."""
        self.returns: dict[str, deque[float]] = {
            device: deque(maxlen=EPISODES_JUDGED) for device in devices
        }
        self.policy: int | None = None
        self.repeats = dict.fromkeys(devices, 0)
        self._newest: deque[float] = deque(maxlen=EPISODES_JUDGED)
        self._latencies_ms: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._totals: deque[tuple[float, int]] = deque([(now, 0)])

    def add(self, progress: Progress, *, now: float) -> None:
        """One more line from one device."""
        self.total_steps += progress.steps - self.steps[progress.device]
        self.steps[progress.device] = progress.steps
        self.repeats[progress.device] = progress.repeats
        self.returns[progress.device].extend(progress.returns)
        self._newest.extend(progress.returns)
        self._latencies_ms.extend(progress.latencies_ms)
        if progress.policy is not None:
            self.policy = max(progress.policy, self.policy or 0)
        self._totals.append((now, self.total_steps))
        while len(self._totals) > 2 and self._totals[1][0] < now - RATE_WINDOW_S:
            self._totals.popleft()

    @property
    def mean_return(self) -> float | None:
        """Of the newest episodes of all devices together; None before the first."""
        return fmean(self._newest) if self._newest else None

    @property
    def solved(self) -> bool:
        """Whether enough episodes returned enough."""
        if self.solved_return is None or len(self._newest) < EPISODES_JUDGED:
            return False
        return fmean(self._newest) >= self.solved_return

    @property
    def actions_per_s(self) -> float:
        """Over the last few seconds."""
        (start, steps_start), (end, steps_end) = self._totals[0], self._totals[-1]
        return (steps_end - steps_start) / (end - start) if end > start else 0.0

    def latency_ms(self, quantile: float) -> float | None:
        """Of the newest steps, from sending to answer; None before the first."""
        if not self._latencies_ms:
            return None
        ordered = sorted(self._latencies_ms)
        return ordered[min(int(quantile * len(ordered)), len(ordered) - 1)]
