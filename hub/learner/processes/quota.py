"""A trainer's share of one core: whoever has had more stands still until that is made good.

    quota = Quota(trainer, clock)
    quota.limit(25)         # per cent of one core; None = no limit

A duty cycle by stop and continue signals, from the time that the process really used: one that
waits for data keeps `SAVED_S` of its share and no more. Being nice is not enough: on an idle
machine it takes a core all the same, and that may be what a battery or a neighbour pays for.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, Final

from hub.learner.processes.proc import cpu_s

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from hub.clock import Clock
    from hub.learner.processes.child import Child

log: Final = logging.getLogger("hub.learner")

LOOK_S: Final = 0.05
"""Between two looks at a process that runs; it may use so much beyond its share, once."""
SAVED_S: Final = 0.1
"""Processor time that a process may save up while it waits for data."""


class Quota:
    """Holds one process to its share, whenever it runs."""

    def __init__(self, child: Child, clock: Clock) -> None:
        self._child = child
        self._clock = clock
        self._percent: int | None = None
        self._timer: TimerHandle | None = None
        self._pid: int | None = None
        self._used_s = 0.0
        self._seen_s = 0.0
        self._owed_s = 0.0
        """Processor time used beyond the share; negative = saved."""

    def limit(self, percent: int | None) -> None:
        """Hold it to so much of one core from now on; None lets it go on at full speed."""
        if percent == self._percent:
            return
        self._percent = percent
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pid = None  # what it used before does not count
        self._child.signal(signal.SIGCONT)
        if percent is not None:
            self._look()

    def _look(self) -> None:
        assert self._percent is not None, "else nobody looks"
        share = self._percent / 100
        wait_s = self._account(share)
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._look)

    def _account(self, share: float) -> float:
        """Stop the process, or let it run; how long it may stay so."""
        pid, now_s = self._child.pid, self._clock.monotonic()
        used_s = None if pid is None else cpu_s(pid)
        if used_s is None or pid != self._pid:
            if used_s is None and pid is not None:
                log.warning(
                    "%s: its processor time can't be read, so cpu_percent is not held",
                    self._child.name,
                )
            self._pid, self._owed_s = pid, 0.0
            self._used_s, self._seen_s = used_s or 0.0, now_s
            return LOOK_S
        owed_s = self._owed_s + (used_s - self._used_s) - share * (now_s - self._seen_s)
        self._used_s, self._seen_s, self._owed_s = used_s, now_s, max(owed_s, -SAVED_S)
        if owed_s > 0:
            self._child.signal(signal.SIGSTOP)
            return max(LOOK_S, owed_s / share)
        self._child.signal(signal.SIGCONT)
        return LOOK_S
