"""MQTT 3.1.1 packets, bytes to Structs and back: pure functions, strict.

Section numbers are of the OASIS standard "MQTT Version 3.1.1". Only what a server receives is
parsed and only what it sends is built, save CONNECT, which the gate hands on with the device's id.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from hub.errors import Malformed
from hub.intake.mqtt.fields import Reader, blob_bytes, checked_filter, packet_of, text_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

LENGTH_BYTES_MAX: Final = 4
PROTOCOL_LEVEL: Final = 4
PACKET_ID_MAX: Final = 65_535
PINGRESP: Final = b"\xd0\x00"
NOT_GRANTED: Final = 0x80
"""In a SUBACK (3.9.3)."""


class PacketType(IntEnum):
    """2.2.1."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15
    """MQTT 5 only."""


class ConnectCode(IntEnum):
    """3.2.2.3."""

    ACCEPTED = 0
    BAD_PROTOCOL = 1
    BAD_CLIENT_ID = 2
    UNAVAILABLE = 3
    BAD_CREDENTIALS = 4
    NOT_AUTHORIZED = 5


FLAGS: Final = {
    PacketType.CONNECT: 0,
    PacketType.PUBACK: 0,
    PacketType.PUBREC: 0,
    PacketType.PUBREL: 2,
    PacketType.PUBCOMP: 0,
    PacketType.SUBSCRIBE: 2,
    PacketType.UNSUBSCRIBE: 2,
    PacketType.PINGREQ: 0,
    PacketType.DISCONNECT: 0,
}
"""Reserved flag bits of what a client sends (2.2.2); PUBLISH has its own."""
LENGTHS: Final = {
    PacketType.PUBACK: 2,
    PacketType.PUBREC: 2,
    PacketType.PUBREL: 2,
    PacketType.PUBCOMP: 2,
    PacketType.PINGREQ: 0,
    PacketType.DISCONNECT: 0,
}
"""Bytes after the fixed header, where the standard leaves no choice (3.4 to 3.7, 3.12, 3.14)."""


class Head(Struct, frozen=True, gc=False):
    """The fixed header (2.2)."""

    type: PacketType
    flags: int
    body_at: int
    """Bytes of the fixed header itself."""
    length: int
    """Bytes after it."""


class Connect(Struct, frozen=True):
    """3.1."""

    client_id: str
    clean_session: bool
    keep_alive_s: int
    username: str | None = None
    password: bytes | None = None
    will_topic: str | None = None
    will_payload: bytes = b""
    will_qos: int = 0
    will_retain: bool = False

    @property
    def lasts_s(self) -> float:
        """How long its session stands without a connection (3.1.2.4)."""
        return 0.0 if self.clean_session else math.inf

    @property
    def lacks_client_id(self) -> bool:
        """Its session is to last under no name (3.1.3-8)."""
        return not self.client_id and not self.clean_session


class Publish(Struct, frozen=True, gc=False):
    """3.3."""

    topic: str
    payload: bytes
    qos: int
    duplicate: bool
    retain: bool
    packet_id: int
    """0 at QoS 0, where there is none."""


class Subscribe(Struct, frozen=True):
    """3.8."""

    packet_id: int
    filters: list[tuple[str, int]]
    """Topic filter and requested QoS."""


class Unsubscribe(Struct, frozen=True):
    """3.10."""

    packet_id: int
    filters: list[str]


class ReadHead(Protocol):
    """Reads fixed headers; `read_head` is one."""

    def __call__(self, buffer: bytes | bytearray, at: int = 0) -> Head | None:
        """The fixed header at `at`, None when more bytes are needed.

        Raises:
            Malformed: reserved type or flags, a length of over four bytes (2.2.3), or one that the
                type can't have.
        """
        ...


