"""A copy of the log that can be started from, made while the hub goes on.

    backup(data, target)            # again and again into the same folder: only what is new
    restore(target, data, fill)     # into a folder that has no log

A backup has the segments with their secrets, the manifest, and the policies. It has not what is not
sealed yet (seal first), and not `DATA/keys`: without those, what devices sent besides numbers can't
be read; copy them apart, so that forgetting a device reaches the copies. What `moving.move` made
has them, and `restore` takes them along; the next backup into it takes them away.

Rule 1: the manifest is written last, so that what it names is there.
Rule 2: nothing that is not ours is overwritten or taken away.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from hub.errors import HubFault, OperatorFault
from hub.log.acknowledged import Acknowledged
from hub.log.segments import files
from hub.log.segments.manifest import FILE_NAME, FOLDER, Manifest, append_lines, sync_folder
from hub.log.segments.told import Walk, nobody
from hub.log.segments.verify import verify
from hub.log.segments.whole import NotThere, check_whole, is_below

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from hub.log.segments.manifest import Segment
    from hub.log.segments.told import Told

POLICIES: Final = "policies"
"""As the learner calls it. What is below is named by its SHA-256 and never changed: the versions of
each agent, and in folders of it the networks of its replicas and guests."""
KEYS: Final = "keys"
"""As `hub.log.payload_keys` calls it."""
LOG_FILES: Final = ("log*.duckdb", "log.acknowledged")
"""Where one of these is, there is a log, and no backup."""
OURS: Final = (files.ROWS, files.SECRETS, files.DRAFT)
"""What a backup writes below `segments/`, and takes away again."""
PROBLEMS_SHOWN: Final = 3
ATTEMPTS: Final = 3
"""Retention may drop a file while it is being copied; then the manifest is read again."""


class Backup(Struct, frozen=True):
    """What is in the target now."""

    hub: str
    seq_last: int
    """All events up to here are in it."""
    segments: int
    policies: int
    copied: int
    """Files that were not there before."""
    bytes: int
    """Of those."""
    keys: int = 0
    """Of payloads, where it has them: after a move."""


def backup(data: Path, target: Path, told: Told = nobody) -> Backup:
    """Copy all that is sealed, and the policies, durably.

    Args:
        data: the data folder; its hub may be at work.
        target: absent, empty, or an earlier backup of this log.
        told: hears how far it is.

    Raises:
        OperatorFault: the target holds something else or a log, or nothing is sealed.
        HubFault: a manifest is damaged, or a file that is to be copied; what it was is named.
        OSError: the disk is full, or a file can't be read.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return _backup(data, target, told)
        except (FileNotFoundError, NotThere):
            pass
    return _backup(data, target, told)


def _backup(data: Path, target: Path, told: Told) -> Backup:
    _check_is_no_log(data, target)
    manifest, text = _read(data)
    if not manifest.seals:
        raise OperatorFault(f"nothing is sealed in {data} yet, so there is nothing to back up")
    earlier = Manifest.read(target / FOLDER)
    if earlier.entries != manifest.entries[: len(earlier.entries)]:
        raise OperatorFault(f"{target} is a backup of another log; choose an empty folder")
    if not earlier.entries and target.exists() and not _is_ours(target):
        raise OperatorFault(f"{target} is not empty and no backup; choose an empty folder")
    if earlier.entries:
        _remove_keys(target)
    policies = _policies(data)
    segments = [f"{FOLDER}/{segment.path}" for segment in manifest.retained]
    walk = _walk(data, target, [*policies, *segments], told)
    # A policy may be pruned at any time; the log needs the newest, and those are kept longest.
    copied = _copy(data, target, policies, walk, missing_ok=True)
    copied += _copy(data, target, _checked(data, target, manifest.retained), walk)
    _write_manifest(text, target)
    _remove_unnamed(manifest, target)
    return Backup(
        hub=manifest.seals[-1].hub,
        seq_last=manifest.seq_last,
        segments=len(manifest.retained),
        policies=len(policies),
        copied=len(copied),
        bytes=sum(copied),
    )


def restore(
    source: Path, data: Path, fill: Callable[[Path], object], told: Told = nobody
) -> Backup:
    """Make a data folder of a backup.

    Args:
        source: the backup.
        data: absent, or a folder without a log.
        fill: opens the log of the data folder, which reads in what is sealed, and closes it.
        told: hears how far it is, checking first and then copying.

    Raises:
        OperatorFault: there is a log already, or the backup is not whole.
        OSError, LogUnavailable: it can't be written or opened.
    """
    for pattern in (*LOG_FILES, f"{FOLDER}/{FILE_NAME}"):
        if found := next(iter(sorted(data.glob(pattern))), None):
            raise OperatorFault(
                f"{found} is there: {data} holds a log. Restore to another folder; or, only if a "
                "restore into it was cut off and no hub ran on it, delete it and restore again"
            )
    report = verify(source, told)
    if report.problems or not report.seals:
        said = report.problems[:PROBLEMS_SHOWN] or ["there is no backup"]
        raise OperatorFault(f"{source} can't be restored: {'; '.join(said)}")
    manifest, text = _read(source)
    segments = [f"{FOLDER}/{segment.path}" for segment in manifest.retained]
    policies = _policies(source)
    paths = [*policies, *segments]
    copied = _copy(source, data, paths, _walk(source, data, paths, told))
    keys = copy_keys(source, data)
    _write_manifest(text, data)
    mark = Acknowledged.open(data, report.hub)  # the log goes on under its own name
    mark.write(report.seq_last)
    mark.close()
    fill(data)
    return Backup(
        hub=report.hub,
        seq_last=report.seq_last,
        segments=len(segments),
        policies=len(policies),
        copied=len(copied),
        bytes=sum(copied),
        keys=keys,
    )


