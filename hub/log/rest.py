"""What a hub that was stopped left unsealed, sealed: nobody runs then who could be asked to."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from hub.clock import SystemClock
from hub.log.link import LogLink
from hub.log.messages import socket_path
from hub.log.salvage import newest
from hub.log.segments.seal import seal

if TYPE_CHECKING:
    from pathlib import Path

    from hub.settings import LogSettings

RESTART_S: Final = 0.1


def seal_rest(data: Path, settings: LogSettings) -> str | None:
    """Seal all that the log has; what was damaged when it was opened, for a person.

    Nothing is done where there is no log, as in a backup.

    Args:
        data: the data folder, claimed: no hub runs on it.
        settings: `[log]`.

    Raises:
        HubFault: the log can't be opened, or what is sealed is another's.
        OSError: the segments can't be written.
    """
    return asyncio.run(_seal_rest(data, settings)) if newest(data).exists() else None


async def _seal_rest(data: Path, settings: LogSettings) -> str | None:
    link = LogLink(data, settings, restart_s_first=RESTART_S)
    opened = await link.open()
    try:
        sealing = seal(data, link.last_seq, link.hub, clock=SystemClock())
        await asyncio.to_thread(deque, sealing, 0)
    finally:
        await link.close()
        socket_path(data).unlink(missing_ok=True)
    return opened.damage