def head_reader(
    flags_of: Mapping[PacketType, int], lengths: Mapping[PacketType, int], *, shortest: bool = False
) -> ReadHead:
    """Of the packets that clients may send: their reserved flags, and lengths where there is one.

    `shortest`: a length must not take more bytes than it needs.
    """
    types = _types_of(flags_of)

    def read_head(buffer: bytes | bytearray, at: int = 0) -> Head | None:
        if len(buffer) < at + 2:
            return None
        found = types.get(buffer[at])
        if found is None:
            raise Malformed(_why_not(buffer[at], flags_of))
        packet_type, flags = found
        length = 0
        for i in range(LENGTH_BYTES_MAX):
            if len(buffer) <= at + 1 + i:
                return None
            byte = buffer[at + 1 + i]
            length |= (byte & 0x7F) << (7 * i)
            if not byte & 0x80:
                # CRUCIAL: the broker behind does not read what a PINGREQ has too much, but takes
                # it for the next packet: one that nobody has checked.
                if lengths.get(packet_type, length) != length:
                    raise Malformed(f"{packet_type.name} of {length} bytes")
                if i and not byte and shortest:
                    raise Malformed("remaining length of more bytes than it needs (1.5.5-1)")
                return Head(packet_type, flags, 2 + i, length)
        raise Malformed("remaining length has more than four bytes (2.2.3)")

    return read_head


def _types_of(flags_of: Mapping[PacketType, int]) -> dict[int, tuple[PacketType, int]]:
    """Of each first byte that a client may send: an enum takes a third of a microsecond to make."""
    types = {kind << 4 | flags: (kind, flags) for kind, flags in flags_of.items()}
    for flags in range(16):
        if flags & 0x06 != 0x06:
            types[PacketType.PUBLISH << 4 | flags] = PacketType.PUBLISH, flags
    return types


def _why_not(first: int, flags_of: Mapping[PacketType, int]) -> str:
    """What is wrong with the first byte of a packet (2.2)."""
    kind, flags = first >> 4, first & 0x0F
    if kind == PacketType.PUBLISH:
        return "QoS 3 does not exist (3.3.1.2)"
    if kind == 0 or (kind == PacketType.AUTH and PacketType.AUTH not in flags_of):
        return f"packet type {kind} is reserved (2.2.1)"
    return f"{PacketType(kind).name} with flags {flags:04b} (2.2.2)"


read_head: Final = head_reader(FLAGS, LENGTHS)


def read_connect(body: bytes) -> Connect:
    """Parse the body of a CONNECT.

    Raises:
        Malformed: anything 3.1 does not allow; `BadProtocol` for another protocol level.
    """
    reader = Reader(body)
    name, level = reader.text(), reader.u8()
    if name != "MQTT" or level != PROTOCOL_LEVEL:
        raise BadProtocol(f"protocol {name!r} level {level}; this is MQTT 3.1.1 (level 4)")
    flags, keep_alive_s = reader.u8(), reader.u16()
    if flags & 0x01:
        raise Malformed("reserved connect flag is set (3.1.2-3)")
    has_will, will_qos = bool(flags & 0x04), flags >> 3 & 0x03
    if will_qos == 3 or (not has_will and flags & 0x38):
        raise Malformed("will QoS or retain without a will, or will QoS 3 (3.1.2.6)")
    has_username, has_password = bool(flags & 0x80), bool(flags & 0x40)
    if has_password and not has_username:
        raise Malformed("a password without a user name (3.1.2-22)")
    connect = Connect(
        client_id=reader.text(),
        clean_session=bool(flags & 0x02),
        keep_alive_s=keep_alive_s,
        will_topic=reader.text() if has_will else None,
        will_payload=reader.blob() if has_will else b"",
        will_qos=will_qos,
        will_retain=bool(flags & 0x20),
        username=reader.text() if has_username else None,
        password=reader.blob() if has_password else None,
    )
    reader.end()
    return connect


def read_publish(flags: int, body: bytes) -> Publish:
    """Parse the body of a PUBLISH.

    Raises:
        Malformed: no or an impossible topic, or packet id 0.
    """
    reader = Reader(body)
    topic = reader.text()
    if not topic or "+" in topic or "#" in topic:
        raise Malformed(f"topic {topic!r} can't be published to (3.3.2-2, 4.7.3-1)")
    qos = flags >> 1 & 0x03
    packet_id = reader.packet_id() if qos else 0
    return Publish(topic, body[reader.at :], qos, bool(flags & 0x08), bool(flags & 0x01), packet_id)


def read_publish_head(flags: int, start: bytes) -> Publish | None:
    """As `read_publish`, from the first bytes of a body too large to take in; None = need more."""
    if len(start) < 2 or len(start) < 2 + int.from_bytes(start[:2], "big") + 2:
        return None
    publish = read_publish(flags, start)
    return Publish(
        publish.topic, b"", publish.qos, publish.duplicate, publish.retain, publish.packet_id
    )


