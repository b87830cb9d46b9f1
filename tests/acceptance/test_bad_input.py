"""Whatever one device sends, it pays alone: the third promise of README.md.

Two honest devices step all the while, one over MQTT and one over HTTP. Each bad sender in turn gets
the error that is its own; no honest step is ever repeated, late or lost, and the hub stays the same
process.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from hub.intake.mqtt import wire
from tests.acceptance.devices import ANSWER_S_MAX, Http, Mqtt, Walker, bearer, walkers
from tests.acceptance.real_hub import HOST, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.real_hub import RealHub

pytestmark = [pytest.mark.acceptance, pytest.mark.usefixtures("honest")]

STEPS_BESIDE: Final = 5
"""Honest steps that must pass after each bad message."""
HONEST_MS_MAX: Final = 1000.0
"""The deadline, a commit, and what a busy machine adds; a device repeats only after this."""
MEGABYTE: Final = 1 << 20
GOOD: Final = {"s": 1, "o": [0.1, 0.2, 0.3, 0.4]}


@pytest.fixture(scope="module")
def honest_walkers(hub: RealHub) -> Iterator[list[Walker]]:
    """Devices that step from the first bad message to the last."""
    devices = walkers(hub, hub.make_agent("honest"))[:2]
    for device in devices:
        device.start()
    yield devices
    for device in devices:
        device.stop()


@pytest.fixture
def honest(hub: RealHub, honest_walkers: list[Walker]) -> Iterator[None]:
    """Asserts, around a test, that no honest device noticed anything of it."""
    pid = hub.pid
    before = [len(device.steps) for device in honest_walkers]
    yield
    after = [len(device.steps) + STEPS_BESIDE for device in honest_walkers]
    until(
        lambda: all(len(d.steps) >= n for d, n in zip(honest_walkers, after, strict=True)),
        "honest devices to go on",
    )
    for device, count in zip(honest_walkers, before, strict=True):
        assert device.failure is None
        for step in device.steps[count:]:
            assert step.repeats == 0
            assert step.latency_ms < HONEST_MS_MAX
    assert hub.processes["hub"] == pid


@pytest.fixture(scope="module")
def key(hub: RealHub) -> str:
    """The bad senders' agent."""
    return hub.make_agent("bad")


def f32(*values: float, reward: float = 0.0, flags: int = 4) -> bytes:
    """An observation in the raw float32 form (docs/device-maker.md)."""
    head = struct.pack("<BBHf", 1 << 4 | flags, len(values), 1, reward)
    return head + struct.pack(f"<{len(values)}f", *values)


NAN: Final = float("nan")
REFUSED: Final[list[tuple[str, str, bytes]]] = [
    ("payload", "obs", b""),
    ("payload", "obs", b"text"),
    ("payload", "obs", b"\xff\xfe\x00"),
    ("payload", "obs", b'{"s":1,"o":[NaN,0,0,0]}'),
    ("payload", "obs", b'{"s":1,"o":[0,0,'),
    ("payload", "obs", b"[" * 10_000),
    ("payload", "obs", b'{"s":1}'),
    ("payload", "obs/mp", b"\xc1"),
    ("payload", "obs/f32", b"\x10\x04"),
    ("payload", "obs/f32", f32(0, 0, 0, 0)[:-3]),
    ("shape", "obs", b"[0,0,0]"),
    ("shape", "obs", b'{"s":1,"o":[0,0,0,0,0]}'),
    ("shape", "obs/f32", f32(0, 0, 0)),
    ("type", "obs", b'{"s":1,"o":["x",0,0,0]}'),
    ("type", "obs", b'{"s":1,"o":{"a":1}}'),
    ("type", "obs", b'{"s":"x","o":[0,0,0,0]}'),
    ("type", "obs", b'{"s":-1,"o":[0,0,0,0]}'),
    ("type", "obs", b'{"s":1,"o":[0,0,0,0],"b":-1}'),
    ("range", "obs", b'{"s":1,"o":[1e39,0,0,0]}'),
    ("range", "obs", b'{"s":1,"o":[0,0,0,0],"x":2}'),
    ("range", "obs/mp", msgspec.msgpack.encode({"s": 1, "o": [NAN, 0, 0, 0]})),
    ("range", "obs/f32", f32(0, float("inf"), 0, 0)),
    ("size", "obs", b" " * 20_000),
    ("size", "obs", b"7" * (10 * MEGABYTE)),
]


