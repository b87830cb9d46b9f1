"""MQTT 5's properties (2.2.2): read by one table, written by the same.

Rule 1: a property stands only in packets it is defined for, and once, but for user properties.
Rule 2: a value that the standard rules out is refused, whoever would use it.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from hub.errors import Malformed
from hub.intake.mqtt.fields import Reader, blob_bytes, text_bytes, varint_bytes
from hub.intake.mqtt.reasons import Breach, Reason
from hub.intake.mqtt.wire import LENGTH_BYTES_MAX, PacketType

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = int | str | bytes | list[tuple[str, str]]
WILL: Final = 0
"""Stands among packet types for the will in a CONNECT (3.1.3.2)."""


class Property(IntEnum):
    """Table 2-4."""

    PAYLOAD_FORMAT = 0x01
    MESSAGE_EXPIRY_S = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SUBSCRIPTION_ID = 0x0B
    SESSION_EXPIRY_S = 0x11
    ASSIGNED_CLIENT_ID = 0x12
    SERVER_KEEP_ALIVE_S = 0x13
    AUTHENTICATION_METHOD = 0x15
    AUTHENTICATION_DATA = 0x16
    REQUEST_PROBLEM_INFORMATION = 0x17
    WILL_DELAY_S = 0x18
    REQUEST_RESPONSE_INFORMATION = 0x19
    RESPONSE_INFORMATION = 0x1A
    SERVER_REFERENCE = 0x1C
    REASON_STRING = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    MAXIMUM_QOS = 0x24
    RETAIN_AVAILABLE = 0x25
    USER_PROPERTY = 0x26
    MAXIMUM_PACKET_BYTES = 0x27
    WILDCARDS_AVAILABLE = 0x28
    SUBSCRIPTION_IDS_AVAILABLE = 0x29
    SHARED_AVAILABLE = 0x2A


class Form(Enum):
    """How a value is written."""

    FLAG = "a byte, 0 or 1"
    U16 = "two bytes"
    COUNT = "two bytes, not 0"
    U32 = "four bytes"
    SIZE = "four bytes, not 0"
    VARINT = "a variable byte integer, not 0"
    TEXT = "text"
    BLOB = "bytes"
    PAIR = "two texts, any number of times"


class _Rule(NamedTuple):
    property: Property
    form: Form
    places: frozenset[int]


def _rule(which: Property, form: Form, *places: int) -> tuple[int, _Rule]:
    return which.value, _Rule(which, form, frozenset(places))


_P, _T = Property, PacketType
_ACKNOWLEDGEMENTS: Final = (_T.PUBACK, _T.PUBREC, _T.PUBREL, _T.PUBCOMP)
_SAYS_WHY: Final = (*_ACKNOWLEDGEMENTS, _T.CONNACK, _T.SUBACK, _T.UNSUBACK, _T.DISCONNECT, _T.AUTH)

_RULES: Final = dict(
    [
        _rule(_P.PAYLOAD_FORMAT, Form.FLAG, _T.PUBLISH, WILL),
        _rule(_P.MESSAGE_EXPIRY_S, Form.U32, _T.PUBLISH, WILL),
        _rule(_P.CONTENT_TYPE, Form.TEXT, _T.PUBLISH, WILL),
        _rule(_P.RESPONSE_TOPIC, Form.TEXT, _T.PUBLISH, WILL),
        _rule(_P.CORRELATION_DATA, Form.BLOB, _T.PUBLISH, WILL),
        _rule(_P.SUBSCRIPTION_ID, Form.VARINT, _T.PUBLISH, _T.SUBSCRIBE),
        _rule(_P.SESSION_EXPIRY_S, Form.U32, _T.CONNECT, _T.CONNACK, _T.DISCONNECT),
        _rule(_P.ASSIGNED_CLIENT_ID, Form.TEXT, _T.CONNACK),
        _rule(_P.SERVER_KEEP_ALIVE_S, Form.U16, _T.CONNACK),
        _rule(_P.AUTHENTICATION_METHOD, Form.TEXT, _T.CONNECT, _T.CONNACK, _T.AUTH),
        _rule(_P.AUTHENTICATION_DATA, Form.BLOB, _T.CONNECT, _T.CONNACK, _T.AUTH),
        _rule(_P.REQUEST_PROBLEM_INFORMATION, Form.FLAG, _T.CONNECT),
        _rule(_P.WILL_DELAY_S, Form.U32, WILL),
        _rule(_P.REQUEST_RESPONSE_INFORMATION, Form.FLAG, _T.CONNECT),
        _rule(_P.RESPONSE_INFORMATION, Form.TEXT, _T.CONNACK),
        _rule(_P.SERVER_REFERENCE, Form.TEXT, _T.CONNACK, _T.DISCONNECT),
        _rule(_P.REASON_STRING, Form.TEXT, *_SAYS_WHY),
        _rule(_P.RECEIVE_MAXIMUM, Form.COUNT, _T.CONNECT, _T.CONNACK),
        _rule(_P.TOPIC_ALIAS_MAXIMUM, Form.U16, _T.CONNECT, _T.CONNACK),
        _rule(_P.TOPIC_ALIAS, Form.U16, _T.PUBLISH),
        _rule(_P.MAXIMUM_QOS, Form.FLAG, _T.CONNACK),
        _rule(_P.RETAIN_AVAILABLE, Form.FLAG, _T.CONNACK),
        _rule(_P.USER_PROPERTY, Form.PAIR, WILL, *_T),
        _rule(_P.MAXIMUM_PACKET_BYTES, Form.SIZE, _T.CONNECT, _T.CONNACK),
        _rule(_P.WILDCARDS_AVAILABLE, Form.FLAG, _T.CONNACK),
        _rule(_P.SUBSCRIPTION_IDS_AVAILABLE, Form.FLAG, _T.CONNACK),
        _rule(_P.SHARED_AVAILABLE, Form.FLAG, _T.CONNACK),
    ]
)


class Properties(dict[Property, Value]):
    """Of one packet; what is absent was not said."""

    def number(self, which: Property, absent: int = 0) -> int:
        """A number or flag."""
        value = self.get(which, absent)
        assert isinstance(value, int)
        return value

    def text(self, which: Property) -> str | None:
        """A text."""
        value = self.get(which)
        assert value is None or isinstance(value, str)
        return value

    def blob(self, which: Property) -> bytes | None:
        """Bytes."""
        value = self.get(which)
        assert value is None or isinstance(value, bytes)
        return value


NONE: Final = Properties()
"""Of most packets; never written to."""


def read_properties(reader: Reader, place: int) -> Properties:
    """Those of a packet of this type, or of a `WILL`.

    Raises:
        Malformed: one that can't stand there, or twice, or with such a value.
    """
    length = _read_varint(reader)
    if not length:
        return NONE
    section = Reader(reader.take(length))
    found = Properties()
    while not section.done:
        rule = _RULES.get(section.u8())
        if rule is None or place not in rule.places:
            raise Malformed("a property that this packet can't have (MQTT 5, 2.2.2.2)")
        name = rule.property.name
        value = _read_value(section, rule)
        if rule.form is Form.PAIR:
            pairs = found.setdefault(rule.property, [])
            assert isinstance(pairs, list)
            assert isinstance(value, list)
            pairs += value
        elif rule.property in found:
            raise Breach(Reason.PROTOCOL_ERROR, f"property {name} twice (MQTT 5, 2.2.2.2)")
        else:
            found[rule.property] = value
    return found


def properties_bytes(properties: Mapping[Property, Value]) -> bytes:
    """As `read_properties` reads them; with none it is one byte."""
    if not properties:
        return b"\0"
    written = b"".join(_value_bytes(_RULES[which], value) for which, value in properties.items())
    return varint_bytes(len(written)) + written


def _read_value(reader: Reader, rule: _Rule) -> Value:
    match rule.form:
        case Form.TEXT:
            return reader.text()
        case Form.BLOB:
            return reader.blob()
        case Form.PAIR:
            return [(reader.text(), reader.text())]
        case Form.VARINT:
            number = _read_varint(reader)
        case form:
            number = int.from_bytes(reader.take(_BYTES[form]), "big")
    least, most = _RANGES.get(rule.form, (0, number))
    if not least <= number <= most:
        raise Breach(Reason.PROTOCOL_ERROR, f"property {rule.property.name} is {number}")
    return number


def _value_bytes(rule: _Rule, value: Value) -> bytes:
    which = bytes((rule.property,))
    match value:
        case str():
            return which + text_bytes(value)
        case bytes():
            return which + blob_bytes(value)
        case list():
            return b"".join(which + text_bytes(key) + text_bytes(text) for key, text in value)
        case _ if rule.form is Form.VARINT:
            return which + varint_bytes(value)
        case _:
            return which + value.to_bytes(_BYTES[rule.form], "big")


_BYTES: Final = {Form.FLAG: 1, Form.U16: 2, Form.COUNT: 2, Form.U32: 4, Form.SIZE: 4}
_RANGES: Final = {
    Form.FLAG: (0, 1),
    Form.COUNT: (1, 0xFFFF),
    Form.SIZE: (1, 0xFFFF_FFFF),
    Form.VARINT: (1, 0x0FFF_FFFF),
}


def _read_varint(reader: Reader) -> int:
    """1.5.5: in four bytes at most, and no more than it needs.

    Raises:
        Malformed: it is not.
    """
    number = 0
    for i in range(LENGTH_BYTES_MAX):
        byte = reader.u8()
        number |= (byte & 0x7F) << (7 * i)
        if not byte & 0x80:
            if i and not byte:
                raise Malformed("a variable byte integer of more bytes than it needs (1.5.5-1)")
            return number
    raise Malformed("a variable byte integer of more than four bytes (MQTT 5, 1.5.5)")
