"""An MQTT client of bytes: says anything, right or wrong, and reads what comes."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from hub.intake.mqtt import wire
from hub.intake.mqtt.wire import Connect

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

WAIT_S = 20.0
CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 2, 3, 4, 5, 6, 7
SUBACK, UNSUBACK, PINGRESP = 9, 11, 13


class Packet(NamedTuple):
    """What the server sent."""

    type: int
    flags: int
    body: bytes

    @property
    def topic(self) -> str:
        """Of a PUBLISH."""
        return wire.read_publish(self.flags, self.body).topic

    @property
    def payload(self) -> bytes:
        """Of a PUBLISH."""
        return wire.read_publish(self.flags, self.body).payload

    @property
    def json(self) -> dict[str, Any]:
        """The payload of a PUBLISH."""
        document: dict[str, Any] = json.loads(self.payload)
        return document

    @property
    def packet_id(self) -> int:
        """Of a PUBLISH or an acknowledgement."""
        if self.type == PUBLISH:
            return wire.read_publish(self.flags, self.body).packet_id
        return int.from_bytes(self.body[:2], "big")


class RawClient:
    """One socket to the gate."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._context = context
        self._reader = asyncio.StreamReader()
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=self._context
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._writer is not None
        self._writer.transport.abort()

    def send(self, packet: bytes) -> None:
        """Bytes, as they are."""
        assert self._writer is not None
        self._writer.write(packet)

    async def drain(self) -> None:
        """Wait until the bytes have left, in part."""
        assert self._writer is not None
        async with asyncio.timeout(WAIT_S):
            await self._writer.drain()

    async def read(self) -> Packet:
        """The next packet."""
        async with asyncio.timeout(WAIT_S):
            (first,) = await self._reader.readexactly(1)
            length, shift = 0, 0
            while True:
                (byte,) = await self._reader.readexactly(1)
                length |= (byte & 0x7F) << shift
                shift += 7
                if not byte & 0x80:
                    return Packet(first >> 4, first & 0x0F, await self._reader.readexactly(length))

    async def read_until_closed(self) -> list[Packet]:
        """What comes before the server closes."""
        packets = []
        try:
            while True:
                packets.append(await self.read())
        except (asyncio.IncompleteReadError, ConnectionError):
            return packets

    def connect_with(
        self,
        device: str,
        key: str,
        *,
        clean: bool = True,
        keep_alive_s: int = 0,
        will: tuple[str, bytes] | None = None,
        client_id: str = "anything",
    ) -> None:
        """Send a CONNECT."""
        packet = Connect(
            client_id=client_id,
            clean_session=clean,
            keep_alive_s=keep_alive_s,
            username=device,
            password=key.encode(),
            will_topic=None if will is None else will[0],
            will_payload=b"" if will is None else will[1],
            will_retain=will is not None,
        )
        self.send(wire.connect(packet))

    async def connected(self, device: str, key: str, **options: Any) -> Packet:
        """Connect, which must be accepted."""
        self.connect_with(device, key, **options)
        packet = await self.read()
        assert (packet.type, packet.body[1]) == (CONNACK, 0)
        return packet

    async def subscribed(self, *filters: str, qos: int = 1) -> list[int]:
        """Subscribe; the return codes. Retained messages come after them."""
        body = b"\x00\x01"
        for topic_filter in filters:
            body += len(topic_filter).to_bytes(2, "big") + topic_filter.encode() + bytes((qos,))
        self.send(bytes((0x82, len(body))) + body)
        packet = await self.read()
        assert packet.type == SUBACK
        return list(packet.body[2:])

    async def answers_ping(self) -> list[Packet]:
        """Ping; what came before the answer. Fails when the connection is dead."""
        self.send(b"\xc0\x00")
        before = []
        while (packet := await self.read()).type != PINGRESP:
            before.append(packet)
        return before
