"""Segments that are older than the retention go: a process that does it once.

    python -m hub.log.segments.drop --data DIR --before 2026-11-01 --upto SEQ

Prints how many files went. Whole files of whole days go; what the events in them made of the hub,
and no later event says, stays in a small file in their place: declared agents, keys, devices, and
each agent's newest policy there.

Rule 1: the manifest says that files are gone, and what stands in for them, before one is removed.
Rule 2: events of no agent stay, and whatever is beyond `--upto`: somebody may still need it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from hub.clock import SystemClock
from hub.errors import HubFault
from hub.log.segments import files
from hub.log.segments.lock import locked
from hub.log.segments.manifest import FOLDER, HUB, Dropped, Manifest
from hub.log.segments.whole import check_whole, is_below
from hub.log.segments.write import write
from hub.words import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.log.segments.manifest import Segment

NICE: Final = 19


def main() -> None:
    """Drop what is too old, and say how many files that was."""
    parser = argparse.ArgumentParser(prog="hub.log.segments.drop")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--before", type=date.fromisoformat, required=True)
    parser.add_argument("--upto", type=int, required=True)
    arguments = parser.parse_args()
    os.nice(NICE)
    folder = arguments.data / FOLDER
    try:
        gone = too_old(Manifest.read(folder), arguments.before, arguments.upto)
        drop(folder, gone, SystemClock().now_us())
    except (HubFault, OSError, pa.ArrowException) as error:
        sys.stderr.write(f"dropping segments of before {arguments.before} failed: {error}\n")
        sys.exit(1)
    sys.stdout.write(f"{len(gone)}\n")


def too_old(manifest: Manifest, oldest: date, upto: int) -> list[Segment]:
    """Files of days before `oldest` whose events nobody needs, but for what was kept of others."""
    kept = {segment.path for segment in manifest.kept}
    return [
        segment
        for segment in manifest.retained
        if segment.agent != HUB
        and segment.seq_last <= upto
        and segment.path not in kept
        and _is_before(segment.day, oldest)
    ]


def drop(folder: Path, segments: list[Segment], now_us: int) -> None:
    """Remove files for good, but for what has to be kept of them.

    Whatever is said to be gone already and is still there goes too: the last time may have been
    ended between the line and the files.

    Raises:
        Busy: another process is at work there.
        HubFault, OSError, pa.ArrowException: a file can't be read or written; none of these was
            removed.
    """
    with locked(folder):
        manifest = Manifest.read(folder)
        _remove(folder, manifest.dropped)
        going: list[Segment] = []
        kept: list[Segment] = []
        for segment in segments:
            needed = _needed_of(folder, segment)
            if needed.num_rows < segment.rows:
                going.append(segment)
                kept += write(needed, folder, _hub_of(segment), files.KEPT)
        if not going:
            return
        manifest.add(
            Dropped(
                paths=[segment.path for segment in going],
                seq_last=max(segment.seq_last for segment in going),
                made=now_us,
                previous=manifest.previous,
                kept=kept,
            )
        )
        _remove(folder, [segment.path for segment in going])


def _remove(folder: Path, paths: Iterable[str]) -> None:
    for path in paths:
        file = folder / path
        if is_below(path) and file.exists():
            file.unlink()
            with contextlib.suppress(OSError):  # other files of the day
                file.parent.rmdir()


def _needed_of(folder: Path, segment: Segment) -> pa.Table:
    """The events of a file that have to be kept."""
    check_whole(folder, segment)  # or what it says would be believed from now on
    rows = files.rows(files.read(folder / segment.path), files.agent_of(segment.path))
    return rows.filter(pc.is_in(rows.column("seq"), pa.array(_needed(rows), pa.int64())))


def _hub_of(segment: Segment) -> str:
    return segment.path.partition("/")[0].removeprefix("hub=")


def _needed(rows: pa.Table) -> list[int]:
    kind, seq = rows.column("kind"), rows.column("seq")
    needed: list[int] = seq.filter(pc.equal(kind, Kind.ADMIN)).to_pylist()
    policies = seq.filter(pc.equal(kind, Kind.POLICY))
    return needed + ([policies[-1].as_py()] if len(policies) else [])


def _is_before(day: str, oldest: date) -> bool:
    try:
        return date.fromisoformat(day) < oldest
    except ValueError:  # of a clock that was years off: kept
        return False


if __name__ == "__main__":
    main()
