"""Bytes and topics that mean harm, many of them: nothing gets through, and nobody else notices.

The large form is `make soak-gate` (`pytest tests/intake/mqtt/test_hostile.py --packets 10000000`).
"""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest

from hub.intake.mqtt import wire, wire5
from hub.intake.mqtt.properties import Property, properties_bytes
from hub.intake.mqtt.wire import PacketType
from hub.topics import DEVICE_PUBLISHES
from hub.words import Kind, User
from tests.intake.house import KEY, House
from tests.intake.mqtt import raw_client5
from tests.intake.mqtt.raw_client import PUBACK, PUBLISH

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.intake.mqtt.connection import Connection
    from hub.intake.mqtt.properties import Value

SEED: Final = 20261129
PER_CONNECTION: Final = 25
BYTES_HELD_MAX: Final = 32 * 1024 * 1024
OWN: Final = {f"rl/v1/mallory/{leaf}" for leaf in DEVICE_PUBLISHES}
PIECES: Final = (
    "rl", "v1", "mallory", "heater", "hub", "agents", "http-1", "+", "#", "$SYS", "$share", "..",
    ".", "", "\0", "é", "\u202e", "MALLORY", "mallory ", "%2e", "*", "obs", "mp", "act", "status",
    "state", "cmd", "learn", "reset", "reward", "hello", "err", "cfg", "\ufeff", "rl/v1", "f32",
)  # fmt: skip
FOREIGN: Final = [
    f"rl/v1/{device}/{leaf}"
    for device in ("heater", "#", "hub", "agents")
    for leaf in ("obs", "act", "err", "cfg", "state", "status", "hello", "cmd/learn", "act/mp")
] + ["$SYS/broker", "rl/v1", "other"]

ACKNOWLEDGEMENTS: Final = (PacketType.PUBACK, PacketType.PUBREC, PacketType.PUBCOMP)

pytestmark = pytest.mark.timeout(36_000)


class Memory(asyncio.Transport):
    """A socket without one: what is written is kept until it is looked at."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self.written = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 1) if name == "peername" else default

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._connection.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        """Nothing more is fed in by itself."""

    def resume_reading(self) -> None:
        """As above."""


class Attack:
    """A house with an honest device, and connections that are not."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.chance = np.random.default_rng(SEED)
        house.registry.users["ann"] = User("ann", "admin")
        self.honest, self.honest_line = self.connect("heater")
        self.steps = 0
        body = b"\0\1" + _text("rl/v1/heater/act") + b"\1"
        self.honest.data_received(bytes((0x82, len(body))) + body)

    def connect(self, device: str, **more: Any) -> tuple[Connection, Memory]:
        """A device that was let in."""
        connection = self.house.gate.accept()
        line = Memory(connection)
        connection.connection_made(line)
        packet = wire.Connect("any", True, 60, username=device, password=KEY.encode(), **more)
        connection.data_received(wire.connect(packet))
        connection._flush()
        return connection, line

    def connect5(self, device: str, **more: Any) -> tuple[Connection, Memory]:
        """The same by MQTT 5."""
        connection = self.house.gate.accept()
        line = Memory(connection)
        connection.connection_made(line)
        connection.data_received(raw_client5.connect(device, KEY, keep_alive_s=60, **more))
        connection._flush()
        return connection, line

    async def step_honestly(self) -> None:
        """The honest device is acknowledged and answered in the same turn of the loop."""
        self.honest_line.written.clear()
        self.steps += 1
        packet_id = self.steps % 60_000 + 1
        payload = b'{"s":%d,"o":[1,2]}' % self.steps
        packet = wire.publish("rl/v1/heater/obs", payload, qos=1, packet_id=packet_id)
        self.honest.data_received(packet)
        await asyncio.sleep(0)
        assert self.honest_line.written[0] >> 4 == PUBACK
        assert self.honest_line.written[4] >> 4 == PUBLISH
        self.honest.data_received(wire.puback(self.steps % 65_535 + 1))

    def forget(self) -> None:
        """What an honest log would have on disk."""
        self.house.log.events.clear()
        self.house.delivery.begun.clear()


