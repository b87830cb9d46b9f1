"""Rules about the hub itself: its log, processes, disk and clock."""

from __future__ import annotations

import asyncio
import shutil
from collections import deque
from typing import TYPE_CHECKING, Final

from hub.alerts.cause import Cause, Rule, Subject, span, still
from hub.learner.messages import policy_path
from hub.learner.processes.child import FAILURES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hub.alerts.segments import Segments
    from hub.alerts.standing import Open
    from hub.processes import Hub

MEBIBYTE: Final = 1 << 20
MICROSECONDS: Final = 1_000_000
CHECKPOINTS: Final = 2
"""Of all agents, that should fit: one is written while the one before is still there."""
ENOUGH: Final = 1.1
"""Times what is too little: what is free goes up and down a little."""
FAILING_S: Final = 600.0
"""A process that has ended `FAILURES` times within it keeps ending."""


class OfHub:
    """Looks at the hub.

    Args:
        hub: all of it.
        open_alerts: those that are.
        segments: what is known of the sealed log.
    """

    def __init__(self, hub: Hub, open_alerts: Mapping[Subject, Open], segments: Segments) -> None:
        self._hub = hub
        self._settings = hub.settings.alerts
        self._open = open_alerts
        self._segments = segments
        self._ends = {"log": _Ends(), "analyst": _Ends()}
        self._offset_us = hub.clock.now_us() - self._now_us()
        self._behind_s = 0.0
        """How far the clock was behind the log when that was opened, and nobody was told yet."""
        self.damage: str | None = None
        """What was lost or moved aside then, and nobody was told yet."""

    def log_opened(self, newest_us: int, damage: str | None) -> None:
        """The log's newest event has this time, and this was wrong with it."""
        self._behind_s = max(0, newest_us - self._hub.clock.now_us()) / MICROSECONDS
        self.damage = damage

    async def look(self) -> list[Cause]:
        """All causes there are."""
        disk = await self._disk()
        return [
            *disk,
            *self._not_ready(),
            *self._failing(),
            *self._clock(),
            *self._damage(),
            *self._archive(),
        ]

    # --- what can be asked at once -------------------------------------------------------------

    def _not_ready(self) -> Iterator[Cause]:
        """As `/readyz` says; a hub that is told to stop is not in need of anybody."""
        reason = None if self._hub.stopping.is_set() else self._hub.not_ready()
        if reason is not None:
            hold_s = self._settings.hold_s
            says = f"a step sent now would not be answered: {reason}"
            yield Cause(Subject(Rule.NOT_READY), says, {}, raise_s=hold_s, clear_s=hold_s)

    def _failing(self) -> Iterator[Cause]:
        now_s, hub = self._hub.clock.monotonic(), self._hub
        counts = {"log": hub.log.restarts, "analyst": hub.analyst.restarts}
        for process, count in counts.items():
            ends = self._ends[process].within(FAILING_S, count, now_s)
            if ends >= FAILURES:
                yield Cause(
                    Subject(Rule.FAILING),
                    f"the process {process!r} ended {ends} times within {span(FAILING_S)}",
                    {"ends": float(ends)},
                    clear_s=self._settings.hold_s,
                )
        trouble = hub.federation.trouble
        if trouble is not None and trouble.ends >= FAILURES:
            yield Cause(
                Subject(Rule.FAILING),
                f"the process for other hubs ended {trouble.ends} times in a row, the last time "
                f"with: {trouble.reason}",
                {"ends": float(trouble.ends)},
                clear_s=self._settings.hold_s,
            )

    def _clock(self) -> Iterator[Cause]:
        """A jump is of a moment: it is seen once, and its alert stays for a while."""
        offset_us = self._hub.clock.now_us() - self._now_us()
        jumped_s = (offset_us - self._offset_us) / MICROSECONDS
        self._offset_us = offset_us
        behind_s, self._behind_s = self._behind_s, 0.0
        subject, moment_s = Subject(Rule.CLOCK), self._settings.moment_s
        if abs(jumped_s) > self._settings.clock_jump_s:
            way = "forward" if jumped_s > 0 else "back"
            says = f"the machine's clock jumped {way} by {span(abs(jumped_s))}, or it slept"
            yield Cause(subject, says, {"jumped_s": round(jumped_s, 3)}, clear_s=moment_s)
        elif behind_s > self._settings.clock_jump_s:
            says = f"the machine's clock is {span(behind_s)} behind the newest event of the log"
            yield Cause(subject, says, {"jumped_s": -round(behind_s, 3)}, clear_s=moment_s)

    def _now_us(self) -> int:
        """What only goes forward."""
        return round(self._hub.clock.monotonic() * MICROSECONDS)

    def _damage(self) -> Iterator[Cause]:
        subject = Subject(Rule.DAMAGE)
        problems, (damage, self.damage) = self._segments.problems, (self.damage, None)
        if damage is not None:
            says = f"the log was damaged when it was opened: {damage}"
            yield Cause(subject, says, {}, clear_s=self._settings.moment_s, replaces=True)
        elif problems:
            more = f" ({len(problems)} problems in all)" if len(problems) > 1 else ""
            figures = {"problems": float(len(problems))}
            yield Cause(subject, f"{problems[0]}{more}", figures)
        elif problems is None and subject in self._open:  # not read since the hub's start
            fact = self._open[subject].fact
            yield still(subject, fact, clear_s=self._settings.moment_s)

    def _archive(self) -> Iterator[Cause]:
        failed, hold_s = self._hub.archive.failed, self._settings.hold_s
        if failed is not None:
            says = f"segments can't be made: {failed}"
            yield Cause(Subject(Rule.ARCHIVE), says, {}, raise_s=hold_s, clear_s=hold_s)

    # --- the disk ------------------------------------------------------------------------------

    async def _disk(self) -> list[Cause]:
        """In a thread: a disk that is about to fail may take its time."""
        hub = self._hub
        newest = [
            policy_path(hub.data, name, policy.made.sha256)
            for name, policy in hub.registry.policies.items()
        ]
        subject, hold_s = Subject(Rule.DISK), self._settings.hold_s
        try:
            free_mb, checkpoints_mb = await asyncio.to_thread(_room, hub.data, newest)
        except OSError as error:
            says = f"the disk at {hub.data} can't be asked: {error.strerror}"
            return [Cause(subject, says, {}, raise_s=hold_s, clear_s=hold_s)]
        log = hub.settings.log
        checkpoints_mb += log.checkpoint_wal_mb
        needed_mb = log.disk_free_mb_min + CHECKPOINTS * checkpoints_mb
        limit_mb = max(self._settings.disk_free_mb, needed_mb)
        if free_mb >= limit_mb * (ENOUGH if subject in self._open else 1.0):
            return []
        says = (
            f"{free_mb:,.0f} MB are free at {hub.data}; below {log.disk_free_mb_min:,.0f} MB "
            "nothing is committed, and two checkpoints of all agents take "
            f"{CHECKPOINTS * checkpoints_mb:,.0f} MB"
        )
        figures = {"free_mb": free_mb, "limit_mb": limit_mb, "checkpoints_mb": checkpoints_mb}
        figures = {name: round(value, 1) for name, value in figures.items()}
        return [Cause(subject, says, figures, raise_s=hold_s, clear_s=hold_s)]


class _Ends:
    """When a process has ended, as a count says that goes up."""

    def __init__(self) -> None:
        self._count = 0
        self._at_s: deque[float] = deque(maxlen=FAILURES)

    def within(self, span_s: float, count: int, now_s: float) -> int:
        """How often it has within so long, `FAILURES` at most."""
        self._at_s.extend([now_s] * min(FAILURES, count - self._count))
        self._count = count
        return sum(now_s - at_s <= span_s for at_s in self._at_s)


def _room(data: Path, newest: list[Path]) -> tuple[float, float]:
    """MiB that are free, and that the files take."""
    taken = 0
    for path in newest:
        try:
            taken += path.stat().st_size
        except OSError:
            continue  # just replaced
    return shutil.disk_usage(data).free / MEBIBYTE, taken / MEBIBYTE
