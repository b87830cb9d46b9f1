"""What can be wrong in a data folder."""

from __future__ import annotations

import fcntl
import os
import stat
from functools import partial
from typing import TYPE_CHECKING, Final

from hub.doctor.finding import Finding
from hub.errors import NEWER, HubFault
from hub.log.acknowledged import FILE_NAME as MARK
from hub.log.acknowledged import Acknowledged
from hub.log.duck import SCHEMA_VERSION, DuckFile, LogDamaged
from hub.log.moved import FILE_NAME as MOVED
from hub.log.moved import WHAT_TO_DO
from hub.log.moved import moved as elsewhere
from hub.log.salvage import newest
from hub.processes import LOCK, READY, SOCKETS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hub.settings import LogSettings

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
LISTED_MAX: Final = 3
"""Files named in one finding; there may be thousands."""
AHEAD_US: Final = 60_000_000
"""So far ahead of the clock a file may be: file systems round, and so do other machines."""


def is_claimed(data: Path) -> bool:
    """Whether a hub runs on the folder: it holds the lock, and the kernel lets go of it."""
    try:
        lock = (data / LOCK).open("rb")
    except FileNotFoundError:
        return False
    except PermissionError:
        return True  # another user's; what only a stopped hub can be asked is left out
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def modes(data: Path) -> Iterator[Finding]:
    """Secrets and what devices say are their user's alone: the hub makes all of it so."""
    open_to_others = [
        path for path in (data, *sorted(data.rglob("*"))) if path.lstat().st_mode & OTHERS
    ]
    # A link has no mode of its own, and what it leads to is not ours.
    open_to_others = [path for path in open_to_others if not path.is_symlink()]
    if open_to_others:
        yield Finding(
            check="modes",
            level="wrong",
            where=_named(open_to_others),
            says="other users of this machine may read or enter what belongs to the hub alone",
            do=f"chmod -R go-rwx {data}",
            mend=partial(_close, open_to_others),
        )
    for path in (data, *data.iterdir()):
        if path.stat().st_uid != os.geteuid():
            yield Finding(
                check="modes",
                level="wrong",
                where=str(path),
                says=f"belongs to user {path.stat().st_uid}, this command runs as {os.geteuid()}",
                do=f"run it, and the hub, as the folder's user, or: chown -R USER {data}",
            )
            return


def leftovers(data: Path) -> Iterator[Finding]:
    """Sockets and `ready.json` of a hub that is gone; whoever waits for them is misled."""
    if is_claimed(data):
        return
    left = [data / name for name in (READY, *SOCKETS) if (data / name).exists()]
    folders = [path for path in left if path.is_dir()]
    if folders:
        yield Finding(
            check="leftovers",
            level="wrong",
            where=_named(folders),
            says="the hub writes a file or socket of this name, and a folder is there",
            do="move it elsewhere, the hub does not start before",
        )
    left = [path for path in left if path not in folders]
    if left:
        yield Finding(
            check="leftovers",
            level="note",
            where=_named(left),
            says="no hub runs here, and one that did left this behind",
            do="start the hub, which replaces it, or remove it",
            mend=partial(_remove, left),
        )


def moved(data: Path) -> Iterator[Finding]:
    """Whether the hub went to another machine."""
    said = elsewhere(data)
    if said is not None:
        path = data / MOVED
        yield Finding(
            check="moved",
            level="note",
            where=str(path),
            says=said,
            do=WHAT_TO_DO.format(path=path),
        )


def damage(data: Path) -> Iterator[Finding]:
    """What a hub moved aside because it could not be read."""
    aside = sorted(data.glob("damaged-*"))
    if aside:
        yield Finding(
            check="damage",
            level="note",
            where=_named(aside),
            says="files of the log that were damaged; what could be read of them is in the log",
            do="check the disk (smartctl, dmesg); when nobody needs them any more, delete them",
        )


def acknowledged(data: Path) -> Iterator[Finding]:
    """Whether it is known which event was acknowledged last."""
    path = data / MARK
    if Acknowledged.read(data) is None and (path.exists() or newest(data).exists()):
        yield Finding(
            check="acknowledged",
            level="wrong",
            where=str(path),
            says="does not say which event was acknowledged last: if the log has lost its end, "
            "nobody can tell",
            do="start the hub, which writes it anew; whether the newest events are there, "
            "'SELECT max(ts) FROM events' tells. Check the disk",
        )


