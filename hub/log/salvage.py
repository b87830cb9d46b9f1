"""Opening the log's file whatever a crash or a bad disk made of it.

Rule 1: what will not open is moved aside, never deleted.
Rule 2: as much as can be read is kept: of a broken write-ahead log all commits before the break, of
    a broken file the sealed segments and every page that still reads.

    write-ahead log broken ──▶ copied aside, cut before the break
    file broken ──▶ moved aside, a new one filled from segments, then from what reads of the old one
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final, NamedTuple

from hub.log.duck import DuckFile, LogDamaged, wal_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

    from hub.clock import Clock
    from hub.settings import LogSettings

FILE_NAME: Final = "log.duckdb"
SUSPECT: Final = "log.suspect"
"""Left by a process that met a broken block: the next one reads the whole file first."""
PAGE_ROWS: Final = 16_384
PAGE_ROWS_MIN: Final = 2048
"""DuckDB's vector: what is lost at least with a broken block."""


class Opened(NamedTuple):
    """The file to go on with."""

    file: DuckFile
    damage: list[str]
    """What was moved aside, for a person."""
    broken: Path | None
    """A file that was moved aside and may still be read in parts."""


def open_file(folder: Path, settings: LogSettings, clock: Clock) -> Opened:
    """The newest file of the folder, opened; a new one when there is none or it is broken.

    Raises:
        LogLocked, LogUnavailable: it can't be opened now.
    """
    path = newest(folder)
    damage: list[str] = []
    suspect = folder / SUSPECT
    try:
        file = _open_before_break(path, settings, clock, damage)
        if suspect.exists():
            _check(file)
    except LogDamaged as error:
        aside = _move_aside(path, clock)
        damage.append(f"moved aside: {aside} ({error})")
        suspect.unlink(missing_ok=True)
        return Opened(DuckFile.open(path, settings), damage, aside)
    suspect.unlink(missing_ok=True)
    return Opened(file, damage, None)


def newest(folder: Path) -> Path:
    """The file that holds the end of the log: of several, the one that begins last."""
    rotated = sorted(folder.glob("log-*.duckdb"))
    return rotated[-1] if rotated else folder / FILE_NAME


def rotated_path(folder: Path, upto: int) -> Path:
    """The name of a file that begins after a seq; names sort as they follow each other."""
    return folder / f"log-{upto:020d}.duckdb"


def readable_pages(path: Path, settings: LogSettings, first: int, last: int) -> Iterator[pa.Table]:
    """What still reads of a broken file, in order."""
    try:
        file = DuckFile.open(path, settings, read_only=True)
    except LogDamaged:
        return
    for start in range(first, last + 1, PAGE_ROWS):
        yield from _read_around(file, start, min(start + PAGE_ROWS - 1, last))
    file.close()


def _read_around(file: DuckFile, first: int, last: int) -> Iterator[pa.Table]:
    try:
        yield file.table("page", first=first, last=last, agent=None, kinds=None)
    except LogDamaged:
        if last - first < PAGE_ROWS_MIN:
            return
        middle = (first + last) // 2
        yield from _read_around(file, first, middle)
        yield from _read_around(file, middle + 1, last)


def _check(file: DuckFile) -> None:
    """Read all of it; it is closed when a block is broken."""
    try:
        file.table("check")
    except LogDamaged:
        file.abandon()
        raise


def _open_before_break(
    path: Path, settings: LogSettings, clock: Clock, damage: list[str]
) -> DuckFile:
    """Open it with all commits of its write-ahead log, or with those before the break."""
    try:
        return DuckFile.open(path, settings)
    except LogDamaged as error:
        wal = wal_of(path)
        if not wal.exists():
            raise
        aside = _folder_aside(path.parent, clock) / wal.name
        shutil.copyfile(wal, aside)
        whole = wal.read_bytes()
        wal.unlink()
        if not DuckFile.opens(path, settings):
            wal.write_bytes(whole)  # to be moved aside with its file
            raise
        cut = _longest_that_opens(path, wal, whole, settings)
        wal.write_bytes(whole[:cut])
        damage.append(
            f"the write-ahead log is broken at byte {cut} of {len(whole)}: what came before is "
            f"kept, all of it is in {aside} ({error})"
        )
        return DuckFile.open(path, settings)


def _longest_that_opens(path: Path, wal: Path, whole: bytes, settings: LogSettings) -> int:
    """How many bytes of a write-ahead log can be replayed: a cut is no error, a broken entry is."""
    good, bad = 0, len(whole)
    while bad - good > 1:
        middle = (good + bad) // 2
        wal.write_bytes(whole[:middle])
        if DuckFile.opens(path, settings):
            good = middle
        else:
            bad = middle
    return good


def _move_aside(path: Path, clock: Clock) -> Path:
    folder = _folder_aside(path.parent, clock)
    if wal_of(path).exists():
        wal_of(path).rename(folder / wal_of(path).name)
    return path.rename(folder / path.name)


def _folder_aside(data: Path, clock: Clock) -> Path:
    folder = data / f"damaged-{clock.now_us()}"
    folder.mkdir(exist_ok=True)
    return folder
