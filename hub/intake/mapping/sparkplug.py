"""Sparkplug B payloads, read from their bytes: metrics by name, aliases by what a BIRTH said.

    metrics = read_payload(payload)                   # as they were sent
    document, aliases = named(metrics, aliases)       # {"Inputs/temp": {"v": 21.5}}

The Protocol Buffers wire format is four kinds of fields; what is read here is the fields of
`sparkplug_b.proto` (Eclipse Sparkplug 3.0.0, chapter 6) that carry a number, truth or text. Ingress
only: nothing is ever written.

A BIRTH says name, alias and type of each metric, a DATA message what has changed, by alias alone.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from hub.errors import DeviceFault
from hub.words import Code

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

METRICS_MAX: Final = 10_000
_METRICS: Final = 2
"""Field of a payload."""
_PAYLOAD: Final = (_METRICS,)
_NAME, _ALIAS, _DATATYPE, _HISTORICAL, _NULL = 1, 2, 4, 5, 7
_INT, _LONG, _FLOAT, _DOUBLE, _BOOLEAN, _STRING = 10, 11, 12, 13, 14, 15
"""Fields of a metric."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
"""Wire types."""
_WIRE: Final = {
    _NAME: _BYTES, _ALIAS: _VARINT, _DATATYPE: _VARINT, _HISTORICAL: _VARINT, _NULL: _VARINT,
    _INT: _VARINT, _LONG: _VARINT, _FLOAT: _FIXED32, _DOUBLE: _FIXED64, _BOOLEAN: _VARINT,
    _STRING: _BYTES,
}  # fmt: skip
_SIGNED: Final = {1: 8, 2: 16, 3: 32, 4: 64}
"""Bits of Int8 to Int64, sent as the unsigned number of the same bits."""
_VARINT_BYTES_MAX: Final = 10
_VARINT_BITS_MAX: Final = 7 * _VARINT_BYTES_MAX
_F32, _F64 = struct.Struct("<f"), struct.Struct("<d")
_U64: Final = (1 << 64) - 1


Value = int | float | str | None


class Alias(Struct, frozen=True):
    """What a BIRTH said of one metric."""

    name: str
    datatype: int


class Metric(Struct, gc=False):
    """One as it was sent."""

    name: str | None = None
    alias: int | None = None
    datatype: int = 0
    historical: bool = False
    value: Value = None


Aliases = dict[int, Alias]


def named(metrics: list[Metric], aliases: Aliases) -> tuple[dict[str, dict[str, Value]], Aliases]:
    """The metrics' values by name, and all that is known of aliases now.

    Raises:
        DeviceFault: an alias that no BIRTH has named.
    """
    learnt = {
        metric.alias: Alias(metric.name, metric.datatype)
        for metric in metrics
        if metric.alias is not None and metric.name
    }
    if learnt:
        aliases = aliases | learnt
        if len(aliases) > METRICS_MAX:
            raise DeviceFault(Code.PAYLOAD, f"over {METRICS_MAX} metrics have aliases")
    document: dict[str, dict[str, Value]] = {}
    for metric in metrics:
        known = None if metric.alias is None else aliases.get(metric.alias)
        if not metric.name and known is None:
            raise DeviceFault(
                Code.PAYLOAD,
                f"alias {metric.alias} was named by no BIRTH that the hub has seen; "
                "have the node send one (NCMD 'Node Control/Rebirth')",
            )
        if metric.historical:
            continue  # of some time ago, sent now
        name = metric.name or (known.name if known is not None else "")
        datatype = metric.datatype or (known.datatype if known is not None else 0)
        value = metric.value
        document[name] = {"v": value if type(value) is float else _signed(value, datatype)}
    return document, aliases


def read_payload(payload: bytes) -> list[Metric]:
    """Its metrics.

    Raises:
        DeviceFault: the bytes are no such payload.
    """
    metrics = []
    for number, wire, value in _fields(payload, _PAYLOAD):
        if number == _METRICS and wire == _BYTES:
            assert isinstance(value, bytes)
            metrics.append(_metric(value))
            if len(metrics) > METRICS_MAX:
                raise DeviceFault(Code.PAYLOAD, f"over {METRICS_MAX} metrics")
    return metrics


def _metric(payload: bytes) -> Metric:
    metric, null = Metric(), False
    for number, wire, value in _fields(payload, _WIRE):
        if wire != _WIRE[number]:
            raise _broken(f"field {number} of a metric has wire type {wire}")
        if isinstance(value, bytes):
            _take_bytes(metric, number, value)
        elif number == _ALIAS:
            metric.alias = value
        elif number == _DATATYPE:
            metric.datatype = value
        elif number == _NULL:
            null = bool(value)
        elif number == _HISTORICAL:
            metric.historical = bool(value)
        else:
            metric.value = float(bool(value)) if number == _BOOLEAN else value
    if null:
        metric.value = None
    return metric


def _take_bytes(metric: Metric, number: int, value: bytes) -> None:
    if number == _FLOAT:
        (metric.value,) = _F32.unpack(value)
    elif number == _DOUBLE:
        (metric.value,) = _F64.unpack(value)
    else:
        try:
            text = value.decode()
        except UnicodeDecodeError as error:
            raise _broken(f"text that is not UTF-8: {error.reason}") from error
        if number == _NAME:
            metric.name = text
        else:
            metric.value = text


def _signed(value: Value, datatype: int) -> Value:
    bits = _SIGNED.get(datatype)
    if bits is None or not isinstance(value, int):
        return value
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _fields(message: bytes, wanted: Container[int]) -> Iterator[tuple[int, int, int | bytes]]:
    """Number, wire type and value of each field that is wanted, in order.

    Passed over are times, properties, sets, templates, metadata.
    """
    at, end = 0, len(message)
    while at < end:
        key, at = (message[at], at + 1) if message[at] < 0x80 else _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            if number not in wanted:
                at = _past_varint(message, at)
            elif at < end and message[at] < 0x80:  # nearly all of them
                yield number, wire, message[at]
                at += 1
            else:
                value, at = _varint(message, at)
                yield number, wire, value
            continue
        if wire == _BYTES:
            short = at < end and message[at] < 0x80
            length, at = (message[at], at + 1) if short else _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise _broken(f"wire type {wire}")
        if length > end - at:
            raise _broken("a field reaches past the end")
        if number in wanted:
            yield number, wire, message[at : at + length]
        at += length


def _past_varint(message: bytes, at: int) -> int:
    """Where a number ends."""
    start = at
    try:
        while message[at] & 0x80:
            at += 1
    except IndexError as error:
        raise _broken("it ends within a number") from error
    if at - start >= _VARINT_BYTES_MAX:
        raise _broken("a number of more than ten bytes")
    return at + 1


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    try:
        while (byte := message[at]) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            at += 1
            if shift == _VARINT_BITS_MAX:
                raise _broken("a number of more than ten bytes")
    except IndexError as error:
        raise _broken("it ends within a number") from error
    return (value | byte << shift) & _U64, at + 1


def _broken(why: str) -> DeviceFault:
    return DeviceFault(Code.PAYLOAD, f"no Sparkplug B payload: {why}")
