"""The log in a DuckDB file: the only door to DuckDB.

    log = DuckLog.open(data, settings.log, clock=clock)
    first = log.append(events)          # one Arrow batch, one INSERT, one fdatasync

Rule 1: rows are only inserted; tables are made when the file is, and then checkpointed. What can
    go wrong in DuckDB's recovery has always been about keys, indexes, DDL and updates.
Rule 2: DuckDB opens a WAL with a torn tail, or without its WAL, and says nothing. So the last
    acknowledged seq stands in a file of its own, and a log that ends before it is damaged: said
    loudly, and the numbers are not given again.
Rule 3: what will not open is moved aside, never deleted.
Rule 4: after any error in a commit nothing is known; the process ends and the next one looks.

One thread appends; `read`, `page`, `recover` and queries may run in one other thread each.
"""

from __future__ import annotations

import secrets
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final, Self

import duckdb
import pyarrow as pa
from msgspec import Struct, structs

from hub.errors import LogUnavailable
from hub.log import columns
from hub.log.acknowledged import Acknowledged
from hub.words import Seq

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hub.clock import Clock
    from hub.settings import LogSettings
    from hub.words import Event, Kind

DatabaseError = duckdb.Error
"""For those who run queries and may not import duckdb."""

FILE_NAME: Final = "log.duckdb"
SCHEMA_VERSION: Final = "1"
WAL_BYTES_MAX: Final = 1 << 30
"""DuckDB's own checkpoints come in the middle of a commit (300 ms); ours come first."""
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


class State(Struct, frozen=True):
    """Where the log stands."""

    last_seq: int
    """Of the last event that is there."""
    next_seq: int
    """Of the next event; higher than `last_seq` + 1 after numbers were lost."""
    epoch: int
    damage: str | None


class _Batch:
    """What the prepared INSERT reads from: it asks anew for the Arrow stream each time."""

    def __init__(self) -> None:
        self.rows = columns.to_batch([], 1)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        reader = pa.RecordBatchReader.from_batches(columns.SCHEMA, [self.rows])
        return reader.__arrow_c_stream__(requested_schema)


