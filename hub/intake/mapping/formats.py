"""A payload becomes the document that paths look into; senml and sparkplug have their own files."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

import msgspec

from hub.errors import DeviceFault, OperatorFault
from hub.intake.mapping import senml
from hub.words import FLOAT_BYTES, Code

if TYPE_CHECKING:
    from hub.mappings import Mapping

Decode = Callable[[bytes], object]

VALUES_MAX: Final = 10_000
"""Of one csv line or form."""
_json: Final = msgspec.json.Decoder()
_msgpack: Final = msgspec.msgpack.Decoder()


def decoder(mapping: Mapping) -> Decode:
    """What decodes a payload of the mapping's format.

    Raises:
        OperatorFault: its separator and decimal can't be told apart.
    """
    if mapping.format == "csv":
        return _csv(mapping.separator, mapping.decimal)
    return _DECODERS[mapping.format]


def _decode_json(payload: bytes) -> object:
    try:
        return _json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DeviceFault(Code.PAYLOAD, f"not JSON: {error}") from error


def _decode_msgpack(payload: bytes) -> object:
    try:
        return _msgpack.decode(payload)
    # A time of the year 10^11, or keys that no dict can have.
    except (msgspec.DecodeError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DeviceFault(Code.PAYLOAD, f"not MessagePack: {error}") from error


def _decode_f32(payload: bytes) -> object:
    """Little-endian float32, and nothing else."""
    count, rest = divmod(len(payload), FLOAT_BYTES)
    if rest or count > VALUES_MAX:
        text = f"{len(payload)} bytes are no float32 numbers, {VALUES_MAX} at most"
        raise DeviceFault(Code.PAYLOAD, text)
    return list(struct.unpack(f"<{count}f", payload))


def _decode_text(payload: bytes) -> object:
    try:
        return payload.decode().strip()
    except UnicodeDecodeError as error:
        raise DeviceFault(Code.PAYLOAD, f"not UTF-8: {error.reason}") from error


def _csv(separator: str, decimal: str) -> Decode:
    if len(separator) != 1 or separator == decimal or separator in "\r\n":
        raise OperatorFault(f"separator is one character and not the decimal, not {separator!r}")

    def decode(payload: bytes) -> object:
        line = _decode_text(payload)
        assert isinstance(line, str)
        if "\n" in line or line.count(separator) >= VALUES_MAX:
            text = f"csv is one line of at most {VALUES_MAX} values"
            raise DeviceFault(Code.PAYLOAD, text)
        return line.split(separator)

    return decode


def _decode_form(payload: bytes) -> object:
    """Fields of a form by name, each JSON or text; `json=` is a document of its own."""
    text = _decode_text(payload)
    assert isinstance(text, str)
    if text.count("&") >= VALUES_MAX:
        raise DeviceFault(Code.PAYLOAD, f"not form fields: over {VALUES_MAX}")
    fields: dict[str, str] = {}
    for field in text.split("&"):
        if field:
            name, _, value = field.partition("=")
            fields[_unquoted(name)] = _unquoted(value)
    if "json" in fields:
        return _decode_json(fields["json"].encode())
    return {name: _json_or_text(value) for name, value in fields.items()}


def _unquoted(text: str) -> str:
    return unquote_plus(text) if "%" in text or "+" in text else text


def _json_or_text(text: str) -> object:
    if text[:1] not in _JSON_BEGINS:
        return text
    try:
        return _json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text


_JSON_BEGINS: Final = frozenset('{["-0123456789tfn \t\r\n')

_DECODERS: Final[dict[str, Decode]] = {
    "json": _decode_json,
    "msgpack": _decode_msgpack,
    "f32": _decode_f32,
    "text": _decode_text,
    "form": _decode_form,
    "senml": lambda payload: senml.resolve(_decode_json(payload)),
}
