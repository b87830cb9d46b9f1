"""A mapping tried on a payload: every field with what is wrong with it, and what would be told."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from hub.errors import OperatorFault
from hub.intake.mapping.read import convert_mapping
from hub.intake.mapping.trial import Told, try_out
from hub.registry.fold import Spec, spec_of
from hub.words import Agent, AgentName
from tests.intake.mapping.mapped import PAYLOADS, shipped

FORM = (PAYLOADS / "form.txt").read_bytes()
BOILERS = Agent(AgentName("boilers"), "PPO", [[2], [-20, 0], [60, 10]], 2, seed=1)


def boilers(**changes: Any) -> Spec:
    return spec_of(structs.replace(BOILERS, **changes), ("temp", "power"))


def test_what_is_found_becomes_a_number_and_an_action_the_devices_word() -> None:
    trial = try_out(shipped("form").mapping, FORM, spec=boilers())
    shown = [(row.name, row.found, row.unit, row.number, row.note) for row in trial.readings]
    assert shown == [
        ("temp", "70.7", "°F → Cel", 21.5, ""),
        ("power", "1200", "W → kW", 1.2, ""),
    ]
    assert (trial.fault, trial.values, trial.reward) == (None, [21.5, 1.2], -0.25)
    assert trial.commands == [Told(0, None, "OFF"), Told(1, None, "ON")]
    assert trial.warnings == []


@pytest.mark.parametrize(
    ("payload", "fault", "note"),
    [
        (b"t=warm&watts=1200", "temp (t) is 'warm', not a number", "temp (t) is 'warm'"),
        (b"watts=1200", "temp (t) is missing", "temp (t) is missing"),
        (b"t=21&watts=99000", None, "clipped, it was 99"),
        (b"\xff", "not UTF-8", None),
    ],
)
def test_what_is_wrong_stands_at_its_field(
    payload: bytes, fault: str | None, note: str | None
) -> None:
    trial = try_out(shipped("form").mapping, payload, spec=boilers())
    assert (trial.fault is None) == (fault is None)
    assert (fault or "") in (trial.fault or "")
    notes = [row.note for row in trial.readings]
    assert (notes == []) if note is None else any(note in one for one in notes)


def test_what_was_sent_before_is_held() -> None:
    plug, later = shipped("tasmota").mapping, b'{"BME280":{"Temperature":22}}'
    before = (PAYLOADS / "tasmota.json").read_bytes()
    trial = try_out(plug, later, before=before)
    assert trial.values == [22, 41.3, 1]
    assert [row.note for row in trial.readings] == ["", *["missing, the last value is held"] * 2]
    assert "nothing came before to hold" in (try_out(plug, later).fault or "")
    refused = try_out(plug, later, before=b"{")
    assert "what was sent before is refused" in refused.warnings[0]


def test_an_agent_that_it_does_not_fit_is_named() -> None:
    for changes, says in (
        ({"observations": [[3], -9, 9]}, "the mapping has 2 observations, agent 'boilers' 3"),
        ({"actions": 3}, "2 values, the agent has 3 choices"),
    ):
        trial = try_out(shipped("form").mapping, FORM, spec=boilers(**changes))
        assert any(says in warning for warning in trial.warnings), trial.warnings
    narrow = try_out(shipped("form").mapping, FORM, spec=boilers(observations=[[2], 0, 10]))
    assert (narrow.fault or "").startswith("range")


@pytest.mark.parametrize(
    ("agents", "tried", "reward", "says"),
    [
        ("-abs(temp - 21)", None, -0.5, "stands instead of the reward that the device sends"),
        ("-abs(temp - 21)", "power", 1.2, "stands instead"),
        (None, "1 / (temp - temp)", None, "can't be computed of it"),
        (None, "humidity", None, "names there are: temp, power"),
    ],
)
def test_a_reward_is_computed_as_the_hub_would(
    agents: str | None, tried: str | None, reward: float | None, says: str
) -> None:
    trial = try_out(shipped("form").mapping, FORM, spec=boilers(reward=agents), reward=tried)
    assert trial.reward == reward
    assert any(says in warning for warning in trial.warnings), trial.warnings


def test_of_many_actions_one_is_shown_and_without_an_agent_none() -> None:
    spec = spec_of(structs.replace(BOILERS, actions=[[2], 0, 100]), ("temp", "power"))
    command = {"topic": "set/{device}", "payload": {"heat": "{0}", "fan": "{1}"}, "decimals": 0}
    mapping = convert_mapping(
        {
            "format": "form",
            "observations": [{"name": "temp", "path": "t"}, {"name": "power", "path": "watts"}],
            "action": command,
        }
    )
    trial = try_out(mapping, b"t=1&watts=2", spec=spec)
    assert trial.commands == [Told([0.0, 0.0], "set/{device}", '{"heat":0,"fan":0}')]
    assert try_out(mapping, b"t=1&watts=2").commands == []


def test_a_payload_of_nothing_is_no_observation_and_a_mapping_of_nothing_no_mapping() -> None:
    tank = try_out(shipped("sparkplug").mapping, b"")
    assert (tank.values, tank.fault) == (None, None)
    assert "no observation" in tank.warnings[0]
    with pytest.raises(OperatorFault, match="is no JMESPath"):
        try_out(
            convert_mapping({"format": "json", "observations": [{"name": "a", "path": "["}]}), b"{}"
        )
