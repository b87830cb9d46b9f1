"""Home Assistant's part, played by paho: it finds a device, switches, presses and sets.

What it takes and shows is by `tests/intake/homeassistant/rules.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from hub import control
from hub.registry import key_acts
from tests.acceptance.devices import Http
from tests.acceptance.mosquitto import PASSWORD, device_broker
from tests.acceptance.paho_client import PahoClient
from tests.acceptance.people import add_user
from tests.acceptance.real_hub import RealHub, until
from tests.intake.homeassistant.rules import entities, shown, taken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SETTING: Final = '[mqtt]\nhome_assistant = "homeassistant"\n'
VALVE: Final = [[1], 0.0, 30.0]
DISCOVERY: Final = "homeassistant/device/+/+/config"
BIRTH: Final = "homeassistant/status"
LEARNING: Final = "(payload->'agent'->>'learning')"

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    """One that announces."""
    hub = RealHub(tmp_path_factory.mktemp("hub") / "data", SETTING)
    hub.start()
    yield hub
    hub.end()


class HomeAssistant:
    """Subscribes to what it is told of, as it does, and keeps the last of each."""

    def __init__(self, client: PahoClient) -> None:
        self.client = client
        assert client.subscribe(DISCOVERY, 0) == 0
        client.publish(BIRTH, b"online", 0)
        self.known: dict[str, Any] = {}

    def found(self) -> dict[str, Any]:
        """What is announced now, by topic."""
        for topic, payload, _, _ in self.client.heard():
            if topic.endswith("/config"):
                self.known.pop(topic, None)
                if payload:
                    self.known[topic] = taken(topic, payload)
        return self.known

    def device(self, name: str) -> dict[str, Any]:
        """The entities of a device, once it is found."""

        def of_name() -> list[dict[str, Any]]:
            return [one for one in self.found().values() if one["device"]["name"] == name]

        until(of_name, f"device {name} is found")
        return entities(of_name()[0])

    def subscribe(self, one: dict[str, Any]) -> None:
        """To an entity's state."""
        assert self.client.subscribe(one["state_topic"], 0) == 0

    def shows(self, one: dict[str, Any]) -> str | None:
        """An entity's state."""
        said = [payload for topic, payload, _, _ in self.client.heard()
                if topic == one["state_topic"] and payload]  # fmt: skip
        return shown(one, said[-1]) if said else None

    def send(self, one: dict[str, Any], payload: str) -> None:
        """What a person does with an entity."""
        self.client.publish(one["command_topic"], payload.encode(), one["qos"])


def test_a_person_sees_switches_restarts_and_sets_a_device(hub: RealHub) -> None:
    add_user(hub, "ann")
    secret = str(hub.ask(key_acts.CreateUserKey("ann"))["api_key"])
    key = hub.make_agent("heating", actions=VALVE)
    hub.change("heating", owner="ann")
    http = Http(hub.ready.http)

    def step(number: int) -> dict[str, Any]:
        status, answer = http.step(key, {"device": "valve", "s": number, "o": [0, 0, 0, 0]})
        assert status == 200
        return dict(answer)

    step(0)
    with PahoClient(hub.ready.mqtt, "ann", secret, will=(BIRTH, b"offline")) as client:
        home = HomeAssistant(client)
        valve = home.device("valve")
        home.subscribe(valve["steps"])
        until(lambda: home.shows(valve["learning"]) == "ON", "the switch is on")

        home.send(valve["learning"], valve["learning"]["payload_off"])
        until(lambda: home.shows(valve["learning"]) == "OFF", "the switch is off")
        declared = f"{LEARNING} AS learning, payload->>'by' AS by"
        rows = hub.sql(
            f"SELECT {declared} FROM events WHERE kind='admin' ORDER BY seq DESC LIMIT 1"
        )
        assert rows == [{"learning": "false", "by": "user ann"}]

        home.send(valve["restart"], "PRESS")
        ended = "SELECT reason FROM events WHERE kind = 'episode' AND device = 'valve'"
        until(lambda: hub.sql(ended) == [{"reason": "reset"}], "its episode has ended")

        home.send(valve["setpoint"], "21.5")
        until(lambda: home.shows(valve["override_ends"]), "the override is in force")
        told = step(1)
        assert (told["a"], told["src"]) == ([21.5], "override")
        until(lambda: home.shows(valve["setpoint"]) == "21.5", "it is shown")
        home.send(valve["release"], valve["release"]["payload_press"])
        until(lambda: home.shows(valve["override_ends"]) is None, "the agent acts again")
        assert step(2).get("src") != "override"
        last = "SELECT source, reason FROM events WHERE kind='action' AND step=1 AND device='valve'"
        assert hub.sql(last) == [{"source": "override", "reason": "user ann"}]

        hub.ask(control.ForgetDevice("valve"))
        until(lambda: home.found() == {}, "it is taken back")
    http.close()


def test_at_a_broker_of_others_it_is_the_same_and_goes_when_the_setting_does(
    tmp_path: Path, new_hub: Callable[[str], RealHub]
) -> None:
    with device_broker(tmp_path, ["w-0"]) as broker:
        address = f'broker = "{broker.address}"\nbroker_retry_s_max = 0.5\n'
        hub = new_hub(SETTING + address)
        hub.start()
        hub.make_agent("cart")
        hub.ask(control.AddDevice("w-0", "cart"))
        with (
            PahoClient(broker.port, "operator", PASSWORD) as person,
            PahoClient(broker.port, "w-0", PASSWORD, client_id="w-0") as device,
        ):
            home = HomeAssistant(person)
            known = home.device("w-0")
            assert "setpoint" not in known
            device.publish("rl/v1/w-0/status", b"online", 1, retain=True)
            both = ["rl/v1/hub/status", "rl/v1/w-0/status"]

            def places() -> list[str]:
                (document,) = home.found().values()
                return [one["topic"] for one in document["availability"]]

            until(lambda: places() == both, "it says how it is by itself")
            home.send(known["learning"], "OFF")
            off = f"SELECT count(*) AS n FROM events WHERE kind='admin' AND {LEARNING} = 'false'"
            until(lambda: hub.value(off) == 1, "it learns no more")
            assert hub.stop() == 0
            hub.settings = f"[mqtt]\n{address}"
            hub.start()
            until(lambda: home.found() == {}, "it is taken back")
