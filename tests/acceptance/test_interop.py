"""What any MQTT 3.1.1 client expects of its server, tried with paho (after eclipse's own suite)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from hub import control
from hub.intake import wire
from tests.acceptance.devices import Mqtt
from tests.acceptance.paho_client import PahoClient
from tests.acceptance.real_hub import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.real_hub import RealHub

NOT_GRANTED: Final = 0x80

pytestmark = pytest.mark.acceptance

_numbers: Final = iter(range(1000))


class Home:
    """A device of an agent of its own, and the person it belongs to."""

    def __init__(self, hub: RealHub) -> None:
        number = next(_numbers)
        self.device, self.user = f"lamp-{number}", f"user-{number}"
        self._hub = hub
        hub.ask(control.CreateUser(self.user, "owner", "a long password"))
        self._key = hub.make_agent(f"lamps-{number}")
        hub.change(f"lamps-{number}", owner=self.user)
        hub.ask(control.AddDevice(self.device, f"lamps-{number}"))
        self._user_key = str(hub.ask(control.CreateUserKey(self.user))["api_key"])
        self.topic = f"rl/v1/{self.device}"

    def lamp(self, *, client_id: str = "lamp", clean: bool = True) -> PahoClient:
        """The device."""
        port = self._hub.ready.mqtt
        return PahoClient(port, self.device, self._key, client_id=client_id, clean=clean)

    def person(self, *, client_id: str = "dashboard", clean: bool = True) -> PahoClient:
        """A dashboard of the user."""
        port = self._hub.ready.mqtt
        return PahoClient(port, self.user, self._user_key, client_id=client_id, clean=clean)

    def raw(self) -> tuple[Mqtt, str]:
        """The device as bytes, and its key."""
        return Mqtt(self._hub.ready.mqtt), self._key


@pytest.fixture
def home(hub: RealHub) -> Home:
    """One for each test."""
    return Home(hub)


ENDS: Final = ("lamp", "person")


def end_of(home: Home, name: str) -> Callable[..., PahoClient]:
    """One of the two kinds of client."""
    made: Callable[..., PahoClient] = getattr(home, name)
    return made


@contextmanager
def heard_at(home: Home, end: str, lamp: PahoClient) -> Iterator[PahoClient]:
    """The device itself, which has one connection, or its person."""
    if end == "lamp":
        yield lamp
        return
    with home.person() as person:
        yield person


@pytest.mark.parametrize("end", ENDS)
def test_basic(home: Home, end: str) -> None:
    """Each QoS arrives, at the lower of those of publisher and subscriber."""
    with home.lamp() as lamp, heard_at(home, end, lamp) as listening:
        assert listening.subscribe(f"{home.topic}/status", 2) == 2
        for qos in (0, 1, 2):
            lamp.publish(f"{home.topic}/status", b"on %d" % qos, qos)
        until(lambda: len(listening.messages) == 3, "three messages")
        assert sorted(listening.heard()) == [
            (f"{home.topic}/status", b"on %d" % qos, qos, False) for qos in (0, 1, 2)
        ]


def test_keep_alive_is_kept_and_the_will_sent(home: Home) -> None:
    raw, key = home.raw()
    connect = wire.Connect(
        "lamp",
        True,
        1,
        username=home.device,
        password=key.encode(),
        will_topic=f"{home.topic}/status",
        will_payload=b"offline",
    )
    with home.person() as person, raw.socket:
        person.subscribe(f"{home.topic}/status", 1)
        raw.socket.sendall(wire.connect(connect))
        until(lambda: person.messages, "the will")
        assert [payload for _, payload, _, _ in person.heard()] == [b"offline"]


@pytest.mark.parametrize("end", ENDS)
def test_offline_message_queueing(home: Home, end: str) -> None:
    """What was published while it was away comes when it is back, and not as if retained."""
    with end_of(home, end)(clean=False) as client:
        for leaf in ("cmd/learn", "cmd/reset"):
            assert client.subscribe(f"{home.topic}/{leaf}", 2) == 2
    with home.person(client_id="other") as other:
        other.publish(f"{home.topic}/cmd/learn", b"OFF", 1)
        other.publish(f"{home.topic}/cmd/reset", b"", 2)
    with end_of(home, end)(clean=False) as client:
        assert client.session_present
        until(lambda: len(client.messages) == 2, "what waited")
        assert sorted(client.heard()) == [
            (f"{home.topic}/cmd/learn", b"OFF", 1, False),
            (f"{home.topic}/cmd/reset", b"", 2, False),
        ]
    with end_of(home, end)(clean=True) as client:
        assert not client.session_present
    with end_of(home, end)(clean=False) as client:
        assert not client.session_present


@pytest.mark.parametrize("end", ENDS)
def test_overlapping_subscriptions(home: Home, end: str) -> None:
    """Once at the highest QoS, or once for each subscription at its own (3.3.5)."""
    with home.lamp() as lamp, heard_at(home, end, lamp) as listening:
        listening.subscribe(f"{home.topic}/#", 2)
        listening.subscribe(f"{home.topic}/status", 1)
        lamp.publish(f"{home.topic}/status", b"on", 2)
        until(lambda: 2 in [message.qos for message in listening.messages], "the message")
        lamp.publish(f"{home.topic}/status", b"last", 2)
        until(lambda: b"last" in [message.payload for message in listening.messages], "the last")
        copies = [message.qos for message in listening.messages if message.payload == b"on"]
        assert sorted(copies) in ([2], [1, 2])


def test_redelivery_on_reconnect(home: Home) -> None:
    """An action that was not acknowledged comes again, marked so, on the next connection."""
    lamp, key = home.raw()
    connect = wire.Connect("lamp", False, 60, username=home.device, password=key.encode())
    subscribe = b"\0\1" + len(home.topic + "/act").to_bytes(2, "big")
    subscribe += f"{home.topic}/act".encode() + b"\1"
    with lamp.socket:
        lamp.socket.sendall(wire.connect(connect))
        assert lamp.packet() == (wire.PacketType.CONNACK, b"\0\0")
        lamp.socket.sendall(bytes((0x82, len(subscribe))) + subscribe)
        assert lamp.packet()[0] == wire.PacketType.SUBACK
        lamp.observe(home.device, b'{"s":1,"o":[0,0,0,0]}', packet_id=5)
        assert lamp.packet()[0] == wire.PacketType.PUBACK
        first = lamp.packet()
        assert first[0] == wire.PacketType.PUBLISH
    again, _ = home.raw()
    with again.socket:
        again.socket.sendall(wire.connect(connect))
        assert again.packet() == (wire.PacketType.CONNACK, b"\1\0")
        assert again.packet() == first


@pytest.mark.parametrize("end", ENDS)
def test_retained_messages(home: Home, end: str) -> None:
    with home.lamp() as lamp, heard_at(home, end, lamp) as other:
        lamp.publish(f"{home.topic}/status", b"on", 1, retain=True)
        other.subscribe(f"{home.topic}/+", 2)
        until(lambda: other.messages, "what was retained")
        assert other.heard() == [(f"{home.topic}/status", b"on", 1, True)]
        lamp.publish(f"{home.topic}/status", b"off", 2, retain=True)
        until(lambda: len(other.messages) == 2, "the next")
        assert other.heard()[-1] == (f"{home.topic}/status", b"off", 2, False)
        lamp.publish(f"{home.topic}/status", b"", 1, retain=True)
        until(lambda: len(other.messages) == 3, "an empty one")
        other.unsubscribe(f"{home.topic}/+")
        other.subscribe(f"{home.topic}/+", 2)
        lamp.publish(f"{home.topic}/status", b"live", 1)
        until(lambda: len(other.messages) == 4, "only what is live")
        assert other.heard()[-1] == (f"{home.topic}/status", b"live", 1, False)


def test_subscribe_failure(home: Home) -> None:
    with home.lamp() as lamp:
        for denied in ("rl/v1/other/act", "rl/v1/+/act", "#", f"{home.topic}/none"):
            assert lamp.subscribe(denied, 1) == NOT_GRANTED
        assert lamp.subscribe(f"{home.topic}/act", 1) == 1


@pytest.mark.parametrize("end", ENDS)
def test_dollar_topics(home: Home, end: str) -> None:
    """Nobody subscribes to them, and who publishes there is not heard of again."""
    with end_of(home, end)() as client:
        assert client.subscribe("$SYS/#", 1) == NOT_GRANTED
        client.paho.publish("$SYS/anything", b"1", 0)
        until(lambda: not client.online, "the connection ends")


@pytest.mark.parametrize("end", ENDS)
def test_unsubscribe(home: Home, end: str) -> None:
    with home.lamp() as lamp, heard_at(home, end, lamp) as listening:
        listening.subscribe(f"{home.topic}/status", 1)
        listening.subscribe(f"{home.topic}/+", 0)
        listening.unsubscribe(f"{home.topic}/status")
        lamp.publish(f"{home.topic}/status", b"once", 1)
        until(lambda: listening.messages, "by the other subscription")
        listening.unsubscribe(f"{home.topic}/+")
        lamp.publish(f"{home.topic}/status", b"twice", 1)
        listening.subscribe("rl/v1/hub/status", 1)
        until(lambda: len(listening.messages) == 2, "the hub's status")
        assert [payload for _, payload, _, _ in listening.heard()] == [b"once", b"online"]


@pytest.mark.parametrize("end", ENDS)
def test_zero_length_client_id(home: Home, end: str) -> None:
    with end_of(home, end)(client_id="", clean=True) as client:
        assert client.online
    raw, key = home.raw()
    with raw.socket:
        connect = wire.Connect("", False, 60, username=home.device, password=key.encode())
        raw.socket.sendall(wire.connect(connect))
        assert raw.packet() == (wire.PacketType.CONNACK, b"\0\2")


def test_a_dashboard_sees_how_a_device_fares_and_switches_its_learning(
    hub: RealHub, home: Home
) -> None:
    """The way of Home Assistant: `state` by wildcard, a switch on `cmd/learn`."""
    raw, key = home.raw()
    agent = home.device.replace("lamp", "lamps")
    with home.person() as person, raw.socket:
        assert person.subscribe("rl/v1/+/state", 0) == 0
        assert raw.connect(home.device, key) == 0
        for step in range(4):
            done = b',"d":1' if step == 3 else b""
            raw.observe(
                home.device, b'{"s":%d,"o":[0,0,0,0],"r":2%s}' % (step, done), packet_id=step + 1
            )
        until(lambda: person.messages, "a state")
        until(lambda: b'"ret":6.0' in person.messages[-1].payload, "the return of the episode")
        state = person.messages[-1].payload
        assert b'{"ep":1,"steps":3,"ret":6.0,"act":' in state
        assert state.endswith(b'"learn":"ON"}')
        person.publish(f"{home.topic}/cmd/learn", b"OFF", 1)
        assert hub.ask(control.Show("agent", agent))["learning"] is False
        until(lambda: b'"learn":"OFF"' in person.messages[-1].payload, "the switch is off")
    with home.person() as late:
        late.subscribe(f"{home.topic}/state", 0)
        until(lambda: late.messages, "it is retained")
        assert late.messages[0].retain