@pytest.fixture
async def attack(open_house: Callable[..., Any]) -> Attack:
    """On a house whose log commits at once."""
    return Attack(await open_house())


def _text(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def good_packets() -> list[bytes]:
    """One of each kind that a device sends."""
    act = _text("rl/v1/mallory/act")
    return [
        wire.connect(wire.Connect("any", True, 60, username="mallory", password=KEY.encode())),
        wire.publish("rl/v1/mallory/obs", b'{"s":1,"o":[1,2],"r":0.5}', qos=1, packet_id=7),
        wire.publish("rl/v1/mallory/obs", b'{"s":2,"o":[1,2]}', qos=2, packet_id=8),
        wire.publish("rl/v1/mallory/obs/mp", b"\x81\xa1o\x92\x01\x02"),
        wire.publish("rl/v1/mallory/obs/f32", b"\x14\x02" + bytes(14)),
        wire.publish("rl/v1/mallory/hello", b'{"v":1,"b":7}', qos=1, packet_id=9),
        wire.publish("rl/v1/mallory/reward", b'{"r":1}'),
        wire.publish("rl/v1/mallory/status", b"online", qos=1, packet_id=10, retain=True),
        b"\x82" + bytes((len(act) + 3,)) + b"\0\1" + act + b"\1",
        b"\xa2" + bytes((len(act) + 2,)) + b"\0\2" + act,
        wire.puback(1),
        wire.pubrec(1),
        wire.pubrel(8),
        wire.pubcomp(1),
        b"\xc0\0",
        b"\xe0\0",
    ]


def good_packets5() -> list[bytes]:
    """The same by MQTT 5, with all that it may say besides."""
    act, status = "rl/v1/mallory/act", "rl/v1/mallory/status"
    asks: dict[Property, Value] = {
        Property.RESPONSE_TOPIC: act,
        Property.CORRELATION_DATA: b"7",
        Property.USER_PROPERTY: [("a", "b")],
    }
    can = {Property.SESSION_EXPIRY_S: 1, Property.RECEIVE_MAXIMUM: 2}
    return [
        raw_client5.connect("mallory", KEY, properties_bytes(can), will=(status, b"off")),
        wire5.publish("rl/v1/mallory/obs", b'{"s":1,"o":[1,2],"r":0.5}', asks, qos=1, packet_id=7),
        wire5.publish("rl/v1/mallory/obs", b'{"s":2,"o":[1,2]}', asks, qos=2, packet_id=8),
        wire5.publish("rl/v1/mallory/obs/mp", b"\x81\xa1o\x92\x01\x02"),
        wire5.publish("rl/v1/mallory/obs/f32", b"\x14\x02" + bytes(14), asks),
        wire5.publish("rl/v1/mallory/hello", b'{"v":1,"b":7}', qos=1, packet_id=9),
        wire5.publish("rl/v1/heater/obs", b'{"o":[1,2]}', qos=1, packet_id=10),
        wire5.publish(status, b"online", qos=1, packet_id=11, retain=True),
        raw_client5.subscribe(act, "rl/v1/mallory/#", options=0x2D),
        raw_client5.unsubscribe(act),
        *(wire5.acknowledgement(kind, 1) for kind in ACKNOWLEDGEMENTS),
        wire5.acknowledgement(PacketType.PUBREC, 1, 0x97, {Property.REASON_STRING: "no"}),
        wire5.acknowledgement(PacketType.PUBREL, 8),
        b"\xc0\0",
        bytes.fromhex("e0 07 04 05 11 00000007"),
        bytes.fromhex("f0 06 18 04 15 0001 61"),
    ]


def mutated(packet: bytes, chance: np.random.Generator) -> bytes:
    """A few bytes changed, cut out, doubled or put in."""
    made = bytearray(packet)
    for how, at, byte in chance.integers(0, 256, (int(chance.integers(1, 4)), 3)).tolist():
        place = at % (len(made) + 1)
        match how % 5:
            case 0:
                made[place : place + 1] = bytes((byte,))
            case 1:
                made[place:place] = bytes((byte,))
            case 2:
                del made[place : place + byte % 4]
            case 3:
                made[place:place] = made[place : place + byte % 16]
            case _:
                del made[place:]
    return bytes(made)


async def test_mutated_packets_harm_nobody(attack: Attack, packets: int) -> None:
    """No crash, no row of another device, memory bounded, and an honest device is answered."""
    versions = (attack.connect, good_packets()), (attack.connect5, good_packets5())
    chance = attack.chance
    tracemalloc.start()
    held = tracemalloc.get_traced_memory()[0]
    for round_number in range(packets // PER_CONNECTION):
        connect, good = versions[round_number % 2]
        connection, line = connect("mallory")
        for choice in chance.integers(0, len(good), PER_CONNECTION).tolist():
            connection.data_received(mutated(good[choice], chance))
            if line.closed:
                break
        assert len(connection._buffer) <= connection._limit + 8
        line.close()
        await asyncio.sleep(0)
        if round_number % 20 == 0:
            await attack.step_honestly()
            devices = {event.device for event in attack.house.log.of_kind(Kind.OBSERVATION)}
            assert devices <= {"heater", "mallory"}
            attack.forget()
    assert tracemalloc.get_traced_memory()[0] - held < BYTES_HELD_MAX
    tracemalloc.stop()
    assert set(attack.house.gate.connections) <= {"heater"}


async def test_no_topic_leads_to_another_device(attack: Attack, packets: int) -> None:
    """Of generated topics only the device's own are taken; the others leave no row and end it."""
    chance = attack.chance
    versions = (attack.connect, wire.publish), (attack.connect5, wire5.publish)
    for number in range(max(1, packets // 10)):
        topic = "/".join(PIECES[i] for i in chance.integers(0, len(PIECES), chance.integers(1, 6)))
        if number % 2:
            topic = f"rl/v1/{topic}"
        connect, publish = versions[number % 3 > 0]
        connection, line = connect("mallory")
        attack.forget()
        qos = int(number % 3 == 1)  # by MQTT 5 only, which has an answer to it but closing
        connection.data_received(publish(topic, b'{"o":[1,2]}', qos=qos, packet_id=1))
        assert qos or line.closed == (topic not in OWN), topic
        assert topic in OWN or attack.house.log.events == [], topic
        line.close()
        await asyncio.sleep(0)
        if number % 10 == 0:
            denied, line = attack.connect("mallory", will_topic=topic)
            assert (denied.publications is None) == (topic != "rl/v1/mallory/status"), topic
            line.close()
            await asyncio.sleep(0)


@pytest.mark.parametrize("version", [3, 5])
async def test_no_filter_lets_another_devices_messages_in(
    attack: Attack, packets: int, version: int
) -> None:
    """Whatever filter is granted takes in nothing but the device's own topics."""
    connect = attack.connect5 if version == 5 else attack.connect
    properties, code_at = (b"\0", 5) if version == 5 else (b"", 4)
    chance = attack.chance
    connection, line = connect("mallory")
    for number in range(max(1, packets // 20)):
        pieces = [PIECES[i] for i in chance.integers(0, len(PIECES), chance.integers(1, 5))]
        topic_filter = "/".join(pieces)
        if number % 2:
            topic_filter = f"rl/v1/mallory/{topic_filter}"
        line.written.clear()
        body = b"\0\1" + properties + _text(topic_filter) + b"\1"
        connection.data_received(bytes((0x82, len(body))) + body)
        connection._flush()
        if line.closed:  # malformed
            await asyncio.sleep(0)
            connection, line = connect("mallory")
            continue
        if line.written[code_at] == 1:
            assert not any(_takes_in(topic_filter, topic) for topic in FOREIGN), topic_filter
        else:
            assert line.written[code_at] >= wire.NOT_GRANTED
        unsubscribe = body[:-1]  # or the next would be one too many
        connection.data_received(bytes((0xA2, len(unsubscribe))) + unsubscribe)
        connection._flush()
    line.close()


def _takes_in(topic_filter: str, topic: str) -> bool:
    """As MQTT 3.1.1, 4.7 has it, written anew."""
    if topic == "rl/v1/hub/status":
        return False  # it is for all
    wanted, given = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("#", "+"):
        return False
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place == len(given) or level not in ("+", given[place]):
            return False
    return len(wanted) == len(given)
