"""One file for each agent and day of what is sealed together, and rows as the log has them again.

    segments = write(table, DATA / "segments", hub)      # all of them or none, on disk
    table = rows(read(path), agent_of(path))             # the same rows, without their secrets

Columns are those of the view `events` that the path does not say already (`hub`, `agent`, the day),
with kind and source in words, and `first`. Secrets stand in a file of their own, so that whoever
is given the `.parquet` files gets no hashes.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hub.log import columns
from hub.log.segments.manifest import HUB, Segment, sync_folder
from hub.words import Kind, Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

ROWS: Final = ".parquet"
KEPT: Final = ".kept.parquet"
"""What stands in for a dropped file."""
SECRETS: Final = ".secrets"
DRAFT: Final = ".new"
"""Behind the name of a file that is not whole yet."""
GROUP_ROWS: Final = 32_768
DAY_US: Final = 86_400_000_000

COLUMNS: Final = (
    *("seq", "ts", "device_ts", "kind", "version", "device", "session", "boot", "step"),
    *("obs", "action", "executed", "reward", "terminated", "truncated", "first"),
    *("policy", "logprob", "value", "source", "reason", "latency_us", "payload"),
)
_REPEATING: Final = ["kind", "version", "device", "session", "boot", "policy", "source", "reason"]
"""Stored as numbers of a dictionary; the rest hardly repeats, or (floats) would lose a bit."""
_COUNTING: Final = dict.fromkeys(("seq", "ts", "step"), "DELTA_BINARY_PACKED")
"""Stored as differences: 12.7 bytes a row where plain ones take 15.5."""


def write(table: pa.Table, folder: Path, hub: str, ending: str = ROWS) -> list[Segment]:
    """Write the rows durably and return their files; after an error none of them is there.

    Args:
        table: `columns.SCHEMA`, by seq.
        folder: `DATA/segments`.
        hub: id of the log.
        ending: of the names of files with rows.

    Raises:
        OSError: they can't be written.
    """
    written: list[Segment] = []
    try:
        for agent, day, part in _by_agent_and_day(table):
            place = f"hub={hub}/agent={agent}/day={day}"
            written.append(_write_file(folder, place, ending, _to_file(part)))
        secret = table.select(["seq", "secret"]).filter(table.column("secret").is_valid())
        if secret.num_rows:
            day = day_of(table.column("ts").cast(pa.int64())[0].as_py())
            written.append(_write_file(folder, f"hub={hub}/agent={HUB}/day={day}", SECRETS, secret))
        # Names are durable when their folders are (fsync(2)), and so is a new folder's own name.
        files = [folder / segment.path for segment in written]
        for parent in {above for file in files for above in file.relative_to(folder).parents}:
            sync_folder(folder / parent)
    except BaseException:
        remove(folder, written)
        raise
    return written


def remove(folder: Path, segments: list[Segment]) -> None:
    """Take the files away again."""
    for segment in segments:
        (folder / segment.path).unlink(missing_ok=True)


def read(path: Path, groups: list[int] | None = None) -> pa.Table:
    """The columns of a file, or of some of its row groups.

    Raises:
        OSError, pa.ArrowException: it is not there or not whole.
    """
    with pq.ParquetFile(path, read_dictionary=["kind", "source"]) as file:
        if groups is None:
            return file.read(use_threads=False)
        return file.read_row_groups(groups, use_threads=False)


def rows(file: pa.Table, agent: str) -> pa.Table:
    """The rows of a file in `columns.SCHEMA`; `secret` is NULL."""
    count = file.num_rows
    given = {
        "agent": pa.repeat(pa.scalar(agent, pa.string()), count),
        "secret": pa.nulls(count, pa.binary()),
        "kind": _numbers(file.column("kind"), _KINDS),
        "source": _numbers(file.column("source"), _SOURCES),
    }
    return pa.table(
        [
            given[field.name] if field.name in given else file.column(field.name).cast(field.type)
            for field in columns.SCHEMA
        ],
        schema=columns.SCHEMA,
    )


def agent_of(path: str) -> str:
    """Whose rows a file holds, '' for those of no agent."""
    name = path.rpartition("/agent=")[2].partition("/")[0]
    return "" if name == HUB else unquote(name)


def in_path(agent: str) -> str:
    """The agent's name as paths and Segments have it; those of agents made by people stay."""
    escaped = quote(agent, safe="")
    return HUB if agent == "" else "%5Fhub" if agent == HUB else escaped


