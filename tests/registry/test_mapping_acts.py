"""What an operator may do to mappings, and what the log's fold makes of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import structs

from hub.errors import OperatorFault
from hub.facts import AgentMade, Fact
from hub.intake.mapping.bound import check_mapping
from hub.intake.mapping.read import convert_mapping
from hub.mappings import MappingName
from hub.registry.fold import Registry
from hub.registry.mapping_acts import AddMapping, MappingAct, MappingActs, RemoveMapping
from hub.words import Agent, AgentName, Event, Kind
from tests.intake.fakes import floats
from tests.intake.mapping.mapped import shipped


class Room:
    """Acts over a registry, and the log they make."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.log: list[Event] = []
        self.acts = MappingActs(self.registry, lambda: 7, check_mapping)
        for name, observations in (("climate", [[3], -100, 100]), ("other", [[3], -100, 100])):
            self.make(name, observations)

    def make(self, name: str, observations: Any, actions: Any = 2) -> None:
        agent = Agent(AgentName(name), "PPO", observations, actions, seed=0)
        payload = msgspec.json.encode(AgentMade(agent, "ann")).decode()
        self.take([Event(Kind.ADMIN, 1, agent=name, payload=payload)])

    def take(self, events: list[Event]) -> None:
        for event in events:
            self.log.append(structs.replace(event, seq=len(self.log) + 1))
            self.registry.apply(self.log[-1])

    def do(self, act: MappingAct) -> Any:
        events, answer = self.acts.decide(act, "ann")
        self.take(events)
        return answer


def add(name: str = "tasmota", agent: str = "climate", **changes: Any) -> AddMapping:
    return AddMapping(name, agent, structs.replace(shipped("tasmota").mapping, **changes))


def test_each_change_of_a_mapping_is_its_next_version_even_after_it_was_removed() -> None:
    room = Room()
    assert room.do(add()) == {"mapping": "tasmota", "agent": "climate", "version": 1}
    assert room.do(add())["version"] == 2
    assert room.do(RemoveMapping("tasmota")) == {"removed": "tasmota"}
    assert room.registry.mappings == {}
    assert room.do(add())["version"] == 3


def test_a_registry_folded_from_the_log_has_the_same_mappings() -> None:
    room = Room()
    room.do(add())
    room.do(add("second", topics=["second/{device}"]))
    room.do(RemoveMapping("tasmota"))
    again = Registry()
    for event in room.log:
        again.apply(event)
    assert again.mappings == room.registry.mappings
    assert again.mapping_versions == {"tasmota": 1, "second": 1}
    fact = msgspec.json.decode(room.log[-2].payload or "", type=Fact)
    assert fact.mapping == again.mappings[MappingName("second")].mapping


def test_mappings_are_shown_in_a_line_each_or_whole() -> None:
    room = Room()
    room.do(add())
    assert room.acts.show(None) == [{"mapping": "tasmota", "agent": "climate", "version": 1}]
    shown: Any = room.acts.show("tasmota")
    assert convert_mapping(shown["mapping"]) == shipped("tasmota").mapping


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (add("Tasmota!"), "must match"),
        (add(agent="nobody"), "no agent 'nobody'; there are: climate, "),
        (add(agent="narrow"), "the mapping has 3 observations, agent 'narrow' 2"),
        (add(agent="named"), "agent 'named' observes a, b, c: give the mapping's observations"),
        (add(agent="fan"), "2 values, the agent has 3 choices"),
        (add(agent="dimmer"), "values are for an agent of one choice"),
        (add(agent="other"), "mapping 'tasmota' is of agent 'climate'"),
        (add("second"), "topic 'tele/{device}/SENSOR' is in mapping 'tasmota' already"),
        (add("second", observations=shipped("csv").mapping.observations), "one policy sees them"),
        (add(topics=["tele/{device}x/SENSOR"]), "stand alone between slashes"),
        (add(topics=["tele/#/SENSOR"]), "# alone at the end"),
        (add(topics=["{device}/{device}"]), "at most once"),
        (add(topics=[""]), "has 1 to 256 characters"),
        (add(action={"topic": "cmnd/+/P", "values": [0, 1]}), "it has no \\+ and no #"),
        (add(action={"values": [0, 1], "payload": "{0}"}), "either values or payload"),
        (add(action={"payload": "on"}), "has no place for the action"),
        (add(action={"payload": "{1}"}), r"payload has \{1\}, the action 1 numbers"),
        (add(action={"payload": "{0}", "decimals": 99}), "decimals are 0 to 15"),
        (add(observations=shipped("tasmota").mapping.observations * 2), "stands there twice"),
        (RemoveMapping("none"), "there is no mapping 'none'; there are: tasmota"),
    ],
)
def test_what_could_not_serve_is_refused_with_what_would_do(act: MappingAct, says: str) -> None:
    room = Room()
    room.do(add())
    room.make("narrow", [[2], -100, 100])
    room.make("named", {part: [[1], -100, 100] for part in "abc"})
    room.make("fan", [[3], -100, 100], 3)
    room.make("dimmer", [[3], -100, 100], [[1], 0, 1])
    if isinstance(act, AddMapping):
        # As it comes over the operator's socket.
        name = act.name if act.agent in ("climate", "other") else "new"
        document = msgspec.to_builtins(act.mapping)
        act = AddMapping(name, act.agent, convert_mapping(document))
    count = len(room.log)
    with pytest.raises(OperatorFault, match=says):
        room.do(act)
    assert len(room.log) == count


def test_a_reward_over_a_mappings_names_holds_the_mapping_there() -> None:
    room = Room()
    room.do(add())
    spec = room.registry.agents[AgentName("climate")]
    agent = structs.replace(spec.agent, reward="-abs(temp - 21) - heat")
    payload = msgspec.json.encode(AgentMade(agent, "ann")).decode()
    room.take([Event(Kind.ADMIN, 1, agent="climate", payload=payload)])
    computed = room.registry.agents[AgentName("climate")].reward
    assert computed is not None
    assert computed(floats(20, 40, 1)) == -2
    renamed = [structs.replace(shipped("tasmota").mapping.observations[0], name="warmth")]
    fields = [*renamed, *shipped("tasmota").mapping.observations[1:]]
    for act in (RemoveMapping("tasmota"), add(observations=fields)):
        with pytest.raises(OperatorFault, match="reward of agent 'climate': 'temp' is not known"):
            room.do(act)
    room.do(add("second", topics=["second/{device}"]))
    room.do(RemoveMapping("tasmota"))
    again = Registry()
    for event in room.log:
        again.apply(event)
    assert again.agents[AgentName("climate")].reward is not None