def read_subscribe(body: bytes) -> Subscribe:
    """Parse the body of a SUBSCRIBE.

    Raises:
        Malformed: no filter, a malformed filter or QoS.
    """
    reader = Reader(body)
    packet_id, filters = reader.packet_id(), []
    while not reader.done:
        topic_filter, qos = checked_filter(reader.text()), reader.u8()
        if qos > 2:
            raise Malformed("requested QoS above 2 (3.8.3-4)")
        filters.append((topic_filter, qos))
    if not filters:
        raise Malformed("SUBSCRIBE without a filter (3.8.3-3)")
    return Subscribe(packet_id, filters)


def read_unsubscribe(body: bytes) -> Unsubscribe:
    """Parse the body of an UNSUBSCRIBE.

    Raises:
        Malformed: no filter or a malformed one.
    """
    reader = Reader(body)
    packet_id, filters = reader.packet_id(), []
    while not reader.done:
        filters.append(checked_filter(reader.text()))
    if not filters:
        raise Malformed("UNSUBSCRIBE without a filter (3.10.3-2)")
    return Unsubscribe(packet_id, filters)


def read_packet_id(body: bytes) -> int:
    """The id in a PUBACK, PUBREC, PUBREL or PUBCOMP.

    Raises:
        Malformed: it is not exactly two bytes.
    """
    if len(body) != 2:
        raise Malformed(f"an acknowledgement of {len(body)} bytes; it has two (3.4.2)")
    return int.from_bytes(body, "big")


def connect(packet: Connect) -> bytes:
    """Build a CONNECT: what the gate hands on with the device's own id."""
    flags = packet.clean_session << 1
    body = [text_bytes(packet.client_id)]
    if packet.will_topic is not None:
        flags |= 0x04 | packet.will_qos << 3 | packet.will_retain << 5
        body += [text_bytes(packet.will_topic), blob_bytes(packet.will_payload)]
    if packet.username is not None:
        flags |= 0x80
        body.append(text_bytes(packet.username))
    if packet.password is not None:
        flags |= 0x40
        body.append(blob_bytes(packet.password))
    start = (
        text_bytes("MQTT") + bytes((PROTOCOL_LEVEL, flags)) + packet.keep_alive_s.to_bytes(2, "big")
    )
    return packet_of(PacketType.CONNECT << 4, start + b"".join(body))


def connack(code: ConnectCode, *, session_present: bool = False) -> bytes:
    """Build a CONNACK (3.2)."""
    return bytes((PacketType.CONNACK << 4, 2, session_present, code))


def puback(packet_id: int) -> bytes:
    """Build a PUBACK (3.4)."""
    return b"\x40\x02" + packet_id.to_bytes(2, "big")


def pubrec(packet_id: int) -> bytes:
    """Build a PUBREC (3.5)."""
    return b"\x50\x02" + packet_id.to_bytes(2, "big")


def pubrel(packet_id: int) -> bytes:
    """Build a PUBREL (3.6)."""
    return b"\x62\x02" + packet_id.to_bytes(2, "big")


def pubcomp(packet_id: int) -> bytes:
    """Build a PUBCOMP (3.7)."""
    return b"\x70\x02" + packet_id.to_bytes(2, "big")


def suback(packet_id: int, codes: list[int]) -> bytes:
    """Build a SUBACK (3.9): for each filter the QoS granted, or `NOT_GRANTED`."""
    return packet_of(PacketType.SUBACK << 4, packet_id.to_bytes(2, "big") + bytes(codes))


def unsuback(packet_id: int) -> bytes:
    """Build an UNSUBACK (3.11)."""
    return b"\xb0\x02" + packet_id.to_bytes(2, "big")


def publish(
    topic: str,
    payload: bytes,
    *,
    qos: int = 0,
    packet_id: int = 0,
    duplicate: bool = False,
    retain: bool = False,
) -> bytes:
    """Build a PUBLISH (3.3); `retain` only where it was kept before its subscription (3.3.1-8)."""
    body = text_bytes(topic) + (packet_id.to_bytes(2, "big") if qos else b"") + payload
    return packet_of(PacketType.PUBLISH << 4 | qos << 1 | duplicate << 3 | retain, body)


class BadProtocol(Malformed):
    """Another protocol or level: answered with CONNACK 1 before closing (3.1.2-2)."""