def version(data: Path, settings: LogSettings) -> Iterator[Finding]:
    """Whether this version of Sheepfold can open the log; not where a hub has it open."""
    path = newest(data)
    if is_claimed(data) or not path.exists():
        return
    try:
        file = DuckFile.open(path, settings, read_only=True)
    except LogDamaged as error:
        yield Finding(
            check="version",
            level="wrong",
            where=str(path),
            says=f"can't be read: {error}",
            do="start the hub: it moves the file aside and fills a new one from segments and what "
            "can still be read. Check the disk",
        )
        return
    try:
        found = int(file.meta().get("schema", 0))
    finally:
        file.close()
    if found > SCHEMA_VERSION:
        yield Finding(
            check="version",
            level="wrong",
            where=str(path),
            says=f"has schema {found}, made by a newer Sheepfold; this one knows {SCHEMA_VERSION}",
            do=NEWER,
        )


def segments(data: Path) -> Iterator[Finding]:
    """Whether every sealed event is there and unchanged; reads all of them."""
    from hub.log.segments.verify import verify  # numpy and Arrow: half a second

    report = verify(data)
    for problem in report.problems:
        yield Finding(
            check="segments",
            level="wrong",
            where=str(data),
            says=problem,
            do="put the file back from a backup ('sheepfold backup' has kept it as it was)",
        )
    for note in report.notes():
        yield Finding(check="segments", level="note", where=str(data), says=note, do="nothing")


def clock(data: Path, now_us: int) -> Iterator[Finding]:
    """Whether the machine's clock went back: the log's times would too."""
    written_us = max((path.stat().st_mtime_ns // 1000 for path in data.iterdir()), default=0)
    ahead_us = written_us - now_us
    if ahead_us > AHEAD_US:
        yield Finding(
            check="clock",
            level="wrong",
            where=str(data),
            says=f"the machine's clock is {ahead_us / 1e6:,.0f} s behind what was written last",
            do="set the clock (timedatectl set-ntp true) before the hub logs times that went back; "
            "its order of events does not depend on them",
        )


def keys(data: Path) -> Iterator[Finding]:
    """Whether the keys of what devices say besides numbers are still there."""
    from hub.log.payload_keys import FOLDER, FORGOTTEN

    folder = data / FOLDER
    files = [path for path in folder.glob("*") if path.is_file()]
    kept = [path for path in files if path.suffix != FORGOTTEN]  # a mark, and empty
    empty = [path for path in kept if not path.stat().st_size]
    if empty:
        yield Finding(
            check="keys",
            level="wrong",
            where=_named(empty),
            says="are empty: what those devices said besides numbers can't be read",
            do="put them back from a backup before the devices speak again and get new ones",
        )
    unreadable = [path for path in files if not os.access(path, os.R_OK)]
    if unreadable:
        yield Finding(
            check="keys",
            level="wrong",
            where=_named(unreadable),
            says="can't be read: what those devices said besides numbers can't be either",
            do=f"give it back to the hub's user: chown USER {folder}/*",
        )


def usable(data: Path) -> Iterator[Finding]:
    """Whether there is a folder, and this user may write there."""
    if not data.is_dir():
        yield Finding(
            check="folder",
            level="wrong",
            where=str(data),
            says="there is no such folder",
            do="name the hub's with --data; 'sheepfold serve --data DIR' makes a new one",
        )
    elif not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(
            check="folder",
            level="wrong",
            where=str(data),
            says="this user may not write there",
            do="run this command as the hub's user",
        )


def _close(paths: list[Path]) -> None:
    for path in paths:
        path.chmod(path.stat().st_mode & ~OTHERS)


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _named(paths: list[Path]) -> str:
    shown = ", ".join(str(path) for path in paths[:LISTED_MAX])
    more = len(paths) - LISTED_MAX
    return shown if more <= 0 else f"{shown} and {more} more"


FAULTS: Final = (OSError, HubFault)
"""What a check may end with: it is a finding of its own."""
