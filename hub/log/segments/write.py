"""Rows on their way into files, one for each agent and day, while they come page by page.

    writing = Writing(DATA / "segments", hub)
    writing.add(page)                       # by seq, after those before
    segments = writing.finish()             # all files or none, on disk

A file is compressed as it grows, a row group at a time, and stays in memory (15 bytes an event of 4
floats) until it is whole: so a seal of ten million events makes one file of an agent's day, and
takes no more memory than one of a million that is held as it came.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hub.log.segments import files
from hub.log.segments.files import DRAFT, GROUP_ROWS, ROWS, SECRETS
from hub.log.segments.manifest import HUB, Segment, sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

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
    writing = Writing(folder, hub, ending)
    writing.add(table)
    return writing.finish()


class Writing:
    """Files that are not whole yet.

    Args:
        folder: `DATA/segments`.
        hub: id of the log.
        ending: of the names of files with rows.

    Attributes:
        rows: of all pages so far.
    """

    def __init__(self, folder: Path, hub: str, ending: str = ROWS) -> None:
        self._folder = folder
        self._hub = hub
        self._ending = ending
        self._growing: dict[tuple[str, str], _Growing] = {}
        self._secrets: _Growing | None = None
        self._first_day = ""
        self.rows = 0

    @property
    def bytes(self) -> int:
        """Held in memory, about."""
        return sum(file.bytes for file in self._growing.values())

    def add(self, page: pa.Table) -> None:
        """Rows of `columns.SCHEMA`, by seq, after all that came before."""
        if not page.num_rows:
            return
        if not self.rows:
            self._first_day = files.day_of(page.column("ts").cast(pa.int64())[0].as_py())
        self.rows += page.num_rows
        for agent, day, part in _by_agent_and_day(page):
            file = self._growing.setdefault((agent, day), _Growing())
            file.add(files.to_file(part))
        secret = page.select(["seq", "secret"]).filter(page.column("secret").is_valid())
        if secret.num_rows:
            self._secrets = self._secrets or _Growing()
            self._secrets.add(secret)

    def finish(self) -> list[Segment]:
        """Write the files durably; after an error none of them is there.

        Raises:
            OSError: they can't be written.
        """
        written: list[Segment] = []
        try:
            for (agent, day), file in self._growing.items():
                written.append(self._write(agent, day, self._ending, file))
            if self._secrets is not None:
                written.append(self._write(HUB, self._first_day, SECRETS, self._secrets))
            # Names are durable when their folders are (fsync(2)), and so is a new folder's own.
            paths = [self._folder / segment.path for segment in written]
            for parent in {up for path in paths for up in path.relative_to(self._folder).parents}:
                sync_folder(self._folder / parent)
        except BaseException:
            remove(self._folder, written)
            raise
        return written

    def _write(self, agent: str, day: str, ending: str, file: _Growing) -> Segment:
        data = file.finish()
        path = f"hub={self._hub}/agent={agent}/day={day}/{file.first:020d}-{file.last:020d}{ending}"
        _write_durably(self._folder / path, data)
        sha256 = hashlib.sha256(data).hexdigest()
        return Segment(path, agent, day, file.rows, file.first, file.last, data.size, sha256)


class _Growing:
    """One file, in memory."""

    def __init__(self) -> None:
        self.first = self.last = self.rows = 0
        self._sink = pa.BufferOutputStream()
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []
        """Less than a row group."""

    @property
    def bytes(self) -> int:
        waiting: int = sum(table.nbytes for table in self._waiting)
        return int(self._sink.tell()) + waiting

    def add(self, table: pa.Table) -> None:
        seqs = table.column("seq")
        self.first, self.last = self.first or seqs[0].as_py(), seqs[-1].as_py()
        self.rows += table.num_rows
        self._waiting.append(table)
        if sum(waiting.num_rows for waiting in self._waiting) >= GROUP_ROWS:
            self._write_groups()

    def finish(self) -> pa.Buffer:
        """The whole file."""
        self._write_groups(rest=True)
        assert self._writer is not None, "there is no file without rows"
        self._writer.close()
        return self._sink.getvalue()

    def _write_groups(self, *, rest: bool = False) -> None:
        table = pa.concat_tables(self._waiting)
        if self._writer is None:
            self._writer = writer(self._sink, table.schema)
        count = table.num_rows if rest else table.num_rows // GROUP_ROWS * GROUP_ROWS
        if count:
            self._writer.write_table(table.slice(0, count), GROUP_ROWS)
        self._waiting = [table.slice(count)]


def remove(folder: Path, segments: list[Segment]) -> None:
    """Take the files away again."""
    for segment in segments:
        (folder / segment.path).unlink(missing_ok=True)


def writer(where: Path | pa.NativeFile, schema: pa.Schema) -> pq.ParquetWriter:
    """To write such a file with, `GROUP_ROWS` at a time."""
    return pq.ParquetWriter(
        where,
        schema,
        compression="zstd",
        use_dictionary=[name for name in _REPEATING if name in schema.names],
        column_encoding={name: how for name, how in _COUNTING.items() if name in schema.names},
    )


def _by_agent_and_day(table: pa.Table) -> Iterator[tuple[str, str, pa.Table]]:
    agents = table.column("agent").combine_chunks().dictionary_encode()
    days = table.column("ts").cast(pa.int64()).to_numpy() // files.DAY_US
    day_values, day_numbers = np.unique(days, return_inverse=True)
    keys = agents.indices.to_numpy(zero_copy_only=False) * np.int64(len(day_values)) + day_numbers
    order = np.argsort(keys, kind="stable")
    ends = np.flatnonzero(np.diff(keys[order], append=-1)) + 1
    for first, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        agent, day = divmod(int(keys[order[first]]), len(day_values))
        day_us = int(day_values[day]) * files.DAY_US
        name = files.in_path(agents.dictionary[agent].as_py())
        yield name, files.day_of(day_us), _taken(table, order[first:end])


def _taken(table: pa.Table, order: NDArray[np.int64]) -> pa.Table:
    """These rows, in ascending order; a copy, or one row that waits would hold its whole page."""
    return table if len(order) == table.num_rows else table.take(pa.array(order))


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
