"""What we rely on in amqtt, each seam by itself: an upgrade that moves one fails here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hub.intake.mqtt import wire
from hub.intake.mqtt.broker import Broker
from hub.intake.mqtt.people import People
from hub.intake.mqtt.wire import Connect
from hub.registry.fold import Registry
from hub.words import AgentName, DeviceId, User
from tests.intake.fakes import agent_spec
from tests.intake.mqtt.raw_client import (
    CONNACK,
    PINGRESP,
    PUBLISH,
    SUBACK,
    UNSUBACK,
    WAIT_S,
    Packet,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Meet = Callable[[str], "FakeConnection"]


STATE = "rl/v1/heater/state"
FILTERS_MAX = 3
MANY = 50


class FakeConnection:
    """The gate's side of a connection, without a socket; a `hub.intake.mqtt.broker.Client`."""

    def __init__(self, broker: Broker, device: str) -> None:
        self.broker = broker
        self.device = device
        self.packets = asyncio.StreamReader()
        self.received: list[Packet] = []
        self.closed = False
        self.peer = ("127.0.0.1", 1)
        self._task: asyncio.Task[None] | None = None

    def from_broker(self, packets: bytes) -> None:
        """One packet a call: the gate looks at the first, a CONNACK."""
        assert len(packets) == 2 + packets[1], "one whole packet, and a short one"
        self.received.append(Packet(packets[0] >> 4, packets[0] & 0x0F, packets[2:]))

    def close(self) -> None:
        """The broker ends the connection."""
        self.closed = True

    async def connect(self, *, clean: bool = True) -> Packet:
        """Connect; the CONNACK."""
        connect = Connect(self.device, clean, 0, username=self.device)
        self.packets.feed_data(wire.connect(connect))
        served = self.broker.serve(self.device, self, self.packets, clean=clean)
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

    async def subscribe(self, topic_filter: str, qos: int = 1) -> int:
        """The return code."""
        text = len(topic_filter).to_bytes(2, "big") + topic_filter.encode()
        body = b"\x00\x01" + text + bytes((qos,))
        self.packets.feed_data(bytes((0x82, len(body))) + body)
        return (await self.receive(SUBACK))[-1].body[2]

    async def unsubscribe(self, topic_filter: str) -> None:
        """Returns when it is acknowledged."""
        body = b"\x00\x01" + len(topic_filter).to_bytes(2, "big") + topic_filter.encode()
        self.packets.feed_data(bytes((0xA2, len(body))) + body)
        await self.receive(UNSUBACK)

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


def registry() -> Registry:
    """Ann's agent has a heater and many more, bob's a cooler."""
    made = Registry()
    for user, agent, device in (("ann", "walker", "heater"), ("bob", "runner", "cooler")):
        made.users[user] = User(user, "owner")
        made.agents[AgentName(agent)] = agent_spec(name=AgentName(agent))
        made.owners[AgentName(agent)] = user
        made.devices[DeviceId(device)] = AgentName(agent)
    for i in range(MANY):
        made.devices[DeviceId(f"device-{i}")] = AgentName("walker")
    made.users["eve"] = User("eve", "owner")
    return made


@pytest.fixture
async def meet() -> AsyncIterator[Callable[[str], FakeConnection]]:
    """Connections to one broker; all are ended after the test."""
    broker = Broker("rl/v1", People(registry(), "rl/v1"), filters_max=FILTERS_MAX)
    await broker.start()
    made: list[FakeConnection] = []

    def connection(device: str) -> FakeConnection:
        made.append(FakeConnection(broker, device))
        return made[-1]

    yield connection
    for one in made:
        await one.end()
    await broker.stop()


async def test_an_external_listener_takes_whole_packets_and_gives_them(meet: Meet) -> None:
    ann = meet("ann")
    assert (await ann.connect()).body == b"\0\0"
    assert await ann.ping() == []


async def test_serve_returns_when_the_packets_end(meet: Meet) -> None:
    ann = meet("ann")
    await ann.connect()
    await ann.end()
    assert ann.closed


async def test_only_a_client_of_the_gate_is_let_in(meet: Meet) -> None:
    """`_authenticate` is awaited, and after it nothing is served that the gate has not brought."""
    stranger = meet("ann")
    stranger.packets.feed_data(wire.connect(Connect("bob", True, 0, username="bob")))
    served = stranger.broker.serve("ann", stranger, stranger.packets, clean=True)
    await asyncio.wait_for(served, WAIT_S)
    assert [packet.body for packet in stranger.received] == [b"\0\5"]


@pytest.mark.parametrize(("topic_filter", "code"), [("#", 1), ("$SYS/#", 0x80)])
async def test_a_subscription_is_asked_about(meet: Meet, topic_filter: str, code: int) -> None:
    ann = meet("ann")
    await ann.connect()
    assert await ann.subscribe(topic_filter) == code


async def test_a_client_has_so_many_subscriptions_and_no_more(meet: Meet) -> None:
    ann, bob = meet("ann"), meet("bob")
    await ann.connect()
    await bob.connect()
    filters = [f"rl/v1/device-{i}/state" for i in range(FILTERS_MAX)]
    assert [await ann.subscribe(one) for one in filters] == [1] * FILTERS_MAX
    assert await ann.subscribe("#") == 0x80
    assert await ann.subscribe(filters[0]) == 1, "it is there already"
    assert await bob.subscribe("#") == 1
    await ann.unsubscribe(filters[0])
    await ann.unsubscribe("rl/v1/never/state")
    assert await ann.subscribe(STATE) == 1


