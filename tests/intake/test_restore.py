"""After a restart: repeats get the same answer, and everything counts on from where it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.action.deliver import Deliver
from hub.errors import DeviceFault
from hub.facts import AgentMade
from hub.intake.receive import Receiver
from hub.intake.restore import restore
from hub.intake.session import Session, Sessions
from hub.log import recover
from hub.registry.fold import Registry
from hub.settings import StepSettings
from hub.step import Choice
from hub.words import (
    AgentName,
    Code,
    DeviceId,
    Event,
    Hello,
    Kind,
    Message,
    Protocol,
    Safety,
    Source,
)
from tests.intake.fakes import (
    NOW_US,
    EagerLog,
    HeardReply,
    ManualClock,
    ManualLog,
    Timers,
    agent_spec,
    floats,
    guard_of,
)

if TYPE_CHECKING:
    from hub.registry.fold import Spec
    from hub.step import Step

GRACE_S = StepSettings().grace_ms / 1000


class Actors:
    """Answers when told; an `Actors`."""

    def __init__(self) -> None:
        self.asked: list[Step] = []

    def ask(self, step: Step) -> str | None:
        """Take the question."""
        self.asked.append(step)
        return None


class Life:
    """One life of a hub over a log that outlives it."""

    def __init__(self, log: ManualLog, spec: Spec | None = None) -> None:
        self.log = log
        self.clock = ManualClock()
        self.clock.seconds += len(log.events)
        self.timers = Timers(self.clock)
        self.registry = Registry()
        self.sessions = Sessions(self.registry, log, self.clock)
        restore(recover.fold(log.events), self.registry, self.sessions, self.clock)
        if spec is not None:
            made = Event(
                Kind.ADMIN,
                NOW_US,
                agent=spec.agent.name,
                payload=encode(AgentMade(spec.agent, "test")),
            )
            self.registry.apply(made)
            log.append([made], lambda _seq: None)
        self.actors = Actors()
        settings = StepSettings()
        guard, _ = guard_of(spec, self.clock)
        self.deliver = Deliver(
            log, self.actors, self.clock, settings, self.timers.call_later, guard
        )
        self.receiver = Receiver(self.registry, log, self.deliver, self.clock, settings)
        self.session: Session | None = None

    def connect(self) -> Session:
        """The device opens a session."""
        self.session = self.sessions.open(DeviceId("heater"), AgentName("walker"), Protocol.MQTT)
        return self.session

    def send(self, *, answered: bool = True, **fields: Any) -> HeardReply:
        """One message with the values [s, 0]; the actor answers `s % 2` at once, or never."""
        fields.setdefault("o", [fields.get("s", 0) % 100, 0])
        reply = HeardReply()
        session = self.session or self.connect()
        try:
            self.receiver.take(session, Message(**fields), reply)
        except DeviceFault as fault:
            self.receiver.refuse(session, fault, reply)
            return reply
        if answered:
            self.answer()
        return reply

    def answer(self) -> None:
        """The actor answers what it was asked."""
        asked, self.actors.asked = self.actors.asked, []
        for step in asked:
            self.deliver.choose(step, Choice(floats(step.number % 2), Source.POLICY, policy=3))


def encode(fact: AgentMade) -> str:
    return msgspec.json.encode(fact).decode()


def first_life(spec: Spec | None = None) -> Life:
    return Life(EagerLog(), agent_spec() if spec is None else spec)


def test_a_repeat_gets_the_same_answer_after_a_restart() -> None:
    before = first_life()
    given_before = [before.send(s=step, r=1.0).answer for step in range(5)]
    after = Life(before.log)
    events = len(before.log.events)
    for step in range(5):
        reply = after.send(s=step, r=1.0)
        assert reply.heard == ["durable", "act"]
        assert reply.answer == given_before[step]
    assert len(before.log.of_kind(Kind.OBSERVATION)) == 5
    assert events < len(before.log.events)  # the new session only


def test_the_next_step_follows_the_last_before_the_restart() -> None:
    before = first_life()
    before.send(s=0, b=7)
    before.send(s=1, r=1.0, b=7)
    after = Life(before.log)
    after.send(s=2, r=1.0, b=7)
    newest = before.log.of_kind(Kind.OBSERVATION)[-1]
    assert (newest.boot, newest.step, newest.first) == (7, 2, False)


def test_a_counter_that_had_begun_anew_unnoticed_joins_nothing_after_a_restart() -> None:
    before = first_life()
    before.send(s=0)
    assert before.send(s=0, o=[9, 9]).fault.code is Code.STEP  # the device was switched on again
    after = Life(before.log)
    after.send(s=1, r=1.0)
    after.send(s=2, r=1.0)
    newest = before.log.of_kind(Kind.OBSERVATION)[-2:]
    assert [(event.boot, event.step, event.first) for event in newest] == [
        (1, 1, True),
        (1, 2, False),
    ]


def test_an_observation_at_the_limit_is_known_again_after_a_restart() -> None:
    before = first_life(agent_spec(max_episode_steps=1))
    before.send(s=0, b=7)
    told = before.send(s=1, r=1.0, b=7).answer
    assert told.action is None
    after = Life(before.log)
    assert after.send(s=1, r=1.0, b=7).answer == told
    assert after.send(s=1, o=[9, 9], b=7).fault.code is Code.STEP


def test_the_limit_counts_a_step_that_was_not_answered_before_a_restart() -> None:
    before = first_life(agent_spec(max_episode_steps=3))
    before.send(s=0, b=7)
    before.send(s=1, r=1.0, b=7, answered=False)
    before.timers.advance(GRACE_S)  # it is logged alone
    after = Life(before.log)
    after.send(s=2, r=1.0, b=7, x=1)  # it did something by itself and went on
    assert after.send(s=3, r=1.0, b=7).answer.action is None
    assert before.log.of_kind(Kind.EPISODE)[-1].reason == "truncated"


def test_a_silence_goes_on_over_a_restart() -> None:
    before = first_life(agent_spec(silent_s=5.0, deadline_ms=1000))
    before.send(s=0, b=7)
    after = Life(before.log)
    after.clock.seconds = before.clock.seconds + 6.5
    after.send(s=1, r=1.0, b=7)
    assert before.log.of_kind(Kind.EPISODE)[-1].reason == "silent"
    assert before.log.of_kind(Kind.OBSERVATION)[-1].first


def test_other_content_is_still_refused_after_a_restart() -> None:
    before = first_life()
    before.send(s=0, b=7)
    after = Life(before.log)
    assert after.send(s=0, b=7, o=[9, 9]).fault.code is Code.STEP


@pytest.mark.parametrize("boot", [0, 1, 7, 2**32 - 1])
def test_a_given_boot_is_known_after_a_restart(boot: int) -> None:
    before = first_life()
    before.send(s=3, b=boot)
    after = Life(before.log)
    assert after.send(s=3, b=boot).heard == ["durable", "act"]
    after.send(s=4, b=boot)
    assert [event.boot for event in before.log.of_kind(Kind.OBSERVATION)] == [boot, boot]


def test_a_boot_opened_by_first_under_the_same_number_is_known_after_a_restart() -> None:
    before = first_life()
    before.send(s=3, b=7, f=True)
    before.send(s=0, b=7, f=True)
    before.send(s=1, b=7)
    after = Life(before.log)
    assert after.send(s=1, b=7).heard == ["durable", "act"]
    assert len(before.log.of_kind(Kind.OBSERVATION)) == 3


def test_a_u16_counter_that_had_wrapped_goes_on_after_a_restart() -> None:
    before = first_life()
    for step in (65_534, 65_535, 0, 1):
        before.send(s=step, b=7)
    before.send(s=2, b=7, answered=False)
    after = Life(before.log)
    for step in (1, 2):
        again = after.send(s=step, b=7)
        assert again.heard == ["durable", "act"]
        assert again.answer.step == step
    after.send(s=3, b=7)
    newest = before.log.of_kind(Kind.OBSERVATION)[-1]
    assert (newest.step, newest.first) == (65_539, False)


def test_a_persons_reward_is_still_to_be_added_after_a_restart() -> None:
    before = first_life()
    before.send(b=7, s=0)
    before.send(b=7, s=1, r=1.0)
    session = before.session
    assert session is not None
    before.receiver.reward(session, 2.0, HeardReply())
    before.send(b=7, s=2, r=1.0)  # has the 2 in it: they are used up
    before.receiver.reward(session, 5.0, HeardReply())
    after = Life(before.log)
    after.send(b=7, s=3, r=0.5)
    after.send(b=7, s=4, r=0.5)
    rewards = [event.reward for event in before.log.of_kind(Kind.OBSERVATION)]
    assert rewards == [None, 1.0, 3.0, 5.5, 0.5]


def test_a_reward_or_reset_that_is_sent_again_after_a_restart_counts_once() -> None:
    reward, reset, other = ("", 7, 1), ("ann", 8, 2), ("ann", 9, 2)
    before = first_life()
    before.send(b=7, s=0)
    before.send(b=7, s=1, r=1.0)
    session = before.session
    assert session is not None
    before.receiver.reset(session, by="user ann", packet=reset)
    before.send(b=7, s=2)
    before.receiver.reward(session, 5.0, HeardReply(), packet=reward)
    after = Life(before.log)
    session, replies, heard = after.connect(), [HeardReply(), HeardReply()], list[int]()
    after.receiver.reward(session, 5.0, replies[0], packet=reward, duplicate=True)
    after.receiver.reset(session, heard.append, by="user ann", packet=reset, duplicate=True)
    assert (replies[0].heard, len(heard)) == (["durable"], 1), "as if they were new"
    assert len(before.log.of_kind(Kind.REWARD)) == len(before.log.of_kind(Kind.EPISODE)) == 1
    after.receiver.reward(session, 1.0, replies[1], packet=other, duplicate=True)
    after.receiver.reset(session, heard.append, by="user ann", packet=other)
    after.send(b=7, s=3, r=0.5)
    assert len(before.log.of_kind(Kind.REWARD)) == len(before.log.of_kind(Kind.EPISODE)) == 2


def test_a_durable_observation_without_an_answer_gets_one_on_its_repeat() -> None:
    before = first_life()
    before.send(s=0)
    before.send(s=1, answered=False)
    before.timers.advance(GRACE_S)  # its grace is over: the observation went alone
    after = Life(before.log)
    after.clock.seconds += 60
    reply = after.send(s=1, answered=False)
    assert reply.heard == ["durable"]
    after.timers.advance(GRACE_S)
    assert reply.heard == ["durable"]  # not given up at once: it has its deadline from now on
    after.answer()
    assert reply.heard == ["durable", "act"]
    assert reply.answer.action == 1
    assert len(before.log.of_kind(Kind.OBSERVATION)) == 2
    assert before.log.of_kind(Kind.ACTION)[-1].step == 1


def test_an_unanswered_observation_keeps_its_mask_over_a_restart() -> None:
    spec = agent_spec(actions=3, algorithm="MaskablePPO")
    before = first_life(spec)
    before.send(s=0, i={"mask": [0, 0, 1]}, answered=False)
    before.timers.advance(GRACE_S)  # the observation is durable, alone
    after = Life(before.log)
    after.send(s=0, i={"mask": [0, 0, 1]}, answered=False)
    (asked,) = after.actors.asked
    assert asked.observation.mask == b"\0\0\1"


def test_each_of_several_unanswered_observations_gets_its_answer() -> None:
    before = first_life()
    for step in range(3):
        before.send(s=step, answered=False)
    before.timers.advance(GRACE_S)
    after = Life(before.log)
    for step in range(3):
        reply = after.send(s=step)
        assert reply.answer.action == step % 2


def test_an_unanswered_observation_falls_back_when_the_actor_stays_silent() -> None:
    before = first_life()
    before.send(s=0, answered=False)
    before.timers.advance(GRACE_S)
    after = Life(before.log)
    reply = after.send(s=0, answered=False)
    after.timers.advance(0.25)
    assert reply.answer.source is Source.FALLBACK


def test_the_last_observation_of_an_episode_is_answered_with_null() -> None:
    before = first_life()
    before.send(s=0)
    before.send(s=1, d=True)
    reply = Life(before.log).send(s=1, d=True)
    assert reply.heard == ["durable", "act"]
    assert reply.answer.action is None


def test_a_fallback_of_none_is_answered_with_none_again() -> None:
    before = first_life(agent_spec(fallback="none"))
    reply = before.send(s=0, answered=False)
    before.timers.advance(1.0)
    assert reply.answer.action is None
    again = Life(before.log).send(s=0, answered=False)
    assert again.heard == ["durable", "act"]
    assert again.answer == reply.answer


def test_hold_holds_the_action_from_before_the_restart() -> None:
    before = first_life()
    before.send(s=1)
    after = Life(before.log)
    reply = after.send(s=2, answered=False)
    after.timers.advance(1.0)
    assert (reply.answer.action, reply.answer.source) == (1, Source.FALLBACK)


def test_dwell_goes_on_from_where_it_was_before_the_restart() -> None:
    before = first_life(agent_spec(safety=Safety(dwell_s=10.0)))
    before.send(s=1)
    after = Life(before.log)
    after.clock.seconds = before.clock.seconds + 9.0
    after.send(s=2)
    assert (newest(after).action, newest(after).reason) == (floats(1), "dwell")
    after = Life(before.log)
    after.clock.seconds = before.clock.seconds + 10.0
    after.send(s=4)
    assert (newest(after).action, newest(after).source) == (floats(0), Source.POLICY)


def test_actions_in_a_row_and_clamps_in_a_row_count_on_after_a_restart() -> None:
    before = first_life(agent_spec(safety=Safety(dwell_steps=4)))
    for step in (1, 2, 3):  # 1, kept at 1, 1
        before.send(s=step)
    held = Life(before.log).sessions.devices[DeviceId("heater")].held
    known = before.sessions.devices[DeviceId("heater")].held
    assert held is not None
    assert known is not None
    assert (held.action, held.actions, held.clamps) == (floats(1), [3], 0)
    assert (known.action, known.actions, known.clamps) == (floats(1), [3], 0)
    before.send(s=4)
    after = Life(before.log).sessions.devices[DeviceId("heater")]
    assert after.held is not None
    assert (after.held.actions, after.held.clamps) == ([4], 1)
    assert after.held.action is after.last_action


def test_a_clock_that_was_set_back_makes_a_change_no_older_than_now() -> None:
    before = first_life(agent_spec(safety=Safety(dwell_s=10.0)))
    before.clock.seconds += 1000.0
    before.send(s=1)
    after = Life(before.log)
    held = after.sessions.devices[DeviceId("heater")].held
    assert held is not None
    assert held.since_s == [after.clock.monotonic()]


def test_without_rules_nothing_of_the_past_is_kept() -> None:
    before = first_life()
    before.send(s=1)
    assert Life(before.log).sessions.devices[DeviceId("heater")].held is None


def newest(life: Life) -> Event:
    """The action logged last."""
    return life.log.of_kind(Kind.ACTION)[-1]


def test_sessions_and_hello_count_on() -> None:
    before = first_life()
    before.send(s=5, b=7)
    after = Life(before.log)
    session = after.connect()
    assert session.id == 2
    assert after.sessions.configuration(session, Hello(b=7)).g == 5
    assert after.sessions.configuration(session, Hello()).g == 5
    assert after.sessions.configuration(session, Hello(b=8)).g is None


def test_a_device_moved_while_the_hub_was_down_joins_nothing() -> None:
    before = first_life()
    before.send(s=0)
    before.send(s=1)
    runner = agent_spec(name=AgentName("runner"), observations=[[3], -100.0, 100.0])
    after = Life(before.log, runner)
    after.session = after.sessions.open(DeviceId("heater"), AgentName("runner"), Protocol.MQTT)
    after.send(s=2, o=[1, 2, 3])
    newest = before.log.of_kind(Kind.OBSERVATION)[-1]
    assert (newest.agent, newest.first) == ("runner", True)


@given(st.integers(1, 30), st.integers(0, 29), st.integers(0, 7))
def test_episodes_are_the_same_wherever_the_hub_was_restarted(
    count: int, at: int, every: int
) -> None:
    """Goal: numbers, lengths and returns are a fold. Method: one life against two."""

    def message(step: int) -> dict[str, Any]:
        over = bool(every) and step % every == every - 1
        return {"s": step, "b": 7, "r": step / 8, "d": over}

    once, twice = first_life(), first_life()
    for step in range(count):
        once.send(**message(step))
        twice.send(**message(step))
        if step == at:
            twice = Life(twice.log)
    ended = [[event.payload for event in life.log.of_kind(Kind.EPISODE)] for life in (once, twice)]
    assert [without_time(p) for p in ended[0]] == [without_time(p) for p in ended[1]]
    devices = [life.sessions.devices[DeviceId("heater")] for life in (once, twice)]
    if devices[0].episode is None or devices[1].episode is None:
        assert devices[0].episode is devices[1].episode
    else:
        assert devices[0].episode.number == devices[1].episode.number
        assert devices[0].episode.steps == devices[1].episode.steps
        assert devices[0].episode.total_reward == devices[1].episode.total_reward


def without_time(payload: str | None) -> dict[str, Any]:
    fact: dict[str, Any] = msgspec.json.decode(payload or "{}")
    return {name: value for name, value in fact.items() if name != "started"}
