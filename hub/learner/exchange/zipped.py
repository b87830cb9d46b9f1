"""ZIP archives from strangers: all members in memory, within bounds, or a refusal. No file is made.

Rule 1: what is unpacked has a bound that is looked at before and while it is unpacked.
Rule 2: a member that no honest program writes – a path upwards, a link, a name twice – spoils all.
"""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from typing import TYPE_CHECKING, Final

from hub.errors import OperatorFault

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMBERS_MAX: Final = 1024
DIRECTORY_BYTES_MAX: Final = 256 << 10
"""Of the list of members: zipfile reads all of it, whatever it says of its length elsewhere."""
RATIO_MAX: Final = 200
"""Unpacked to packed; float32 weights come to 1.1, JSON to 10."""
RATIO_FREE_BYTES: Final = 64 << 10
"""So small a member may be packed as well as it likes."""
END: Final = b"PK\x05\x06"
END_BYTES: Final = 22
ENCRYPTED: Final = 1
PACKINGS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def unzip(data: bytes, *, bytes_max: int, what: str) -> dict[str, bytes]:
    """The members by name.

    Args:
        data: the archive.
        bytes_max: of all members together, unpacked.
        what: it is, for messages.

    Raises:
        OperatorFault: it is no archive, or one that is not to be unpacked.
    """
    try:
        _check_directory(data, what)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = list(_checked(archive, bytes_max, what))
            return {member.filename: _unpacked(archive, member, what) for member in members}
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        NotImplementedError,
        OSError,
        RuntimeError,
    ) as error:
        raise OperatorFault(f"{what} is a damaged ZIP archive: {error}") from error


def _check_directory(data: bytes, what: str) -> None:
    end = data[-END_BYTES:]
    if not end.startswith(END) or len(end) < END_BYTES:
        raise OperatorFault(f"{what} is no whole ZIP archive: its end is missing")
    size = int.from_bytes(end[12:16], "little")
    if size > DIRECTORY_BYTES_MAX:
        raise OperatorFault(f"{what} lists too many members: {size} bytes of names and sizes")


def _checked(archive: zipfile.ZipFile, bytes_max: int, what: str) -> Iterator[zipfile.ZipInfo]:
    members = archive.infolist()
    if len(members) > MEMBERS_MAX:
        raise OperatorFault(f"{what} has {len(members)} members, more than {MEMBERS_MAX}")
    total = sum(member.file_size for member in members)
    if total > bytes_max:
        raise OperatorFault(f"{what} unpacks to {total} bytes; at most {bytes_max} are taken")
    seen: set[str] = set()
    for member in members:
        name = member.filename
        if name in seen:
            raise OperatorFault(f"{what} has two members of the name {name!r}")
        seen.add(name)
        if not _is_plain(name) or name != member.orig_filename:
            raise OperatorFault(f"{what} has a member with an unsafe name: {name!r}")
        mode = stat.S_IFMT(member.external_attr >> 16)
        if mode not in (0, stat.S_IFREG):
            raise OperatorFault(f"{what} has a member {name!r} that is a link or a device")
        if member.flag_bits & ENCRYPTED or member.compress_type not in PACKINGS:
            raise OperatorFault(f"{what} has a member {name!r} packed in a way that is not taken")
        if member.file_size > RATIO_FREE_BYTES + RATIO_MAX * member.compress_size:
            raise OperatorFault(
                f"{what} has a member {name!r} that unpacks {member.compress_size} bytes to "
                f"{member.file_size}: no weights are packed so well"
            )
        yield member


def _is_plain(name: str) -> bool:
    parts = name.split("/")
    return (
        name.isprintable()
        and "\\" not in name
        and ":" not in name
        and not any(part in ("", ".", "..") for part in parts)
    )


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, what: str) -> bytes:
    with archive.open(member) as file:
        data = file.read(member.file_size + 1)
    if len(data) != member.file_size:
        raise OperatorFault(f"{what} has a member {member.filename!r} of another size than it says")
    return data