async def test_nothing_is_left_of_filters_that_nobody_has_any_more(meet: Meet) -> None:
    ann, bob = meet("ann"), meet("bob")
    await ann.connect()
    await bob.connect()
    for one in ("rl/v1/+/state", STATE, "rl/v1/+/status"):
        await ann.subscribe(one)
    await bob.subscribe(STATE)
    assert ann.broker.filters == {"rl/v1/+/state", STATE, "rl/v1/+/status"}
    await ann.unsubscribe("rl/v1/+/state")
    assert ann.broker.filters == {STATE, "rl/v1/+/status"}
    await ann.end()
    assert ann.broker.filters == {STATE}


@pytest.mark.parametrize(("first", "then"), [(0, 1), (1, 0)])
async def test_a_repeated_subscription_has_the_new_qos(meet: Meet, first: int, then: int) -> None:
    ann = meet("ann")
    await ann.connect()
    for qos in (first, then):
        assert await ann.subscribe(STATE, qos) == qos
    ann.broker.publish(STATE, b"1", qos=1)
    (packet,) = await ann.receive(PUBLISH)
    assert packet.flags >> 1 == then


async def test_a_session_is_resumed_while_others_subscribe(meet: Meet) -> None:
    away, others = meet("ann"), meet("bob")
    await away.connect(clean=False)
    for one in ("rl/v1/+/state", STATE):
        await away.subscribe(one)
    await away.end()
    for i in range(MANY):
        away.broker.publish(f"rl/v1/device-{i}/state", b"1", qos=1, retain=True)
    away.broker.publish(STATE, b"1", qos=1, retain=True)
    await others.connect()
    back = meet("ann")
    await back.connect(clean=False)
    for one in ("rl/v1/cooler/state", "rl/v1/cooler/status", "rl/v1/+/status"):
        await others.subscribe(one)
    assert await back.subscribe("rl/v1/+/status") == 1


async def test_what_was_not_acknowledged_comes_again_on_the_next_connection(meet: Meet) -> None:
    first = meet("ann")
    await first.connect(clean=False)
    await first.subscribe("rl/v1/+/state")
    for payload in (b"1", b"2", b"3"):
        first.broker.publish(STATE, payload, qos=1)
    packet = (await first.receive(PUBLISH))[0]
    first.packets.feed_data(bytes((0x40, 2)) + packet.packet_id.to_bytes(2, "big"))
    await first.ping()
    await first.end()
    second = meet("ann")
    await second.connect(clean=False)
    came = [(await second.receive(PUBLISH))[-1].payload for _ in range(2)]
    assert came == [b"2", b"3"]
    assert await second.ping() == []


async def test_retained_messages_are_not_pushed_to_whoever_connects(meet: Meet) -> None:
    ann, bob = meet("ann"), meet("bob")
    await ann.connect()
    await ann.subscribe("rl/v1/+/state")
    ann.broker.publish(STATE, b"1", qos=1, retain=True)
    await ann.receive(PUBLISH)
    await bob.connect()
    assert await bob.ping() == []


async def test_a_retained_message_comes_to_who_subscribes_later_and_may_hear_it(meet: Meet) -> None:
    bob, ann, eve = meet("bob"), meet("ann"), meet("eve")
    bob.broker.publish(STATE, b"1", qos=1, retain=True)
    for one in (ann, eve):
        await one.connect()
        await one.subscribe(STATE)
    (packet,) = await ann.receive(PUBLISH)
    assert (packet.payload, packet.flags) == (b"1", 0b0011)
    assert await eve.ping() == [], "she is nobody's owner"
    bob.broker.publish(STATE, b"", qos=1, retain=True)
    assert bob.broker.retained(STATE) is None


async def test_a_message_comes_to_who_may_hear_it_only(meet: Meet) -> None:
    ann, eve = meet("ann"), meet("eve")
    for one in (ann, eve):
        await one.connect()
        await one.subscribe("#")
    await ann.receive(PUBLISH)
    await eve.receive(PUBLISH)  # hub/status
    ann.broker.publish(STATE, b"1", qos=0)
    (packet,) = await ann.receive(PUBLISH)
    assert (packet.payload, packet.flags) == (b"1", 0)
    ann.broker.publish("rl/v1/heater/act", b"1", qos=0)
    ann.broker.publish("rl/v1/cooler/state", b"1", qos=0)
    assert await ann.ping() == []
    assert await eve.ping() == []


async def test_a_session_is_resumed_or_forgotten_as_told(meet: Meet) -> None:
    first = meet("ann")
    await first.connect(clean=False)
    await first.subscribe(STATE)
    await first.end()
    first.broker.publish(STATE, b"while away", qos=1)
    second = meet("ann")
    assert (await second.connect(clean=False)).body == b"\1\0"
    (packet,) = await second.receive(PUBLISH)
    assert (packet.payload, packet.flags) == (b"while away", 0b0010), "at QoS 1, not as retained"
    await second.end()
    third = meet("ann")
    assert (await third.connect(clean=True)).body == b"\0\0"
    third.broker.publish(STATE, b"2", qos=1)
    assert await third.ping() == []
    await third.end()
    fourth = meet("ann")
    assert (await fourth.connect(clean=False)).body == b"\0\0"


async def test_the_hubs_own_status_is_retained(meet: Meet) -> None:
    ann = meet("ann")
    await ann.connect()
    await ann.subscribe("rl/v1/hub/status")
    assert (await ann.receive(PUBLISH))[-1].payload == b"online"
