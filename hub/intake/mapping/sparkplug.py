"""Sparkplug B payloads, read from their bytes: metrics by name, aliases by what a BIRTH said.

    metrics = read_payload(payload)                   # as they were sent
    document, aliases = named(metrics, aliases)       # {"Inputs/temp": {"v": 21.5}}

The Protocol Buffers wire format is four kinds of fields; what is read here is the fields of
`sparkplug_b.proto` (Eclipse Sparkplug 3.0.0, chapter 6) that carry a number, truth or text. Ingress
only: nothing is ever written.

A BIRTH says name, alias and type of each metric, a DATA message what has changed, by alias alone.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from hub.errors import DeviceFault
from hub.words import Code

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

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
_SHORT: Final = 0x80
"""A number below it, as nearly all are, is one byte."""
_VARINT_BITS_MAX: Final = 70
_PASSED_OVER: Final = re.compile(rb"[\x80-\xff]{0,9}[\x00-\x7f]")
"""A number that nobody wants: a time has six bytes."""
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
    metrics: list[Metric] = []
    try:
        for _, wire, value in _fields(payload, _PAYLOAD):
            if wire == _BYTES:
                metrics.append(_metric(value))
            if len(metrics) > METRICS_MAX:
                raise DeviceFault(Code.PAYLOAD, f"over {METRICS_MAX} metrics")
    except IndexError as error:
        raise _broken("it ends within a number") from error
    return metrics


def _metric(payload: bytes) -> Metric:
    name, alias, datatype = None, None, 0
    historical = null = False
    value: Value = None
    for number, wire, found in _fields(payload, _WIRE):
        if wire != _WIRE[number]:
            raise _broken(f"field {number} of a metric has wire type {wire}")
        if number == _ALIAS:
            alias = found
        elif number == _DATATYPE:
            datatype = found
        elif number == _NAME:
            name = _text(found)
        elif number == _NULL:
            null = bool(found)
        elif number == _HISTORICAL:
            historical = bool(found)
        else:
            value = _READ[number](found)
    return Metric(name, alias, datatype, historical, None if null else value)


def _text(found: bytes) -> str:
    try:
        return found.decode()
    except UnicodeDecodeError as error:
        raise _broken(f"text that is not UTF-8: {error.reason}") from error


_READ: Final[dict[int, Callable[[Any], Value]]] = {
    _INT: int,
    _LONG: int,
    _FLOAT: lambda found: _F32.unpack(found)[0],
    _DOUBLE: lambda found: _F64.unpack(found)[0],
    _BOOLEAN: lambda found: float(bool(found)),
    _STRING: _text,
}
"""The value of a metric."""


def _signed(value: Value, datatype: int) -> Value:
    bits = _SIGNED.get(datatype)
    if bits is None or not isinstance(value, int):
        return value
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _fields(message: bytes, wanted: Container[int]) -> Iterator[tuple[int, int, Any]]:
    """Number, wire type and value of each field that is wanted, in order.

    A varint is an int, any other its bytes. Passed over are times, properties, templates, metadata.

    Raises:
        DeviceFault, IndexError: the bytes are no message.
    """
    at, end = 0, len(message)
    while at < end:
        key = message[at]
        if key < _SHORT:
            at += 1
        else:
            key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            if number not in wanted:
                at = _past_varint(message, at)
            else:
                value, at = _varint(message, at)
                yield number, wire, value
            continue
        if wire != _BYTES:
            length = 4 if wire == _FIXED32 else _eight(wire)
        elif (length := message[at]) < _SHORT:
            at += 1
        else:
            length, at = _varint(message, at)
        if length > end - at:
            raise _broken("a field reaches past the end")
        if number in wanted:
            yield number, wire, message[at : at + length]
        at += length


def _eight(wire: int) -> int:
    if wire != _FIXED64:
        raise _broken(f"wire type {wire}")
    return 8


def _past_varint(message: bytes, at: int) -> int:
    passed = _PASSED_OVER.match(message, at)
    if passed is None:
        raise _broken("a number has no end within ten bytes")
    return passed.end()


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    byte = message[at]
    if byte < _SHORT:
        return byte, at + 1
    value = shift = 0
    while byte & 0x80:
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if shift == _VARINT_BITS_MAX:
            raise _broken("a number of more than ten bytes")
        byte = message[at]
    return (value | byte << shift) & _U64, at + 1


def _broken(why: str) -> DeviceFault:
    return DeviceFault(Code.PAYLOAD, f"no Sparkplug B payload: {why}")
