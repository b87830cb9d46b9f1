"""A DuckDB file with one log in it: the log's only door to DuckDB.

    file = DuckFile.open(path, settings)
    file.insert(batch)                  # one INSERT, one fdatasync: settled when it returns
    file.table("page", first=1, last=9) # a query of `hub/log/sql/`, as an Arrow table

What makes a commit durable is the journal (`hub.log.journal`); from there it is settled into this
file later, as one batch of many.

Rule 1: rows are only inserted; tables are made when the file is, and then checkpointed. What can
    go wrong in DuckDB's recovery has always been about keys, indexes, DDL and updates.
Rule 2: after any error in a commit nothing is known; the process ends and the next one looks.

One thread inserts; `table` may be called in one other thread.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, Self

import duckdb
import pyarrow as pa

from hub.errors import LogUnavailable
from hub.log import columns

if TYPE_CHECKING:
    from pathlib import Path

    from hub.settings import LogSettings

SCHEMA_VERSION: Final = 3
WAL_BYTES_MAX: Final = 1 << 30
"""DuckDB's own checkpoints come in the middle of a commit (300 ms); ours come first."""
ROW_GROUP_ROWS: Final = 16_384
"""A checkpoint writes the last row group again, full or not: of DuckDB's own 122,880 rows that took
up to 218 ms, of these 21 (every 2 MB of write-ahead log)."""
BLOCK_BYTES: Final = 65_536
"""Of files made from now on; 32.5 bytes an event. DuckDB's own 262,144 leave much of each row
group's last block empty: 37.5."""
TIDY_TASKS: Final = 100
"""Small row groups joined in one checkpoint, DuckDB's own figure. Joined in every checkpoint, each
third of them takes 60 to 90 ms, not 20."""
SHED_MB: Final = 4
"""What DuckDB may keep of a file's blocks when it is told to give them back."""
SPILL_BYTES_MAX: Final = 1 << 30
"""Temporary files of large queries."""
LOCKED: Final = "Could not set lock on file"
DAMAGED: Final = (
    "Corrupt database file",
    "not a valid DuckDB database file",
    "Could not read enough bytes",
    "Failure while replaying WAL",
    "checksum",
)
"""What DuckDB says of bytes that are not what it wrote; anything else may pass by itself."""


class LogLocked(LogUnavailable):
    """Another process has the file open; a killed one may take a moment to let go."""


class LogDamaged(LogUnavailable):
    """The file or its write-ahead log holds other bytes than were written."""


class _Batch:
    """What the prepared INSERT reads from: it asks anew for the Arrow stream each time."""

    def __init__(self) -> None:
        self.rows = columns.to_batch([], 1)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        reader = pa.RecordBatchReader.from_batches(self.rows.schema, [self.rows])
        return reader.__arrow_c_stream__(requested_schema)


