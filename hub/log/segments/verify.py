"""Whether the log is all there and unchanged: every file, every seq, every line.

    report = verify(data)
    for problem in report.problems:
        print(problem)          # one sentence each: which file, which events, what to do
    for note in report.notes():
        print(note)             # what harms nothing and is worth knowing

    python -m hub.log.segments.verify --data DIR        # the hub's own: prints the problems

Reads every retained file once, one seal at a time in memory.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import pyarrow.parquet as pq
from msgspec import Struct, field

from hub.errors import HubFault
from hub.log.acknowledged import Acknowledged
from hub.log.messages import socket_path
from hub.log.read import Closed, Fetcher
from hub.log.segments import files
from hub.log.segments.lock import FILE_NAME as LOCK
from hub.log.segments.lock import Busy, locked
from hub.log.segments.manifest import FILE_NAME, FOLDER, Manifest
from hub.log.segments.seal import missing_from
from hub.log.segments.told import Walk, nobody
from hub.log.segments.whole import BACKUP, NotWhole, check_whole, reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from hub.log.segments.manifest import Seal, Segment
    from hub.log.segments.told import Told


NICE: Final = 19


def main() -> None:
    """Print the problems as JSON; ends when its standard input does, for then the hub is gone."""
    parser = argparse.ArgumentParser(prog="hub.log.segments.verify")
    parser.add_argument("--data", type=Path, required=True)
    data: Path = parser.parse_args().data
    os.nice(NICE)
    threading.Thread(target=_end_with_hub, daemon=True).start()
    sys.stdout.buffer.write(msgspec.json.encode(verify(data).problems))


def _end_with_hub() -> None:
    os.read(sys.stdin.fileno(), 1)  # not by `sys.stdin`: what holds its lock can't end in peace
    os._exit(1)


class Report(Struct, frozen=True):
    """What was found."""

    hub: str
    """Empty when nothing is sealed."""
    seq_first: int
    """Of the first seal; 0 when nothing is sealed."""
    seq_last: int
    seals: int
    files: int
    """Retained ones."""
    rows: int
    """Events in them."""
    bytes: int
    unsealed: int | None = None
    """Events read from the running log after the last seal; None where no hub runs."""
    unchecked: tuple[int, int] | None = None
    """First and last event that was acknowledged and not looked at: no hub runs, and the segments
    have not got them yet; None when all was looked at."""
    lost: list[tuple[int, int]] = field(default_factory=list)
    """Ranges of seqs that were lost before, and said to be when it was noticed."""
    strays: list[str] = field(default_factory=list)
    """Files that no line names, which nobody reads: what a crash left, say. They harm nothing."""
    problems: list[str] = field(default_factory=list)
    """One sentence each; empty = all is well."""

    def notes(self) -> list[str]:
        """What is no problem and worth knowing, one sentence each."""
        notes = []
        if self.unchecked:
            first, last = self.unchecked
            notes.append(
                f"events {first} to {last} were not checked: they are not sealed yet, and no hub "
                "runs to be asked. Start it and verify again"
            )
        if self.strays:
            notes.append(
                f"{self.strays[0]} and {len(self.strays) - 1} others are in no line of "
                f"{FILE_NAME}: a seal or backup that was cut off left them, or they were dropped. "
                "Nobody reads them; the next seal or backup removes those that are not needed"
            )
        return notes


def verify(data: Path, told: Told = nobody) -> Report:
    """Read everything in a data folder (or a backup) and compare it with what was written.

    The log may be in use; where it is not, only what is sealed is looked at, and `unchecked` says
    what is not. `told` hears how far it is.
    """
    folder = data / FOLDER
    try:
        manifest = Manifest.read(folder)
    except HubFault as fault:
        return Report(
            "", 0, 0, 0, 0, 0, 0, problems=[f"{fault}; put {FILE_NAME} back from a backup"]
        )
    retained = {segment.path for segment in manifest.retained}
    walk = Walk(told, "checked", of=sum(segment.bytes for segment in manifest.retained))
    problems = list(_joints(manifest))
    for seal in manifest.seals:
        problems += _Check(_Files(folder, walk), seal, retained).problems()
    kept_files = _Files(folder, walk)
    for segment in manifest.kept:
        kept_files.seqs_of(segment)
    problems += kept_files.problems
    strays = _strays(folder)
    if not manifest.seals:
        problems += _without_a_line(strays)
    unsealed, lost = _unsealed(data, manifest.seq_last)
    kept = manifest.retained
    return Report(
        hub=manifest.seals[-1].hub if manifest.seals else "",
        seq_first=manifest.seals[0].seq_first if manifest.seals else 0,
        seq_last=manifest.seq_last,
        seals=len(manifest.seals),
        files=len(kept),
        rows=sum(segment.rows for segment in kept if not files.is_secrets(segment)),
        bytes=sum(segment.bytes for segment in kept),
        unsealed=unsealed,
        unchecked=_after(data, manifest.seq_last) if unsealed is None else None,
        lost=[hole for seal in manifest.seals for hole in seal.missing] + lost,
        strays=strays,
        problems=problems,
    )


def _unsealed(data: Path, after: int) -> tuple[int | None, list[tuple[int, int]]]:
    """How many events the running log has after a seq, and which seqs it has not."""
    rows, lost = 0, []
    try:
        with Fetcher(socket_path(data)) as log:
            for page in log.pages(after):
                rows += page.table.num_rows
                seqs = page.table.column("seq").to_numpy()
                lost += missing_from(seqs, page.seq_first, page.seq_last)
    except Closed:
        return None, []
    return rows, lost


def _after(data: Path, sealed: int) -> tuple[int, int] | None:
    """What was acknowledged and is not sealed; a backup knows of nothing."""
    mark = Acknowledged.read(data)
    return (sealed + 1, mark.seq) if mark is not None and mark.seq > sealed else None


def _joints(manifest: Manifest) -> Iterator[str]:
    """Where two seals do not follow each other, or a line speaks of what it may not."""
    after = 0
    for seal in manifest.seals:
        if seal.seq_first != after + 1:
            yield (
                f"{FILE_NAME}: after event {after} comes a seal of {seal.seq_first} to "
                f"{seal.seq_last}; put {FILE_NAME} back from a backup"
            )
        if seal.hub != manifest.seals[0].hub:
            yield (
                f"{FILE_NAME}: events {seal.seq_first} to {seal.seq_last} are of hub {seal.hub}, "
                f"those before of {manifest.seals[0].hub}; two logs were mixed, part them"
            )
        after = seal.seq_last


class _Files:
    """Files, each for itself."""

    def __init__(self, folder: Path, walk: Walk) -> None:
        self._folder = folder
        self._walk = walk
        self.problems: list[str] = []

    def seqs_of(self, segment: Segment) -> NDArray[np.int64]:
        """The seqs in a file, or none and a problem."""
        seqs = self._seqs_of(segment)
        self._walk.did(segment.bytes)
        return seqs

    def _seqs_of(self, segment: Segment) -> NDArray[np.int64]:
        try:
            check_whole(self._folder, segment)
            seqs = self._read_seqs(segment)
        except NotWhole as fault:
            return self._wrong(str(fault))
        what = f"segment {segment.path} (events {segment.seq_first} to {segment.seq_last})"
        found = (len(seqs), *((int(seqs[0]), int(seqs[-1])) if len(seqs) else (0, 0)))
        if found != (segment.rows, segment.seq_first, segment.seq_last):
            return self._wrong(
                f"{what} has {found[0]} rows, of events {found[1]} to {found[2]}; {BACKUP}"
            )
        if (np.diff(seqs) < 1).any():
            return self._wrong(f"{what} has events twice or out of order; {BACKUP}")
        return seqs

    def _read_seqs(self, segment: Segment) -> NDArray[np.int64]:
        with reading(segment), pq.ParquetFile(self._folder / segment.path) as file:
            seqs: NDArray[np.int64] = file.read(["seq"], use_threads=False)["seq"].to_numpy()
            return seqs

    def _wrong(self, problem: str) -> NDArray[np.int64]:
        self.problems.append(problem)
        return np.empty(0, np.int64)


class _Check:
    """One seal and its files."""

    def __init__(self, files_: _Files, seal: Seal, retained: set[str]) -> None:
        self._files = files_
        self._seal = seal
        self._retained = [segment for segment in seal.segments if segment.path in retained]

    def problems(self) -> list[str]:
        """What is wrong with it."""
        seqs = {segment.path: self._files.seqs_of(segment) for segment in self._retained}
        if not self._files.problems:
            events = [seqs[s.path] for s in self._retained if not files.is_secrets(s)]
            secrets = [seqs[s.path] for s in self._retained if files.is_secrets(s)]
            self._compare(_joined(events), _joined(secrets))
        return self._files.problems

    def _compare(self, events: NDArray[np.int64], secrets: NDArray[np.int64]) -> None:
        """The seqs of all files against the range of the seal."""
        seal = self._seal
        what = f"the seal of events {seal.seq_first} to {seal.seq_last}"
        whole = len(self._retained) == len(seal.segments)
        try:
            missing = missing_from(events, seal.seq_first, seal.seq_last)
        except HubFault:
            self._wrong(f"{what} has an event in two files, or one of another seal; {BACKUP}")
            return
        if whole and missing != seal.missing:
            other = [hole for hole in missing if hole not in seal.missing] or seal.missing
            self._wrong(f"{what} lacks other events than it says, as {other[0]}; {BACKUP}")
        dropped = sum(
            segment.rows
            for segment in seal.segments
            if segment not in self._retained and not files.is_secrets(segment)
        )
        if len(events) + dropped != seal.rows:
            rows = len(events) + dropped
            self._wrong(f"{what} has {rows} rows and says {seal.rows}; {BACKUP}")
        if whole and len(alone := np.setdiff1d(secrets, events)):
            self._wrong(f"{what} has a secret of event {alone[0]}, which it has not; {BACKUP}")

    def _wrong(self, problem: str) -> None:
        self._files.problems.append(problem)


def _joined(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.sort(np.concatenate([np.empty(0, np.int64), *parts]))


def _strays(folder: Path) -> list[str]:
    """Files that no line names, in the order of their names; not while files are being made."""
    lock = locked(folder) if (folder / LOCK).exists() else nullcontext()
    try:
        with lock:
            own = {FILE_NAME, LOCK, *(s.path for s in Manifest.read(folder).retained)}
            names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    except Busy:
        return []
    return sorted(set(names) - own)


def _without_a_line(strays: list[str]) -> Iterator[str]:
    """Where files of events stand alone, they may be all that is left of the log."""
    whole = [name for name in strays if not name.endswith(files.DRAFT)]
    if whole:
        yield (
            f"{FILE_NAME} says nothing of {whole[0]} and {len(whole) - 1} others: it was lost "
            f"({BACKUP}), or the first seal or backup was cut off (do it again)"
        )


if __name__ == "__main__":
    main()
