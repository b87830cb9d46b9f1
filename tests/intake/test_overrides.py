"""A person acts for a device: what is taken, when it holds, and what ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hub.action.deliver import Deliver
from hub.errors import DeviceFault
from hub.facts import DeviceAdded, DeviceForgotten, Overridden
from hub.intake.overrides import Overrides
from hub.intake.receive import Receiver
from hub.intake.restore import restore
from hub.intake.session import Sessions
from hub.log import recover
from hub.registry.fold import Registry
from hub.settings import StepSettings
from hub.step import Choice
from hub.words import AgentName, Code, DeviceId, Event, Kind, Safety, Source
from tests.intake.fakes import (
    HeardReply,
    ManualClock,
    ManualLog,
    Timers,
    agent_spec,
    floats,
    guard_of,
    open_session,
)

if TYPE_CHECKING:
    from hub.registry.fold import Spec
    from hub.step import Step

HEATER = DeviceId("heater")
LASTS_S = 60.0
VALVE: Any = [[1], 0.0, 30.0]


class Room:
    """A hub's way of a step, with an actor that always wants 1."""

    def __init__(self, spec: Spec) -> None:
        self.log = ManualLog()
        self.clock = ManualClock()
        self.registry, self.sessions, self.session = open_session(spec, self.log, self.clock)
        self.overrides = Overrides(self.registry, self.log, self.clock, LASTS_S)
        guard, self.alerts = guard_of(spec, self.clock)
        self.deliver = Deliver(
            self.log,
            self,
            self.clock,
            StepSettings(),
            Timers(self.clock).call_later,
            guard,
            self.overrides.choose,
        )
        self.receiver = Receiver(self.registry, self.log, self.deliver, self.clock, StepSettings())
        self.steps = 0

    def ask(self, step: Step) -> str | None:
        """The policy's action, at once."""
        self.deliver.choose(step, Choice(floats(1.0), Source.POLICY, policy=7, logprob=-0.5))
        return None

    def take(self, payload: bytes) -> None:
        """A person's, durable."""
        self.overrides.take(self.session, payload, lambda _: None, by="user ann")
        self.log.commit()

    def step(self, **fields: Any) -> Event:
        """One observation; its action, as the log has it."""
        self.steps += 1
        payload = msgspec.json.encode({"s": self.steps, "o": [1, 2]} | fields)
        self.receiver.receive(self.session, payload, "json", HeardReply())
        self.log.commit()
        return self.log.of_kind(Kind.ACTION)[-1]


@pytest.fixture
def room() -> Room:
    return Room(agent_spec(actions=VALVE))


def test_it_acts_once_it_is_in_the_log_until_its_time_is_over(room: Room) -> None:
    room.overrides.take(room.session, b"[21.5]", lambda _: None, by="user ann")
    assert room.overrides.of(HEATER) is None, "it is not durable yet"
    room.log.commit()
    told = room.step()
    assert (told.action, told.source, told.reason) == (floats(21.5), Source.OVERRIDE, "user ann")
    assert (told.policy, told.logprob) == (None, None)
    room.clock.seconds += LASTS_S
    assert room.step().source is Source.POLICY


def test_one_number_needs_no_list(room: Room) -> None:
    room.take(b"21.5")
    assert room.step().action == floats(21.5)