class DuckFile:
    """One open file, which this process alone may open."""

    def __init__(
        self, path: Path, connection: duckdb.DuckDBPyConnection, settings: LogSettings
    ) -> None:
        self.path = path
        self.wal = wal_of(path)
        self._connection = connection
        self._memory_mb = settings.memory_mb
        self._reading = connection.cursor()
        self._reading.execute("USE hot")
        self._batch = _Batch()
        self._prepared = False
        self._as_bytes = False

    @classmethod
    def open(cls, path: Path, settings: LogSettings, *, read_only: bool = False) -> Self:
        """Open the file, made when absent.

        Raises:
            LogLocked: another process has it.
            LogDamaged: it or its write-ahead log can't be read.
            LogUnavailable: it can't be opened now: the disk is full, no permission, …
        """
        try:
            return cls(path, _connect(path, settings, read_only=read_only), settings)
        except duckdb.Error as error:
            if LOCKED in str(error):
                raise LogLocked(f"{path} is open in another process: {error}") from error
            raise _ours(error, f"{path} can't be opened") from error

    @staticmethod
    def opens(path: Path, settings: LogSettings) -> bool:
        """Whether the file and its write-ahead log can be read; changes neither."""
        try:
            _connect(path, settings, read_only=True).close()
        except duckdb.Error as error:
            if isinstance(_ours(error, ""), LogDamaged):
                return False
            raise _ours(error, f"{path} can't be opened") from error
        return True

    def make(self, meta: dict[str, str]) -> None:
        """Make the tables of an empty file, and write what is said once of the whole log."""
        self.run("BEGIN")
        self.run(sql("table"))
        for key, value in meta.items():
            self.run("INSERT INTO meta VALUES ($key, $value)", key=key, value=value)
        self.run("COMMIT")
        self.checkpoint()

    def meta(self) -> dict[str, str]:
        """What `make` wrote, as it was last said; empty when there are no tables."""
        tables = self.run("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'meta'")
        return {} if tables == [(0,)] else dict(self.run("SELECT key, value FROM meta"))

    def insert(self, rows: pa.RecordBatch) -> None:
        """Make the rows durable, all or none.

        Raises:
            LogUnavailable: whether they are there is known only after opening the file again.
        """
        if not self._prepared:
            self._prepare()
        self._batch.rows = columns.stored(rows) if self._as_bytes else rows
        try:
            # CRUCIAL: fetch. A result that is not read to its end has not been committed.
            (count,) = self._connection.execute("EXECUTE append").fetchall()[0]
        except duckdb.Error as error:
            raise LogUnavailable(f"commit of {rows.num_rows} rows failed: {error}") from error
        assert count == rows.num_rows, f"DuckDB took {count} of {rows.num_rows} rows"

    def _prepare(self) -> None:
        # A file that was made with FLOAT[] columns keeps them until it is rotated.
        self._as_bytes = self.run(sql("vectors")) == [("BLOB",)]
        if self._as_bytes:
            self._batch.rows = columns.stored(self._batch.rows)
        self._connection.register("batch", self._batch)
        self.run(sql("append"))
        self._prepared = True

    def insert_table(self, table: pa.Table) -> None:
        """Rows that have their seqs already, each batch of them a commit."""
        for rows in table.cast(columns.SCHEMA).combine_chunks().to_batches():
            self.insert(rows)

    def table(self, name: str, **parameters: object) -> pa.Table:
        """The result of a named query of `hub/log/sql/` on the reading connection.

        Raises:
            LogDamaged, LogUnavailable: the file can't be read there.
        """
        try:
            found = self._reading.sql(sql(name), params=parameters or None).to_arrow_table()
        except duckdb.Error as error:
            raise _ours(error, f"reading the log ({name}) failed") from error
        return columns.from_stored(found)

    def run(self, statement: str, **parameters: object) -> list[Any]:
        """The rows of a statement on the writing connection.

        Raises:
            LogDamaged, LogUnavailable: it failed.
        """
        try:
            return self._connection.execute(statement, parameters or None).fetchall()
        except duckdb.Error as error:
            raise _ours(error, f"{self.path} failed") from error

    @property
    def wal_bytes(self) -> int:
        """Size of the write-ahead log, 0 right after a checkpoint."""
        try:
            return self.wal.stat().st_size
        except FileNotFoundError:
            return 0

    def checkpoint(self, *, tidy: bool = False) -> None:
        """Move the write-ahead log into the file; commits wait about 10 ms a MB.

        Args:
            tidy: also join small row groups, up to 90 ms: for when nothing else is to be done.

        Raises:
            LogUnavailable: it failed; the events are safe, but the file must be opened again.
        """
        try:
            self._connection.execute(f"SET max_vacuum_tasks = {TIDY_TASKS if tidy else 0}")
            self._connection.execute("CHECKPOINT hot").fetchall()
        except duckdb.TransactionException:
            pass  # a transaction is in the way; the next attempt will do
        except duckdb.Error as error:
            raise LogUnavailable(f"CHECKPOINT failed: {error}") from error

    def shed(self) -> None:
        """Have DuckDB give back the blocks that it keeps in memory, in 2 ms; nobody else uses it.

        It keeps what it wrote until `memory_mb` is full: 4 MB of 120,000 events, of which nothing
        is read again that the system's own cache has not got.
        """
        with suppress(duckdb.OutOfMemoryException):  # it keeps what is in use
            self._connection.execute(f"SET memory_limit = '{SHED_MB}MB'")
        self._connection.execute(f"SET memory_limit = '{self._memory_mb}MB'")

    def abandon(self) -> None:
        """Give the files back as they are, about to be deleted."""
        self.run("PRAGMA disable_checkpoint_on_shutdown")
        self.close()

    def close(self) -> None:
        """Checkpoint and give the files back."""
        self._reading.close()
        self._connection.close()


def _connect(path: Path, settings: LogSettings, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """A connection to the file, from where no other file can be reached.

    Raises:
        duckdb.Error: it can't be opened.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1,  # each connection's queries run in the thread that asks
        "memory_limit": f"{settings.memory_mb}MB",
        "temp_directory": f"{path}.tmp",
        "max_temp_directory_size": f"{SPILL_BYTES_MAX}B",
        "checkpoint_threshold": f"{WAL_BYTES_MAX}B",
        "auto_checkpoint_skip_wal_threshold": WAL_BYTES_MAX,
        "default_block_size": BLOCK_BYTES,
        "autoload_known_extensions": False,
        "autoinstall_known_extensions": False,
        "python_enable_replacements": False,
    }
    connection = duckdb.connect(":memory:", config=config)
    try:
        name, mode = str(path).replace("'", "''"), ", READ_ONLY" if read_only else ""
        connection.execute(f"ATTACH '{name}' AS hot (ROW_GROUP_SIZE {ROW_GROUP_ROWS}{mode})")
        connection.execute("USE hot")
        connection.execute("SET enable_external_access = false")
    except duckdb.Error:
        connection.close()
        raise
    return connection


def wal_of(path: Path) -> Path:
    """The write-ahead log of a DuckDB file."""
    return path.with_name(f"{path.name}.wal")


def _ours(error: duckdb.Error, what: str) -> LogUnavailable:
    damaged = any(words in str(error) for words in DAMAGED)
    return (LogDamaged if damaged else LogUnavailable)(f"{what}: {error}")


@cache
def sql(name: str) -> str:
    """A statement of `hub/log/sql/`."""
    return (resources.files("hub.log") / "sql" / f"{name}.sql").read_text()
