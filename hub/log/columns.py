"""Events as Arrow columns and back, without a Python object per number.

A vector's float32 bytes are what Arrow keeps too, so a column of vectors is the bytes joined.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
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
"""`hub/log/sql/table.sql` says the same in SQL."""

_KINDS: Final = {kind.value: kind for kind in Kind}
_SOURCES: Final = {source.value: source for source in Source} | {None: None}


def to_batch(events: Sequence[Event], seq_first: int) -> pa.RecordBatch:
    """The events with consecutive seqs from `seq_first`, in columns as `SCHEMA` has them."""
    rows = map(structs.astuple, events)
    values = dict(zip(FIELDS, zip(*rows, strict=True), strict=True)) if events else {}
    values["seq"] = tuple(range(seq_first, seq_first + len(events)))
    columns = [_array(field, values.get(field.name, ())) for field in SCHEMA]
    return pa.record_batch(columns, schema=SCHEMA)


def to_events(table: pa.Table) -> list[Event]:
    """The rows of a table that has the columns of `SCHEMA`."""
    columns = [_values(field.name, table.column(field.name)) for field in SCHEMA]
    return [Event(*row) for row in zip(*columns, strict=True)]


def _array(field: pa.Field, values: tuple[Any, ...]) -> pa.Array:
    if values.count(None) == len(values):
        return pa.nulls(len(values), field.type)  # most columns of most kinds: half the time
    if field.name in _VECTOR:
        return _vectors(values)
    if field.name in _TIME:
        return pa.array(values, pa.int64()).view(field.type)
    return pa.array(values, field.type)


def _vectors(values: Sequence[Floats | None]) -> pa.Array:
    """FLOAT[] of the joined bytes; no number is looked at."""
    data = b"".join(value for value in values if value)
    ends = accumulate((len(value) // FLOAT_BYTES if value else 0 for value in values), initial=0)
    return pa.ListArray.from_arrays(
        pa.array(ends, pa.int32()),
        pa.Array.from_buffers(pa.float32(), len(data) // FLOAT_BYTES, [None, pa.py_buffer(data)]),
        mask=pa.array([value is None for value in values], pa.bool_()),
    )


def _values(name: str, column: pa.ChunkedArray) -> list[Any]:
    if column.null_count == len(column):
        return [None] * len(column)
    convert = _CONVERT.get(name)
    if convert is not None:
        return convert(column)
    return column.to_pylist()  # type: ignore[no-any-return]  # pyarrow has no types


def _floats(column: pa.ChunkedArray) -> list[Floats | None]:
    vectors: list[Floats | None] = []
    for chunk in column.chunks:
        numbers = chunk.values
        start = numbers.offset * FLOAT_BYTES
        buffer = numbers.buffers()[1]
        data = memoryview(b"" if buffer is None else buffer)[start:]
        ends = [end * FLOAT_BYTES for end in chunk.offsets.to_pylist()]
        vectors += [
            Floats(bytes(data[first:last])) if valid else None
            for first, last, valid in zip(
                ends, ends[1:], chunk.is_valid().to_pylist(), strict=False
            )
        ]
    return vectors


def _times(column: pa.ChunkedArray) -> list[Any]:
    return column.cast(pa.int64()).to_pylist()  # type: ignore[no-any-return]  # as above


_CONVERT: Final[dict[str, Callable[[pa.ChunkedArray], list[Any]]]] = {
    **dict.fromkeys(_VECTOR, _floats),
    **dict.fromkeys(_TIME, _times),
    "kind": lambda column: [_KINDS[number] for number in column.to_pylist()],
    "source": lambda column: [_SOURCES[number] for number in column.to_pylist()],
}