def test_off_lets_the_agent_act_again_and_both_are_in_the_log(room: Room) -> None:
    room.take(b"[21.5]")
    room.take(b" off\n")
    assert room.step().source is Source.POLICY
    facts = [
        event for event in room.log.of_kind(Kind.ADMIN) if "overridden" in (event.payload or "")
    ]
    given = [msgspec.json.decode(event.payload or "", type=Overridden) for event in facts]
    assert [event.action for event in facts] == [floats(21.5), None]
    assert [one.by for one in given] == ["user ann", "user ann"]


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"warm", Code.PAYLOAD),
        (b"", Code.PAYLOAD),
        (b"[NaN]", Code.PAYLOAD),
        (b"\xff\xfe", Code.PAYLOAD),
        (b"[" * 100_000, Code.PAYLOAD),
        (b"[21.5,3]", Code.SHAPE),
        (b"null", Code.TYPE),
        (b'["21.5"]', Code.TYPE),
        (b"[31]", Code.RANGE),
        (b"[1e999]", Code.PAYLOAD),
        (b"[1e300]", Code.RANGE),
    ],
)
def test_what_is_no_action_is_refused_and_changes_nothing(
    room: Room, payload: bytes, code: Code
) -> None:
    room.take(b"[20]")
    with pytest.raises(DeviceFault) as refused:
        room.take(payload)
    assert refused.value.code is code
    assert room.step().action == floats(20.0)


def test_nothing_is_taken_while_the_log_is_behind(room: Room) -> None:
    room.log.crowded = True
    with pytest.raises(DeviceFault) as refused:
        room.take(b"[20]")
    assert refused.value.code is Code.BUSY


def test_the_guard_clamps_a_person_too_says_who_and_pauses_nobody_for_it() -> None:
    room = Room(agent_spec(actions=VALVE, safety=Safety(high=25.0, clamps_max=2)))
    room.take(b"[28]")
    told = [room.step() for _ in range(4)][-1]
    assert (told.action, told.source, told.reason) == (
        floats(25.0),
        Source.CLAMP,
        "user ann, bounds",
    )
    assert room.alerts == []


def test_a_clamped_person_counts_not_for_the_policy_after_a_restart_either() -> None:
    room = Room(agent_spec(actions=VALVE, safety=Safety(low=10.0, high=25.0, clamps_max=9)))
    assert room.step().source is Source.CLAMP, "1.0, as the policy wants, is too low"
    for payload in (b"[28]", b"[20]"):
        room.take(payload)
        room.step()
    sessions = Sessions(room.registry, room.log, room.clock)
    restore(recover.fold(room.log.events), room.registry, sessions, room.clock)
    held = [one.devices[HEATER].held for one in (room.sessions, sessions)]
    assert [one.clamps for one in held if one is not None] == [1, 1]


def test_a_paused_agents_devices_get_the_fallback_whoever_would_act() -> None:
    room = Room(agent_spec(actions=VALVE, status="paused"))
    room.take(b"[28]")
    assert room.step().source is Source.FALLBACK


def test_what_the_device_does_not_allow_becomes_what_it_does() -> None:
    room = Room(agent_spec(actions=3, algorithm="MaskablePPO"))
    room.take(b"2")
    assert room.step(i={"mask": [0, 1, 0]}).action == floats(1.0)


def test_it_holds_after_a_restart_of_the_hub(room: Room) -> None:
    room.take(b"[21.5]")
    registry = Registry()
    sessions = Sessions(registry, room.log, room.clock)
    restore(recover.fold(room.log.events), registry, sessions, room.clock)
    assert registry.overrides == room.registry.overrides != {}


@pytest.mark.parametrize("moved", [True, False])
def test_it_ends_with_the_device_being_the_agents(room: Room, moved: bool) -> None:
    room.take(b"[21.5]")
    fact = DeviceAdded(HEATER, "operator") if moved else DeviceForgotten(HEATER, "operator")
    payload = msgspec.json.encode(fact).decode()
    room.registry.apply(Event(Kind.ADMIN, 0, agent="other", device=HEATER, payload=payload))
    assert room.overrides.of(HEATER) is None


def test_it_does_not_act_for_another_agent_that_got_the_device_before_it_was_durable(
    room: Room,
) -> None:
    room.take(b"[21.5]")
    room.registry.agents[AgentName("other")] = agent_spec(name=AgentName("other"), actions=VALVE)
    room.session.agent = AgentName("other")
    assert room.step().source is Source.POLICY
