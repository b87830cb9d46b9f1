"""TLS at every door: certificates of the hub, and of devices in place of keys."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import urllib.request
from queue import Queue
from typing import TYPE_CHECKING, Final

import msgspec
import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from hub import control
from hub.authority import Authority
from hub.clock import SystemClock
from hub.intake.mqtt import wire
from hub.simulate.exchange import Way
from hub.words import DeviceId
from tests.acceptance.devices import Mqtt
from tests.acceptance.real_hub import HOST, RealHub, until
from tests.commands.typed import typed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OBSERVATION: Final = b'{"s":%d,"o":[0,0,0,0]}'

pytestmark = pytest.mark.acceptance


class Secured:
    """A hub with TLS by `sheepfold tls init`, whose authority signs its devices too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tls"
        settings = typed(folder, "tls", "init", str(self.folder), "--name", HOST).out
        self.authority = Authority.open(self.folder, SystemClock())
        self.key = self.folder / "hub.key"
        self.hub = RealHub(folder / "data", settings)
        self.hub.start()
        self.agent_key = self.hub.make_agent("cart")

    def client(self, certificate: tuple[Path, Path] | None = None) -> Mqtt:
        """An MQTT client that believes the authority, and shows a certificate."""
        context = ssl.create_default_context(cafile=str(self.authority.file))
        if certificate is not None:
            context.load_cert_chain(*certificate)
        client = Mqtt(self.hub.ready.mqtt)
        client.socket = context.wrap_socket(client.socket, server_hostname=HOST)
        return client

    def sign(self, device: str) -> tuple[Path, Path]:
        """A device's certificate and key, as `sheepfold tls device` makes them."""
        said = typed(self.folder, "tls", "device", str(self.folder), device)
        assert said.code == 0, said.err
        return self.folder / f"devices/{device}.pem", self.folder / f"devices/{device}.key"

    def serial(self) -> int:
        """Of the certificate that the hub shows now."""
        with self.client() as client:
            assert isinstance(client.socket, ssl.SSLSocket)
            return int((client.socket.getpeercert() or {})["serialNumber"], 16)  # type: ignore[arg-type]  # it is text


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """One for all tests here."""
    secured = Secured(tmp_path_factory.mktemp("tls"))
    yield secured
    secured.hub.end()


def connected(client: Mqtt, username: str | None, password: bytes | None = None) -> int:
    """CONNACK's code."""
    packet = wire.Connect("any", True, 60, username=username, password=password)
    client.socket.sendall(wire.connect(packet))
    return client.packet()[1][1]


def test_a_device_steps_over_tls_by_its_key(secured: Secured) -> None:
    with secured.client() as client:
        assert client.connect("by-key", secured.agent_key) == 0
        client.observe("by-key", OBSERVATION % 1, packet_id=1)
        assert client.said("act")["s"] == 1


def test_plain_text_is_hung_up_on(secured: Secured) -> None:
    with Mqtt(secured.hub.ready.mqtt) as client, pytest.raises(OSError):  # noqa: PT011 - any
        client.connect("by-key", secured.agent_key)


def test_http_speaks_tls_too(secured: Secured) -> None:
    context = ssl.create_default_context(cafile=str(secured.authority.file))
    url = f"https://{HOST}:{secured.hub.ready.http}/healthz"
    with urllib.request.urlopen(url, context=context, timeout=10) as answer:
        assert answer.status == 200


def test_a_certificate_stands_for_a_key_where_the_device_has_an_agent(secured: Secured) -> None:
    secured.hub.ask(control.AddDevice("certified", "cart"))
    own = secured.sign("certified")
    with secured.client(own) as client:
        assert connected(client, None) == 0
        client.observe("certified", OBSERVATION % 1, packet_id=1)
        assert client.packet()[0] == wire.PacketType.PUBACK
        secured.hub.ask(control.ForgetDevice("certified"))
        with pytest.raises(ConnectionError):
            client.packet()
    with secured.client(secured.sign("unknown")) as client:
        assert connected(client, None) == wire.ConnectCode.BAD_CREDENTIALS


def test_paho_steps_by_the_certificate_that_the_command_made(secured: Secured) -> None:
    secured.hub.ask(control.AddDevice("by-paho", "cart"))
    certificate, key = secured.sign("by-paho")
    said: Queue[bytes] = Queue()

    def subscribe(*_: object) -> None:
        client.subscribe("rl/v1/by-paho/act", 1)

    def observe(*_: object) -> None:
        client.publish("rl/v1/by-paho/obs", OBSERVATION % 1, 1)

    def hear(_client: Client, _data: object, message: MQTTMessage) -> None:
        said.put(bytes(message.payload))

    client = Client(CallbackAPIVersion.VERSION2)
    client.tls_set(str(secured.authority.file), str(certificate), str(key))
    client.on_connect, client.on_subscribe, client.on_message = subscribe, observe, hear
    client.connect(HOST, secured.hub.ready.mqtt)
    client.loop_start()
    try:
        assert b'"s":1' in said.get(timeout=10)
    finally:
        client.disconnect()
        client.loop_stop()


