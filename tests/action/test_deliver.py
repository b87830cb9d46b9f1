"""A step becomes a durable action and then an answer: grace, deadline, fallback, a log that hangs.

The laws stand at the end, as a state machine over any order of answers, commits and timers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hub.action.deliver import Deliver
from hub.settings import StepSettings
from hub.step import Choice, Content, Held, Step
from hub.words import Code, Event, Kind, Observation, SessionId, Source
from tests.intake.fakes import (
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
    from hub.words import Floats

GRACE_S = StepSettings().grace_ms / 1000
DEADLINE_S = 0.25
COMMIT_S = 1.0


class Trace:
    """A device, as far as the action room knows one."""

    def __init__(self, device: str = "heater") -> None:
        self.id = device
        self.last_action: Floats | None = None
        self.held: Held | None = None
        self.settled: list[int] = []

    def settle(self, step: Step) -> None:
        """The step is answered."""
        self.settled.append(step.number)


class Actors:
    """Takes questions; answers are the test's. `hopeless` is why there is no use in waiting."""

    def __init__(self) -> None:
        self.asked: list[Step] = []
        self.hopeless: str | None = None

    def ask(self, step: Step) -> str | None:
        """Take the question, or say why not."""
        self.asked.append(step)
        return self.hopeless


class Room:
    """The action room with everything around it made by hand."""

    def __init__(self, spec: Spec | None = None) -> None:
        self.spec = agent_spec() if spec is None else spec
        self.clock = ManualClock()
        self.timers = Timers(self.clock)
        self.log = ManualLog()
        self.actors = Actors()
        self.trace = Trace()
        self.guard, self.alerts = guard_of(self.spec, self.clock)
        self.deliver = self.delivery(StepSettings())

    def delivery(self, settings: StepSettings) -> Deliver:
        """The room itself."""
        return Deliver(
            self.log, self.actors, self.clock, settings, self.timers.call_later, self.guard
        )

    def begin(
        self,
        number: int = 0,
        *,
        terminated: bool = False,
        must_act: bool = False,
        trace: Trace | None = None,
    ) -> tuple[Step, HeardReply]:
        """A placed step as the intake makes it, with its observation to be logged."""
        seen = Observation(floats(number, 0), None, terminated, False, None, None)
        step = Step(
            agent=self.spec,
            device=trace or self.trace,
            session=SessionId(1),
            boot=1,
            number=number,
            wire_number=number,
            observation=seen,
            content=Content(number, 0),
            arrived=self.clock.monotonic(),
            must_act=must_act,
        )
        step.events.append(
            Event(
                Kind.OBSERVATION,
                self.clock.now_us(),
                agent="walker",
                device=step.device.id,
                step=number,
                obs=seen.values,
            )
        )
        reply = HeardReply()
        step.replies.append(reply)
        self.deliver.begin(step)
        return step, reply

    def choose(self, step: Step, action: float = 1.0) -> None:
        """The policy's action for the step."""
        self.deliver.choose(step, Choice(floats(action), Source.POLICY, policy=7, logprob=-0.5))

    def logged(self) -> list[tuple[str, int | None]]:
        """Kind and step of all that is durable."""
        return [(event.kind.name, event.step) for event in self.log.events]


# --- in time -----------------------------------------------------------------------------------


def test_observation_and_action_share_one_commit() -> None:
    room = Room()
    step, reply = room.begin()
    assert room.log.pending == []
    room.clock.seconds += 0.0005
    room.choose(step)
    assert reply.heard == []
    room.log.commit(1)
    assert room.logged() == [("OBSERVATION", 0), ("ACTION", 0)]
    assert reply.heard == ["durable", "act"]
    assert (reply.seq, reply.answer.seq) == (1, 1)
    assert (reply.answer.action, reply.answer.policy) == (1, 7)
    action = room.log.events[1]
    assert (action.source, action.logprob, action.latency_us) == (Source.POLICY, -0.5, 500)
    assert room.trace.settled == [0]


def test_the_seq_is_the_observations_even_where_an_episode_ends_before_it() -> None:
    room = Room()
    step, reply = room.begin()
    step.events.insert(0, Event(Kind.EPISODE, 0))
    step.observation_at = 1
    room.choose(step)
    room.log.commit()
    assert (reply.seq, reply.answer.seq) == (2, 2)


