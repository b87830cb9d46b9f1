"""One file for each agent and day of what is sealed together, and rows as the log has them again.

    table = rows(read(path), agent_of(path))    # as they were sealed, without their secrets

Columns are those of the view `events` that the path does not say already (`hub`, `agent`, the day),
with kind and source in words, and `first`. Secrets stand in a file of their own, so that whoever
is given the `.parquet` files gets no hashes.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hub.log import columns
from hub.log.segments.manifest import HUB
from hub.words import Kind, Source

if TYPE_CHECKING:
    from pathlib import Path

    from hub.log.segments.manifest import Segment

ROWS: Final = ".parquet"
KEPT: Final = ".kept.parquet"
"""What stands in for a dropped file."""
SECRETS: Final = ".secrets"
DRAFT: Final = ".new"
"""Behind the name of a file that is not whole yet."""
GROUP_ROWS: Final = 32_768
"""Of a row group."""
DAY_US: Final = 86_400_000_000

COLUMNS: Final = (
    *("seq", "ts", "device_ts", "kind", "version", "device", "session", "boot", "step"),
    *("obs", "action", "executed", "reward", "terminated", "truncated", "first"),
    *("policy", "logprob", "value", "source", "reason", "latency_us", "payload"),
)


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


def to_file(table: pa.Table) -> pa.Table:
    """The rows of `columns.SCHEMA` as a file has them."""
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