@pytest.mark.parametrize(
    ("code", "leaf", "payload"), REFUSED, ids=[f"{c}-{p[:20]!r}" for c, _, p in REFUSED]
)
def test_mqtt_content_is_refused_by_name_and_the_connection_goes_on(
    hub: RealHub, key: str, code: str, leaf: str, payload: bytes
) -> None:
    with Mqtt(hub.ready.mqtt) as mqtt:
        assert mqtt.connect("bad-mqtt", key) == 0
        mqtt.observe("bad-mqtt", payload, packet_id=1, leaf=leaf)
        assert mqtt.said("err")["e"] == code
        mqtt.observe("bad-mqtt", msgspec.json.encode(GOOD), packet_id=2)
        assert mqtt.said("act")["s"] == GOOD["s"]


def test_nan_reward_counts_as_missing_and_is_told(hub: RealHub, key: str) -> None:
    with Mqtt(hub.ready.mqtt) as mqtt:
        assert mqtt.connect("nan-reward", key) == 0
        mqtt.observe("nan-reward", f32(0, 0, 0, 0, reward=NAN), packet_id=1, leaf="obs/f32")
        assert mqtt.said("err")["e"] == "range"


CONNECT: Final = wire.connect(wire.Connect("x", True, 60, username="x", password=b"wrong"))
HANGS_UP: Final[dict[str, bytes]] = {
    "wrong key": CONNECT,
    "no CONNECT": wire.publish("rl/v1/w-mqtt/obs", b"[0,0,0,0]"),
    "HTTP": b"POST /v1/step HTTP/1.1\r\nHost: hub\r\n\r\n",
    "noise": bytes(range(255, 0, -1)) * 8,
    "reserved packet": b"\xf0\x00",
    "length of five bytes": b"\x10\xff\xff\xff\xff\x7f",
    "large CONNECT": b"\x10\xff\xff\x7f" + b"x" * MEGABYTE,
}


@pytest.mark.parametrize("sent", HANGS_UP.values(), ids=HANGS_UP)
def test_stranger_over_mqtt_is_hung_up_on(hub: RealHub, sent: bytes) -> None:
    with Mqtt(hub.ready.mqtt) as mqtt:
        try:
            mqtt.socket.sendall(sent)
        except ConnectionError:
            return  # before all of it was sent
        assert mqtt.closed_by_hub()


@pytest.mark.parametrize(
    "topic",
    ["rl/v1/w-mqtt/obs", "rl/v1/bad-mqtt/act", "rl/v1/bad-mqtt/cmd/learn", "rl/v1/hub/status"],
)
def test_topic_of_another_or_of_the_hub_ends_the_connection_and_leaves_no_row(
    hub: RealHub, key: str, topic: str
) -> None:
    count = "SELECT count(*) FROM events WHERE agent = 'bad' AND kind <> 'hello'"
    before = hub.value(count)
    with Mqtt(hub.ready.mqtt) as mqtt:
        assert mqtt.connect("bad-mqtt", key) == 0
        mqtt.socket.sendall(wire.publish(topic, b"[9,9,9,9]", qos=1, packet_id=1))
        assert mqtt.closed_by_hub()
    assert hub.value(count) == before


@pytest.mark.parametrize("leave", ["hang up", "stay silent"])
def test_half_a_packet_holds_up_nobody(hub: RealHub, key: str, leave: str) -> None:
    whole = wire.publish("rl/v1/bad-mqtt/obs", b"[0,0,0,0]", qos=1, packet_id=1)
    silent = []
    for cut in range(1, len(whole), 7):
        mqtt = Mqtt(hub.ready.mqtt)
        silent.append(mqtt)
        assert mqtt.connect("bad-mqtt", key) == 0
        mqtt.socket.sendall(whole[:cut])
        if leave == "hang up":
            mqtt.close()
    with Mqtt(hub.ready.mqtt) as mqtt:
        assert mqtt.connect("bad-mqtt", key) == 0
        mqtt.observe("bad-mqtt", b"[0,0,0,0]", packet_id=1)
        assert "a" in mqtt.said("act")
    for mqtt in silent:
        mqtt.close()


