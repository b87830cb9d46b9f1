"""Queries of people on the live log: checked, limited, and written in the form they asked for.

    answer = asker.answer("SELECT agent, count(*) FROM transitions GROUP BY agent", "json")

Runs in a thread of its own on a connection of its own; `hub.log.guard` says what may pass.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import msgspec

from hub.errors import OperatorFault
from hub.log import guard, results
from hub.log.duck import DatabaseError
from hub.log.messages import BODY_BYTES_MAX

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from hub.log.messages import ResultForm
    from hub.settings import LogSettings

BATCH_ROWS: Final = 2048
"""Read and written at once; the size limit is looked at after each."""
WAITING_MAX: Final = 16
"""Queries answered one after the other; more are refused at once."""
SELECT: Final = "SELECT"
EXPLAIN: Final = "EXPLAIN"


class Desk:
    """Where queries queue for the asker's thread, each with a limit on its time."""

    def __init__(self, asker: Asker, settings: LogSettings) -> None:
        self._asker = asker
        self._limit_s = settings.query_s
        self._thread = ThreadPoolExecutor(1, "ask")
        self._free = asyncio.Lock()
        self._waiting = 0

    async def answer(self, sql: str, form: ResultForm) -> bytes:
        """The result, when it is this query's turn.

        Raises:
            OperatorFault: as `Asker.answer`, or too many are waiting.
        """
        if self._waiting >= WAITING_MAX:
            raise OperatorFault("too many queries are waiting, try again soon")
        loop = asyncio.get_running_loop()
        self._waiting += 1
        try:
            async with self._free:
                limit = loop.call_later(self._limit_s, self._asker.interrupt)
                try:
                    return await loop.run_in_executor(self._thread, self._asker.answer, sql, form)
                finally:
                    limit.cancel()
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the running query and forget those that wait."""
        self._asker.interrupt()
        self._thread.shutdown(cancel_futures=True)


class Asker:
    """Answers one query at a time.

    Args:
        connection: of this asker alone, its memory limited and its configuration locked.
        settings: `[log]`.
    """

    def __init__(self, connection: DuckDBPyConnection, settings: LogSettings) -> None:
        self._connection = connection
        self._bytes_max = min(settings.query_bytes_max, BODY_BYTES_MAX)
        self._limit_s = settings.query_s
        self._hidden: list[str] = []

    def answer(self, sql: str, form: ResultForm) -> bytes:
        """The result of one SELECT over the views, in the form.

        Raises:
            OperatorFault: it is not allowed, not right, or over a limit; the message says which.
        """
        try:
            self._check(sql)
            self._connection.execute("BEGIN TRANSACTION READ ONLY").fetchall()
            try:
                return self._run(sql, form)
            finally:
                self._connection.execute("ROLLBACK").fetchall()
        except DatabaseError as error:
            raise OperatorFault(self._explain(error)) from error

    def interrupt(self) -> None:
        """End the running query; from another thread, when its time is over."""
        self._connection.interrupt()

    def _check(self, sql: str) -> None:
        if len(sql) > guard.SQL_CHARACTERS_MAX:
            raise OperatorFault(f"the query is longer than {guard.SQL_CHARACTERS_MAX} characters")
        statements = self._connection.extract_statements(sql)
        if len(statements) != 1:
            raise OperatorFault(f"one statement at a time, not {len(statements)}")
        kind = statements[0].type.name
        if kind not in (SELECT, EXPLAIN):
            raise OperatorFault(f"only SELECT is possible here, not {kind}")
        statement = guard.explained(sql) if kind == EXPLAIN else sql
        ((text,),) = self._connection.execute(
            "SELECT json_serialize_sql($sql, skip_null := true, skip_empty := true)",
            {"sql": statement},
        ).fetchall()
        try:
            tree = msgspec.json.decode(text)
        except RecursionError:
            raise OperatorFault("the query is nested too deeply") from None
        if tree["error"]:
            raise OperatorFault("only a plain SELECT is possible here, or EXPLAIN of one")
        guard.check(tree, self._relations())

    def _relations(self) -> list[str]:
        """Names no WITH may take: every table and view but ours; they never change."""
        if not self._hidden:
            rows = self._connection.execute(
                "SELECT table_name FROM duckdb_tables() UNION SELECT view_name FROM duckdb_views()"
            ).fetchall()
            self._hidden = [name for (name,) in rows if name not in guard.VIEWS]
        return self._hidden

    def _run(self, sql: str, form: ResultForm) -> bytes:
        # Closed in any case: a result that was not read to its end holds the connection.
        with self._connection.sql(sql).to_arrow_reader(BATCH_ROWS) as reader:
            writer = results.WRITERS[form](reader.schema)
            size = 0
            for batch in reader:
                size += writer.write(batch)
                if size > self._bytes_max:
                    raise OperatorFault(
                        f"the result is larger than {self._bytes_max} bytes; "
                        "select fewer columns or rows, or add LIMIT"
                    )
        return writer.end()

    def _explain(self, error: DatabaseError) -> str:
        if "INTERRUPT" in str(error):
            return f"the query took longer than {self._limit_s:g} s; ask for less at once"
        return str(error)
