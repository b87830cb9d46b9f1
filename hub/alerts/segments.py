"""Reads all of the sealed log now and then, in a process of its own: a disk fails in silence.

segments = Segments(data, settings.verify_s)
await segments.run()                        # for ever
segments.problems                           # None = not read yet
"""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log: Final = logging.getLogger("hub")

FIRST_S: Final = 600.0
"""After the start of the hub, which has enough to do."""
DAMAGED_S: Final = 3600.0
"""Between two readings while something is wrong: somebody may have put it back."""
RETRY_S: Final = 600.0
"""After a reading that came to no end, for want of memory say."""

_problems: Final = msgspec.json.Decoder(list[str])


class Segments:
    """What is known of the segments.

    Args:
        data: the data folder.
        verify_s: between two readings; 0 = they are never read.
    """

    def __init__(self, data: Path, verify_s: float) -> None:
        self._data = data
        self._verify_s = verify_s
        self.problems: list[str] | None = None
        """Of the last reading, a sentence each; None = not read since the hub's start."""

    async def run(self, is_suspected: Callable[[], bool]) -> None:
        """Read for ever.

        `is_suspected`: something was wrong before the hub's start: it is read soon.
        """
        if not self._verify_s:
            self.problems = []  # nobody will ever say that it is well again
            return
        await asyncio.sleep(0.0 if is_suspected() else min(FIRST_S, self._verify_s))
        while True:
            found = await self._read()
            if found is None:
                await asyncio.sleep(min(RETRY_S, self._verify_s))
                continue
            self.problems = found
            await asyncio.sleep(min(DAMAGED_S, self._verify_s) if found else self._verify_s)

    async def _read(self) -> list[str] | None:
        """The problems; None where they could not be looked for."""
        command = (sys.executable, "-m", "hub.log.segments.verify", "--data", str(self._data))
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, stderr=nothing
            )
        except OSError as error:
            log.warning("the segments can't be read: %s", error)
            return None
        assert process.stdout is not None, "it is a pipe"
        try:
            printed = await process.stdout.read()
            await process.wait()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            log.warning("reading the segments ended with status %s", process.returncode)
            return None
        return _problems.decode(printed)
