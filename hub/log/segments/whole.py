"""Whether a file is what was sealed: asked before anything relies on what is in it.

    check_whole(DATA / "segments", segment)     # its size and its hash
    with reading(segment):                      # or what is wrong is said of this file
        table = files.read(DATA / "segments" / segment.path)

A bit that was flipped on disk may well read as Parquet: only the hash tells.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from hub.errors import HubFault
from hub.log.segments.manifest import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hub.log.segments.manifest import Segment

BACKUP: Final = "put it back from a backup"


class NotWhole(HubFault):
    """A file is not as it was sealed; the message has its name and events, and what to do."""


class NotThere(NotWhole):
    """The file is gone. If retention has been at work, the manifest says so by now."""


def check_whole(folder: Path, segment: Segment) -> None:
    """Read the file once and compare it with what its line says.

    Args:
        folder: `DATA/segments`.
        segment: of a manifest, which may come from anywhere.

    Raises:
        NotWhole: it is another one, or can't be read.
        NotThere: there is none.
    """
    what = _what(segment)
    if not is_below(segment.path):
        raise NotWhole(f"{what} is named by {FILE_NAME} and lies elsewhere; {BACKUP}")
    with reading(segment), (folder / segment.path).open("rb") as file:
        size = file.seek(0, 2)
        if size != segment.bytes:
            raise NotWhole(f"{what} has {size} bytes instead of {segment.bytes}; {BACKUP}")
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != segment.sha256:
        raise NotWhole(f"{what} was changed, its bytes hash otherwise; {BACKUP}")


@contextmanager
def reading(segment: Segment) -> Iterator[None]:
    """What goes wrong inside is said of this file.

    Raises:
        NotWhole: something did.
        NotThere: the file is gone.
    """
    try:
        yield
    except (HubFault, MemoryError):  # said already, or no fault of the file
        raise
    except FileNotFoundError as error:
        raise NotThere(f"{_what(segment)} is not there; {BACKUP}") from error
    except Exception as error:  # broken Parquet raises UnicodeDecodeError, KeyError, TypeError …
        raise NotWhole(f"{_what(segment)} can't be read ({error}); {BACKUP}") from error


def is_below(path: str) -> bool:
    """Whether a path of a manifest stays in its folder; a backup may come from anywhere."""
    parts = path.split("/")
    return not path.startswith("/") and ".." not in parts and "\0" not in path


def _what(segment: Segment) -> str:
    return f"segment {segment.path} (events {segment.seq_first} to {segment.seq_last})"
