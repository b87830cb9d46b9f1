"""A trainer's memory, watched: one that takes more than its agent may is ended.

It is watched and not limited by the kernel: RLIMIT_AS and RLIMIT_DATA count what is only reserved,
and what all trainers share (300 MB of torch), so a limit would say nothing about this one; and an
allocation that fails inside torch or numpy ends the process all the same, but without a reason.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from hub.learner.processes.proc import private_mb

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.learner.processes.child import Child

log: Final = logging.getLogger("hub.learner")

LOOK_S: Final = 1.0
"""Between two looks; what it takes in less and gives back is not seen."""


class MemoryWatch:
    """Looks at one process while it has a limit.

    Args:
        child: the process.
        beyond: called with the MiB that it had when it had too many; the caller ends it.
    """

    def __init__(self, child: Child, beyond: Callable[[float], None]) -> None:
        self._child = child
        self._beyond = beyond
        self._limit_mb: int | None = None
        self._task: asyncio.Task[None] | None = None

    def limit(self, limit_mb: int | None) -> None:
        """So much may be its own from now on; None = all it can get."""
        self._limit_mb = limit_mb
        if limit_mb is None and self._task is not None:
            self._task.cancel()
            self._task = None
        elif limit_mb is not None and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            pid = self._child.pid
            # In a thread: the kernel walks through all of its pages, for some milliseconds.
            taken_mb = None if pid is None else await asyncio.to_thread(private_mb, pid)
            if taken_mb is None or pid != self._child.pid or self._limit_mb is None:
                continue
            if taken_mb > self._limit_mb:
                self._beyond(taken_mb)
