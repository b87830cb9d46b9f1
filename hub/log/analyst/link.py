"""The hub's end of the analyst process: started, and started again when it has ended.

    link = AnalystLink(data, settings.analyst)
    await link.open(hub_id)

Nothing waits for it: who asks finds its socket in the data folder, or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from typing import TYPE_CHECKING, Final

from hub.frames import LENGTH
from hub.log.analyst import messages

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from pathlib import Path

    from hub.settings import AnalystSettings

log: Final = logging.getLogger("hub.log.analyst")

OPEN_S: Final = 10.0
"""It takes about a second, nearly all of it Python's imports."""
ENDING_S: Final = 1.0
"""From the end of its socket to the end of the process; it takes a few ms."""
STEADY_S: Final = 10.0
"""A process that has served so long is started again at once; the wait begins anew."""


class AnalystLink:
    """Owns the analyst process.

    Args:
        data: the data folder.
        settings: `[analyst]`.
        restart_s_first: wait before the first restart of the process; doubles from then on.
        restart_s_max: the longest.
    """

    def __init__(
        self,
        data: Path,
        settings: AnalystSettings,
        *,
        restart_s_first: float = 0.1,
        restart_s_max: float = 30.0,
    ) -> None:
        self._data = data
        self._settings = settings
        self._restart_s_first = restart_s_first
        self._restart_s_max = restart_s_max
        self._listening = asyncio.Event()
        self._process: Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.restarts = 0
        """How often the process has ended by itself."""

    @property
    def pid(self) -> int | None:
        """Of the process; None while it can't be asked."""
        return self._process.pid if self._process is not None and self.available else None

    @property
    def available(self) -> bool:
        """Whether it can be asked."""
        return self._listening.is_set()

    async def open(self, hub: str) -> None:
        """Start the process and wait until it can be asked, `OPEN_S` at most.

        Args:
            hub: id of the log.
        """
        self._keeper = asyncio.create_task(self._keep(hub))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._listening.wait(), OPEN_S)

    async def close(self) -> None:
        """End the process, and all queries with it."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    async def _keep(self, hub: str) -> None:
        """Start the process whenever it has ended, at growing intervals."""
        loop = asyncio.get_running_loop()
        wait_s = self._restart_s_first
        while True:
            started = loop.time()
            await self._live(hub)
            self.restarts += 1
            if loop.time() - started > STEADY_S:
                wait_s = self._restart_s_first
            log.error(
                "the analyst process has ended: no query is answered until it starts again in "
                "%.1f s; if it ends again and again, 'sheepfold doctor' looks for the cause",
                wait_s,
            )
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, self._restart_s_max)

    async def _live(self, hub: str) -> None:
        """One life of the process, to its end."""
        ours, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            command = ("-m", "hub.log.analyst.process", "--data", str(self._data), "--fd", str(fd))
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, *command, pass_fds=(fd,), stdin=asyncio.subprocess.DEVNULL
                )
            except BaseException as error:
                ours.close()
                if isinstance(error, OSError):
                    return  # no memory or processes left: the next attempt may do
                raise
        try:
            await self._listen_to(ours, hub)
        finally:
            self._listening.clear()
            await _reap(self._process)
            self._process = None

    async def _listen_to(self, ours: socket.socket, hub: str) -> None:
        """Until the other end closes."""
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        try:
            writer.write(messages.framed(messages.Open(hub, self._settings)))
            (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            messages.to_hub.decode(await reader.readexactly(length))
            self._listening.set()
            await reader.read(1)
        except (OSError, asyncio.IncompleteReadError):
            pass  # it has said why on stderr
        finally:
            writer.close()


async def _reap(process: Process) -> None:
    """See the process end, by force if it has not within `ENDING_S`."""
    try:
        await asyncio.wait_for(process.wait(), ENDING_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
