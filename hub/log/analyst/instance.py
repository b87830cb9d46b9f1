"""One DuckDB for all who may see the same rows.

    instance = Instance.open(around, {"walker"}, shelf)     # or None: all rows
    instance.renew(shelf)                                   # files as the manifest says
    instance.add(page.table, page.seq_last)                 # what is newer, from the log
    instance.statement().run("SELECT …", rows=2048)         # statement.py

Rule 1: an instance holds and reaches the rows of its agents only; those of no agent are an admin's.
    What the views or the guard let through by mistake is still nobody else's.
Rule 2: secrets are in no instance and in no file it reaches.
Rule 3: a query sees the files and the tail of one moment: both change in one transaction.

`renew` and `add` are called by one thread, statements may run in others.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from duckdb.func import ARROW, SPECIAL

from hub.log.analyst import guard, relations
from hub.log.analyst.statement import Statement, ours
from hub.log.payload_keys import PayloadKeys
from hub.log.segments import files
from hub.log.segments.manifest import HUB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from duckdb import DuckDBPyConnection

    from hub.log.analyst.sealed import Shelf

TAIL_ROWS: Final = 2048
"""Newest events, for each agent that has files, that stay in memory when they are sealed: the last
1,000 of an agent take half the time from there, and more rows make a query sort more."""
TAIL_ROWS_MAX: Final = 65_536
"""Of all agents."""
SPILL_BYTES_MAX: Final = 1 << 30
"""Temporary files of one instance."""


class Surroundings(NamedTuple):
    """What all instances of a process have in common."""

    hub: str
    segments: Path
    keys: Path
    spill: Path
    """A folder of this instance alone."""
    memory_mb: int
    threads: int
    """Of one query. With one, the tail is read before any file: the last 1,000 events of an agent
    end there, in half the time that two take."""


class Instance:
    """Rows that some people may see, and the views over them.

    Args:
        connection: to the database; only its cursors are used.
        around: where things are.
        agents: whose rows it may hold; None = all.
        reach: whose files it may read.

    Attributes:
        position: all events up to this seq that it may see are there.
    """

    def __init__(
        self,
        connection: DuckDBPyConnection,
        around: Surroundings,
        agents: frozenset[str] | None,
        reach: frozenset[str],
    ) -> None:
        self._connection = connection
        self._writing = connection.cursor()
        self._around = around
        self._agents = agents
        self._reach = reach
        self._number = 0
        self._loaded: set[str] = set()
        self.position = 0
        self._begins = 0
        """The tail holds what is after it, files what is up to it."""
        connection.create_function(
            "reveal", _Revealer(around.keys).reveal, ["VARCHAR", "VARCHAR"], "VARCHAR",
            type=ARROW, null_handling=SPECIAL,
        )  # fmt: skip
        self._hidden = _make_relations(self._writing)

    @classmethod
    def open(cls, around: Surroundings, agents: frozenset[str] | None, shelf: Shelf) -> Self:
        """A locked database with the views, without rows.

        Args:
            around: where things are.
            agents: whose rows; None = all, those of no agent too.
            shelf: for an admin, whose files can be reached from now on.

        Raises:
            DatabaseError: there is no room for it.
        """
        reach = shelf.agents if agents is None else agents
        hub = around.segments / f"hub={around.hub}"
        allowed = ", ".join(relations.text(f"{hub}/agent={name}") for name in sorted(reach))
        try:
            around.spill.mkdir(parents=True, exist_ok=True)
            connection = _connect(around, allowed)
            instance = cls(connection, around, agents, reach)
            connection.execute("SET lock_configuration = true")
        except (duckdb.Error, OSError) as error:
            raise ours(error) from error
        return instance

    # --- what is there ------------------------------------------------------------------------

    def reaches(self, shelf: Shelf) -> bool:
        """Whether it may read all files it should; where not, a new instance must be opened."""
        return self._agents is not None or shelf.agents <= self._reach

    def renew(self, shelf: Shelf) -> None:
        """Take the files of now; what they hold leaves the tail, but for the newest.

        Raises:
            DatabaseError: it failed, and nothing has changed; `FileGone`: look again.
        """
        if shelf.number != self._number:
            rows = min(TAIL_ROWS * len(shelf.agents), TAIL_ROWS_MAX)
            begins = max(self._begins, shelf.upto - rows, shelf.dropped_upto)
            self._take(shelf, begins)

    def rely_on_files(self, shelf: Shelf) -> None:
        """Take all that is sealed from files: the log is away.

        Raises:
            DatabaseError: as `renew`.
        """
        self._take(shelf, shelf.upto)

    def _take(self, shelf: Shelf, begins: int) -> None:
        """Have the tail hold what is after `begins`, files the rest."""
        mine = [
            segment.path
            for segment in shelf.segments
            if segment.agent in self._reach and segment.seq_first <= begins
        ]
        of_none = {segment.path for segment in shelf.segments if segment.agent == HUB}
        with _transaction(self._writing) as cursor:
            paths = (self._around.segments / path for path in mine)
            cursor.execute(relations.log_view(paths, begins))
            cursor.execute(relations.shortened(begins)).fetchall()
            if self._agents is None:
                self._load_unowned(cursor, of_none)
        self._loaded = of_none
        self._begins = begins
        self.position = max(self.position, begins)
        self._number = shelf.number

    def _load_unowned(self, cursor: DuckDBPyConnection, paths: set[str]) -> None:
        """Rows of no agent are few and in memory: beside their files lie those of the secrets."""
        loaded = self._loaded
        if not loaded <= paths:
            cursor.execute(f"TRUNCATE {relations.UNOWNED}").fetchall()
            loaded = set()
        for path in sorted(paths - loaded):
            rows = files.rows(files.read(self._around.segments / path), "")
            self._insert(cursor, relations.UNOWNED, rows)

    def add(self, rows: pa.Table, upto: int) -> None:
        """Add what the log sent.

        Args:
            rows: `columns.SCHEMA`, all after `position`.
            upto: last seq the log looked at; `position` is there then.

        Raises:
            DatabaseError: it failed, and nothing has changed.
        """
        if self._agents is not None:
            wanted = pa.array(sorted(self._agents), pa.string())
            rows = rows.filter(pc.is_in(rows.column("agent"), wanted))
        if rows.num_rows:
            with _transaction(self._writing) as cursor:
                self._insert(cursor, relations.TAIL, rows)
        self.position = max(self.position, upto)

    def _insert(self, cursor: DuckDBPyConnection, table: str, rows: pa.Table) -> None:
        cursor.register(relations.PAGE, rows.drop_columns("secret"))
        try:
            cursor.execute(relations.insert(table, self._around.hub)).fetchall()
        finally:
            cursor.unregister(relations.PAGE)

    # --- questions ----------------------------------------------------------------------------

    def statement(self) -> Statement:
        """For one query, in any thread."""
        return Statement(self._connection.cursor(), self._hidden)

    def close(self) -> None:
        """Give the memory back; no statement may be running."""
        self._writing.close()
        self._connection.close()


class _Revealer:
    """What `reveal` calls; it knows no instance, or DuckDB would keep each one for ever."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def reveal(self, devices: pa.ChunkedArray, payloads: pa.ChunkedArray) -> pa.Array:
        """For the view `events`. Runs in DuckDB's threads, for about 2,000 rows."""
        keys = PayloadKeys(self._folder)  # one may have been destroyed while the query runs
        pairs = zip(devices.to_pylist(), payloads.to_pylist(), strict=True)
        return pa.array([keys.reveal(device, text) for device, text in pairs], pa.string())


