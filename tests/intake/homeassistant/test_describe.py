"""A device as Home Assistant is told of it, held against its own rules (`rules.py`)."""

from __future__ import annotations

import struct
from typing import Any

import jsonschema
import msgspec
import pytest

from hub.intake.homeassistant.describe import describe, setpoint
from hub.payloads import State
from hub.topics import discovery_topic
from hub.words import DeviceId, Safety
from tests.intake.fakes import agent_spec
from tests.intake.homeassistant.rules import entities, shown, taken

HEATER = DeviceId("heater")
TOPIC = discovery_topic("homeassistant", "ann", "rl/v1", HEATER)
VALVE: Any = [[1], 0.0, 30.0]
SENSORS = {"return", "last_action", "steps", "learning", "restart"}


def described(*, keeps_status: bool = False, base: str = "rl/v1", **columns: Any) -> dict[str, Any]:
    """Of an agent so declared; what Home Assistant would have taken."""
    spec = agent_spec(**columns)
    document = describe(HEATER, spec, base=base, version="0.1.0", keeps_status=keeps_status)
    return taken(TOPIC, msgspec.json.encode(document))


def state(**fields: Any) -> bytes:
    whole: dict[str, Any] = {"ep": 3, "steps": 400, "ret": -12.5, "act": None, "learn": "ON"}
    return msgspec.json.encode(State(**(whole | fields)))


@pytest.mark.parametrize(
    ("actions", "acted"),
    [
        (3, False),
        ({"multi_discrete": [3, 4]}, False),
        ({"multi_binary": 3}, False),
        ([[2], 0.0, 1.0], False),
        ([[1], "-inf", 30.0], False),
        ([[1], 0, 255, "float32"], True),
        ([[1], 0, 255], False),  # bytes
        (VALVE, True),
        ([[1, 1], -1.0, 1.0], True),
        ([[1], 0.0, 1e-9], True),
        ([[1], -1e30, 1e30], True),
    ],
)
def test_devices_of_every_agent_are_taken_with_a_setpoint_where_the_action_is_one(
    actions: Any, acted: bool
) -> None:
    document = described(actions=actions)
    more = {"setpoint", "override_ends", "release"} if acted else set()
    assert entities(document).keys() == SENSORS | more


def test_rules_refuse_what_home_assistant_would() -> None:
    document = described()
    for wrong in (
        document | {"~": "rl/v1/heater"},
        document | {"origin": {}},
        document | {"components": {"x": {"platform": "lamp", "unique_id": "1"}}},
        document | {"components": {"x": {"platform": "switch", "unique_id": "1"}}},
        document | {"device": {"name": "heater"}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            taken(TOPIC, msgspec.json.encode(wrong))


def test_a_setpoint_keeps_to_the_agents_safety_rules() -> None:
    spec = agent_spec(actions=VALVE, safety=Safety(low=[5.0], high=25.0))
    assert setpoint(spec) == (5.0, 25.0)
    assert setpoint(agent_spec(actions=VALVE, safety=Safety(low=20.0, high=20.0))) is None
    number = entities(described(actions=VALVE))["setpoint"]
    assert (number["min"], number["max"], number["step"]) == (0.0, 30.0, 0.1)


def test_entities_show_what_state_says() -> None:
    known = entities(described(actions=VALVE))
    said = state(act=[21.5], over=1795237200)
    texts = {name: shown(one, said) for name, one in known.items() if "value_template" in one}
    assert texts == {
        "return": "-12.5",
        "last_action": "21.5",
        "steps": "400",
        "learning": "ON",
        "setpoint": "21.5",
        "override_ends": "2026-11-21 05:00:00+00:00",
    }
    unknown = [shown(known[name], state()) for name in ("last_action", "setpoint", "override_ends")]
    assert unknown == [None, None, None]


@pytest.mark.parametrize(
    ("actions", "act", "text"),
    [
        (3, 2, "2"),
        ([[1, 1], -1.0, 1.0], [[0.5]], "0.5"),
        ([[2], 0.0, 1.0], [0.25, 1.0], "[0.25, 1.0]"),
        ({"multi_binary": 2}, [0, 1], "[0, 1]"),
        ({"multi_binary": 2}, None, None),
        (3, None, None),
    ],
)
def test_the_last_action_is_a_number_or_a_short_text(actions: Any, act: Any, text: Any) -> None:
    sensor = entities(described(actions=actions))["last_action"]
    assert shown(sensor, state(act=act)) == text


def test_a_long_action_is_cut_to_what_a_state_may_have() -> None:
    (number,) = struct.unpack("<f", struct.pack("<f", 0.123456789))
    sensor = entities(described(actions=[[300], 0.0, 1.0]))["last_action"]
    assert len(shown(sensor, state(act=[number] * 300)) or "") == 255


def test_availability_is_the_hubs_and_the_devices_own_where_it_says_so() -> None:
    hub, own = {"topic": "rl/v1/hub/status"}, {"topic": "rl/v1/heater/status"}
    assert described()["availability"] == [hub]
    both = described(keeps_status=True)
    assert (both["availability"], both["availability_mode"]) == ([hub, own], "all")


def test_ids_stay_whatever_the_agent_is_and_differ_by_base() -> None:
    def ids(**columns: Any) -> set[str]:
        document = described(**columns)
        known = {one["unique_id"] for one in entities(document).values()}
        return known | set(document["device"]["identifiers"])

    assert ids() == ids(algorithm="DQN", actions=5, learning=False, status="paused")
    assert ids() < ids(actions=VALVE)
    assert not ids() & ids(base="site-b/rl")
