"""What the guard makes of choices on their way to the log: clamped, replaced, paused."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec import structs

from hub.facts import Alert, PolicyMade
from hub.learner.experience.transitions import Follow
from hub.learner.messages import Drawn, drawn_of, payload_of
from hub.registry.fold import VERSIONS_TIMED_MAX, spec_of
from hub.step import Choice
from hub.words import AgentName, Event, Floats, Interlock, Kind, Safety, Source
from tests.action.test_deliver import DEADLINE_S, Room, Trace
from tests.intake.fakes import Pause, agent_spec, floats

if TYPE_CHECKING:
    from hub.registry.fold import Spec
    from tests.intake.fakes import HeardReply

WALKER = AgentName("walker")
BOX = [[2], -10.0, 10.0]


def room_of(*, actions: Any = BOX, safety: Safety | None, **columns: Any) -> Room:
    """A room whose agent has these rules; the devices see `[number, 0]`."""
    return Room(agent_spec(actions=actions, safety=safety, **columns))


def step(room: Room, number: int, *wanted: float, **chosen: Any) -> Event:
    """One step of the device with what the policy wants; the logged action."""
    heard(room, number, *wanted, **chosen)
    return room.log.of_kind(Kind.ACTION)[-1]


def heard(room: Room, number: int, *wanted: float, **chosen: Any) -> HeardReply:
    """The same step, and what the device hears."""
    begun, reply = room.begin(number)
    room.deliver.choose(begun, policy_chose(*wanted, **chosen))
    room.log.commit()
    return reply


def policy_chose(*wanted: float, **chosen: Any) -> Choice:
    made = Choice(floats(*wanted), Source.POLICY, policy=7, logprob=-0.5, value=1.5)
    return structs.replace(made, **chosen)


def numbers(action: Floats | None) -> list[float]:
    assert action is not None
    return list(struct.unpack(f"<{len(action) // 4}f", action))


def fall_back(room: Room, number: int) -> tuple[Event, HeardReply]:
    """One step whose policy misses the deadline."""
    _, reply = room.begin(number)
    room.timers.advance(DEADLINE_S)
    room.log.commit()
    return room.log.of_kind(Kind.ACTION)[-1], reply


# --- several choices at once --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actions", "wanted", "sent"),
    [
        ({"multi_discrete": [3, 4]}, (2.0, 3.0), [2, 3]),
        ({"multi_binary": 2}, (0.0, 1.0), [0, 1]),
        ({"discrete": 3, "start": 5}, (7.0,), 7),
    ],
)
def test_whole_numbers_leave_as_whole_numbers(
    actions: Any, wanted: tuple[float, ...], sent: Any
) -> None:
    room = room_of(actions=actions, safety=None)
    reply = heard(room, 0, *wanted)
    assert (reply.answer.action, reply.answer.source) == (sent, Source.POLICY)
    json = msgspec.json.encode(reply.answer.action)
    assert b"." not in json


@pytest.mark.parametrize(
    ("actions", "wanted", "sent"),
    [
        ({"multi_discrete": [3, 4]}, (2.0, 4.0), [0, 0]),
        ({"multi_binary": 2}, (0.0, 0.5), [0, 0]),
        ({"discrete": 3, "start": 5}, (8.0,), 5),
    ],
)
def test_several_choices_that_are_none_never_leave(
    actions: Any, wanted: tuple[float, ...], sent: Any
) -> None:
    room = room_of(actions=actions, safety=None)
    reply = heard(room, 0, *wanted)
    assert (reply.answer.action, reply.answer.source) == (sent, Source.FALLBACK)


@pytest.mark.parametrize(("declared", "sent"), [("hold", [2, 3]), ([1, 0], [1, 0])])
def test_fallback_of_several_choices(declared: Any, sent: list[int]) -> None:
    room = room_of(actions={"multi_discrete": [3, 4]}, safety=None, fallback=declared)
    step(room, 0, 2.0, 3.0)
    _, reply = fall_back(room, 1)
    assert reply.answer.action == sent


# --- clamped -----------------------------------------------------------------------------------


def test_the_clamped_action_leaves_and_is_logged_beside_what_was_wanted() -> None:
    room = room_of(safety=Safety(high=2.0, rate_max=1.0))
    reply = heard(room, 0, 0.0, 5.0)
    action = room.log.of_kind(Kind.ACTION)[0]
    assert reply.answer.action == [0.0, 2.0]
    assert (reply.answer.source, reply.answer.policy) == (Source.CLAMP, 7)
    assert (action.action, action.source, action.reason) == (
        floats(0.0, 2.0),
        Source.CLAMP,
        "bounds",
    )
    assert (action.policy, action.logprob, action.value) == (7, -0.5, 1.5)
    assert action.payload == '{"wanted":[0.0,5.0]}'
    assert room.trace.last_action == floats(0.0, 2.0)
    assert room.guard.clamped == 1
    assert step(room, 1, 9.0, 2.0).reason == "rate"
    assert step(room, 2, -9.0, 9.0).reason == "bounds, rate"


def test_an_action_within_the_rules_stays_the_policy_chose_own() -> None:
    room = room_of(safety=Safety(high=2.0))
    action = step(room, 0, 1.0, 1.0, payload='{"raw":[1.0,12.0]}')
    assert (action.source, action.reason) == (Source.POLICY, None)
    assert action.payload == '{"raw":[1.0,12.0]}'


def test_an_agent_without_rules_is_not_touched() -> None:
    room = room_of(safety=None)
    begun, _ = room.begin(0)
    choice = policy_chose(1.0, 1.0)
    assert room.guard.check(begun, choice) is choice
    assert room.trace.held is None


def test_what_was_wanted_and_what_was_sampled_stand_side_by_side() -> None:
    room = room_of(safety=Safety(high=2.0))
    raw = floats(0.1, 12.7)
    action = step(room, 0, 0.1, 10.0, payload=payload_of(Drawn(raw)))
    assert drawn_of(action.payload).raw == raw
    wanted = msgspec.json.decode(action.payload or "")["wanted"]
    assert floats(*wanted) == floats(0.1, 10.0)


def test_an_off_policy_learner_follows_what_was_sent() -> None:
    room = room_of(safety=Safety(high=2.0))
    for number in range(2):
        step(room, number, 5.0, 5.0)
    follow = Follow(missing_reward=0.0)
    seen = [structs.replace(event, boot=1, reward=1.0) for event in room.log.events]
    (transition,) = [made for event in seen if (made := follow.fold(event))]
    assert (transition.action, transition.source) == (floats(2.0, 2.0), Source.CLAMP)


def test_dwell_counts_on_our_clock_and_from_the_last_change() -> None:
    room = room_of(actions=2, safety=Safety(dwell_s=10.0))
    assert step(room, 0, 1.0).reason is None
    room.clock.seconds += 9.0
    assert step(room, 1, 0.0).reason == "dwell"
    assert numbers(room.trace.last_action) == [1.0]
    room.clock.seconds += 1.0
    assert step(room, 2, 0.0).reason is None
    assert step(room, 3, 1.0).reason == "dwell"


def test_rules_declared_while_it_runs_know_the_action_before_but_not_since_when() -> None:
    room = room_of(actions=2, safety=None)
    step(room, 0, 1.0)
    room.clock.seconds += 60.0
    room.spec = agent_spec(actions=2, safety=Safety(dwell_s=10.0))
    assert step(room, 1, 0.0).reason == "dwell"
    room.clock.seconds += 10.0
    assert step(room, 2, 0.0).reason is None


def test_rules_that_were_away_for_a_while_start_anew() -> None:
    """What was sent meanwhile was not timed, even where it is the same value."""
    room = room_of(actions=2, safety=Safety(dwell_s=10.0))
    step(room, 0, 1.0)
    room.clock.seconds += 20.0
    guarded, room.spec = room.spec, agent_spec(actions=2)
    step(room, 1, 0.0)
    step(room, 2, 1.0)
    room.spec = guarded
    assert step(room, 3, 0.0).reason == "dwell"


def test_a_new_declaration_holds_from_its_next_step() -> None:
    room = room_of(safety=Safety(high=2.0))
    assert step(room, 0, 5.0, 0.0).reason == "bounds"
    room.spec = agent_spec(actions=BOX, safety=Safety(high=6.0))
    assert step(room, 1, 5.0, 0.0).reason is None


def test_devices_of_an_agent_are_held_apart() -> None:
    room = room_of(actions=2, safety=Safety(dwell_s=10.0))
    step(room, 0, 1.0)
    begun, _ = room.begin(0, trace=Trace("cooler"))
    room.deliver.choose(begun, policy_chose(0.0))
    room.log.commit()
    assert room.log.of_kind(Kind.ACTION)[-1].reason is None


def test_a_late_action_is_logged_as_it_was_wanted() -> None:
    room = room_of(safety=Safety(high=2.0))
    begun, _ = room.begin(0)
    room.timers.advance(DEADLINE_S)
    room.deliver.choose(begun, policy_chose(5.0, 5.0))
    room.log.commit()
    late = room.log.events[-1]
    assert (late.kind, late.source, late.action) == (
        Kind.REFUSED,
        Source.POLICY,
        floats(5.0, 5.0),
    )


# --- the fallback ------------------------------------------------------------------------------


def test_the_fallback_keeps_bounds_and_says_so() -> None:
    room = room_of(safety=Safety(high=2.0), fallback=[5.0, 0.0])
    action, reply = fall_back(room, 0)
    assert reply.answer.action == [2.0, 0.0]
    assert (action.source, action.reason, action.policy) == (
        Source.FALLBACK,
        "deadline; bounds",
        None,
    )
    assert room.guard.clamped == 0


def test_an_interlock_forces_the_fallback_too() -> None:
    lock = Interlock("o[0] >= 1", [1.0, 1.0])
    room = room_of(safety=Safety(interlocks=[lock]), fallback="none")
    action, reply = fall_back(room, 0)
    assert (action.action, action.reason) == (None, "deadline")
    action, reply = fall_back(room, 1)
    assert reply.answer.action == [1.0, 1.0]
    assert (action.source, action.reason) == (Source.FALLBACK, "deadline; interlock o[0] >= 1")


def test_the_fallback_may_change_at_any_moment_and_then_stands_for_its_time() -> None:
    room = room_of(actions=2, safety=Safety(dwell_s=10.0), fallback=0)
    step(room, 0, 1.0)
    action, _ = fall_back(room, 1)
    assert numbers(action.action) == [0.0]
    assert step(room, 2, 1.0).reason == "dwell"


def test_a_paused_agents_fallback_keeps_the_rules() -> None:
    room = room_of(safety=Safety(high=2.0), fallback=[5.0, 0.0], status="paused")
    _, reply = room.begin(0)
    room.log.commit()
    assert reply.answer.action == [2.0, 0.0]
    assert room.log.of_kind(Kind.ACTION)[0].reason == "paused; bounds"


# --- too old -----------------------------------------------------------------------------------


def make_policy(room: Room, version: int, *, seconds_ago: float = 0.0) -> None:
    """The registry hears of a version."""
    made = PolicyMade("0" * 64, None, 0)
    event = Event(
        Kind.POLICY,
        room.clock.now_us() - int(seconds_ago * 1e6),
        agent=WALKER,
        policy=version,
        payload=msgspec.json.encode(made).decode(),
    )
    room.guard._registry.apply(event)


def test_an_action_by_a_policy_too_many_versions_behind_is_replaced_by_the_fallback() -> None:
    room = room_of(safety=Safety(versions_behind_max=1), fallback=[3.0, 3.0])
    make_policy(room, 8)
    assert step(room, 0, 1.0, 1.0, policy=7).source is Source.POLICY
    make_policy(room, 9)
    action = step(room, 1, 1.0, 2.0, policy=7)
    assert (action.source, action.action, action.policy) == (
        Source.FALLBACK,
        floats(3.0, 3.0),
        None,
    )
    assert action.reason == "stale: policy 7 is 2 versions behind"
    assert action.payload == '{"wanted":[1.0,2.0]}'


def test_an_action_by_a_policy_that_is_too_old_is_replaced_by_the_fallback() -> None:
    room = room_of(safety=Safety(policy_age_s_max=60.0), fallback=[3.0, 3.0])
    make_policy(room, 7, seconds_ago=60.0)
    assert step(room, 0, 1.0, 1.0).source is Source.POLICY
    room.clock.seconds += 1.0
    assert step(room, 1, 1.0, 1.0).reason == "stale: policy 7 is 61 s old"
    make_policy(room, 8)
    assert step(room, 2, 1.0, 1.0, policy=8).source is Source.POLICY


def test_of_versions_long_past_it_is_known_that_they_are_at_least_so_old() -> None:
    room = room_of(safety=Safety(policy_age_s_max=60.0))
    for version in range(VERSIONS_TIMED_MAX + 5):
        make_policy(room, version, seconds_ago=200.0 - version)
    action = step(room, 0, 1.0, 1.0, policy=2)
    assert action.reason == "stale: policy 2 is 195 s old"


def test_what_no_version_chose_is_never_too_old() -> None:
    room = room_of(safety=Safety(versions_behind_max=0, policy_age_s_max=1.0))
    assert step(room, 0, 1.0, 1.0).source is Source.POLICY  # the registry knows of none
    make_policy(room, 9, seconds_ago=99.0)
    action = step(room, 1, 1.0, 1.0, source=Source.OVERRIDE, policy=None)
    assert action.source is Source.OVERRIDE


# --- paused by the hub -------------------------------------------------------------------------


def pause_of(room: Room) -> Pause:
    pause = room.guard._pausing[WALKER]
    assert isinstance(pause, Pause)
    return pause


def declare(room: Room, **columns: Any) -> Spec:
    """The agent as it is declared from now on."""
    spec = spec_of(structs.replace(room.spec.agent, **columns))
    room.guard._registry.agents[WALKER] = spec
    room.spec = spec
    return spec


@pytest.mark.parametrize("safety", [None, Safety(high=9.0)])
@pytest.mark.parametrize(
    ("wanted", "wrong"),
    [
        (floats(math.nan, 0.0), "action[0] is nan, agent expects -10.0 to 10.0"),
        (floats(0.0, math.inf), "action[1] is inf, agent expects -10.0 to 10.0"),
        (floats(10.5, 0.0), "action[0] is 10.5, agent expects -10.0 to 10.0"),
        (floats(1.0), "action has 1 values, agent expects 2"),
        (floats(1.0, 1.0, 1.0), "action has 3 values, agent expects 2"),
        (Floats(b"\0\0\0\0\0\0\0"), "action has 1 values, agent expects 2"),
        (Floats(b""), "action has 0 values, agent expects 2"),
    ],
)
def test_an_action_that_is_none_never_leaves_and_pauses_the_agent(
    safety: Safety | None, wanted: Floats, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    room = room_of(safety=safety, fallback=[3.0, 3.0])
    reply = heard(room, 0, action=wanted)
    action = room.log.of_kind(Kind.ACTION)[0]
    assert (reply.answer.action, reply.answer.source) == ([3.0, 3.0], Source.FALLBACK)
    assert (action.policy, action.reason) == (None, wrong)
    (alert,) = room.alerts
    message = alert.reason or ""
    assert (alert.kind, alert.agent, alert.device, alert.step, alert.policy) == (
        Kind.ADMIN,
        "walker",
        "heater",
        0,
        7,
    )
    assert "agent 'walker' is paused after device 'heater'" in message
    assert wrong in message
    assert msgspec.json.decode(alert.payload or "", type=Alert) == Alert(message)
    assert "sheepfold agent resume walker" in caplog.text
    assert room.guard.alerts == 1


def test_the_log_keeps_what_json_can_say_of_an_action_that_is_none() -> None:
    room = room_of(safety=None)
    assert step(room, 0, math.nan, 2.0).payload == '{"wanted":[null,2.0]}'


@pytest.mark.parametrize("wanted", [-1.0, 2.0, 0.5, math.nan])
def test_a_choice_that_there_is_none_of_pauses_too(wanted: float) -> None:
    room = room_of(actions=2, safety=None)
    assert step(room, 0, wanted).source is Source.FALLBACK
    assert len(room.alerts) == 1


def test_while_it_is_being_paused_nothing_of_the_policy_leaves() -> None:
    room = room_of(safety=None, fallback=[3.0, 3.0])
    waiting, reply = room.begin(0, trace=Trace("cooler"))
    step(room, 0, math.nan, 0.0)
    room.deliver.choose(
        waiting, policy_chose(1.0, 1.0)
    )  # asked before, and nothing is wrong with it
    room.log.commit()
    assert (reply.answer.action, reply.answer.source) == ([3.0, 3.0], Source.FALLBACK)
    asked = len(room.actors.asked)
    _, reply = room.begin(1)
    room.log.commit()
    assert reply.answer.source is Source.FALLBACK
    assert room.log.of_kind(Kind.ACTION)[-1].reason == "paused"
    assert len(room.actors.asked) == asked
    assert len(room.alerts) == 1


def test_steps_on_their_way_when_the_pause_is_folded_get_the_fallback() -> None:
    room = room_of(safety=None, fallback=[3.0, 3.0])
    waiting, reply = room.begin(0, trace=Trace("cooler"))
    step(room, 0, math.nan, 0.0)
    declare(room, status="paused")
    pause_of(room).folded = True
    room.deliver.choose(waiting, policy_chose(1.0, 1.0))
    room.log.commit()
    assert reply.answer.source is Source.FALLBACK


def test_resumed_it_acts_again_and_may_be_paused_again() -> None:
    room = room_of(safety=None)
    step(room, 0, math.nan, 0.0)
    declare(room, status="paused")
    pause_of(room).folded = True
    declare(room, status="active")
    assert step(room, 1, 1.0, 1.0).source is Source.POLICY
    step(room, 2, math.nan, 0.0)
    assert len(room.alerts) == 2


def test_a_pause_that_failed_is_tried_again_at_the_next_fault() -> None:
    room = room_of(safety=None)
    step(room, 0, math.nan, 0.0)
    pause_of(room).folded = True  # done, and yet the agent is active
    step(room, 1, math.nan, 0.0)
    assert len(room.alerts) == 2


# --- clamped again and again -------------------------------------------------------------------


def test_a_policy_clamped_so_often_in_a_row_is_paused_and_the_last_clamped_action_is_sent() -> None:
    room = room_of(safety=Safety(high=2.0, clamps_max=3), fallback=[0.0, 0.0])
    sources = [step(room, number, 5.0, 0.0).source for number in range(3)]
    assert sources == [Source.CLAMP] * 3
    (alert,) = room.alerts
    assert "clamped 3 times in a row, last by: bounds" in (alert.reason or "")
    assert step(room, 3, 1.0, 0.0).reason == "paused"


def test_only_clamps_in_a_row_count() -> None:
    room = room_of(safety=Safety(high=2.0, clamps_max=2))
    for number, wanted in enumerate((5.0, 1.0, 5.0, 1.0, 5.0)):
        step(room, number, wanted, 0.0)
    fall_back(room, 5)
    step(room, 6, 5.0, 0.0)
    assert room.alerts == []
    step(room, 7, 5.0, 0.0)
    assert len(room.alerts) == 1


def test_a_fallback_that_sends_nothing_starts_the_count_anew_too() -> None:
    room = room_of(safety=Safety(high=2.0, clamps_max=2), fallback="none")
    step(room, 0, 5.0, 0.0)
    fall_back(room, 1)
    step(room, 2, 5.0, 0.0)
    assert room.alerts == []


def test_the_count_is_each_devices_own() -> None:
    room = room_of(safety=Safety(high=2.0, clamps_max=2))
    step(room, 0, 5.0, 0.0)
    begun, _ = room.begin(0, trace=Trace("cooler"))
    room.deliver.choose(begun, policy_chose(5.0, 0.0))
    assert room.alerts == []


def test_without_a_limit_a_policy_may_be_clamped_for_ever() -> None:
    room = room_of(safety=Safety(high=2.0))
    for number in range(200):
        step(room, number, 5.0, 0.0)
    assert room.alerts == []
    assert room.guard.clamped == 200
