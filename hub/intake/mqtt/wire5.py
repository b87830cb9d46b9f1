"""MQTT 5 packets, bytes to Structs and back: pure functions, strict.

Section numbers are of the OASIS standard "MQTT Version 5.0". What both versions write alike is in
`wire.py`; its Structs serve here too, with what this version says besides.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from msgspec import Struct, structs

from hub.errors import Malformed
from hub.intake.mqtt import wire
from hub.intake.mqtt.fields import Reader, checked_filter, packet_of, text_bytes
from hub.intake.mqtt.properties import (
    NONE,
    WILL,
    Properties,
    Property,
    Value,
    properties_bytes,
    read_properties,
)
from hub.intake.mqtt.reasons import FAILURE, Breach, Reason
from hub.intake.mqtt.wire import PacketType, Subscribe, Unsubscribe, head_reader

if TYPE_CHECKING:
    from collections.abc import Mapping

PROTOCOL: Final = b"\0\4MQTT\5"
"""How a CONNECT of this version begins."""
NEVER_S: Final = 0xFFFF_FFFF
"""A session expiry interval that is none (3.1.2.11.2)."""
RECEIVE_MAX: Final = 65_535
"""Where a client names no receive maximum (3.1.2.11.3)."""
QOS: Final = 0x03
NO_LOCAL: Final = 0x04
RETAIN_AS_PUBLISHED: Final = 0x08
RETAIN_HANDLING: Final = 0x30
RETAINED_IF_NEW: Final = 0x10
"""Parts of the options in a SUBSCRIBE (3.8.3.1)."""
SHARED: Final = "$share/"

_ACKNOWLEDGED: Final = {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}
_RELEASED: Final = {0x00, 0x92}
_REASONS: Final = {
    PacketType.PUBACK: _ACKNOWLEDGED,
    PacketType.PUBREC: _ACKNOWLEDGED,
    PacketType.PUBREL: _RELEASED,
    PacketType.PUBCOMP: _RELEASED,
    PacketType.DISCONNECT: {0x00, 0x04, *range(0x80, 0x84), 0x90, *range(0x93, 0x9A)},
}
"""What a client may give (3.4.2.1 to 3.7.2.1, 3.14.2.1)."""

read_head: Final = head_reader(
    wire.FLAGS | {PacketType.AUTH: 0}, {PacketType.PINGREQ: 0}, shortest=True
)


class Connect(wire.Connect, frozen=True):
    """3.1; `clean_session` is its clean start, and says nothing of how long the session lasts."""

    lasts_s: float = 0.0
    """Its session, without a connection (3.1.2.11.2)."""
    receive_max: int = RECEIVE_MAX
    packet_bytes_max: float = math.inf
    wants_reasons: bool = True
    """Request problem information (3.1.2.11.7)."""
    wants_topic: bool = False
    """Request response information (3.1.2.11.6)."""

    @property
    def lacks_client_id(self) -> bool:
        """It is given one (3.1.3.1)."""
        return False


class Publish(wire.Publish, frozen=True, gc=False):
    """3.3."""

    response_topic: str | None = None
    correlation: bytes | None = None


class Disconnect(Struct, frozen=True):
    """3.14."""

    reason: int
    lasts_s: float | None
    """For how long the session is to stand; None = as its CONNECT said."""


def read_connect(body: bytes) -> Connect:
    """Parse the body of a CONNECT that begins with `PROTOCOL`.

    Raises:
        Malformed: anything 3.1 does not allow, or a way to authenticate that is not ours.
    """
    reader = Reader(body)
    reader.take(len(PROTOCOL))
    flags, keep_alive_s = reader.u8(), reader.u16()
    if flags & 0x01:
        raise Malformed("reserved connect flag is set (3.1.2-3)")
    has_will, will_qos = bool(flags & 0x04), flags >> 3 & 0x03
    if will_qos == 3 or (not has_will and flags & 0x38):
        raise Malformed("will QoS or retain without a will, or will QoS 3 (3.1.2.6)")
    said = read_properties(reader, PacketType.CONNECT)
    client_id = reader.text()
    if has_will:
        _check_response_topic(read_properties(reader, WILL))
    connect = Connect(
        client_id=client_id,
        clean_session=bool(flags & 0x02),
        keep_alive_s=keep_alive_s,
        will_topic=reader.text() if has_will else None,
        will_payload=reader.blob() if has_will else b"",
        will_qos=will_qos,
        will_retain=bool(flags & 0x20),
        username=reader.text() if flags & 0x80 else None,
        password=reader.blob() if flags & 0x40 else None,
        lasts_s=_lasts_s(said) or 0.0,
        receive_max=said.number(Property.RECEIVE_MAXIMUM, RECEIVE_MAX),
        packet_bytes_max=said.number(Property.MAXIMUM_PACKET_BYTES) or math.inf,
        wants_reasons=bool(said.number(Property.REQUEST_PROBLEM_INFORMATION, 1)),
        wants_topic=bool(said.number(Property.REQUEST_RESPONSE_INFORMATION)),
    )
    reader.end()
    if Property.AUTHENTICATION_METHOD in said:
        raise Breach(Reason.BAD_AUTHENTICATION_METHOD, "only a password or a certificate is taken")
    if Property.AUTHENTICATION_DATA in said:
        raise Breach(Reason.PROTOCOL_ERROR, "authentication data without a method (3.1.2.11.10)")
    return connect


def read_publish(flags: int, body: bytes) -> Publish:
    """Parse the body of a PUBLISH.

    Raises:
        Malformed: no or an impossible topic, packet id 0, or a property that no client may send.
    """
    reader = Reader(body)
    topic = reader.text()
    if "+" in topic or "#" in topic:
        raise Breach(Reason.TOPIC_NAME_INVALID, f"topic {topic!r} can't be published to (3.3.2-2)")
    qos = flags >> 1 & 0x03
    if not qos and flags & 0x08:
        raise Malformed("DUP at QoS 0 (3.3.1-2)")
    packet_id = reader.packet_id() if qos else 0
    said = read_properties(reader, PacketType.PUBLISH)
    response_topic = _check_published(said) if said else None
    if not topic:
        raise Breach(Reason.PROTOCOL_ERROR, "PUBLISH without a topic (3.3.2.1)")
    return Publish(
        topic,
        body[reader.at :],
        qos,
        bool(flags & 0x08),
        bool(flags & 0x01),
        packet_id,
        response_topic,
        said.blob(Property.CORRELATION_DATA) if said else None,
    )


def read_publish_head(flags: int, start: bytes) -> Publish | None:
    """As `read_publish`, from the first bytes of a body too large to take in; None = need more."""
    publish = wire.read_publish_head(flags, start)
    return None if publish is None else Publish(*structs.astuple(publish))


def read_acknowledgement(packet_type: PacketType, body: bytes) -> tuple[int, int]:
    """Packet id and reason in a PUBACK, PUBREC, PUBREL or PUBCOMP.

    Raises:
        Malformed: it is none.
    """
    reader = Reader(body)
    packet_id = reader.packet_id()
    reason, _ = _read_reason(reader, packet_type)
    return packet_id, reason


def read_puback(body: bytes) -> int:
    """Packet id; taken or refused, it is done with. Raises Malformed."""
    return read_acknowledgement(PacketType.PUBACK, body)[0]


def read_pubrec(body: bytes) -> tuple[int, bool]:
    """Packet id, and whether the client refuses what it is of (4.3.3). Raises Malformed."""
    packet_id, reason = read_acknowledgement(PacketType.PUBREC, body)
    return packet_id, reason >= FAILURE


def read_pubrel(body: bytes) -> int:
    """Packet id. Raises Malformed."""
    return read_acknowledgement(PacketType.PUBREL, body)[0]


def read_pubcomp(body: bytes) -> int:
    """Packet id. Raises Malformed."""
    return read_acknowledgement(PacketType.PUBCOMP, body)[0]


def read_subscribe(body: bytes) -> Subscribe:
    """Parse the body of a SUBSCRIBE; of each filter its options, the QoS in the lowest two bits.

    Raises:
        Malformed: no filter, a malformed filter or option.
    """
    reader = Reader(body)
    packet_id, filters = reader.packet_id(), []
    if Property.SUBSCRIPTION_ID in read_properties(reader, PacketType.SUBSCRIBE):
        raise Breach(Reason.SUBSCRIPTION_IDS_NOT_SUPPORTED, "subscription ids are not available")
    while not reader.done:
        topic_filter, options = checked_filter(reader.text()), reader.u8()
        if options & 0xC0:
            raise Malformed("reserved subscription options (3.8.3-5)")
        if options & QOS == QOS or options & RETAIN_HANDLING == RETAIN_HANDLING:
            raise Breach(Reason.PROTOCOL_ERROR, "QoS or retain handling 3 (3.8.3.1)")
        if options & NO_LOCAL and topic_filter.startswith(SHARED):
            raise Breach(Reason.PROTOCOL_ERROR, "a shared subscription without local (3.8.3-4)")
        filters.append((topic_filter, options))
    if not filters:
        raise Breach(Reason.PROTOCOL_ERROR, "SUBSCRIBE without a filter (3.8.3-2)")
    return Subscribe(packet_id, filters)


def read_unsubscribe(body: bytes) -> Unsubscribe:
    """Parse the body of an UNSUBSCRIBE.

    Raises:
        Malformed: no filter or a malformed one.
    """
    reader = Reader(body)
    packet_id, filters = reader.packet_id(), []
    read_properties(reader, PacketType.UNSUBSCRIBE)
    while not reader.done:
        filters.append(checked_filter(reader.text()))
    if not filters:
        raise Breach(Reason.PROTOCOL_ERROR, "UNSUBSCRIBE without a filter (3.10.3-2)")
    return Unsubscribe(packet_id, filters)


def read_disconnect(body: bytes) -> Disconnect:
    """Parse the body of a DISCONNECT.

    Raises:
        Malformed: it is none that a client may send.
    """
    reason, said = _read_reason(Reader(body), PacketType.DISCONNECT)
    if Property.SERVER_REFERENCE in said:
        raise Breach(Reason.PROTOCOL_ERROR, "a client refers to no other server (3.14.2.2.5)")
    return Disconnect(reason, _lasts_s(said))


def connack(
    reason: int, properties: Mapping[Property, Value] = NONE, *, session_present: bool = False
) -> bytes:
    """Build a CONNACK (3.2)."""
    body = bytes((session_present, reason)) + properties_bytes(properties)
    return packet_of(PacketType.CONNACK << 4, body)


def acknowledgement(
    packet_type: PacketType,
    packet_id: int,
    reason: int = Reason.SUCCESS,
    properties: Mapping[Property, Value] = NONE,
) -> bytes:
    """Build a PUBACK, PUBREC, PUBREL or PUBCOMP, as short as can be (3.4.2.1)."""
    body = packet_id.to_bytes(2, "big")
    if reason or properties:
        body += bytes((reason,))
    if properties:
        body += properties_bytes(properties)
    return packet_of(packet_type << 4 | wire.FLAGS[packet_type], body)


def suback(packet_id: int, codes: list[int]) -> bytes:
    """Build a SUBACK (3.9): for each filter the QoS granted, or why not."""
    return packet_of(PacketType.SUBACK << 4, packet_id.to_bytes(2, "big") + b"\0" + bytes(codes))


def unsuback(packet_id: int, codes: list[int]) -> bytes:
    """Build an UNSUBACK (3.11): for each filter whether there was one."""
    return packet_of(PacketType.UNSUBACK << 4, packet_id.to_bytes(2, "big") + b"\0" + bytes(codes))


def publish(
    topic: str,
    payload: bytes,
    properties: Mapping[Property, Value] = NONE,
    *,
    qos: int = 0,
    packet_id: int = 0,
    duplicate: bool = False,
    retain: bool = False,
) -> bytes:
    """Build a PUBLISH (3.3)."""
    body = (
        text_bytes(topic)
        + (packet_id.to_bytes(2, "big") if qos else b"")
        + properties_bytes(properties)
        + payload
    )
    return packet_of(PacketType.PUBLISH << 4 | qos << 1 | duplicate << 3 | retain, body)


def disconnect(reason: int, properties: Mapping[Property, Value] = NONE) -> bytes:
    """Build a DISCONNECT (3.14)."""
    body = bytes((reason,)) + (properties_bytes(properties) if properties else b"")
    return packet_of(PacketType.DISCONNECT << 4, body)


def _read_reason(reader: Reader, packet_type: PacketType) -> tuple[int, Properties]:
    """What ends these packets: nothing for success, a reason, or one with properties."""
    if reader.done:
        return Reason.SUCCESS, NONE
    reason = reader.u8()
    said = NONE if reader.done else read_properties(reader, packet_type)
    reader.end()
    if reason not in _REASONS[packet_type]:
        raise Breach(Reason.PROTOCOL_ERROR, f"{packet_type.name} with reason 0x{reason:02x}")
    return reason, said


def _lasts_s(said: Properties) -> float | None:
    if Property.SESSION_EXPIRY_S not in said:
        return None
    expiry_s = said.number(Property.SESSION_EXPIRY_S)
    return math.inf if expiry_s == NEVER_S else float(expiry_s)


def _check_published(said: Properties) -> str | None:
    """What a client may say of its publish: the response topic."""
    if Property.TOPIC_ALIAS in said:
        raise Breach(Reason.TOPIC_ALIAS_INVALID, "topic aliases are not taken: their maximum is 0")
    if Property.SUBSCRIPTION_ID in said:
        raise Breach(Reason.PROTOCOL_ERROR, "a subscription id from a client (3.3.4-6)")
    return _check_response_topic(said)


def _check_response_topic(said: Properties) -> str | None:
    topic = said.text(Property.RESPONSE_TOPIC)
    if topic is not None and (not topic or "+" in topic or "#" in topic):
        raise Breach(Reason.PROTOCOL_ERROR, f"response topic {topic!r} (3.3.2-14)")
    return topic
