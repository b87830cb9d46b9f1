"""What we rely on in amqtt, each seam by itself: an upgrade that moves one fails here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hub.intake import wire
from hub.intake.broker import Broker
from hub.intake.wire import Connect
from tests.intake.raw_client import (
    CONNACK,
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    SUBACK,
    WAIT_S,
    Packet,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Meet = Callable[[str], "FakeConnection"]


class FakeConnection:
    """The gate's side of a connection, without a socket; a `hub.intake.broker.Client`."""

    def __init__(self, broker: Broker, device: str) -> None:
        self.broker = broker
        self.device = device
        self.packets = asyncio.StreamReader()
        self.received: list[Packet] = []
        self.closed = False
        self.peer = ("127.0.0.1", 1)
        self.asked = asyncio.Event()
        self.durable = asyncio.Event()
        self.slowly: list[tuple[str, bytes]] = []
        self._task: asyncio.Task[None] | None = None

    def from_broker(self, packets: bytes) -> None:
        """One packet a call: the gate looks at the first, a CONNACK."""
        assert len(packets) == 2 + packets[1], "one whole packet, and a short one"
        self.received.append(Packet(packets[0] >> 4, packets[0] & 0x0F, packets[2:]))

    def close(self) -> None:
        """The broker ends the connection."""
        self.closed = True

    async def publish_slowly(self, topic: str, payload: bytes) -> bool:
        """Durable when the test says so; `status` is not the hub's."""
        if topic.endswith("/status"):
            return False
        self.slowly.append((topic, payload))
        self.asked.set()
        await self.durable.wait()
        return True

    async def connect(self, *, clean: bool = True, resume: bool = False, **will: Any) -> Packet:
        """Connect; the CONNACK."""
        connect = Connect(self.device, clean, 0, username=self.device, **will)
        self.packets.feed_data(wire.connect(connect))
        served = self.broker.serve(self.device, self, self.packets, resume=resume)
        self._task = asyncio.create_task(served)
        return (await self.receive(CONNACK))[0]

    async def receive(self, kind: int) -> list[Packet]:
        """What came, up to a packet of this kind."""
        async with asyncio.timeout(WAIT_S):
            while kind not in [packet.type for packet in self.received]:  # noqa: ASYNC110
                await asyncio.sleep(0)
        at = [packet.type for packet in self.received].index(kind)
        taken, self.received[: at + 1] = self.received[: at + 1], []
        return taken

    async def subscribe(self, topic_filter: str) -> int:
        """The return code."""
        text = len(topic_filter).to_bytes(2, "big") + topic_filter.encode()
        body = b"\x00\x01" + text + b"\x01"
        self.packets.feed_data(bytes((0x82, len(body))) + body)
        return (await self.receive(SUBACK))[-1].body[2]

    async def ping(self) -> list[Packet]:
        """What came before the answer."""
        self.packets.feed_data(b"\xc0\x00")
        return (await self.receive(PINGRESP))[:-1]

    async def end(self) -> None:
        """The device is gone; returns when the broker has let go."""
        self.packets.feed_eof()
        if self._task is not None:
            done, _ = await asyncio.wait([self._task], timeout=WAIT_S)
            assert done, "the broker still serves it"


@pytest.fixture
async def meet() -> AsyncIterator[Callable[[str], FakeConnection]]:
    """Connections to one broker; all are ended after the test."""
    broker = Broker("rl/v1")
    await broker.start()
    made: list[FakeConnection] = []

    def connection(device: str) -> FakeConnection:
        made.append(FakeConnection(broker, device))
        return made[-1]

    yield connection
    for one in made:
        one.durable.set()
        await one.end()
    await broker.stop()


async def test_an_external_listener_takes_whole_packets_and_gives_them(meet: Meet) -> None:
    heater = meet("heater")
    assert (await heater.connect()).body == b"\0\0"
    assert await heater.ping() == []


async def test_serve_returns_when_the_packets_end(meet: Meet) -> None:
    heater = meet("heater")
    await heater.connect()
    await heater.end()
    assert heater.closed


@pytest.mark.parametrize(("qos", "acknowledgement"), [(1, PUBACK), (2, PUBCOMP)])
async def test_acknowledgements_wait_for_the_delivery_queue(
    meet: Meet, qos: int, acknowledgement: int
) -> None:
    heater = meet("heater")
    await heater.connect()
    packet = wire.publish("rl/v1/heater/obs", b"1", qos=qos, packet_id=7)
    heater.packets.feed_data(packet)
    if qos == 2:
        await heater.receive(PUBREC)
        heater.packets.feed_data(b"\x62\x02\x00\x07")
    await asyncio.wait_for(heater.asked.wait(), WAIT_S)
    assert await heater.ping() == []
    assert heater.slowly == [("rl/v1/heater/obs", b"1")]
    heater.durable.set()
    assert (await heater.receive(acknowledgement))[-1].packet_id == 7


