"""The priority of trainers: the hub's own while a core is left beside them, and a lower one else.

    priorities = Priorities(pids, settings.nice, clock)
    priorities.watch()                # a trainer was started

A trainer that always gives way falls behind devices that are as fast as they can: what it learns
from is older then, and more of it goes into each update. Four devices on two cores, CartPole-v1 to
475: 28,000 transitions and 11 s (median of 11 runs), and 45,000 and 17 s when it was nice. But
where as many train as there are cores, actions wait for them: of an actor beside two trainers on
two cores, 99 % came within 5.3 ms, and within 0.7 to 2.4 ms beside two that were nice.

Rule 1: only who trains counts, and is changed: one that waits for data takes nobody's core.
Rule 2: who may not have its priority back (Linux lets only a privileged user give it) keeps the
    lower one until it is started anew.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from hub.learner.processes.proc import cpu_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock

LOOK_S: Final = 1.0
"""Between two looks at what they took."""
TRAINS: Final = 0.2
"""Of a core; with less a trainer waits for data, mostly."""


class Priorities:
    """Of one hub's trainers.

    Args:
        pids: of those that run.
        nice: of each that trains, where they are as many as the cores.
        clock: for what they took since the last look.
        cores: that the hub may use; None = as the system says.
    """

    def __init__(
        self, pids: Callable[[], list[int]], nice: int, clock: Clock, cores: int | None = None
    ) -> None:
        self._pids = pids
        self._nice = nice
        self._clock = clock
        self._cores = _cores() if cores is None else cores
        self._timer: asyncio.TimerHandle | None = None
        self._looked_s = 0.0
        self._used_s: dict[int, float] = {}

    def watch(self) -> None:
        """Look from now on, as long as any runs."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._timer = None
        now_s, before = self._clock.monotonic(), self._used_s
        self._used_s = {pid: used for pid in self._pids() if (used := cpu_s(pid)) is not None}
        least_s = TRAINS * (now_s - self._looked_s)
        self._looked_s = now_s
        training = [
            pid for pid, used in self._used_s.items() if used - before.get(pid, used) > least_s
        ]
        level = 0 if len(training) < self._cores else self._nice
        for pid in training:
            # One may have ended since, or be refused its priority back (Rule 2).
            with suppress(ProcessLookupError, PermissionError):
                if os.getpriority(os.PRIO_PROCESS, pid) != level:
                    os.setpriority(os.PRIO_PROCESS, pid, level)
        if self._used_s:
            self.watch()


def _cores() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