def test_after_the_grace_the_observation_goes_alone_and_is_acknowledged() -> None:
    room = Room()
    step, reply = room.begin()
    room.timers.advance(GRACE_S)
    room.log.commit()
    assert room.logged() == [("OBSERVATION", 0)]
    assert reply.heard == ["durable"]
    room.choose(step)
    assert reply.heard == ["durable"]
    room.log.commit()
    assert room.logged() == [("OBSERVATION", 0), ("ACTION", 0)]
    assert reply.heard == ["durable", "act"]
    assert reply.answer.seq == 1


def test_an_action_chosen_before_its_observation_is_durable_comes_after_it() -> None:
    room = Room()
    step, reply = room.begin()
    room.timers.advance(GRACE_S)
    room.choose(step)
    room.log.commit(1)
    assert reply.heard == ["durable"]
    room.log.commit(1)
    assert reply.heard == ["durable", "act"]


def test_observations_of_a_device_are_logged_in_its_order_whoever_is_answered_first() -> None:
    """What the log has last is where the device's counter stands after a restart."""
    room = Room()
    first, _ = room.begin(0)
    second, _ = room.begin(1)
    room.choose(second)
    room.choose(first)
    room.begin(2, terminated=True)
    room.log.commit()
    observed = [step for kind, step in room.logged() if kind == "OBSERVATION"]
    assert observed == [0, 1, 2]


def test_devices_do_not_hold_each_other_up() -> None:
    room = Room()
    room.begin(0)
    other, reply = room.begin(0, trace=Trace("cooler"))
    room.choose(other)
    room.log.commit()
    assert reply.heard == ["durable", "act"]
    assert len(room.log.events) == 2


def test_the_last_observation_of_an_episode_asks_nobody() -> None:
    room = Room()
    _, reply = room.begin(terminated=True)
    assert room.actors.asked == []
    room.log.commit()
    assert reply.heard == ["durable", "act"]
    assert (reply.answer.action, reply.answer.source) == (None, None)


# --- too late ----------------------------------------------------------------------------------


def test_at_the_deadline_the_fallback_is_logged_and_sent_marked_as_such() -> None:
    room = Room()
    _, reply = room.begin()
    room.timers.advance(DEADLINE_S - 0.001)
    room.log.commit()
    assert reply.heard == ["durable"]
    room.timers.advance(0.001)
    room.log.commit()
    assert reply.heard == ["durable", "act"]
    assert (reply.answer.action, reply.answer.source) == (0, Source.FALLBACK)
    action = room.log.events[1]
    assert (action.source, action.reason, action.policy) == (Source.FALLBACK, "deadline", None)
    assert room.deliver.fallbacks == 1


def test_the_deadline_is_the_agents() -> None:
    room = Room(agent_spec(deadline_ms=40))
    _, reply = room.begin()
    room.timers.advance(0.040)
    room.log.commit()
    assert reply.answer.source is Source.FALLBACK


def test_the_actors_late_answer_is_logged_as_late_and_not_sent() -> None:
    room = Room()
    step, reply = room.begin()
    room.timers.advance(DEADLINE_S)
    room.choose(step)
    room.log.commit()
    assert reply.heard == ["durable", "act"]
    assert reply.answer.source is Source.FALLBACK
    late = room.log.events[-1]
    assert (late.kind, late.reason, late.policy) == (Kind.REFUSED, "late", 7)
    assert late.action == floats(1.0)
    assert room.trace.last_action == floats(0.0)


def test_a_hub_that_stops_tells_devices_to_come_again_and_takes_no_choice_any_more() -> None:
    room = Room()
    waiting, reply = room.begin(0)
    room.timers.advance(GRACE_S)
    room.log.commit()
    chosen, other = room.begin(0, trace=Trace("cooler"))
    room.choose(chosen)
    room.deliver.close()
    assert reply.heard == ["durable", "refuse"]
    assert not room.deliver.idle.is_set(), "what was chosen is sent when it is durable"
    room.choose(waiting)
    room.log.commit()
    assert other.heard == ["durable", "act"]
    assert reply.heard == ["durable", "refuse"]
    assert room.log.events[-1].reason == "late"
    assert (room.deliver.waiting, room.deliver.idle.is_set()) == (0, True)
    room.timers.advance(DEADLINE_S)
    assert reply.heard == ["durable", "refuse"]


def test_when_nobody_can_answer_the_fallback_answers_at_once() -> None:
    room = Room()
    room.actors.hopeless = "the actor is down"
    _, reply = room.begin()
    room.log.commit()
    assert reply.heard == ["durable", "act"]
    assert room.log.events[1].reason == "the actor is down"