async def test_what_the_hub_took_reaches_no_subscriber(meet: Meet) -> None:
    heater = meet("heater")
    await heater.connect()
    await heater.subscribe("rl/v1/heater/#")
    heater.durable.set()
    heater.packets.feed_data(wire.publish("rl/v1/heater/obs", b"1", qos=1, packet_id=7))
    assert [packet.type for packet in await heater.receive(PUBACK)] == [PUBACK]
    assert await heater.ping() == []
    heater.packets.feed_data(wire.publish("rl/v1/heater/status", b"on", qos=1, packet_id=8))
    assert (await heater.receive(PUBLISH))[-1].payload == b"on"


async def test_only_a_client_of_the_gate_is_let_in(meet: Meet) -> None:
    """`_authenticate` is awaited, and after it nothing is served that the gate has not brought."""
    stranger = meet("heater")
    stranger.packets.feed_data(wire.connect(Connect("cooler", True, 0, username="cooler")))
    served = stranger.broker.serve("heater", stranger, stranger.packets, resume=False)
    await asyncio.wait_for(served, WAIT_S)
    assert [packet.body for packet in stranger.received] == [b"\0\5"]


@pytest.mark.parametrize(
    ("topic_filter", "code"),
    [("rl/v1/heater/act", 1), ("rl/v1/hub/status", 1), ("rl/v1/+/act", 0x80), ("#", 0x80)],
)
async def test_a_subscription_is_asked_about(meet: Meet, topic_filter: str, code: int) -> None:
    heater = meet("heater")
    await heater.connect()
    assert await heater.subscribe(topic_filter) == code


async def test_retained_messages_are_not_pushed_to_whoever_connects(meet: Meet) -> None:
    heater, cooler = meet("heater"), meet("cooler")
    await heater.connect()
    await heater.subscribe("rl/v1/heater/#")
    await heater.broker.retain("rl/v1/heater/state", b"secret")
    await heater.receive(PUBLISH)
    await cooler.connect()
    assert await cooler.ping() == []


async def test_a_session_is_resumed_or_forgotten_as_told(meet: Meet) -> None:
    first = meet("heater")
    await first.connect(clean=False)
    await first.subscribe("rl/v1/heater/state")
    await first.end()
    second = meet("heater")
    assert (await second.connect(clean=False, resume=True)).body == b"\1\0"
    await second.broker.retain("rl/v1/heater/state", b"1")
    await second.receive(PUBLISH)
    await second.end()
    third = meet("heater")
    assert (await third.connect(clean=False, resume=False)).body == b"\0\0"
    assert await third.ping() == []


async def test_a_will_is_sent_before_serve_returns(meet: Meet) -> None:
    heater = meet("heater")
    status = "rl/v1/heater/status"
    await heater.connect(will_topic=status, will_payload=b"offline", will_retain=True)
    await heater.end()
    again = meet("heater")
    await again.connect()
    await again.subscribe(status)
    assert (await again.receive(PUBLISH))[-1].payload == b"offline"


async def test_one_device_is_published_to_by_its_session(meet: Meet) -> None:
    heater, cooler = meet("heater"), meet("cooler")
    await heater.connect()
    await cooler.connect()
    act = "rl/v1/heater/act"
    publishing = asyncio.create_task(heater.broker.publish("heater", act, b"1", 2))
    (packet,) = await heater.receive(PUBLISH)
    assert (packet.topic, packet.flags, packet.packet_id) == (act, 0b0100, 1)
    heater.packets.feed_data(b"\x50\x02\x00\x01")
    await heater.receive(6)
    heater.packets.feed_data(b"\x70\x02\x00\x01")
    await asyncio.wait_for(publishing, WAIT_S)
    assert await cooler.ping() == []
    await heater.broker.publish("nobody", "rl/v1/nobody/act", b"1", 2)


async def test_the_hubs_own_status_is_retained(meet: Meet) -> None:
    heater = meet("heater")
    await heater.connect()
    await heater.subscribe("rl/v1/hub/status")
    assert (await heater.receive(PUBLISH))[-1].payload == b"online"