def day_of(ts: int) -> str:
    """The UTC day of a time in microseconds since 1970; of any that the log can hold."""
    return str(np.datetime64(ts // DAY_US, "D"))


def is_secrets(segment: Segment) -> bool:
    """Whether the file holds secrets and no events."""
    return segment.path.endswith(SECRETS)


def _by_agent_and_day(table: pa.Table) -> Iterator[tuple[str, str, pa.Table]]:
    if not table.num_rows:
        return
    agents = table.column("agent").combine_chunks().dictionary_encode()
    days = table.column("ts").cast(pa.int64()).to_numpy() // DAY_US
    day_values, day_numbers = np.unique(days, return_inverse=True)
    keys = agents.indices.to_numpy(zero_copy_only=False) * np.int64(len(day_values)) + day_numbers
    order = np.argsort(keys, kind="stable")
    ends = np.flatnonzero(np.diff(keys[order], append=-1)) + 1
    for first, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        agent, day = divmod(int(keys[order[first]]), len(day_values))
        day_us = int(day_values[day]) * DAY_US
        name = in_path(agents.dictionary[agent].as_py())
        yield name, day_of(day_us), _taken(table, order[first:end])


def _taken(table: pa.Table, order: NDArray[np.int64]) -> pa.Table:
    """These rows, in ascending order; without a copy when they stand together."""
    if order[-1] - order[0] + 1 == len(order):
        return table.slice(int(order[0]), len(order))
    return table.take(pa.array(order))


def _to_file(table: pa.Table) -> pa.Table:
    words = {
        "kind": _words("kind", Kind).take(table.column("kind").combine_chunks()),
        "source": _words("source", Source).take(table.column("source").combine_chunks()),
    }
    return pa.table({name: words.get(name, table.column(name)) for name in COLUMNS})


@cache
def _words(column: str, names: type[Kind | Source]) -> pa.Array:
    """As the views say it, for every number a column can hold."""
    known = {member.value: member.name.lower() for member in names}
    return pa.array([known.get(number, f"{column} {number}") for number in range(256)])


_KINDS: Final = {word: n for n, word in enumerate(_words("kind", Kind).to_pylist())}
_SOURCES: Final = {word: n for n, word in enumerate(_words("source", Source).to_pylist())}


def _numbers(column: pa.ChunkedArray, numbers: dict[str, int]) -> pa.ChunkedArray:
    """The stored numbers of words; each word is looked at once a chunk."""
    return pa.chunked_array(
        [
            pa.array([numbers[word] for word in chunk.dictionary.to_pylist()], pa.uint8()).take(
                chunk.indices
            )
            for chunk in column.chunks
        ],
        pa.uint8(),
    )


def _write_file(folder: Path, place: str, kind: str, table: pa.Table) -> Segment:
    sink = pa.BufferOutputStream()
    with writer(sink, table.schema) as file:
        file.write_table(table, GROUP_ROWS)
    data = sink.getvalue()
    seqs = table.column("seq")
    first, last = seqs[0].as_py(), seqs[-1].as_py()
    path = f"{place}/{first:020d}-{last:020d}{kind}"
    _write_durably(folder / path, data)
    _, agent, day = (part.partition("=")[2] for part in place.split("/"))
    sha256 = hashlib.sha256(data).hexdigest()
    return Segment(path, agent, day, table.num_rows, first, last, data.size, sha256)


def writer(where: Path | pa.NativeFile, schema: pa.Schema) -> pq.ParquetWriter:
    """To write such a file with, `GROUP_ROWS` at a time."""
    return pq.ParquetWriter(
        where,
        schema,
        compression="zstd",
        use_dictionary=[name for name in _REPEATING if name in schema.names],
        column_encoding={name: how for name, how in _COUNTING.items() if name in schema.names},
    )


def _write_durably(path: Path, data: pa.Buffer) -> None:
    """The bytes under a name of their own first, so that a file is whole whenever it is there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(path.name + DRAFT)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:  # noqa: PTH123 - of the descriptor with the narrow mode
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
