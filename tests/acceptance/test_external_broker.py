"""A hub at Debian's mosquitto: what holds there, and over `kill -9` of either.

The large form is `make soak-broker` (`pytest tests/acceptance/test_external_broker.py --kills 20`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from hub import control
from hub.address import read_address
from hub.mqtt_hub import HubLink
from hub.simulate.exchange import Endpoint
from hub.simulate.over_mqtt import MqttExchange
from hub.words import DeviceId
from tests.acceptance.devices import Http, Mqtt, Walker
from tests.acceptance.mosquitto import PASSWORD, device_broker
from tests.acceptance.paho_client import PahoClient
from tests.acceptance.real_hub import HOST, until
from tests.acceptance.test_kill import assert_logged_once, await_steps
from tests.intake.house import become

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.acceptance.mosquitto import Mosquitto
    from tests.acceptance.real_hub import RealHub

DEVICES: Final = ("w-0", "w-1", "w-2")
OBSERVATION: Final = b'{"s":%d,"b":7,"o":[0,0,0,0]}'

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """Running; it knows the walkers and a stranger that no agent has."""
    with device_broker(tmp_path, [*DEVICES, "stranger"]) as broker:
        yield broker


@pytest.fixture
def hub(mosquitto: Mosquitto, new_hub: Callable[[str], RealHub]) -> RealHub:
    """A hub that uses it, with an agent that has the walkers."""
    hub = new_hub(f'[mqtt]\nbroker = "{mosquitto.address}"\nbroker_retry_s_max = 0.5\n')
    hub.start()
    hub.make_agent("cart")
    for device in DEVICES:
        hub.ask(control.AddDevice(device, "cart"))
    until(lambda: hub.ask_status()["sockets"], "the hub is at the broker")
    return hub


def walker(mosquitto: Mosquitto, device: str) -> Walker:
    """A device that steps without end, by the broker."""
    exchange = MqttExchange(DeviceId(device), PASSWORD, Endpoint(HOST, mosquitto.port))
    return Walker(device, exchange)


def test_devices_of_an_agent_are_answered_and_others_told_why_not(
    hub: RealHub, mosquitto: Mosquitto
) -> None:
    assert (hub.ready.mqtt, hub.ready.ws) == (0, 0), "the broker's ports are the broker's"
    with Mqtt(mosquitto.port) as device, Mqtt(mosquitto.port) as stranger:
        assert device.connect("w-0", PASSWORD) == 0
        assert stranger.connect("stranger", PASSWORD) == 0
        device.observe("w-0", OBSERVATION % 1, packet_id=1)
        first = device.said("act")
        device.observe("w-0", OBSERVATION % 1, packet_id=2)
        assert device.said("act") == first
        device.observe("w-0", b'{"o":[0]}', packet_id=3)
        assert device.said("err")["e"] == "shape"
        stranger.observe("stranger", OBSERVATION % 1, packet_id=1)
        assert stranger.said("err")["e"] == "auth"
        # By mosquitto's own rules nobody speaks for another; 3.1.1 has no way to say so.
        stranger.observe("w-0", OBSERVATION % 2, packet_id=2)
        device.observe("w-0", OBSERVATION % 3, packet_id=4)
        assert device.said("act")["s"] == 3
    rows = hub.sql("SELECT device, step FROM events WHERE kind = 'observation' ORDER BY seq")
    assert rows == [{"device": "w-0", "step": 1}, {"device": "w-0", "step": 3}]


async def test_rules_that_do_not_let_the_hub_in_the_topics_are_said(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong user is let in by its password, and hears nothing."""
    link = HubLink(
        read_address(mosquitto.address.replace("//hub:", "//w-0:"), "mqtt.broker"),
        client_id="hub",
        filters=["rl/v1/+/obs"],
        status_topic="rl/v1/hub/status",
        under_way_max=1,
        retry_s_max=0.1,
    )
    running = asyncio.create_task(link.run())
    said = "does not let this hub publish to rl/v1/hub/status (Not authorized)"
    await become(lambda: said in caplog.text or running.done())
    assert "deploy/mosquitto/acl" in caplog.text
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_dashboards_see_state_and_command_there_too(hub: RealHub, mosquitto: Mosquitto) -> None:
    with (
        PahoClient(mosquitto.port, "operator", PASSWORD) as person,
        Mqtt(mosquitto.port) as device,
    ):
        person.subscribe("rl/v1/#", 1)
        until(lambda: ("rl/v1/hub/status", b"online", 1, True) in person.heard(), "online")
        assert device.connect("w-0", PASSWORD) == 0
        device.observe("w-0", OBSERVATION % 1, packet_id=1)
        until(lambda: "rl/v1/w-0/state" in [one[0] for one in person.heard()], "a state")
        person.publish("rl/v1/w-0/cmd/learn", b"OFF", 1)
        person.publish("rl/v1/w-0/cmd/reset", b"", 1)
        person.publish("rl/v1/w-0/reward", b'{"r":2}', 1)
        until(lambda: hub.ask(control.Show("agent", "cart"))["learning"] is False, "it is off")
        ended = "SELECT count(*) FROM events WHERE kind IN ('episode', 'reward')"
        until(lambda: hub.value(ended) == 2, "reset and reward are in the log")
        assert hub.stop() == 0
        until(lambda: ("rl/v1/hub/status", b"offline", 1, False) in person.heard(), "offline")