def copy_keys(source: Path, target: Path) -> int:
    """Copy the keys of payloads, and which were destroyed, where there are none; their number."""
    names = sorted(path.name for path in (source / KEYS).glob("*"))
    paths = [f"{KEYS}/{name}" for name in names if not name.endswith(files.DRAFT)]
    _copy(source, target, paths, _walk(source, target, paths, nobody))
    return sum("." not in path for path in paths)


def _read(data: Path) -> tuple[Manifest, bytes]:
    """A manifest, and its whole lines as they are."""
    path = data / FOLDER / FILE_NAME
    text = path.read_bytes() if path.exists() else b""
    whole = text[: text.rfind(b"\n") + 1]
    return Manifest.parse(path.parent, whole), whole


def _check_is_no_log(data: Path, target: Path) -> None:
    """CRUCIAL: in a log's own folder, files of no line may be all that is left of it."""
    here, there = data / FOLDER, target / FOLDER
    if here.exists() and there.exists() and here.samefile(there):
        raise OperatorFault(f"{target} is the log itself; choose another folder for the backup")
    for pattern in LOG_FILES:
        if found := next(iter(sorted(target.glob(pattern))), None):
            raise OperatorFault(f"{found} is there: {target} holds a log; choose another folder")


def _is_ours(target: Path) -> bool:
    """Whether it is empty, or what a first backup that was cut off had written."""
    return target.is_dir() and all(path.name in (FOLDER, POLICIES) for path in target.iterdir())


def _remove_keys(target: Path) -> None:
    """Those of a move: some may have been destroyed since, and must not come back by a restore."""
    if (target / KEYS).exists():
        shutil.rmtree(target / KEYS)
        sync_folder(target)


def _policies(data: Path) -> list[str]:
    """Paths below the folder; those that are being written have no such name yet."""
    found = (data / POLICIES).rglob("*.safetensors")
    return sorted(path.relative_to(data).as_posix() for path in found)


def _checked(source: Path, target: Path, segments: Iterable[Segment]) -> Iterator[str]:
    """Their paths; what is to be copied is looked at first, or a backup would keep the damage."""
    for segment in segments:
        path = f"{FOLDER}/{segment.path}"
        if not (target / path).exists():
            check_whole(source / FOLDER, segment)
        yield path


def _walk(source: Path, target: Path, paths: list[str], told: Told) -> Walk:
    """Over what is not there yet; what retention or pruning takes away meanwhile counts as none."""
    size = 0
    for path in paths:
        if is_below(path) and not (target / path).exists():
            with contextlib.suppress(FileNotFoundError):
                size += (source / path).stat().st_size
    return Walk(told, "copied", of=size)


def _copy(
    source: Path, target: Path, paths: Iterable[str], walk: Walk, *, missing_ok: bool = False
) -> list[int]:
    """Copy what is not there yet, and return the sizes of what was copied."""
    copied: list[int] = []
    folders: set[Path] = set()
    for path in paths:
        if not is_below(path):
            raise HubFault(f"{path} lies elsewhere; `sheepfold verify` tells more")
        if (target / path).exists():
            continue  # whole, since it has its name, and never changed
        try:
            copied.append(_copy_durably(source / path, target / path))
            walk.did(copied[-1])
        except FileNotFoundError:
            if not missing_ok:
                raise
        folders |= {target / above for above in (target / path).relative_to(target).parents}
    for folder in folders:
        sync_folder(folder)
    return copied


def _copy_durably(source: Path, target: Path) -> int:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = target.with_name(target.name + files.DRAFT)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with source.open("rb") as read, open(fd, "wb") as written:  # noqa: PTH123 - narrow mode
            shutil.copyfileobj(read, written, 1 << 20)
            size = written.tell()
            written.flush()
            os.fsync(written.fileno())
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    draft.rename(target)
    return size


def _write_manifest(text: bytes, target: Path) -> None:
    """The lines that were read; what the hub adds meanwhile is not in this copy."""
    path = target / FOLDER / FILE_NAME
    draft = path.with_name(FILE_NAME + files.DRAFT)
    draft.unlink(missing_ok=True)
    append_lines(draft, text.splitlines())
    draft.rename(path)
    sync_folder(path.parent)


def _remove_unnamed(manifest: Manifest, target: Path) -> None:
    """What retention removed is removed from its copies too, and what was cut off is cleared.

    By what is there, not by what the last backup had: that one may have been killed before this.
    """
    folder = target / FOLDER
    named = {folder / segment.path for segment in manifest.retained}
    for path in [path for path in folder.rglob("*") if path.name.endswith(OURS)]:
        if path not in named and path.is_file():
            path.unlink()
            with contextlib.suppress(OSError):  # other files of the day
                path.parent.rmdir()
