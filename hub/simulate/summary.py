"""What became of a crowd, in numbers. Pure."""

from __future__ import annotations

from collections import Counter
from statistics import fmean
from typing import TYPE_CHECKING

from msgspec import Struct

from hub.simulate.fate import Made
from hub.simulate.standing import EPISODES_JUDGED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from hub.histogram import Seen
    from hub.simulate.device import Counts


class Summary(Struct, frozen=True):
    """Of all devices together; what `sheepfold simulate --json` prints."""

    seconds: float
    steps: int
    """Answered."""
    actions_per_s: float
    episodes: int
    return_first: float | None
    """Mean of each device's first episodes, so many as are judged; None before any has ended."""
    return_last: float | None
    """The same of the last."""
    returns: dict[str, float]
    """Mean of the last episodes, by device."""
    p50_ms: float | None
    """From the first sending to the answer, with all delays and repeats; None without answers."""
    p99_ms: float | None
    repeats: int
    """Sendings beyond the first of a step."""
    fallbacks: int
    refused: dict[str, int]
    """Observations by the code they were refused with."""
    policy: int | None
    """Newest version that acted."""
    faults: Made
    """That were made."""
    failures: dict[str, int]
    """Why devices stopped, and how many."""

    @property
    def ok(self) -> bool:
        """Whether anything was answered, and no device stopped before its time."""
        return self.steps > 0 and not self.failures

    def __str__(self) -> str:
        """For a person, in lines."""
        stopped = [f"{count:,} stopped: {why}" for why, count in self.failures.items()]
        return "\n".join((self._told() if self.steps else []) + stopped)

    def _told(self) -> list[str]:
        return [
            f"{self.steps:,} steps in {self.seconds:.1f} s, {self.actions_per_s:,.0f} actions/s; "
            f"p50 {_ms(self.p50_ms)}, p99 {_ms(self.p99_ms)}",
            f"{self.episodes:,} episodes; the first returned {_return(self.return_first)}, "
            f"the last {_return(self.return_last)} (mean of {EPISODES_JUDGED} of each device); "
            f"policy {self.policy if self.policy is not None else 'none yet'}",
            f"{self.fallbacks:,} fallbacks, {self.repeats:,} repeats, "
            f"{sum(self.refused.values()):,} refused{_listed(self.refused)}",
            f"faults made: {self.faults.lost:,} lost, {self.faults.repeated:,} repeated, "
            f"{self.faults.delayed:,} delayed, {self.faults.reboots:,} reboots, "
            f"{self.faults.half_open:,} half-open connections",
        ]


def sum_up(
    counts: Sequence[Counts],
    first: Mapping[str, Iterable[float]],
    last: Mapping[str, Collection[float]],
    latencies_us: Seen,
    *,
    made: Made,
    failures: Mapping[str, int],
    seconds: float,
) -> Summary:
    """The summary of what all did.

    Args:
        counts: one a device.
        first: returns of its first episodes, so many as are judged, by device.
        last: the same of its last.
        latencies_us: of all steps.
        made: faults.
        failures: devices by why they stopped.
        seconds: it took.
    """
    steps = sum(one.steps for one in counts)
    refused: Counter[str] = Counter()
    for one in counts:
        refused.update(one.refused)
    began = [value for each in first.values() for value in each]
    ended = [value for each in last.values() for value in each]
    p50_us, p99_us = latencies_us.quantile(0.5), latencies_us.quantile(0.99)
    return Summary(
        seconds=round(seconds, 3),
        steps=steps,
        actions_per_s=round(steps / seconds, 1) if seconds else 0.0,
        episodes=sum(one.episodes for one in counts),
        return_first=fmean(began) if began else None,
        return_last=fmean(ended) if ended else None,
        returns={device: fmean(each) for device, each in last.items() if each},
        p50_ms=None if p50_us is None else p50_us / 1000,
        p99_ms=None if p99_us is None else p99_us / 1000,
        repeats=sum(one.repeats for one in counts),
        fallbacks=sum(one.fallbacks for one in counts),
        refused=dict(refused),
        policy=max((one.policy for one in counts if one.policy is not None), default=None),
        faults=made,
        failures=dict(failures),
    )


def _ms(latency_ms: float | None) -> str:
    return "-" if latency_ms is None else f"{latency_ms:.1f} ms"


def _return(mean: float | None) -> str:
    return "-" if mean is None else f"{mean:.1f}"


def _listed(refused: Mapping[str, int]) -> str:
    if not refused:
        return ""
    return " (" + ", ".join(f"{code} {count:,}" for code, count in sorted(refused.items())) + ")"