class DuckLog:
    """A `Log` in one DuckDB file, which this process alone may open."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        acknowledged: Acknowledged,
        *,
        wal: Path,
        hub: str,
        state: State,
    ) -> None:
        self._connection = connection
        self._reading = connection.cursor()
        self._acknowledged = acknowledged
        self._wal = wal
        self._hub = hub
        self._batch = _Batch()
        self.state = state
        connection.register("batch", self._batch)
        connection.execute(_sql("append"))

    @classmethod
    def open(
        cls,
        folder: Path,
        settings: LogSettings,
        *,
        clock: Clock,
        new_hub: Callable[[], str] = lambda: secrets.token_hex(6),
    ) -> Self:
        """Open the log of a data folder, made when absent.

        Args:
            folder: exists; `log.duckdb` is in it.
            settings: `[log]`.
            clock: names folders of damaged files and dates epochs.
            new_hub: the id of a new log.

        Raises:
            LogUnavailable: it can't be opened now: another process has it, the disk is full, …
        """
        mark = Acknowledged.read(folder)
        connection, moved = _connect(folder / FILE_NAME, settings, clock)
        try:
            hub = _identity(connection, mark.hub if mark else new_hub())
            state = _take_stock(connection, 0 if mark is None else mark.seq, moved, clock)
        except duckdb.Error as error:
            raise LogUnavailable(f"the log {folder / FILE_NAME} can't be read: {error}") from error
        acknowledged = Acknowledged.open(folder, hub)
        acknowledged.write(state.next_seq - 1)
        wal = folder / f"{FILE_NAME}.wal"
        return cls(connection, acknowledged, wal=wal, hub=hub, state=state)

    @property
    def hub(self) -> str:
        """The id of the hub that owns this log."""
        return self._hub

    @property
    def last_seq(self) -> int:
        """Seq of the last durable event, 0 when empty."""
        return self.state.last_seq

    def append(self, events: Sequence[Event]) -> Seq:
        """Make the events durable, in order, and return the seq of the first.

        Raises:
            LogUnavailable: whether they are there is known only after opening the log again.
        """
        first = self.state.next_seq
        if events:
            self._batch.rows = columns.to_batch(events, first)
            try:
                # CRUCIAL: fetch. A result that is not read to its end has not been committed.
                (count,) = self._connection.execute("EXECUTE append").fetchall()[0]
            except duckdb.Error as error:
                raise LogUnavailable(f"commit of {len(events)} rows failed: {error}") from error
            assert count == len(events), f"DuckDB took {count} of {len(events)} rows"
            last = first + count - 1
            self.state = structs.replace(self.state, last_seq=last, next_seq=last + 1)
            self._acknowledged.write(last)
        return Seq(first)

    def read(self, after: int = 0, *, limit: int = 16_384, agent: str | None = None) -> list[Event]:
        """At most `limit` events with seq > `after`, in order; of one agent when named."""
        return columns.to_events(self.table("read", after=after, count=limit, agent=agent))

    def page(
        self, first: int, last: int, agent: str | None, kinds: Sequence[Kind] | None
    ) -> list[Event]:
        """The wanted events with seq `first`..`last`, in order."""
        numbers = None if kinds is None else [int(kind) for kind in kinds]
        return columns.to_events(
            self.table("page", first=first, last=last, agent=agent, kinds=numbers)
        )

    def table(self, name: str, **parameters: object) -> pa.Table:
        """The result of a named query of `hub/log/sql/` on the reading connection.

        Raises:
            LogUnavailable: the file can't be read there.
        """
        try:
            return self._reading.sql(_sql(name), params=parameters or None).to_arrow_table()
        except duckdb.Error as error:
            raise LogUnavailable(f"reading the log ({name}) failed: {error}") from error

    @property
    def wal_bytes(self) -> int:
        """Size of the write-ahead log, 0 right after a checkpoint."""
        try:
            return self._wal.stat().st_size
        except FileNotFoundError:
            return 0

    def checkpoint(self) -> None:
        """Move the write-ahead log into the file; commits wait about 3 ms a MB.

        Raises:
            LogUnavailable: it failed; the events are safe, but the log must be opened again.
        """
        try:
            self._connection.execute("CHECKPOINT").fetchall()
        except duckdb.TransactionException:
            pass  # a transaction is in the way; the next attempt will do
        except duckdb.Error as error:
            raise LogUnavailable(f"CHECKPOINT failed: {error}") from error

    def query_connection(self, *, memory_mb: int) -> duckdb.DuckDBPyConnection:
        """One more connection, for queries of people; from now on no setting can be changed."""
        connection = self._connection.cursor()
        connection.execute(f"SET operator_memory_limit = '{memory_mb}MB'")
        connection.execute("SET lock_configuration = true")
        return connection

    def close(self) -> None:
        """Checkpoint and give the files back."""
        self._reading.close()
        self._connection.close()
        self._acknowledged.close()


def _connect(
    path: Path, settings: LogSettings, clock: Clock
) -> tuple[duckdb.DuckDBPyConnection, list[Path]]:
    """The open database, and what had to be moved aside for it: first the WAL, then all."""
    moved: list[Path] = []
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1,  # each connection's queries run in the thread that asks
        "memory_limit": f"{settings.memory_mb}MB",
        "max_temp_directory_size": f"{SPILL_BYTES_MAX}B",
        "checkpoint_threshold": f"{WAL_BYTES_MAX}B",
        "auto_checkpoint_skip_wal_threshold": WAL_BYTES_MAX,
        "enable_external_access": False,
        "autoload_known_extensions": False,
        "autoinstall_known_extensions": False,
        "python_enable_replacements": False,
    }
    for suspect in (path.with_name(f"{path.name}.wal"), path, None):
        try:
            return duckdb.connect(path, config=config), moved
        except duckdb.Error as error:
            if LOCKED in str(error):
                raise LogLocked(f"{path} is open in another process: {error}") from error
            if suspect is None or not any(words in str(error) for words in DAMAGED):
                raise LogUnavailable(f"{path} can't be opened: {error}") from error
            if suspect.exists():
                moved.append(_move_aside(suspect, clock))
    raise AssertionError("the last attempt returns or raises")


def _move_aside(path: Path, clock: Clock) -> Path:
    folder = path.parent / f"damaged-{clock.now_us()}"
    folder.mkdir()
    return path.rename(folder / path.name)


def _identity(connection: duckdb.DuckDBPyConnection, hub: str) -> str:
    """The log's own hub id; a file without tables gets them, and `hub`."""
    tables = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'meta'")
    if tables.fetchall() == [(0,)]:
        connection.execute("BEGIN")
        connection.execute(_sql("table"))
        connection.execute(_sql("views"))
        connection.execute(
            "INSERT INTO meta VALUES ('hub', $hub), ('schema', $schema)",
            {"hub": hub, "schema": SCHEMA_VERSION},
        )
        connection.execute("COMMIT")
        connection.execute("CHECKPOINT")
    ((found,),) = connection.execute("SELECT value FROM meta WHERE key = 'hub'").fetchall()
    return str(found)


def _take_stock(
    connection: duckdb.DuckDBPyConnection, acknowledged: int, moved: list[Path], clock: Clock
) -> State:
    """Compare what is there with what was acknowledged; begin a new epoch if it is less."""
    query = "SELECT coalesce(max(seq), 0), count(*) FROM log"
    ((last, rows),) = connection.execute(query).fetchall()
    ((epochs, given, lost),) = connection.execute(_sql("epochs"), {"last": last}).fetchall()
    damage = [f"moved aside: {path}" for path in moved]
    if rows != last - lost:
        damage.append(f"{rows} events are there and {last - lost} should be")
    given = max(given, last)
    if acknowledged > given:
        damage.append(
            f"events {given + 1} to {acknowledged} were acknowledged and are gone; the next is "
            f"{acknowledged + 1}. Restore a backup beside this log to look for them"
        )
        connection.execute(
            "INSERT INTO epochs VALUES ($epoch, make_timestamp($now), $lost, $first, $reason)",
            {
                "epoch": epochs + 1,
                "now": clock.now_us(),
                "lost": given + 1,
                "first": acknowledged + 1,
                "reason": "; ".join(damage),
            },
        )
        epochs, given = epochs + 1, acknowledged
    return State(last_seq=last, next_seq=given + 1, epoch=epochs, damage="; ".join(damage) or None)


@cache
def _sql(name: str) -> str:
    return (resources.files("hub.log") / "sql" / f"{name}.sql").read_text()
