"""What any MQTT client expects of its server, tried with paho (after eclipse's own suite).

The last tests are of MQTT 5, by paho and by mosquitto's commands.
"""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from hub import control
from hub.intake.mqtt import wire
from hub.registry import key_acts, user_acts
from tests.acceptance.devices import Mqtt
from tests.acceptance.mosquitto import found
from tests.acceptance.paho5_client import Paho5Client
from tests.acceptance.paho_client import PahoClient
from tests.acceptance.real_hub import HOST, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.real_hub import RealHub

NOT_GRANTED: Final = 0x80
OBSERVATION: Final = b'{"s":1,"o":[0,0,0,0]}'

pytestmark = pytest.mark.acceptance

_numbers: Final = iter(range(1000))


class Home:
    """A device of an agent of its own, and the person it belongs to."""

    def __init__(self, hub: RealHub) -> None:
        number = next(_numbers)
        self.device, self.user = f"lamp-{number}", f"user-{number}"
        self._hub = hub
        hub.ask(user_acts.CreateUser(self.user, "owner", "a long password"))
        self._key = hub.make_agent(f"lamps-{number}")
        hub.change(f"lamps-{number}", owner=self.user)
        hub.ask(control.AddDevice(self.device, f"lamps-{number}"))
        self._user_key = str(hub.ask(key_acts.CreateUserKey(self.user))["api_key"])
        self.topic = f"rl/v1/{self.device}"

    def lamp(self, *, client_id: str = "lamp", clean: bool = True) -> PahoClient:
        """The device."""
        port = self._hub.ready.mqtt
        return PahoClient(port, self.device, self._key, client_id=client_id, clean=clean)

    def person(self, *, client_id: str = "dashboard", clean: bool = True) -> PahoClient:
        """A dashboard of the user."""
        port = self._hub.ready.mqtt
        return PahoClient(port, self.user, self._user_key, client_id=client_id, clean=clean)

    def lamp5(self, *, key: str = "", **options: Any) -> Paho5Client:
        """The device by MQTT 5."""
        return Paho5Client(self._hub.ready.mqtt, self.device, key or self._key, **options)

    def person5(self) -> Paho5Client:
        """The user by MQTT 5."""
        return Paho5Client(self._hub.ready.mqtt, self.user, self._user_key)

    def command(self, program: str, *options: str) -> subprocess.CompletedProcess[str]:
        """The device by one of mosquitto's commands, which speaks MQTT 5."""
        where = ["-V", "5", "-h", HOST, "-p", str(self._hub.ready.mqtt)]
        command = [found(program), *where, "-u", self.device, "-P", self._key, *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

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


# --- MQTT 5 ------------------------------------------------------------------------------------


def test_mqtt_5_request_and_response(home: Home) -> None:
    with home.lamp5() as client:
        code, resumed, said = client.accepted
        assert (code, resumed) == (0, False)
        assert said.AssignedClientIdentifier == home.device
        assert (said.ReceiveMaximum, said.SharedSubscriptionAvailable) == (64, 0)
        assert client.subscribe(f"{home.topic}/#", 1) == 1
        asks: dict[str, Any] = {
            "ResponseTopic": f"{home.topic}/mine/1",
            "CorrelationData": b"\0\1",
        }
        assert client.publish(f"{home.topic}/obs", OBSERVATION, **asks) == (0, "")
        (act,) = client.hear(1)
        assert act.topic == f"{home.topic}/mine/1"
        assert act.payload.startswith(b'{"s":1,"a":')
        assert act.properties is not None
        assert act.properties.CorrelationData == b"\0\1"  # type: ignore[attr-defined]  # paho's way
        assert act.properties.MessageExpiryInterval >= 1  # type: ignore[attr-defined]  # as above


def test_mqtt_5_reason_codes(home: Home) -> None:
    with home.lamp5() as client:
        assert client.subscribe("rl/v1/other/act", 1) == 0x87
        code, why = client.publish(f"{home.topic}/obs", b'{"o":[1]}')
        assert (code, why[:6]) == (0x99, "shape:")
        # paho does not look at the reason in a PUBREC: it releases the id, which is free already.
        assert client.publish(f"{home.topic}/obs", b'{"o":[1]}', 2)[0] == 0x92
        assert client.publish(f"{home.topic}/obs", OBSERVATION, 2)[0] == 0
        client.paho.publish("rl/v1/other/obs", OBSERVATION, 1)
        until(lambda: bool(client.ended), "the connection ends")
        assert client.ended == [0x87]


def test_mqtt_5_session_expiry_and_take_over(home: Home) -> None:
    lasting: dict[str, Any] = {"clean": False, "SessionExpiryInterval": 600}
    with home.lamp5(**lasting) as old:
        assert old.subscribe(f"{home.topic}/act", 1) == 1
        with home.lamp5(**lasting) as new:
            until(lambda: bool(old.ended), "the older is told")
            assert old.ended == [0x8E]
            assert new.accepted[:2] == (0, True)
            new.publish(f"{home.topic}/obs", OBSERVATION)
            assert new.hear(1)[0].topic == f"{home.topic}/act"
    with home.lamp5(clean=False) as client:
        assert client.accepted[1] is True
    with home.lamp5(clean=False) as client:  # the one before said nothing of how long
        assert client.accepted[1] is False


def test_mqtt_5_who_is_refused_is_told_why(home: Home) -> None:
    with home.lamp5(key="a wrong key") as stranger:
        assert stranger.accepted[0] == 0x86
    with home.person5() as person:
        assert person.accepted[0] == 0x84


def test_mqtt_5_an_operator_forgets_the_device(hub: RealHub, home: Home) -> None:
    with home.lamp5() as client:
        hub.ask(control.ForgetDevice(home.device))
        until(lambda: bool(client.ended), "the connection ends")
        assert client.ended == [0x98]


def test_mqtt_5_mosquittos_commands(home: Home) -> None:
    """`mosquitto_rr` asks and is answered, `mosquitto_pub` is told, `mosquitto_sub` is refused."""
    answer = f"{home.topic}/mine"
    asked = home.command(
        "mosquitto_rr", "-t", f"{home.topic}/obs", "-e", answer, "-q", "1", "-m", "[0,0,0,0]"
    )
    assert asked.stdout.startswith('{"s":0,"a":'), asked
    told = home.command("mosquitto_pub", "-t", f"{home.topic}/obs", "-q", "1", "-m", "[0]")
    assert "Payload format invalid" in told.stderr, told
    assert "shape: obs has 1 values" in told.stderr, told
    refused = home.command("mosquitto_sub", "-t", "rl/v1/+/act", "-W", "20")
    assert "denied" in (refused.stdout + refused.stderr).lower(), refused
