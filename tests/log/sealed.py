"""Sealing a log that is open in the test itself, as the sealing process does it from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.log.segments.manifest import FOLDER, Manifest, Seal
from hub.log.segments.seal import missing_from
from hub.log.segments.write import write

if TYPE_CHECKING:
    from hub.log.store import DuckLog


def seal(log: DuckLog, upto: int | None = None) -> Manifest:
    """Seal all that is not sealed yet, up to a seq."""
    folder = log.file.path.parent / FOLDER
    folder.mkdir(exist_ok=True)
    manifest = Manifest.read(folder)
    first, last = manifest.seq_last + 1, log.last_seq if upto is None else upto
    if first > last:
        return manifest
    table = log.rows(first, last, None, None, reveal=False)
    seqs = table.column("seq").to_numpy()
    manifest.add(
        Seal(
            hub=log.hub,
            seq_first=first,
            seq_last=last,
            rows=table.num_rows,
            missing=missing_from(seqs, first, last),
            ts_last=max((ts.value for ts in table.column("ts")), default=0),
            made=0,
            segments=write(table, folder, log.hub),
            previous=manifest.previous,
        )
    )
    log.history.refresh()
    return manifest
