"""Whether anything holds commits up: a minute of devices, and a hub whose loop never sleeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import uvloop

from hub.log.link import LogLink
from hub.settings import LogSettings
from tests.bench.log_load import steady

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.log_load import Steady

ROWS_PER_S: Final = 20_000


def stall(folder: Path, seconds: float) -> Steady:
    """20,000 rows of 4 floats a second through the log process, checkpoints and all."""
    data = folder / "stall"
    data.mkdir()
    return uvloop.run(_stream(data, seconds))


async def _stream(data: Path, seconds: float) -> Steady:
    link = LogLink(data, LogSettings())
    await link.open()
    try:
        return await steady(link, seconds, ROWS_PER_S)
    finally:
        await link.close()
