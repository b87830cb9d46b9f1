"""Unix socket paths of any length: the kernel's address holds only 107 bytes (unix(7))."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from hub.errors import OperatorFault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ADDRESS_BYTES_MAX: Final = 107
OTHERS: Final = 0o177
"""What nobody but this user may do."""


def listen(path: Path) -> socket.socket:
    """A listening socket at the path, in place of what was left there; mode 0600."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(OTHERS)  # of the whole process: call this before there are threads
    try:
        with unix_address(path) as address:
            listening.bind(address)
    finally:
        os.umask(umask)
    listening.listen()
    return listening


@contextmanager
def unix_address(path: Path) -> Iterator[str]:
    """A name for `path` that fits; valid for bind and connect inside the block only.

    Raises:
        OperatorFault: the path is too long and this system has no /proc to shorten it.
    """
    if len(os.fsencode(path)) <= ADDRESS_BYTES_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        short = f"/proc/self/fd/{folder}/{path.name}"
        if not os.path.isdir(os.path.dirname(short)):  # noqa: PTH112, PTH120 - a link, not a path
            raise OperatorFault(f"{path} is too long for a socket; choose a shorter data folder")
        yield short
    finally:
        os.close(folder)
