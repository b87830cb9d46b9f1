"""Query results in the forms people and programs ask for. Times are UTC without saying so."""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.log.messages import ResultForm

GAP: Final = "  "
"""Between two columns of a table."""


class Writer(Protocol):
    """Takes a result batch by batch."""

    def write(self, batch: pa.RecordBatch) -> int:
        """Add the rows; about how many bytes they take."""
        ...

    def end(self) -> bytes:
        """The whole result."""
        ...


class Lines:
    """One JSON object a line (NDJSON). NaN and infinities are null, blobs are base64."""

    def __init__(self, schema: pa.Schema) -> None:
        self._names: list[str] = schema.names
        self._encoder = msgspec.json.Encoder(decimal_format="number", enc_hook=str)
        self._lines = bytearray()

    def write(self, batch: pa.RecordBatch) -> int:
        """Add the rows; how many bytes they take."""
        before = len(self._lines)
        rows = [dict(zip(self._names, row, strict=True)) for row in _rows(batch)]
        self._lines += self._encoder.encode_lines(rows)
        return len(self._lines) - before

    def end(self) -> bytes:
        """The whole result."""
        return bytes(self._lines)


class Csv:
    """CSV (RFC 4180) with a header; a list is JSON text, NULL is empty."""

    def __init__(self, schema: pa.Schema) -> None:
        self._text = io.StringIO()
        self._csv = csv.writer(self._text, lineterminator="\r\n")
        self._csv.writerow(schema.names)

    def write(self, batch: pa.RecordBatch) -> int:
        """Add the rows; how many characters they take."""
        before = self._text.tell()
        self._csv.writerows([_plain(value) for value in row] for row in _rows(batch))
        return self._text.tell() - before

    def end(self) -> bytes:
        """The whole result."""
        return self._text.getvalue().encode()


class Table:
    """Columns under their names, numbers to the right, for a terminal."""

    def __init__(self, schema: pa.Schema) -> None:
        self._rows: list[list[str]] = [list(schema.names)]
        self._right = [pa.types.is_integer(t) or pa.types.is_floating(t) for t in schema.types]

    def write(self, batch: pa.RecordBatch) -> int:
        """Add the rows; how many characters they take."""
        rows = [[_plain(value) for value in row] for row in _rows(batch)]
        self._rows += rows
        return sum(len(cell) + len(GAP) for row in rows for cell in row)

    def end(self) -> bytes:
        """The whole result."""
        widths = [max(map(len, column)) for column in zip(*self._rows, strict=True)]
        rule = ["-" * width for width in widths]
        lines = [
            GAP.join(
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(row, widths, self._right, strict=True)
            ).rstrip()
            for row in (self._rows[0], rule, *self._rows[1:])
        ]
        return ("\n".join(lines) + "\n").encode()


class Arrow:
    """An Arrow IPC stream."""

    def __init__(self, schema: pa.Schema) -> None:
        self._sink = pa.BufferOutputStream()
        self._stream = pa.ipc.new_stream(self._sink, schema)

    def write(self, batch: pa.RecordBatch) -> int:
        """Add the rows; how many bytes they take."""
        self._stream.write_batch(batch)
        return int(batch.get_total_buffer_size())

    def end(self) -> bytes:
        """The whole result."""
        self._stream.close()
        return bytes(self._sink.getvalue())


WRITERS: Final[dict[ResultForm, Callable[[pa.Schema], Writer]]] = {
    "json": Lines,
    "csv": Csv,
    "table": Table,
    "arrow": Arrow,
}


def _rows(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def _plain(value: object) -> str:
    """A value as text: as in JSON where JSON has a form for it, but without quotes."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no word for it
    text = msgspec.json.encode(value, enc_hook=str).decode()
    return text.strip('"') if text.startswith('"') else text
