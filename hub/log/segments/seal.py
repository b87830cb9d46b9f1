"""Events that are durable already, written as Parquet segments: a process that does it once.

    python -m hub.log.segments.seal --data DIR --to SEQ --hub ID

Prints each line it added to the manifest. Exit status 1 and a sentence on stderr when it can't go
on; what it had added before that stays, the rest is as if it had not begun.

Rule 1: a line is added when all its files are on disk; files of a seal that failed are removed.
Rule 2: a file without a line is removed only when its events are sealed in another one.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hub.clock import SystemClock
from hub.errors import HubFault
from hub.log import columns
from hub.log.ending import end_with_parent
from hub.log.messages import socket_path
from hub.log.read import Fetcher
from hub.log.segments import files
from hub.log.segments.lock import locked
from hub.log.segments.manifest import FOLDER, Manifest, Seal, encode
from hub.log.segments.write import Writing, remove

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from hub.clock import Clock

ROWS_MAX: Final = 1 << 24
BYTES_MAX: Final = 192 << 20
"""Of one seal in memory, about; more is sealed in several. An analyst's query costs 0.1 ms more for
each file that there is, so there should be few."""
NICE: Final = 19
_FILE_NAME: Final = re.compile(r"(\d{20})-(\d{20})\.(?:parquet|secrets)")


class _Part:
    """What one seal will name: all events from a seq on, as they come."""

    def __init__(self, first: int, folder: Path, hub: str) -> None:
        self.first = first
        self.last = first - 1
        self.ts_last = 0
        self.missing: list[tuple[int, int]] = []
        self.files = Writing(folder, hub)

    def add(self, page: pa.Table, last: int) -> None:
        """The rows up to a seq; some may be missing."""
        missing = missing_from(page.column("seq").to_numpy(), self.last + 1, last)
        if self.missing and missing and self.missing[-1][1] + 1 == missing[0][0]:
            missing[0] = (self.missing.pop()[0], missing[0][1])
        self.missing += missing
        if page.num_rows:
            times = page.column("ts").cast(pa.int64()).to_numpy()
            self.ts_last = max(self.ts_last, int(times.max()))
            self.files.add(page)
        self.last = last


def main() -> None:
    """Seal what is to be sealed, and say what that was."""
    parser = argparse.ArgumentParser(prog="hub.log.segments.seal")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--to", type=int, required=True)
    parser.add_argument("--hub", required=True)
    arguments = parser.parse_args()
    os.nice(NICE)
    end_with_parent()
    try:
        for made in seal(arguments.data, arguments.to, arguments.hub, clock=SystemClock()):
            sys.stdout.write(encode(made).decode() + "\n")
            sys.stdout.flush()
    except (HubFault, OSError, pa.ArrowException) as error:
        sys.stderr.write(f"sealing up to event {arguments.to} failed: {error}\n")
        sys.exit(1)


def seal(
    data: Path,
    to: int,
    hub: str,
    *,
    clock: Clock,
    rows_max: int = ROWS_MAX,
    bytes_max: int = BYTES_MAX,
) -> Iterator[Seal]:
    """Seal all events up to a seq that are not sealed yet; what is returned is durable.

    Args:
        data: the data folder; its log is open in its own process.
        to: nothing after it is sealed.
        hub: id of the log.
        clock: dates the seals.
        rows_max: of one seal, about.
        bytes_max: of one seal in memory, about.

    Raises:
        HubFault: the log is gone, its rows are not in order, or the segments are another hub's.
        OSError: they can't be written.
    """
    folder = data / FOLDER
    with locked(folder):
        manifest = Manifest.read(folder)
        if manifest.seals and manifest.seals[-1].hub != hub:
            raise HubFault(
                f"{folder} holds segments of hub {manifest.seals[-1].hub}, this is {hub}; "
                "move that folder elsewhere"
            )
        left = _left_behind(manifest, hub)
        for part in _parts(data, manifest, to, hub, rows_max, bytes_max):
            yield _add(manifest, part, hub, left, clock)
        _remove_sealed_elsewhere(manifest, left)


def _add(manifest: Manifest, part: _Part, hub: str, left: list[Path], clock: Clock) -> Seal:
    for path in left:
        if _holds_any(path, part.missing):
            raise HubFault(
                f"events that the log has not any more stand in {path}, which the manifest does "
                "not name: it was lost or shortened. Put it back from a backup"
            )
    segments = part.files.finish()
    made = Seal(
        hub=hub,
        seq_first=part.first,
        seq_last=part.last,
        rows=part.files.rows,
        missing=part.missing,
        ts_last=part.ts_last,
        made=clock.now_us(),
        segments=segments,
        previous=manifest.previous,
    )
    try:
        manifest.add(made)
    except OSError:
        remove(manifest.folder, segments)
        raise
    return made


def missing_from(seqs: NDArray[np.int64], first: int, last: int) -> list[tuple[int, int]]:
    """First and last of each range of `first`..`last` that is not among the seqs.

    Raises:
        HubFault: they do not ascend, or are not within.
    """
    bounds = np.concatenate(([first - 1], seqs, [last + 1]))
    steps = np.diff(bounds)
    if (steps < 1).any():
        at = int(bounds[int(np.argmax(steps < 1))])
        raise HubFault(f"events {first} to {last} are not in order: after {at} comes an older one")
    before = np.flatnonzero(steps > 1)
    return [(int(bounds[i]) + 1, int(bounds[i + 1]) - 1) for i in before]


def _parts(
    data: Path, manifest: Manifest, to: int, hub: str, rows_max: int, bytes_max: int
) -> Iterator[_Part]:
    """All events after those sealed, up to a seq, in parts that fit."""
    if manifest.seq_last >= to:
        return
    part = _Part(manifest.seq_last + 1, manifest.folder, hub)
    with Fetcher(socket_path(data)) as log:
        for page in log.pages(manifest.seq_last, upto=to):
            last = min(page.seq_last, to)
            part.add(_up_to(page.table, last), last)
            if part.files.rows >= rows_max or part.files.bytes >= bytes_max:
                yield part
                part = _Part(last + 1, manifest.folder, hub)
    if part.last >= part.first:
        yield part


def _up_to(table: pa.Table, last: int) -> pa.Table:
    table = table.select(columns.SCHEMA.names).cast(columns.SCHEMA)
    count = int(np.searchsorted(table.column("seq").to_numpy(), last, side="right"))
    return table.slice(0, count)


def _left_behind(manifest: Manifest, hub: str) -> list[Path]:
    """Files of no line. Those that are not whole are removed: nobody ever relied on them."""
    named = {segment.path for segment in manifest.retained}
    left = []
    for path in manifest.folder.glob(f"hub={hub}/agent=*/day=*/*"):
        if path.name.endswith(files.DRAFT):
            path.unlink()
        elif str(path.relative_to(manifest.folder)) not in named and path.is_file():
            left.append(path)
    return left


def _remove_sealed_elsewhere(manifest: Manifest, left: list[Path]) -> None:
    """Remove what a crashed seal left, or retention, now that it is certain not to be needed.

    CRUCIAL: only then. If the manifest itself was lost these files are the log.
    """
    named = {manifest.folder / segment.path for segment in manifest.retained}
    lost = [hole for made in manifest.seals for hole in made.missing]
    for path in left:
        match = _FILE_NAME.fullmatch(path.name)
        sealed = match is not None and int(match[2]) <= manifest.seq_last
        if sealed and path not in named and not _holds_any(path, lost):
            path.unlink()


def _holds_any(path: Path, ranges: list[tuple[int, int]]) -> bool:
    """Whether an event of a range is in a file; its name may span a range that it has not."""
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        return False
    spanned = [hole for hole in ranges if hole[0] <= int(match[2]) and hole[1] >= int(match[1])]
    if not spanned:
        return False
    try:
        with pq.ParquetFile(path) as file:
            seqs = file.read(["seq"], use_threads=False)["seq"].to_numpy()
    except Exception:  # noqa: BLE001 - broken Parquet raises anything; then its name has to do
        return True
    bounds = np.searchsorted(seqs, [(first, last + 1) for first, last in spanned])
    return bool((bounds[:, 0] < bounds[:, 1]).any())


if __name__ == "__main__":
    main()