def test_who_shows_a_certificate_is_nobody_else(secured: Secured) -> None:
    """Not by another's name, and not by a key that would let it be anybody of the agent."""
    secured.hub.ask(control.AddDevice("first", "cart"))
    secured.hub.ask(control.AddDevice("second", "cart"))
    own = secured.sign("first")
    for username, password in (("second", None), ("second", secured.agent_key.encode())):
        with secured.client(own) as client:
            assert connected(client, username, password) == wire.ConnectCode.BAD_CREDENTIALS
    with secured.client(own) as client:
        assert connected(client, "first", secured.agent_key.encode()) == 0
    with secured.client() as client:
        assert connected(client, "first") == wire.ConnectCode.BAD_CREDENTIALS


def test_a_certificate_of_another_authority_is_refused(secured: Secured, tmp_path: Path) -> None:
    secured.hub.ask(control.AddDevice("first", "cart"))
    false = Authority.make(tmp_path / "another", SystemClock()).certify_device(DeviceId("first"), 1)
    with pytest.raises(OSError), secured.client(false) as client:  # noqa: PT011 - when it is
        connected(client, None)  # noticed depends on the version of TLS


@pytest.fixture(scope="module")
def crowds_key(secured: Secured) -> str:
    """Of an agent for simulated devices."""
    return secured.hub.make_agent("crowd", deadline_ms=20)


@pytest.mark.parametrize("way", list(Way))
def test_simulated_devices_step_over_tls(secured: Secured, crowds_key: str, way: Way) -> None:
    options = ["--ca", str(secured.authority.file), "--key", crowds_key, "--protocol", str(way)]
    walk = ["--devices", "2", "--episodes", "1", "--device-prefix", f"in-{way}", "--json"]
    done = typed(secured.hub.data, "simulate", *options, *walk)
    assert done.code == 0, done.err
    assert done.lines[0]["episodes"] == 2


@pytest.mark.parametrize("way", list(Way))
def test_simulated_devices_end_at_a_certificate_that_is_not_trusted(
    secured: Secured, way: Way
) -> None:
    options = ["--tls", "--key", "a-key", "--protocol", str(way), "--json"]
    done = typed(secured.hub.data, "simulate", *options)
    assert done.code == 1
    ((why, count),) = msgspec.convert(done.lines[0]["failures"], dict[str, int]).items()
    assert ("certificate is not accepted" in why, "--ca" in why, count) == (True, True, 1)


def test_a_renewed_certificate_is_taken_in_and_a_wrong_one_is_not(secured: Secured) -> None:
    with secured.client() as standing:
        assert standing.connect("standing", secured.agent_key) == 0
        before = secured.serial()
        assert typed(secured.folder, "tls", "hub", str(secured.folder), "--name", HOST).code == 0
        os.kill(secured.hub.pid, signal.SIGHUP)
        until(lambda: secured.serial() != before, "the new certificate")
        renewed = secured.serial()
        secured.key.write_bytes((secured.folder / "ca.key").read_bytes())
        os.kill(secured.hub.pid, signal.SIGHUP)
        until(lambda: "still holds" in secured.hub.says.read_text(), "it says so")
        assert secured.serial() == renewed
        standing.observe("standing", OBSERVATION % 1, packet_id=1)
        assert standing.said("act")["s"] == 1


def test_plain_text_elsewhere_than_on_loopback_needs_a_word(
    new_hub: Callable[[str], RealHub],
) -> None:
    hub = new_hub("")
    process = hub.spawn(
        "--host", "0.0.0.0", "--http-port", "0", "--mqtt-port", "0", "--ws-port", "0"
    )
    assert process.wait(30) == 1
    assert "keys would travel in plain text" in hub.says.read_text()
    told = new_hub("[tls]\nplain_text = true\n")
    told.spawn("--host", "0.0.0.0", "--http-port", "0", "--mqtt-port", "0", "--ws-port", "0")
    until(lambda: (told.data / "ready.json").exists(), "ready", timeout_s=30)
    with socket.create_connection((HOST, told.ready.mqtt if told._is_ready() else 0), 5):
        pass
