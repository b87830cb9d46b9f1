"""All sealed events as plain Parquet files for other people: no secrets, no manifest.

    export(data, target, None)                          # payloads stay sealed
    export(data, target, PayloadKeys(data / "keys"))    # in clear, but of forgotten devices

The folders keep their names, `hub=…/agent=…/day=…`, which DuckDB, pandas, polars and Spark read as
columns.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from hub.errors import HubFault, OperatorFault
from hub.log.segments import files
from hub.log.segments.manifest import FOLDER, Manifest
from hub.log.segments.told import Walk, nobody
from hub.log.segments.whole import check_whole
from hub.log.segments.write import writer

if TYPE_CHECKING:
    from pathlib import Path

    from hub.log.payload_keys import PayloadKeys
    from hub.log.segments.told import Told


class Export(Struct, frozen=True):
    """What was written."""

    seq_last: int
    """No later event is in it."""
    files: int
    rows: int
    bytes: int


def export(data: Path, target: Path, reveal: PayloadKeys | None, told: Told = nobody) -> Export:
    """Write a copy of all retained files.

    Args:
        data: the data folder; its hub may be at work.
        target: absent or empty.
        reveal: keys of the payloads; None = they stay as they are stored.
        told: hears how far it is.

    Raises:
        OperatorFault: the target is not empty, or nothing is sealed.
        HubFault: a file is damaged or gone; the message names it.
        OSError: the disk is full, say.
    """
    if target.exists() and (not target.is_dir() or next(target.iterdir(), None) is not None):
        raise OperatorFault(f"{target} is not an empty folder; choose one that is, or a new one")
    manifest = Manifest.read(data / FOLDER)
    segments = [segment for segment in manifest.retained if not files.is_secrets(segment)]
    if not segments:
        raise OperatorFault(f"nothing is sealed in {data} yet, so there is nothing to export")
    size = 0
    walk = Walk(told, "written", of=sum(segment.bytes for segment in segments))
    for segment in segments:
        check_whole(manifest.folder, segment)
        path = target / segment.path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _copy(manifest.folder / segment.path, path, reveal)
        except (pa.ArrowException, FileNotFoundError) as error:
            raise HubFault(
                f"segment {segment.path} can't be read: {error}; `sheepfold verify` tells more"
            ) from error
        size += path.stat().st_size
        walk.did(segment.bytes)
    rows = sum(segment.rows for segment in segments)
    return Export(manifest.seq_last, len(segments), rows, size)


def _copy(source: Path, target: Path, reveal: PayloadKeys | None) -> None:
    if reveal is None:
        shutil.copyfile(source, target)
        return
    with pq.ParquetFile(source) as file, writer(target, file.schema_arrow) as written:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, use_threads=False)
            written.write_table(_revealed(table, reveal), files.GROUP_ROWS)


def _revealed(table: pa.Table, keys: PayloadKeys) -> pa.Table:
    devices = table.column("device").to_pylist()
    payloads = [
        keys.reveal(device, text)
        for device, text in zip(devices, table.column("payload").to_pylist(), strict=True)
    ]
    at = table.schema.get_field_index("payload")
    return table.set_column(at, "payload", pa.array(payloads, pa.string()))
