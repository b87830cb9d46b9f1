"""What is said of a device on `state`, and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec import structs

from hub.intake.overrides import Overrides
from hub.intake.receive import Receiver
from hub.intake.restore import restore
from hub.intake.session import Sessions
from hub.intake.states import States
from hub.log import recover
from hub.registry.fold import Registry, spec_of
from hub.settings import StepSettings
from hub.words import AgentName, DeviceId
from tests.intake.fakes import (
    EagerLog,
    EchoDelivery,
    HeardReply,
    ManualClock,
    agent_spec,
    open_session,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.intake.device import Device
    from hub.intake.session import Session

WALKER = AgentName("walker")


class Room:
    """A receiver, and what is said of its devices."""

    def __init__(self) -> None:
        self.log = EagerLog()
        self.clock = ManualClock()
        self.registry, self.sessions, self.session = open_session(
            agent_spec(), self.log, self.clock
        )
        delivery = EchoDelivery(self.log)
        self.receiver = Receiver(self.registry, self.log, delivery, self.clock, StepSettings())
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.later: list[tuple[Callable[[Device], object], Device]] = []
        self.overrides = Overrides(self.registry, self.log, self.clock, lasts_s=60.0)
        self.states = States(
            self.registry,
            self.sessions,
            self.overrides,
            self.tell,
            self.clock,
            1.0,
            self.call_later,
        )
        self.receiver.episode_ended = self.states.episode_ended

    def tell(self, device: DeviceId, leaf: str, payload: bytes, *, qos: int, retain: bool) -> None:
        assert (leaf, qos, retain) == ("state", 0, True)
        self.said.append((device, msgspec.json.decode(payload)))

    def call_later(self, _: float, call: Callable[[Device], object], device: Device) -> None:
        self.later.append((call, device))

    def fire(self) -> None:
        """What was to be called later is called now."""
        later, self.later = self.later, []
        for call, device in later:
            call(device)

    def step(self, number: int, *, done: bool = False, session: Session | None = None) -> None:
        payload = msgspec.json.encode({"s": number, "o": [1, 2], "r": 0.5, "d": done})
        self.receiver.receive(session or self.session, payload, "json", HeardReply())


@pytest.fixture
def room() -> Room:
    return Room()


async def test_a_device_that_moves_on_is_spoken_of_once_a_look(room: Room) -> None:
    await room.states.look()
    assert room.said == [], "it has sent nothing yet"
    for number in range(5):
        room.step(number)
    await room.states.look()
    await room.states.look()
    assert room.said == [("heater", {"ep": 1, "steps": 4, "ret": 0.0, "act": 0, "learn": "ON"})]


async def test_the_end_of_an_episode_is_said_at_once_and_of_short_ones_not_each(
    room: Room,
) -> None:
    for number in range(40):
        room.step(number, done=number % 4 == 3)
    assert len(room.later) == 1
    room.fire()
    assert room.said[-1][1] == {"ep": 10, "steps": 30, "ret": 1.5, "act": 0, "learn": "ON"}
    room.clock.seconds += 1.0
    room.step(40)
    room.step(41, done=True)
    room.fire()
    assert (len(room.said), room.said[-1][1]["ep"], room.said[-1][1]["ret"]) == (2, 11, 0.5)


async def test_switching_its_agents_learning_is_said_of_a_device_at_rest(room: Room) -> None:
    room.step(0)
    await room.states.look()
    agent = room.registry.agents[WALKER].agent
    for change in ({"learning": False}, {"learning": True, "status": "paused"}):
        changed: Any = change
        room.registry.agents[WALKER] = spec_of(structs.replace(agent, **changed))
        await room.states.look()
    room.registry.agents[WALKER] = spec_of(agent)
    await room.states.look()
    assert [state["learn"] for _, state in room.said] == ["ON", "OFF", "ON"]


async def test_a_persons_override_is_said_with_its_end_and_no_more_after_it(room: Room) -> None:
    room.step(0)
    room.overrides.take(room.session, b"1", lambda _: None, by="user ann")
    await room.states.look()
    room.clock.seconds += 60.0
    await room.states.look()
    ends_s = room.clock.now_us() // 1_000_000
    assert [state.get("over") for _, state in room.said] == [ends_s, None]


async def test_of_many_devices_each_is_spoken_of_and_a_forgotten_one_no_more(room: Room) -> None:
    for number in range(120):
        session = room.sessions.open(DeviceId(f"d-{number}"), WALKER, room.session.protocol)
        room.step(0, session=session)
    await room.states.look()
    assert len(room.said) == 120
    del room.registry.devices[DeviceId("d-7")]
    room.sessions.devices[DeviceId("d-7")].count = 9
    await room.states.look()
    assert len(room.said) == 120


async def test_after_a_restart_steps_and_return_are_what_they_were(room: Room) -> None:
    for number in range(6):
        room.step(number, done=number == 3)
    registry = Registry()
    sessions = Sessions(registry, room.log, room.clock)
    registry.agents[WALKER] = agent_spec()
    restore(recover.fold(room.log.events), registry, sessions, room.clock)
    overrides = Overrides(registry, room.log, room.clock, lasts_s=60.0)
    states = States(registry, sessions, overrides, room.tell, room.clock, 1.0, room.call_later)
    await states.look()
    assert room.said == [("heater", {"ep": 2, "steps": 4, "ret": 1.5, "act": 1, "learn": "ON"})]
