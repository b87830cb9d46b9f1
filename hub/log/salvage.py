"""Opening the log's file whatever a crash or a bad disk made of it.

Rule 1: what will not open is moved aside, never deleted.
Rule 2: as much as can be read is kept: of a broken write-ahead log all commits before the break, of
    a broken file the sealed segments and every page that still reads.

    write-ahead log broken ──▶ copied aside, cut before the break
    file broken ──▶ moved aside, a new one filled from segments, then from what reads of the old one

Rule 3: killed at any point, the next start mends what this one was mending. Cuts are tried beside
    the file, never in its place; and which file is being read out stands in `log.salvaging`, until
    the new one has all of it.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final, NamedTuple

from hub.errors import LogUnavailable
from hub.log import columns
from hub.log.duck import DuckFile, LogDamaged, wal_of
from hub.log.segments.manifest import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

    from hub.clock import Clock
    from hub.settings import LogSettings

FILE_NAME: Final = "log.duckdb"
SUSPECT: Final = "log.suspect"
"""Left by a process that met a broken block: the next one reads the whole file first."""
SALVAGING: Final = "log.salvaging"
"""Holds the path, below the folder, of the broken file that a new one is being filled from."""
TRIAL: Final = "trial"
"""Folder below that of a broken write-ahead log, where shorter ones are tried."""
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
    try:
        broken = _being_read_out(folder)
        if broken is None:
            return _open_newest(folder, settings, clock)
        said = [f"moved aside: {broken}"]
        return Opened(_open_or_make_anew(newest(folder), settings), said, broken)
    except OSError as error:
        raise LogUnavailable(f"what is broken in {folder} can't be mended: {error}") from error


def salvaged(folder: Path) -> None:
    """The new file has all that a broken one had to give."""
    (folder / SALVAGING).unlink(missing_ok=True)


def _open_newest(folder: Path, settings: LogSettings, clock: Clock) -> Opened:
    path = newest(folder)
    damage: list[str] = []
    suspect = folder / SUSPECT
    try:
        file = _open_before_break(path, settings, clock, damage)
        if suspect.exists():
            _check(file)
    except LogDamaged as error:
        aside = _folder_aside(folder, clock) / path.name
        _write_durably(folder / SALVAGING, str(aside.relative_to(folder)).encode())
        _move_aside(path, aside)
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


def hub_of_broken(path: Path, settings: LogSettings) -> str | None:
    """Whose log a broken file holds; None when it does not say."""
    try:
        file = DuckFile.open(path, settings, read_only=True)
    except LogDamaged:
        return None
    try:
        return file.meta().get("hub")
    except LogDamaged:
        return None
    finally:
        file.close()


def last_of_broken(path: Path, settings: LogSettings) -> int:
    """A seq that a broken file doesn't reach beyond; 0 when it can't be opened at all."""
    try:
        file = DuckFile.open(path, settings, read_only=True)
    except LogDamaged:
        return 0
    try:
        (reach,) = file.table("reach").to_pylist()
        return int(reach["last"])
    except LogDamaged:
        return 0
    finally:
        file.close()


def _read_around(file: DuckFile, first: int, last: int) -> Iterator[pa.Table]:
    try:
        page = file.table("page", first=first, last=last, agent=None, kinds=None)
        yield columns.by_seq(page)
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
        whole = wal.read_bytes()
        cut = _longest_that_opens(path, aside.parent / TRIAL, whole, settings)
        if cut is None:
            raise  # it is the file that is broken
        _write_durably(aside, whole)
        _write_durably(wal, whole[:cut])
        damage.append(
            f"the write-ahead log is broken at byte {cut} of {len(whole)}: what came before is "
            f"kept, all of it is in {aside} ({error})"
        )
        return DuckFile.open(path, settings)


def _longest_that_opens(path: Path, trial: Path, whole: bytes, settings: LogSettings) -> int | None:
    """How many bytes of a write-ahead log can be replayed: a cut is no error, a broken entry is.

    None when the file does not open without any of it.
    """
    shutil.rmtree(trial, ignore_errors=True)
    trial.mkdir()
    copy = trial / path.name
    try:
        os.link(path, copy)  # reading does not change it
        if not DuckFile.opens(copy, settings):
            return None
        good, bad = 0, len(whole)
        while bad - good > 1:
            middle = (good + bad) // 2
            wal_of(copy).write_bytes(whole[:middle])
            if DuckFile.opens(copy, settings):
                good = middle
            else:
                bad = middle
        return good
    finally:
        shutil.rmtree(trial)


def keep_aside(path: Path, clock: Clock) -> Path:
    """A copy of a file that is broken somewhere, before it is written on; where it is.

    Raises:
        OSError: it can't be made.
    """
    aside = _folder_aside(path.parent, clock) / path.name
    _write_durably(aside, path.read_bytes())
    return aside


def _being_read_out(folder: Path) -> Path | None:
    """The broken file that an earlier start had not read to its end, moved aside by now."""
    marker = folder / SALVAGING
    if not marker.exists():
        return None
    aside = folder / marker.read_text()
    if not aside.parent.exists():  # a person has taken it away
        marker.unlink()
        return None
    if not aside.exists():
        _move_aside(newest(folder), aside)
    return aside


def _open_or_make_anew(path: Path, settings: LogSettings) -> DuckFile:
    """The file that is being filled; whatever a crash left of it can be filled again."""
    try:
        return DuckFile.open(path, settings)
    except LogDamaged:
        wal_of(path).unlink(missing_ok=True)
        path.unlink()
        return DuckFile.open(path, settings)


def _move_aside(path: Path, aside: Path) -> None:
    if wal_of(path).exists():
        wal_of(path).rename(wal_of(aside))
    path.rename(aside)
    sync_folder(path.parent)


def _write_durably(path: Path, data: bytes) -> None:
    """All of it or nothing, under its name."""
    draft = path.with_name(path.name + ".new")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    sync_folder(path.parent)


def _folder_aside(data: Path, clock: Clock) -> Path:
    folder = data / f"damaged-{clock.now_us()}"
    folder.mkdir(exist_ok=True)
    return folder