def test_device_that_floods_without_reading_is_slowed_down_alone(hub: RealHub, key: str) -> None:
    with Mqtt(hub.ready.mqtt) as mqtt:
        assert mqtt.connect("flood", key) == 0
        packets = (
            wire.publish("rl/v1/flood/obs", b"[0,0,0,0]", qos=1, packet_id=number % 60_000 + 1)
            for number in range(3000)
        )
        mqtt.socket.sendall(b"".join(packets))


# --- HTTP -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b"text"),
        (400, b'{"device":"bad-http","s":1,"o":[NaN,0,0,0]}'),
        (400, b'{"device":"bad-http","o":' + b"[" * 100_000),
        (413, b"7" * (10 * MEGABYTE)),
        (422, b'{"device":"bad-http","s":1,"o":[0,0,0]}'),
        (422, b'{"device":"bad-http","s":1,"o":["x",0,0,0]}'),
        (422, b'{"device":"bad-http","s":1,"o":[1e39,0,0,0]}'),
        (403, b'{"device":"w-http","s":1,"o":[0,0,0,0]}'),
    ],
    ids=["text", "NaN", "nested", "10 MB", "shape", "type", "range", "another's device"],
)
def test_http_content_is_refused_by_name_and_the_connection_goes_on(
    hub: RealHub, key: str, http: Http, status: int, body: bytes
) -> None:
    answered, problem = http.ask("POST", "/v1/step", body, bearer(key))
    assert (answered, problem["status"]) == (status, status)
    assert http.headers["content-type"] == "application/problem+json"
    assert http.step(key, {"device": "bad-http", **GOOD})[0] == 200


@pytest.mark.parametrize("route", ["login_user", "env"])
@pytest.mark.parametrize("body", [b"text", b"7" * (10 * MEGABYTE), b"{", b"[" * 100_000])
def test_shepherd_errors_are_sentences(http: Http, route: str, body: bytes) -> None:
    answer = http.shepherd(route, body)
    assert list(answer) == ["error"]
    assert "Traceback" not in answer["error"]


@pytest.mark.parametrize("key_sent", ["", "wrong", "x" * 8000])
def test_wrong_key_is_401(http: Http, key_sent: str) -> None:
    assert http.step(key_sent, {"device": "w-http", **GOOD})[0] == 401


BROKEN_HTTP: Final[dict[str, bytes]] = {
    "noise": bytes(range(255, 0, -1)) * 8,
    "MQTT": CONNECT,
    "a line without end": b"GET /" + b"a" * MEGABYTE,
    "a header without end": b"POST /v1/step HTTP/1.1\r\nX: " + b"a" * MEGABYTE,
    "a negative length": b"POST /v1/step HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST /v1/step HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "bad chunks": b"POST /v1/step HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "half a head": b"POST /v1/step HTTP/1.1\r\nHost",
    "half a body": b"POST /v1/step HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\n{",
    "a websocket": b"GET /v1/step HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
}


@pytest.mark.parametrize("door", ["http", "ws"])
@pytest.mark.parametrize("sent", BROKEN_HTTP.values(), ids=BROKEN_HTTP)
def test_broken_http_never_reaches_anyone_else(hub: RealHub, sent: bytes, door: str) -> None:
    port = hub.ready.http if door == "http" else hub.ready.ws
    with socket.create_connection((HOST, port), ANSWER_S_MAX) as broken:
        try:
            broken.sendall(sent)
            broken.shutdown(socket.SHUT_WR)
            answer = broken.recv(65_536)
        except ConnectionError:
            return
        assert not answer.startswith(b"HTTP/1.1 2")
        assert b"Traceback" not in answer
