"""An MQTT 5 client of bytes; its packets are built here, beside the hub's own codec."""

from __future__ import annotations

from typing import Any

from hub.intake.mqtt.fields import Reader, blob_bytes, packet_of, text_bytes
from hub.intake.mqtt.properties import NONE, Properties, Property, properties_bytes, read_properties
from hub.intake.mqtt.wire import PacketType
from tests.intake.mqtt.raw_client import CONNACK, SUBACK, Packet, RawClient

DISCONNECT, UNSUBACK = 14, 11
P = Property


def connect(
    device: str,
    key: str | None,
    properties: bytes = b"\0",
    *,
    client_id: str = "anything",
    clean: bool = True,
    keep_alive_s: int = 0,
    will: tuple[str, bytes] | None = None,
) -> bytes:
    """A CONNECT; `properties` as they stand, with their length."""
    flags = clean << 1 | 0x80 | (0 if key is None else 0x40) | (0 if will is None else 0x24)
    body = b"\0\4MQTT\5" + bytes((flags,)) + keep_alive_s.to_bytes(2, "big") + properties
    body += text_bytes(client_id)
    if will is not None:
        body += b"\0" + text_bytes(will[0]) + blob_bytes(will[1])
    body += text_bytes(device) + (b"" if key is None else text_bytes(key))
    return packet_of(0x10, body)


def subscribe(*filters: str, options: int = 1, properties: bytes = b"\0") -> bytes:
    """A SUBSCRIBE with packet id 1."""
    chosen = b"".join(text_bytes(each) + bytes((options,)) for each in filters)
    return packet_of(0x82, b"\0\1" + properties + chosen)


def unsubscribe(*filters: str) -> bytes:
    """An UNSUBSCRIBE with packet id 1."""
    return packet_of(0xA2, b"\0\1\0" + b"".join(text_bytes(each) for each in filters))


class Said:
    """What a packet of the hub says."""

    def __init__(self, packet: Packet) -> None:
        self.packet = packet
        self.topic, self.packet_id, self.reason, self.payload = "", 0, 0, b""
        self.session_present, self.codes = False, list[int]()
        self.properties: Properties = NONE
        reader = Reader(packet.body)
        match PacketType(packet.type):
            case PacketType.CONNACK:
                self.session_present, self.reason = bool(reader.u8()), reader.u8()
                self.properties = read_properties(reader, packet.type)
            case PacketType.PUBLISH:
                self.topic = reader.text()
                self.packet_id = reader.packet_id() if packet.flags & 6 else 0
                self.properties = read_properties(reader, packet.type)
                self.payload = packet.body[reader.at :]
            case PacketType.SUBACK | PacketType.UNSUBACK:
                self.packet_id = reader.packet_id()
                self.properties = read_properties(reader, packet.type)
                self.codes = list(packet.body[reader.at :])
            case PacketType.DISCONNECT:
                self._reason(reader)
            case PacketType.PINGRESP:
                pass
            case _:
                self.packet_id = reader.packet_id()
                self._reason(reader)

    def _reason(self, reader: Reader) -> None:
        self.reason = 0 if reader.done else reader.u8()
        self.properties = NONE if reader.done else read_properties(reader, self.packet.type)

    @property
    def type(self) -> int:
        """Of the packet."""
        return self.packet.type

    @property
    def why(self) -> str:
        """The reason string."""
        return self.properties.text(P.REASON_STRING) or ""


class RawClient5(RawClient):
    """One socket to the gate."""

    async def hear(self) -> Said:
        """The next packet."""
        return Said(await self.read())

    async def hear_until_closed(self) -> list[Said]:
        """What comes before the server closes."""
        return [Said(packet) for packet in await self.read_until_closed()]

    async def accepted(self, device: str, key: str, said: Any = NONE, **options: Any) -> Said:
        """Connect with these properties, which must be accepted."""
        self.send(connect(device, key, properties_bytes(said), **options))
        answer = await self.hear()
        assert (answer.type, answer.reason) == (CONNACK, 0)
        return answer

    async def granted(self, *filters: str, options: int = 1) -> list[int]:
        """Subscribe; the reason codes. Retained messages come after them."""
        self.send(subscribe(*filters, options=options))
        answer = await self.hear()
        assert answer.type == SUBACK
        return answer.codes
