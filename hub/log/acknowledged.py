"""The last acknowledged seq, beside the log: how a log that lost its end is found out.

Written after each commit, without sync: what a crash of a process leaves is never older than the
log. 2 µs. A loss of power may leave it as it was at the last checkpoint, or empty.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from hub.log.append import INT64_MAX

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME: Final = "log.acknowledged"
LINE: Final = "{hub} {seq:020d}\n"
"""Always the same length, so that one write replaces it whole."""
_LINE: Final = re.compile(r"(\S+) ([0-9]{20})\n")


class Mark(NamedTuple):
    """What had been acknowledged when the file was last written."""

    hub: str
    seq: int


class Acknowledged:
    """The open file."""

    def __init__(self, fd: int, hub: str) -> None:
        self._fd = fd
        self._hub = hub

    @staticmethod
    def read(folder: Path) -> Mark | None:
        """What stands there; None when there is no such file or it is not one."""
        try:
            text = (folder / FILE_NAME).read_text()
        except (OSError, ValueError):
            return None
        found = _LINE.fullmatch(text)
        return None if found is None or int(found[2]) > INT64_MAX else Mark(found[1], int(found[2]))

    @classmethod
    def open(cls, folder: Path, hub: str) -> Self:
        """Open it to be written, made when absent."""
        fd = os.open(folder / FILE_NAME, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        length = len(LINE.format(hub=hub, seq=0))
        if (
            os.fstat(fd).st_size > length
        ):  # no line of ours: its rest would stand behind what we write
            os.ftruncate(fd, length)
        return cls(fd, hub)

    def write(self, seq: int) -> None:
        """All up to `seq` has been acknowledged."""
        os.pwrite(self._fd, LINE.format(hub=self._hub, seq=seq).encode(), 0)

    def sync(self) -> None:
        """Have what was written survive a loss of power."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._fd)