def test_what_was_sent_while_the_hub_was_away_is_answered_when_it_is_back(
    hub: RealHub, mosquitto: Mosquitto
) -> None:
    with (
        PahoClient(mosquitto.port, "operator", PASSWORD) as person,
        Mqtt(mosquitto.port) as device,
    ):
        person.subscribe("rl/v1/hub/status", 1)
        assert device.connect("w-0", PASSWORD) == 0
        device.observe("w-0", OBSERVATION % 1, packet_id=1)
        device.said("act")
        hub.kill_nine()
        until(lambda: b"offline" in [one[1] for one in person.heard()], "the hub's will")
        for step in (2, 3):
            device.observe("w-0", OBSERVATION % step, packet_id=step)
            assert device.packet()[0] == 4, "mosquitto has it"
        hub.start()
        assert [device.said("act")["s"] for _ in range(2)] == [2, 3]
    steps = hub.sql("SELECT step FROM events WHERE kind = 'observation' ORDER BY seq")
    assert [row["step"] for row in steps] == [1, 2, 3]


def test_kill_nine_of_broker_and_hub_loses_nothing_that_was_answered(
    hub: RealHub, mosquitto: Mosquitto, kills: int
) -> None:
    """Goal: the promise of docs/operator.md, "Another broker".

    Method: three devices never stop; broker and hub are killed in turn, and at the end the log is
    compared with what the devices were told.
    """
    devices = [walker(mosquitto, device) for device in DEVICES]
    for device in devices:
        device.start()
    for kill in range(kills):
        await_steps(devices)
        if kill % 2:
            hub.kill_nine()
            hub.start()
        else:
            mosquitto.kill_nine()
            mosquitto.start()
    await_steps(devices)
    for device in devices:
        device.stop()
        assert_logged_once(hub, device)


def test_a_moved_device_is_its_new_agents_from_its_next_step_on(
    hub: RealHub, mosquitto: Mosquitto
) -> None:
    hub.make_agent("other")
    with Mqtt(mosquitto.port) as device:
        assert device.connect("w-0", PASSWORD) == 0
        device.observe("w-0", OBSERVATION % 1, packet_id=1)
        device.said("act")
        hub.ask(control.AddDevice("w-0", "other"))
        device.observe("w-0", OBSERVATION % 2, packet_id=2)
        device.said("act")
        hub.ask(control.ForgetDevice("w-0"))
        device.observe("w-0", OBSERVATION % 3, packet_id=3)
        assert device.said("err")["e"] == "auth"
    rows = hub.sql("SELECT agent FROM events WHERE kind = 'observation' ORDER BY seq")
    assert [row["agent"] for row in rows] == ["cart", "other"]


def test_a_hub_without_its_broker_serves_http_and_says_what_is_wrong(
    new_hub: Callable[[str], RealHub],
) -> None:
    hub = new_hub('[mqtt]\nbroker = "mqtt://127.0.0.1:1"\n')
    hub.start()
    key = hub.make_agent("cart")
    with Http(hub.ready.http) as http:
        status, _ = http.step(key, msgspec.json.decode(b'{"device":"d","s":0,"o":[0,0,0,0]}'))
        assert status == 200
    until(lambda: "broker mqtt://127.0.0.1:1" in hub.says.read_text(), "it says so")