def test_a_paused_agent_answers_with_the_fallback_and_asks_nobody() -> None:
    room = Room(agent_spec(status="paused"))
    _, reply = room.begin()
    room.log.commit()
    assert room.actors.asked == []
    assert (reply.answer.source, room.log.events[1].reason) == (Source.FALLBACK, "paused")


@pytest.mark.parametrize(
    ("fallback", "last", "must_act", "action"),
    [
        ("hold", None, False, 0),
        ("hold", 1.0, False, 1),
        ("none", 1.0, False, None),
        ("none", 1.0, True, 1),
        ("none", None, True, 0),
        (1, None, False, 1),
        (1, 0.0, True, 1),
    ],
)
def test_the_declared_fallback_is_what_is_sent(
    fallback: Any, last: float | None, must_act: bool, action: int | None
) -> None:
    room = Room(agent_spec(fallback=fallback))
    room.trace.last_action = None if last is None else floats(last)
    _, reply = room.begin(must_act=must_act)
    room.timers.advance(DEADLINE_S)
    room.log.commit()
    assert (reply.answer.action, reply.answer.source) == (action, Source.FALLBACK)


def test_a_box_holds_the_nearest_to_nothing_at_first() -> None:
    room = Room(agent_spec(actions=[[2], [-1.0, 0.5], [1.0, 2.0]]))
    _, reply = room.begin()
    room.timers.advance(DEADLINE_S)
    room.log.commit()
    assert reply.answer.action == [0.0, 0.5]


# --- a log that does not commit ----------------------------------------------------------------


def test_a_log_that_does_not_commit_gets_busy_and_nothing_else() -> None:
    room = Room()
    step, reply = room.begin()
    room.choose(step)
    room.timers.advance(GRACE_S + COMMIT_S)
    assert reply.heard == ["refuse"]
    assert (reply.fault.code, reply.fault.step, reply.acknowledged) == (Code.BUSY, 0, False)
    room.timers.advance(60)
    assert reply.heard == ["refuse"]


@pytest.mark.parametrize("terminated", [False, True])
def test_busy_comes_by_deadline_and_commit_time(terminated: bool) -> None:
    room = Room()
    _, reply = room.begin(terminated=terminated)
    room.timers.advance(DEADLINE_S + COMMIT_S)
    assert reply.heard == ["refuse"]


def test_a_step_sent_again_while_the_log_hangs_is_told_busy_again() -> None:
    room = Room()
    step, _ = room.begin()
    room.timers.advance(DEADLINE_S + COMMIT_S)
    again = HeardReply()
    step.replies.append(again)
    room.deliver.begin(step)  # as the intake does with a repeat that nobody sees to
    room.timers.advance(COMMIT_S)
    assert again.heard == ["refuse"]
    assert len(room.log.pending) == 2  # one observation, one action
    assert room.deliver.waiting == 1


def patient() -> Room:
    """A room for an agent that a remote learner acts for, in its own time."""
    return Room(agent_spec(algorithm="external", deadline_ms=None))


def test_without_a_deadline_a_durable_step_waits_for_its_choice_alone() -> None:
    room = patient()
    step, reply = room.begin()
    room.timers.advance(GRACE_S)
    room.log.commit()
    room.timers.advance(1000 * DEADLINE_S)
    room.log.commit()
    assert reply.heard == ["durable"]
    room.choose(step)
    room.log.commit()
    assert reply.heard == ["durable", "act"]
    assert (room.deliver.waiting, room.deliver.fallbacks) == (0, 0)


def test_without_a_deadline_an_observation_that_is_not_durable_is_told_busy() -> None:
    room = patient()
    _, reply = room.begin()
    room.timers.advance(GRACE_S + 2 * COMMIT_S)
    assert [fault.code for fault in reply.faults] == [Code.BUSY, Code.BUSY]
    room.log.commit()
    room.timers.advance(10 * COMMIT_S)
    assert reply.heard == ["refuse", "refuse", "durable"]


@pytest.mark.parametrize("waited_s", [0.0, GRACE_S, 10 * COMMIT_S])
def test_without_a_deadline_the_commit_of_an_action_is_bounded_all_the_same(
    waited_s: float,
) -> None:
    room = patient()
    step, reply = room.begin()
    room.timers.advance(min(waited_s, GRACE_S))
    room.log.commit()
    room.timers.advance(waited_s)
    room.choose(step)
    room.timers.advance(COMMIT_S)
    assert reply.fault.code is Code.BUSY
    room.log.commit()
    assert reply.heard[-1] == "act"


