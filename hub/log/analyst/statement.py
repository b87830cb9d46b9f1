"""One query of a person, in whatever thread: checked, run in a read-only transaction, and read.

with closing(instance.statement()) as statement:
    with closing(statement.run("SELECT …", rows=2048)) as result:
        for batch in result: …
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

import duckdb
import msgspec
import pyarrow as pa

from hub.errors import OperatorFault
from hub.log.analyst import guard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from duckdb import DuckDBPyConnection

AT_ONCE_ROWS: Final = 10_000
"""A result that is no longer is made before it is read: then DuckDB plans the query once and not
twice, a quarter of the time that the last 1,000 events of an agent take."""
GONE: Final = ("IO Error: No files found", "IO Error: Cannot open file")
"""What DuckDB says of a file that is not there."""
DAMAGED: Final = ("TProtocolException", "No magic bytes")
"""What it says of one that is not what it was."""
SELECT: Final = "SELECT"
EXPLAIN: Final = "EXPLAIN"

warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)
"""It copies the rows once more, and they are few (`AT_ONCE_ROWS`)."""


class DatabaseError(Exception):
    """DuckDB could not do it; the message is for whoever asked."""


class FileGone(DatabaseError):
    """A sealed file was not there: retention took it. Look at the manifest again."""


class Interrupted(DatabaseError):
    """Somebody called `interrupt`."""


class Statement:
    """One query of a person: checked, then run in a read-only transaction."""

    def __init__(self, cursor: DuckDBPyConnection, hidden: Iterable[str]) -> None:
        self._cursor = cursor
        self._hidden = hidden

    def close(self) -> None:
        """Give the connection back; from the thread that ran it."""
        self._cursor.close()

    def interrupt(self) -> None:
        """End what runs, if something does; from any thread."""
        self._cursor.interrupt()

    def run(self, sql: str, rows: int) -> Result:
        """Start it; the result comes in batches of so many rows.

        Raises:
            OperatorFault: the guard refused it.
            DatabaseError: it is wrong or failed.
        """
        try:
            limit = self._check(sql)
            self._cursor.execute("BEGIN TRANSACTION READ ONLY").fetchall()
            if limit is None or limit > AT_ONCE_ROWS:
                return Result(self._cursor.sql(sql).to_arrow_reader(rows))
            return Result(self._cursor.execute(sql).to_arrow_reader(rows))
        except duckdb.Error as error:
            raise ours(error) from error

    def _check(self, sql: str) -> int | None:
        """How many rows it asks for at most, if it says so."""
        if len(sql) > guard.SQL_CHARACTERS_MAX:
            raise OperatorFault(f"the query is longer than {guard.SQL_CHARACTERS_MAX} characters")
        statements = self._cursor.extract_statements(sql)
        if len(statements) != 1:
            raise OperatorFault(f"one statement at a time, not {len(statements)}")
        kind = statements[0].type.name
        if kind not in (SELECT, EXPLAIN):
            raise OperatorFault(f"only SELECT is possible here, not {kind}")
        statement = guard.explained(sql) if kind == EXPLAIN else sql
        ((text,),) = self._cursor.execute(
            "SELECT json_serialize_sql($sql, skip_null := true, skip_empty := true)",
            {"sql": statement},
        ).fetchall()
        try:
            tree = msgspec.json.decode(text)
        except RecursionError:
            raise OperatorFault("the query is nested too deeply") from None
        if tree["error"]:
            raise OperatorFault("only a plain SELECT is possible here, or EXPLAIN of one")
        guard.check(tree, self._hidden)
        return None if kind == EXPLAIN else guard.limit(tree)


class Result:
    """Batches of a query."""

    def __init__(self, reader: pa.RecordBatchReader) -> None:
        self._reader = reader
        self.schema: pa.Schema = reader.schema

    def close(self) -> None:
        """In the middle, this ends the query."""
        self._reader.close()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Each batch as it is made.

        Raises:
            DatabaseError: the query failed.
        """
        while True:
            try:
                batch = self._reader.read_next_batch()
            except StopIteration:
                return
            except (duckdb.Error, pa.ArrowException, OSError) as error:
                raise ours(error) from error
            yield batch


def ours(error: Exception) -> DatabaseError:
    """What DuckDB or Arrow raised, as ours."""
    message = str(error)
    if message.startswith("INTERRUPT"):
        return Interrupted(message)
    if isinstance(error, FileNotFoundError) or any(words in message for words in GONE):
        return FileGone(message)
    if any(words in message for words in DAMAGED):
        message = f"a sealed file is damaged, `sheepfold verify` says which: {message}"
    return DatabaseError(message)
