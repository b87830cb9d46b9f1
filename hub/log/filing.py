"""Takes what the journal holds into the file, in a thread beside the loop: no commit waits for it.

    filing = Filing(log, settings, reading, start=…)
    filing.committed()          # after each commit
    filing.close()

Rule 1: an error in there is one that nobody expected, as in a commit: the process ends.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from hub.log.store import DuckLog
    from hub.settings import LogSettings

MEBIBYTE: Final = 1 << 20
SHED_BYTES: Final = MEBIBYTE
"""By so much the file has grown when the memory that this took is given back."""


class Filing:
    """Settles and checkpoints one log.

    Args:
        log: the open one.
        settings: `[log]`.
        reading: the thread in which the log is read.
        start: runs a coroutine on the loop, and ends the process when it raises.
        held: whether the file is being replaced or the disk is full: nothing is tidied up or given
            back then.
    """

    def __init__(
        self,
        log: DuckLog,
        settings: LogSettings,
        reading: ThreadPoolExecutor,
        *,
        start: Callable[[Coroutine[Any, Any, None]], None],
        held: Callable[[], bool],
    ) -> None:
        self._held = held
        self._log = log
        self._settings = settings
        self._reading = reading
        self._start = start
        self._thread = ThreadPoolExecutor(1, "file")
        self._shed_bytes = log.file_bytes
        """Size of the file when memory was last given back."""
        self._settling = False
        self._closed = False
        self._idle: asyncio.TimerHandle | None = None

    def committed(self) -> None:
        """Settle if much is new; tidy up when nothing comes for a while."""
        if self._log.much_is_new and not self._settling:
            self._settling = True
            self._start(self._settle())
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(
            self._settings.checkpoint_idle_s, self._tidy
        )

    def close(self) -> None:
        """Begin nothing more, and wait for what was begun."""
        self._closed = True
        if self._idle is not None:
            self._idle.cancel()
        self._thread.shutdown()

    async def _settle(self) -> None:
        wal_bytes_max = self._settings.checkpoint_wal_mb * MEBIBYTE
        await self._run(partial(self._log.keep_up, wal_bytes_max))
        self._settling = False
        if not (self._closed or self._held()) and self._grown:
            before, self._shed_bytes = self._shed_bytes, self._log.file_bytes
            loop = asyncio.get_running_loop()
            with suppress(asyncio.CancelledError):  # the log is being closed
                if not await loop.run_in_executor(self._reading, self._log.shed):
                    self._shed_bytes = before

    @property
    def _grown(self) -> bool:
        """By enough; a file that was rotated is another one."""
        return abs(self._log.file_bytes - self._shed_bytes) >= SHED_BYTES

    def _tidy(self) -> None:
        if not self._held():
            self._start(self._run(partial(self._log.checkpoint, tidy=True)))

    async def _run(self, work: Callable[[], None]) -> None:
        if not self._closed:
            await asyncio.get_running_loop().run_in_executor(self._thread, work)
