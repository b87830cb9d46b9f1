"""Events as Arrow columns and back, with as little Python for each number as there can be.

A vector's float32 bytes are what Arrow keeps too, so a column of vectors is a column of bytes whose
offsets count in fours. Numbers of one width are packed by `struct`, some four times as quick as
`pyarrow.array`; columns with a None among them take the slower way.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import structs

from hub.words import FLOAT_BYTES, Event, Floats, Kind, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FIELDS: Final = Event.__struct_fields__
"""Columns of the log table in the order of Event."""

_BIGINT: Final = ("session", "boot", "step", "policy", "latency_us", "seq")
_TIME: Final = ("ts", "device_ts")
_SMALL: Final = ("kind", "source", "version")
_TEXT: Final = ("agent", "device", "reason", "payload")
_TRUTH: Final = ("terminated", "truncated", "first")
_NUMBER: Final = ("reward", "logprob", "value")
_VECTOR: Final = ("obs", "action", "executed")

SCHEMA: Final = pa.schema(
    [
        pa.field(name, kind)
        for field in FIELDS
        for names, kind in (
            (_BIGINT, pa.int64()),
            (_TIME, pa.timestamp("us")),
            (_SMALL, pa.uint8()),
            (_TEXT, pa.string()),
            (_TRUTH, pa.bool_()),
            (_VECTOR, pa.list_(pa.float32())),
            (_NUMBER, pa.float64()),
            (("secret",), pa.binary()),
        )
        for name in names
        if name == field
    ]
)
"""What readers get."""
STORED: Final = pa.schema(
    [field.with_type(pa.binary()) if field.name in _VECTOR else field for field in SCHEMA]
)
"""What the hot file has; `hub/log/sql/table.sql` says the same in SQL.

DuckDB writes with each commit of a FLOAT[] column all lists of the block of 2,048 rows it appends
to: ten times the bytes for two rows of 4 floats, a hundred times for 84. Of BLOBs it doesn't.
"""

_VECTORS: Final = "vectors"
_FORMS: Final = {
    **dict.fromkeys((*_BIGINT, *_TIME), "q"),
    **dict.fromkeys(_SMALL, "B"),
    **dict.fromkeys(_NUMBER, "d"),
    **dict.fromkeys(_VECTOR, _VECTORS),
}
"""How a column is built: `struct`'s character for its numbers, or `_VECTORS`; others by pyarrow."""
_GIVEN: Final = [
    (place, field.type, _FORMS.get(field.name))
    for place, field in enumerate(SCHEMA)
    if field.name != "seq"
]
"""Looked up once: pyarrow makes new objects whenever it is asked for a field or a type."""
_FLOAT: Final = pa.float32()
_FLOATS: Final = pa.list_(_FLOAT)
_BYTES: Final = pa.binary()
_NOTHING: Final = pa.py_buffer(b"")
"""A buffer of no bytes that is somewhere; what came over a socket may be nowhere."""

_KINDS: Final = {kind.value: kind for kind in Kind}
_SOURCES: Final = {source.value: source for source in Source} | {None: None}


def to_batch(events: Sequence[Event], seq_first: int) -> pa.RecordBatch:
    """The events with consecutive seqs from `seq_first`, in columns as `SCHEMA` has them."""
    values: list[Any] = []
    for event in events:  # a tuple kept for each would wake the garbage collector again and again
        values += structs.astuple(event)
    nones = [None] * len(events)
    columns = [
        _array(values[place :: len(FIELDS)], kind, form, nones) for place, kind, form in _GIVEN
    ]
    columns.append(pa.array(np.arange(seq_first, seq_first + len(events), dtype=np.int64)))
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def to_events(table: pa.Table) -> list[Event]:
    """The rows of a table that has the columns of `SCHEMA`."""
    columns = [_values(field.name, table.column(field.name)) for field in SCHEMA]
    return list(map(Event, *columns))


