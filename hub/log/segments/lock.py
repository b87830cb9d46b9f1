"""One hand at a time on `DATA/segments`: whoever adds to the manifest holds its lock."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from hub.errors import HubFault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE_NAME: Final = ".lock"


class Busy(HubFault):
    """Another process seals or drops segments; it takes seconds. Try again."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `DATA/segments`, which is made when absent; the kernel frees it at the end.

    Raises:
        Busy: another process has it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / FILE_NAME).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(
                f"another process is at work in {folder} (a seal or a backup); try again"
            ) from error
        yield
