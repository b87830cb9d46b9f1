"""A hub that went to another machine does not start again where it was.

check_not_moved(data)           # before a hub starts: two of one id would part ways
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from hub.errors import OperatorFault

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME: Final = "moved.json"
WHAT_TO_DO: Final = (
    "Start it where it was restored. Only if it never ran there: delete {path}, and it goes on here"
)


class Moved(Struct, frozen=True):
    """`DATA/moved.json`: this was a hub."""

    to: str
    seq_last: int


def check_not_moved(data: Path) -> None:
    """Make sure that the hub of a folder is still there.

    Raises:
        OperatorFault: it went elsewhere.
    """
    said = moved(data)
    if said is not None:
        raise OperatorFault(f"{said}. {WHAT_TO_DO.format(path=data / FILE_NAME)}")


def moved(data: Path) -> str | None:
    """Where the hub of a folder went, for a person; None when it is there."""
    went = read_moved(data)
    if went is None:
        return None
    if not went.to:
        return f"the hub of {data} was moved elsewhere"
    return f"the hub of {data} was moved to {went.to}, with event {went.seq_last} its last"


def read_moved(data: Path) -> Moved | None:
    """What the folder says of its hub; nowhere = that can't be read, None = the hub is there."""
    path = data / FILE_NAME
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Moved)
    except (OSError, msgspec.DecodeError):
        return Moved("", 0)