def stored(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows with their vectors as bytes; nothing is copied but offsets."""
    columns = [_bytes(column) if pa.types.is_list(column.type) else column for column in rows]
    return pa.RecordBatch.from_arrays(columns, schema=STORED)


def from_stored(table: pa.Table) -> pa.Table:
    """The rows with their vectors as such, where they are bytes and where they are there at all."""
    for name in _VECTOR:
        place = table.schema.get_field_index(name)
        if place >= 0 and pa.types.is_binary(table.schema.field(place).type):
            chunks = [_lists(chunk) for chunk in table.column(place).chunks]
            table = table.set_column(place, name, pa.chunked_array(chunks, _FLOATS))
    return table


def wanted(table: pa.Table, agent: str | None, kinds: list[int] | None) -> pa.Table:
    """The rows of one agent and of some kinds; None = of all."""
    if agent is not None:
        table = table.filter(pc.equal(table.column("agent"), agent))
    if kinds is not None:
        table = table.filter(pc.is_in(table.column("kind"), pa.array(kinds, pa.uint8())))
    return table


def by_seq(table: pa.Table) -> pa.Table:
    """The rows by seq, as they are when they were read in the order in which they were inserted."""
    seqs = table.column("seq").to_numpy()
    if len(seqs) < 2 or (seqs[1:] > seqs[:-1]).all():
        return table
    return table.take(pa.array(np.argsort(seqs, kind="stable")))


def _array(values: list[Any], kind: pa.DataType, form: str | None, nones: list[None]) -> pa.Array:
    if values == nones:
        return pa.nulls(len(values), kind)  # most columns of most kinds
    if form is _VECTORS:
        return _vectors(values)
    if form is not None and values[0] is not None:
        try:
            data = struct.pack(f"{len(values)}{form}", *values)
        except struct.error:
            pass  # a None among them, or a number that pyarrow refuses too
        else:
            return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(data)])
    return pa.array(values, kind)


def _vectors(values: list[Floats | None]) -> pa.Array:
    """FLOAT[] of the joined bytes; no number is looked at."""
    return _lists(pa.array(values, _BYTES))


def _lists(joined: pa.Array) -> pa.Array:
    """Of bytes."""
    if joined.null_count == len(joined):
        return pa.nulls(len(joined), _FLOATS)
    valid, ends, data = joined.buffers()
    ends = np.frombuffer(ends, np.int32)[: joined.offset + len(joined) + 1] // FLOAT_BYTES
    numbers = pa.Array.from_buffers(_FLOAT, int(ends[-1]), [None, data])
    return pa.Array.from_buffers(
        _FLOATS,
        len(joined),
        [valid, pa.py_buffer(ends)],
        offset=joined.offset,
        children=[numbers],
    )


def _bytes(lists: pa.Array) -> pa.Array:
    """Of lists."""
    if lists.null_count == len(lists):
        return pa.nulls(len(lists), _BYTES)
    valid, ends, _, data = lists.buffers()  # of all that it is a slice of
    ends = np.frombuffer(ends, np.int32)[: lists.offset + len(lists) + 1] * FLOAT_BYTES
    data = data.slice(lists.values.offset * FLOAT_BYTES) if data else _NOTHING
    return pa.Array.from_buffers(
        _BYTES, len(lists), [valid, pa.py_buffer(ends), data], offset=lists.offset
    )


def _values(name: str, column: pa.ChunkedArray) -> list[Any]:
    if column.null_count == len(column):
        return [None] * len(column)
    convert = _CONVERT.get(name)
    if convert is not None:
        return convert(column)
    return column.to_pylist()  # type: ignore[no-any-return]  # pyarrow has no types


def _floats(column: pa.ChunkedArray) -> list[Floats | None]:
    """The same way back: as a column of bytes."""
    return [vector for chunk in column.chunks for vector in _bytes(chunk).to_pylist()]


def _times(column: pa.ChunkedArray) -> list[Any]:
    return column.cast(pa.int64()).to_pylist()  # type: ignore[no-any-return]  # as above


_CONVERT: Final[dict[str, Callable[[pa.ChunkedArray], list[Any]]]] = {
    **dict.fromkeys(_VECTOR, _floats),
    **dict.fromkeys(_TIME, _times),
    "kind": lambda column: [_KINDS[number] for number in column.to_pylist()],
    "source": lambda column: [_SOURCES[number] for number in column.to_pylist()],
}