@contextmanager
def _transaction(cursor: DuckDBPyConnection) -> Iterator[DuckDBPyConnection]:
    """All of it or nothing.

    Raises:
        DatabaseError: it failed.
    """
    try:
        cursor.execute("BEGIN")
        try:
            yield cursor
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
        cursor.execute("COMMIT")
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise ours(error) from error


def _connect(around: Surroundings, allowed: str) -> DuckDBPyConnection:
    """A database that reaches these folders and its spilled files, and nothing else."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": around.threads,
            "memory_limit": f"{around.memory_mb}MB",
            "max_temp_directory_size": f"{SPILL_BYTES_MAX}B",
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
            "python_enable_replacements": False,
        },
    )
    for setting in (
        # Each query opens a file before it runs. What stands at a file's end is kept for all that
        # come, until one needs the memory: the last 1,000 events take two thirds of the time.
        "GLOBAL parquet_metadata_cache = true",
        f"temp_directory = {relations.text(str(around.spill))}",
        # What a query spills may be what a device sent, revealed: without the key, which only
        # this process has, nobody reads it once its device is forgotten.
        "force_mbedtls_unsafe = true",
        "temp_file_encryption = true",
        f"allowed_directories = [{allowed}]",
        "enable_external_access = false",
    ):
        connection.execute(f"SET {setting}")
    return connection


def _make_relations(cursor: DuckDBPyConnection) -> list[str]:
    """Tables and views; the names of those that are not for people."""
    for statement in (*relations.tables(), relations.log_view([], 0), relations.views()):
        cursor.execute(statement)
    rows = cursor.execute(
        "SELECT table_name FROM duckdb_tables() UNION SELECT view_name FROM duckdb_views()"
    ).fetchall()
    return [name for (name,) in rows if name not in guard.VIEWS]