def test_once_the_log_commits_what_was_told_busy_is_answered_after_all() -> None:
    room = Room()
    step, reply = room.begin()
    room.choose(step)
    room.timers.advance(10)
    room.log.commit()
    assert reply.heard == ["refuse", "durable", "act"]
    assert room.deliver.idle.is_set()


# --- counts ------------------------------------------------------------------------------------


def test_idle_is_set_when_no_step_waits() -> None:
    room = Room()
    assert room.deliver.idle.is_set()
    first, _ = room.begin(0)
    second, _ = room.begin(1)
    room.choose(first)
    room.log.commit()
    assert not room.deliver.idle.is_set()
    room.choose(second)
    room.log.commit()
    assert room.deliver.idle.is_set()
    assert (room.deliver.waiting, room.deliver.answered) == (0, 2)


def test_above_waiting_max_the_fallback_answers_at_once() -> None:
    room = Room()
    room.deliver = room.delivery(StepSettings(waiting_max=2))
    for number in range(2):
        room.begin(number)
    _, reply = room.begin(2)
    room.log.commit()
    assert reply.answer.source is Source.FALLBACK
    assert len(room.actors.asked) == 2


# --- the laws ----------------------------------------------------------------------------------


class Laws(RuleBasedStateMachine):
    """Goal: the laws of `hub.action.deliver` hold in any order of answers, commits and timers.

    Method: each reply's words are compared with what was durable when it heard them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.room = Room()
        self.traces = [Trace("heater"), Trace("cooler")]
        self.steps: list[tuple[Step, LawfulReply]] = []

    @rule(device=st.integers(0, 1), terminated=st.booleans())
    def observe(self, device: int, terminated: bool) -> None:
        """A device sends its next observation."""
        number = len(self.steps)
        step, heard = self.room.begin(number, terminated=terminated, trace=self.traces[device])
        reply = LawfulReply(self.room.log, step)
        step.replies[:] = [reply] if heard in step.replies else []
        self.steps.append((step, reply))

    @rule(data=st.data(), action=st.sampled_from([0.0, 1.0]))
    def answer(self, data: st.DataObject, action: float) -> None:
        """The actor answers one of its questions, perhaps for the second time."""
        if self.room.actors.asked:
            self.room.choose(data.draw(st.sampled_from(self.room.actors.asked)), action)

    @rule(batches=st.integers(1, 3))
    def commit(self, batches: int) -> None:
        """The log makes the oldest batches durable."""
        self.room.log.commit(batches)

    @rule(seconds=st.sampled_from([0.001, 0.002, 0.1, 0.25, 1.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.room.timers.advance(seconds)

    @invariant()
    def observations_keep_their_order(self) -> None:
        """Of each device."""
        for trace in self.traces:
            seen = [
                event.step or 0
                for event in (*self.room.log.events, *self.room.log.pending)
                if event.kind is Kind.OBSERVATION and event.device == trace.id
            ]
            assert seen == sorted(set(seen))

    @invariant()
    def each_step_has_at_most_one_action(self) -> None:
        """Later ones are logged as late."""
        logged = (*self.room.log.events, *self.room.log.pending)
        acted = [event.step for event in logged if event.kind is Kind.ACTION]
        assert len(acted) == len(set(acted))

    def teardown(self) -> None:
        """In the end every step is answered, by whomever."""
        self.room.timers.advance(DEADLINE_S)
        self.room.log.commit()
        for step, reply in self.steps:
            assert step.answer is not None
            assert reply.heard.count("act") == 1
            assert reply.heard.count("durable") == 1
        assert self.room.deliver.waiting == 0


class LawfulReply(HeardReply):
    """Compares what it is told with what is durable."""

    def __init__(self, log: ManualLog, step: Step) -> None:
        super().__init__()
        self._log = log
        self._step = step

    def durable(self, seq: int) -> None:
        """Nothing is acknowledged before it is durable."""
        super().durable(seq)
        event = self._log.events[seq - 1]
        assert (event.kind, event.step) == (Kind.OBSERVATION, self._step.number)

    def act(self, answer: Any) -> None:
        """No action leaves before it and its observation are durable, and it is the logged one."""
        super().act(answer)
        mine = [event for event in self._log.events if event.step == self._step.number]
        assert mine[0].kind is Kind.OBSERVATION
        actions = [event.action for event in mine if event.kind is Kind.ACTION]
        assert actions == ([] if self._step.ends_episode else [answer.values])


TestLaws = Laws.TestCase
