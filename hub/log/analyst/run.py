"""One query in its own thread: rows in, pieces of the wanted form out, at the client's pace."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from hub.errors import OperatorFault
from hub.log.analyst.results import WRITERS
from hub.log.analyst.statement import Interrupted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from hub.clock import Clock
    from hub.log.analyst.messages import Ask
    from hub.log.analyst.results import Writer
    from hub.log.analyst.statement import Statement

BATCH_ROWS: Final = 2048
"""Taken from DuckDB at once; its own unit."""
ARROW_BATCH_ROWS: Final = 16_384
"""Where rows are not looked at one by one, fewer batches are faster to read."""
PIECE_BYTES: Final = 1 << 20
"""About so many are sent at once."""


class Run:
    """Made in the event loop's thread, `go` in another.

    Args:
        ask: what is asked.
        send: takes a piece, and returns when there is room for the next.
        bytes_max: of the whole result.
        clock: counts what the query works, without what its client lets it wait.

    Attributes:
        reason: set to have it end with this message, beside interrupting the statement.
        sent: whether some of the result is out.
    """

    def __init__(
        self, ask: Ask, send: Callable[[bytes], Awaitable[None]], bytes_max: int, clock: Clock
    ) -> None:
        self.sql = ask.sql
        self.reason: str | None = None
        self.sent = False
        self._form = ask.form
        self._send = send
        self._bytes_max = bytes_max
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._bytes = 0
        self._began = clock.monotonic()
        self._waited_s = 0.0
        self._waiting_since: float | None = None

    @property
    def worked_s(self) -> float:
        """How long it has run, less what it waited for its client."""
        until = self._waiting_since or self._clock.monotonic()
        return until - self._began - self._waited_s

    def go(self, statement: Statement) -> None:
        """Run it to its end.

        Raises:
            OperatorFault: refused, over a limit or stopped.
            DatabaseError: it is wrong or failed.
            OSError: the client is gone or does not read.
        """
        rows = ARROW_BATCH_ROWS if self._form in ("arrow", "parquet") else BATCH_ROWS
        try:
            with closing(statement), closing(statement.run(self.sql, rows)) as result:
                writer = self._writer(result.schema)
                self._put(writer.head())
                for batch in result:
                    self._write(writer, batch)
                    if writer.full:
                        break
                self._put(writer.end())
        except Interrupted as error:
            raise OperatorFault(self.reason or "the query was stopped") from error

    def _writer(self, schema: pa.Schema) -> Writer:
        try:
            return WRITERS[self._form](schema)
        except pa.ArrowException as error:  # Parquet has no type for it
            raise OperatorFault(_unwritten(self._form, error)) from error

    def _write(self, writer: Writer, batch: pa.RecordBatch) -> None:
        for part in _parts(batch):
            try:
                piece = writer.rows(part)
            except Exception as error:  # a year 294247 is none to Python, and who knows what else
                raise OperatorFault(_unwritten(self._form, error)) from error
            self._put(piece)

    def _put(self, piece: bytes) -> None:
        if self.reason is not None:
            raise OperatorFault(self.reason)
        if not piece:
            return
        self._bytes += len(piece)
        if self._bytes > self._bytes_max:
            raise OperatorFault(
                f"the result is larger than {self._bytes_max} bytes; "
                "select fewer columns or rows, or add LIMIT"
            )
        self._waiting_since = self._clock.monotonic()
        self.sent = True
        asyncio.run_coroutine_threadsafe(_to(self._send, piece), self._loop).result()
        self._waited_s += self._clock.monotonic() - self._waiting_since
        self._waiting_since = None


def _unwritten(form: str, error: Exception) -> str:
    return f"a value can't be written as {form} ({error}); cast it to VARCHAR"


async def _to(send: Callable[[bytes], Awaitable[None]], piece: bytes) -> None:
    await send(piece)


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch in slices of about `PIECE_BYTES`: one row may be a picture."""
    pieces = batch.nbytes // PIECE_BYTES + 1
    rows = max(1, -(-batch.num_rows // pieces))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)
