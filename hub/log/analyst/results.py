"""Query results in the forms people and programs ask for, as they come; times are UTC.

writer = WRITERS[form](schema)
send(writer.head())
for batch in result:
    send(writer.rows(batch))
send(writer.end())
"""

from __future__ import annotations

import csv
import io
import math
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.log.analyst.messages import ResultForm

GAP: Final = "  "
"""Between two columns of a table."""
TABLE_ROWS_MAX: Final = 10_000
"""A table is written when all of it is there, to know its columns' widths."""
_encode: Final = msgspec.json.Encoder(decimal_format="number", enc_hook=str)


class Writer(Protocol):
    """Takes a result batch by batch, gives it out as bytes."""

    def head(self) -> bytes:
        """What stands before the rows."""
        ...

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """The rows; none when they come later."""
        ...

    def end(self) -> bytes:
        """What stands after the rows."""
        ...

    @property
    def full(self) -> bool:
        """More rows would not be shown."""
        ...


class _Endless:
    @property
    def full(self) -> bool:
        """Never."""
        return False


class Lines(_Endless):
    """One JSON object a line (NDJSON). NaN and infinities are null, blobs are base64."""

    def __init__(self, schema: pa.Schema) -> None:
        self._names: list[str] = schema.names

    def head(self) -> bytes:
        """Nothing."""
        return b""

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """The rows."""
        lines = [dict(zip(self._names, row, strict=True)) for row in _rows(batch)]
        return _encode.encode_lines(lines)

    def end(self) -> bytes:
        """Nothing."""
        return b""


class Csv(_Endless):
    """CSV (RFC 4180) with a header; a list is JSON text, NULL is empty."""

    def __init__(self, schema: pa.Schema) -> None:
        self._names: list[str] = schema.names

    def head(self) -> bytes:
        """The names of the columns."""
        return _csv([self._names])

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """The rows."""
        return _csv([[_plain(value) for value in row] for row in _rows(batch)])

    def end(self) -> bytes:
        """Nothing."""
        return b""


class Table:
    """Columns under their names, numbers to the right, for a terminal."""

    def __init__(self, schema: pa.Schema) -> None:
        self._lines: list[list[str]] = [list(schema.names)]
        self._right = [pa.types.is_integer(t) or pa.types.is_floating(t) for t in schema.types]

    @property
    def full(self) -> bool:
        """There are more than are shown."""
        return len(self._lines) - 1 > TABLE_ROWS_MAX

    def head(self) -> bytes:
        """Nothing yet."""
        return b""

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """Nothing yet."""
        self._lines += [[_plain(value) for value in row] for row in _rows(batch)]
        return b""

    def end(self) -> bytes:
        """The table."""
        cut = self.full
        names, *rows = self._lines[: TABLE_ROWS_MAX + 1]
        widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
        rule = ["-" * width for width in widths]
        lines = [
            GAP.join(
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(row, widths, self._right, strict=True)
            ).rstrip()
            for row in (names, rule, *rows)
        ]
        if cut:
            lines.append(f"… the first {TABLE_ROWS_MAX:,} rows; for more use csv, json or arrow")
        return ("\n".join(lines) + "\n").encode()


class Arrow(_Endless):
    """An Arrow IPC stream; without its last bytes it is not whole, and readers say so."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._bytes = io.BytesIO()
        self._stream = pa.ipc.new_stream(self._bytes, schema)

    def head(self) -> bytes:
        """Nothing: the schema comes with the first rows or the end."""
        return b""

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """The rows."""
        self._stream.write_batch(batch)
        return self._written()

    def end(self) -> bytes:
        """The end of the stream."""
        self._stream.close()
        return self._written()

    def _written(self) -> bytes:
        written = self._bytes.getvalue()
        self._bytes.seek(0)
        self._bytes.truncate()
        return written


class Parquet(_Endless):
    """A Parquet file (zstd); the directory of its row groups stands at the end."""

    def __init__(self, schema: pa.Schema) -> None:
        self._sink = _Sink()
        self._file = pq.ParquetWriter(self._sink, schema, compression="zstd")

    def head(self) -> bytes:
        """The mark that it is one."""
        return self._sink.taken()

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """A row group."""
        self._file.write_batch(batch)
        return self._sink.taken()

    def end(self) -> bytes:
        """The directory."""
        self._file.close()
        return self._sink.taken()


class _Sink(io.RawIOBase):
    """A file that is only written, from its beginning to its end, and taken piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._written += len(piece)
        return len(piece)

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


WRITERS: Final[dict[ResultForm, Callable[[pa.Schema], Writer]]] = {
    "json": Lines,
    "csv": Csv,
    "table": Table,
    "arrow": Arrow,
    "parquet": Parquet,
}


def _rows(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    return list(zip(*(_exact(column).to_pylist() for column in batch.columns), strict=True))


def _exact(array: pa.Array) -> pa.Array:
    """float32 as the float64 whose shortest text is the same: 0.1 instead of 0.10000000149011612.

    Arrow writes a float32 as the shortest text that reads back, as Python does a float64.
    """
    kind = array.type
    if pa.types.is_float32(kind):
        return array.cast(pa.string()).cast(pa.float64())
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        # `flatten` leaves out what a slice or NULL hides, so the offsets are counted anew.
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_pylist()
        ends = pa.array(accumulate(lengths, initial=0), pa.int32())
        return pa.ListArray.from_arrays(ends, _exact(array.flatten()), mask=array.is_null())
    if pa.types.is_struct(kind) and kind.num_fields:
        fields = [_exact(pc.struct_field(array, index)) for index in range(kind.num_fields)]
        return pa.StructArray.from_arrays(fields, [f.name for f in kind], mask=array.is_null())
    return array


def _csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _plain(value: object) -> str:
    """A value as text: as in JSON where JSON has a form for it, but without quotes."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no word for it
    text = _encode.encode(value).decode()
    return text.strip('"') if text.startswith('"') else text
