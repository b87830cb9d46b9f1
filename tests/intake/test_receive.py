"""The main path from payload to step: rewards, episodes, repeats and refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hub.errors import DeviceFault
from hub.facts import EpisodeEnded, Refusal
from hub.intake.receive import Receiver
from hub.learner.experience.transitions import Follow
from hub.settings import StepSettings
from hub.step import REPEATS_MAX
from hub.words import AgentName, Code, DeviceId, Kind, Message, Protocol
from tests.intake.fakes import (
    EagerLog,
    EchoDelivery,
    HeardReply,
    ManualClock,
    ManualLog,
    agent_spec,
    floats,
    open_session,
)

if TYPE_CHECKING:
    from hub.intake.session import Session
    from hub.registry.fold import Spec


class Room:
    """A receiver with one agent and one session, its log and its delivery."""

    def __init__(
        self,
        spec: Spec | None = None,
        *,
        protocol: Protocol = Protocol.MQTT,
        log: ManualLog | None = None,
        settings: StepSettings | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.log = EagerLog() if log is None else log
        self.spec = agent_spec() if spec is None else spec
        self.registry, self.sessions, self.session = open_session(
            self.spec, self.log, self.clock, protocol=protocol
        )
        self.delivery = EchoDelivery(self.log)
        self.receiver = Receiver(
            self.registry, self.log, self.delivery, self.clock, settings or StepSettings()
        )

    def send(self, into: Session | None = None, **fields: Any) -> HeardReply:
        """One message with the values [s, 0], refused where it has to be."""
        fields.setdefault("o", [fields.get("s", 0), 0])
        duplicate, packet = fields.pop("duplicate", False), fields.pop("packet", None)
        reply = HeardReply()
        into = into or self.session
        try:
            self.receiver.take(into, Message(**fields), reply, packet=packet, duplicate=duplicate)
        except DeviceFault as fault:
            self.receiver.refuse(into, fault, reply)
        return reply

    @property
    def rewards(self) -> list[float | None]:
        """Of each observation in the log."""
        return [event.reward for event in self.log.of_kind(Kind.OBSERVATION)]

    @property
    def episodes(self) -> list[EpisodeEnded]:
        """Those that ended."""
        payloads = [event.payload or "" for event in self.log.of_kind(Kind.EPISODE)]
        return [msgspec.json.decode(payload, type=EpisodeEnded) for payload in payloads]

    @property
    def joined(self) -> list[tuple[int, int]]:
        """Steps of the transitions that the log gives."""
        follow = Follow(missing_reward=self.spec.agent.missing_reward)
        steps = {event.seq: event.step or 0 for event in self.log.events}
        found = [follow.fold(event) for event in self.log.events]
        return [(steps[t.seq_first], steps[t.seq_last]) for t in found if t is not None]


# --- the way through ---------------------------------------------------------------------------


def test_a_payload_is_taken_logged_and_answered() -> None:
    room = Room()
    reply = HeardReply()
    room.receiver.receive(room.session, b'{"s":12,"o":[21.5,40],"i":{"a":1}}', "json", reply)
    assert reply.heard == ["durable", "act"]
    assert reply.answer.step == 12
    (event,) = room.log.of_kind(Kind.OBSERVATION)
    assert (event.agent, event.device, event.session) == ("walker", "heater", 1)
    assert (event.step, event.obs, event.first) == (12, floats(21.5, 40.0), True)
    assert event.payload == '{"a":1}'


def test_a_payload_that_is_none_is_refused() -> None:
    room = Room()
    reply = HeardReply()
    room.receiver.receive(room.session, b"nothing", "json", reply)
    assert reply.fault.code is Code.PAYLOAD
    assert reply.acknowledged


def test_the_boot_of_hello_stands_in_where_the_observation_gives_none() -> None:
    room = Room()
    room.session.boot = 7
    room.send(s=1)
    room.send(s=0, b=8)
    assert [event.boot for event in room.log.of_kind(Kind.OBSERVATION)] == [7, 8]


# --- where the hub ends an episode ---------------------------------------------------------------


def flags(room: Room) -> list[tuple[bool | None, bool | None, bool | None]]:
    """Of each observation in the log: terminated, truncated, first."""
    events = room.log.of_kind(Kind.OBSERVATION)
    return [(event.terminated, event.truncated, event.first) for event in events]


def test_an_episode_is_cut_short_at_its_limit_and_the_device_is_told_by_null() -> None:
    room = Room(agent_spec(max_episode_steps=2))
    answers = [room.send(s=step, r=1.0).answer for step in range(5)]
    assert [answer.action is None for answer in answers] == [False, False, True, False, False]
    assert [truncated for _, truncated, _ in flags(room)] == [False, False, True, False, False]
    assert room.joined == [(0, 1), (1, 2), (3, 4)]
    (ended,) = room.episodes
    assert (ended.steps, ended.total_reward, ended.ended_by) == (2, 2.0, "truncated")


def test_done_alone_means_terminated_unless_it_comes_at_the_limit() -> None:
    room = Room(agent_spec(max_episode_steps=2))
    for step, done in enumerate((False, True, False, False, True)):
        room.send(s=step, r=1.0, d=done)
    assert [(d, tr) for d, tr, _ in flags(room) if d or tr] == [(True, False), (False, True)]
    assert [ended.ended_by for ended in room.episodes] == ["terminated", "truncated"]


def test_at_the_limit_a_device_that_says_both_is_taken_at_its_word() -> None:
    room = Room(agent_spec(max_episode_steps=1))
    room.send(s=0)
    room.send(s=1, r=1.0, d=True, tr=True)
    assert flags(room)[-1] == (True, True, False)


def test_a_client_that_cannot_be_told_of_the_limit_goes_on_with_an_action() -> None:
    room = Room(agent_spec(max_episode_steps=1), protocol=Protocol.SHEPHERD)
    answers = [room.send(r=1.0, d=step == 3).answer for step in range(4)]
    assert [answer.action is None for answer in answers] == [False, False, False, True]
    assert flags(room) == [
        (False, False, True),
        (False, True, False),
        (False, False, True),
        (False, True, False),
    ]


def test_a_repeat_of_the_observation_at_the_limit_gets_the_same_answer() -> None:
    room = Room(agent_spec(max_episode_steps=1))
    room.send(s=0)
    assert room.send(s=1, r=1.0).answer == room.send(s=1, r=1.0).answer


# --- rewards -----------------------------------------------------------------------------------


def test_the_reward_of_a_first_step_is_ignored() -> None:
    room = Room()
    room.send(s=1, r=5.0)
    room.send(s=2, r=6.0)
    room.send(s=9, r=7.0)  # after a gap
    assert room.rewards == [None, 6.0, None]


def test_a_missing_reward_breaks_the_fragment() -> None:
    room = Room()
    for step, reward in ((1, None), (2, 1.0), (3, None), (4, 1.0)):
        room.send(s=step, r=reward)
    assert room.rewards == [None, 1.0, None, 1.0]
    assert room.joined == [(1, 2), (3, 4)]


def test_the_agents_default_stands_in_for_a_missing_reward() -> None:
    room = Room(agent_spec(missing_reward=-1.0))
    room.send(s=1)
    room.send(s=2)
    assert room.rewards == [None, -1.0]
    assert room.joined == [(1, 2)]


@pytest.mark.parametrize(("declared", "counts"), [(None, 0.0), (-1.0, -1.0)])
def test_shepherds_missing_reward_is_0_unless_the_agent_says_otherwise(
    declared: float | None, counts: float
) -> None:
    room = Room(agent_spec(missing_reward=declared), protocol=Protocol.SHEPHERD)
    room.send()
    room.send()
    assert room.rewards == [None, counts]


def test_a_reward_that_is_not_finite_is_missing_and_said() -> None:
    room = Room()
    room.send(s=1)
    reply = room.send(s=2, r=float("nan"))
    assert reply.heard == ["warn", "durable", "act"]
    assert (reply.fault.code, reply.fault.step) == (Code.RANGE, 2)
    assert room.rewards == [None, None]


def test_a_persons_reward_adds_to_the_next_observations() -> None:
    room = Room()
    room.send(s=1)
    for reward in (0.5, 0.25):
        reply = HeardReply()
        room.receiver.reward(room.session, reward, reply)
        assert reply.heard == ["durable"]
    room.send(s=2, r=1.0)
    room.send(s=3, r=1.0)
    assert room.rewards == [None, 1.75, 1.0]
    assert [event.reward for event in room.log.of_kind(Kind.REWARD)] == [0.5, 0.25]


@pytest.mark.parametrize("behind", ["crowded", "closing"])
def test_a_persons_reward_that_is_refused_as_busy_does_not_count(behind: str) -> None:
    room = Room()
    room.send(s=1)
    holder = room.log if behind == "crowded" else room.receiver
    setattr(holder, behind, True)
    reply = HeardReply()
    room.receiver.reward(room.session, 0.5, reply)
    assert reply.fault.code is Code.BUSY
    setattr(holder, behind, False)
    room.send(s=2, r=1.0)
    assert room.rewards == [None, 1.0]


def test_a_persons_reward_is_one_where_the_device_sent_none() -> None:
    room = Room()
    room.send(s=1)
    room.receiver.reward(room.session, 0.5, HeardReply())
    room.send(s=2)
    assert room.rewards == [None, 0.5]


@pytest.mark.parametrize("reward", [float("inf"), float("nan"), 1e39])
def test_a_persons_reward_beyond_float32_is_refused(reward: float) -> None:
    room = Room()
    room.send(s=1)
    reply = HeardReply()
    room.receiver.reward(room.session, reward, reply)
    assert reply.fault.code is Code.RANGE
    room.send(s=2, r=1.0)
    assert room.rewards == [None, 1.0]


def test_rewards_never_sum_to_infinity() -> None:
    """JSON has no infinity: an episode with such a return could not be read at the next start."""
    room = Room()
    room.send(s=0)
    for step in range(1, 5):
        room.receiver.reward(room.session, 3.4e38, HeardReply())
        room.send(s=step, r=3.4e38)
    room.send(s=5, d=True)
    assert max(reward or 0.0 for reward in room.rewards) <= 3.4028234663852886e38
    assert room.episodes[0].total_reward < 1e300


# --- episodes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("field", "ended_by"), [("d", "terminated"), ("tr", "truncated")])
def test_the_last_observation_ends_its_episode_and_has_no_action(field: str, ended_by: str) -> None:
    room = Room()
    room.send(s=0)
    room.send(s=1, r=2.0)
    last: dict[str, Any] = {"s": 2, "r": 3.0, field: True}
    reply = room.send(**last)
    assert reply.answer.action is None
    (ended,) = room.episodes
    assert (ended.episode, ended.steps, ended.total_reward) == (1, 2, 5.0)
    assert ended.ended_by == ended_by
    assert room.joined == [(0, 1), (1, 2)]


def test_the_next_observation_opens_an_episode() -> None:
    room = Room()
    room.send(s=0)
    room.send(s=1, d=True)
    room.send(s=2, r=9.0)
    room.send(s=3, r=1.0, d=True)
    assert [ended.episode for ended in room.episodes] == [1, 2]
    assert room.episodes[1].total_reward == 1.0
    assert room.joined == [(2, 3)]
    assert [event.first for event in room.log.of_kind(Kind.OBSERVATION)] == [True, False] * 2


def test_an_episode_may_be_one_observation() -> None:
    room = Room()
    room.send(s=0, d=True)
    assert (room.episodes[0].steps, room.episodes[0].total_reward) == (0, 0.0)


@pytest.mark.parametrize(
    ("message", "ended_by"),
    [({"s": 5}, "gap"), ({"s": 0, "f": True}, "reboot"), ({"s": 2, "b": 3}, "reboot")],
)
def test_what_does_not_follow_truncates_the_running_episode(
    message: dict[str, Any], ended_by: str
) -> None:
    room = Room()
    room.send(s=0)
    room.send(s=1, r=1.0)
    room.send(**message, r=1.0)
    assert [ended.ended_by for ended in room.episodes] == [ended_by]
    (event,) = room.log.of_kind(Kind.EPISODE)
    assert (event.boot, event.step, event.truncated) == (1, 1, True)
    assert room.joined == [(0, 1)]


def test_reset_ends_the_episode_as_truncated() -> None:
    room = Room()
    room.receiver.reset(room.session)
    room.send(s=0)
    room.receiver.reset(room.session)
    room.receiver.reset(room.session)
    room.send(s=1, r=1.0)
    room.send(s=2, r=1.0)
    assert [ended.ended_by for ended in room.episodes] == ["reset"]
    assert room.joined == [(1, 2)]


def test_a_device_moved_to_another_agent_joins_nothing_and_ends_the_old_ones_episode() -> None:
    room = Room()
    runner = agent_spec(name=AgentName("runner"))
    room.registry.agents[AgentName("runner")] = runner
    room.send(s=0)
    moved = room.sessions.open(DeviceId("heater"), AgentName("runner"), Protocol.MQTT)
    room.send(moved, s=1, r=1.0)
    room.send(moved, s=2, r=1.0)
    (ended,) = room.log.of_kind(Kind.EPISODE)
    assert (ended.agent, ended.step) == ("walker", 0)
    assert [event.agent for event in room.log.of_kind(Kind.OBSERVATION)][1:] == ["runner"] * 2
    assert room.joined == [(1, 2)]


# --- executed ----------------------------------------------------------------------------------


def test_the_executed_action_is_logged_with_the_observation_after_it() -> None:
    room = Room()
    room.send(s=0, x=1)
    room.send(s=1, x=1)
    room.send(s=2)
    executed = [event.executed for event in room.log.of_kind(Kind.OBSERVATION)]
    assert executed == [None, floats(1.0), None]


# --- repeats -----------------------------------------------------------------------------------


def test_a_repeat_gets_the_same_answer_and_is_logged_once() -> None:
    room = Room()
    room.send(s=0)
    first = room.send(s=1, r=1.0)
    room.send(s=2, r=1.0)
    again = room.send(s=1, r=1.0)
    assert again.heard == ["durable", "act"]
    assert again.answer == first.answer
    assert again.seq == first.seq
    assert len(room.log.of_kind(Kind.OBSERVATION)) == 3


def test_a_repeat_does_not_take_a_persons_reward() -> None:
    room = Room()
    room.send(s=0)
    room.receiver.reward(room.session, 1.0, HeardReply())
    room.send(s=0)
    room.send(s=1)
    assert room.rewards == [None, 1.0]


def test_a_repeat_while_the_first_is_on_its_way_is_answered_with_it() -> None:
    room = Room(log=ManualLog())
    first, again = room.send(s=0), room.send(s=0)
    assert (first.heard, again.heard) == ([], [])
    room.log.commit()
    assert first.answer == again.answer
    assert len(room.delivery.begun) == 1


def test_other_content_for_the_same_step_is_refused() -> None:
    room = Room()
    room.send(s=0, b=1)
    assert room.send(s=0, b=1, o=[9, 9]).fault.code is Code.STEP
    assert room.send(s=0, b=1, r=1.0).fault.code is Code.STEP
    assert room.send(s=0, b=1, d=True).fault.code is Code.STEP


def test_a_dup_of_an_unnumbered_observation_is_logged_once() -> None:
    room = Room()
    first = room.send(packet=(5, 77))
    again = room.send(packet=(5, 77), duplicate=True)
    assert again.answer == first.answer
    other = room.send(packet=(5, 78), duplicate=True)
    assert other.answer.step == 1
    assert len(room.log.of_kind(Kind.OBSERVATION)) == 2


def test_a_dup_after_a_reconnect_is_known_too() -> None:
    room = Room()
    first = room.send(packet=(5, 77))
    session = room.sessions.open(DeviceId("heater"), AgentName("walker"), Protocol.MQTT)
    again = room.send(session, packet=(5, 77), duplicate=True)
    assert again.answer == first.answer


def test_a_step_told_busy_and_sent_again_goes_back_to_the_action_room() -> None:
    room = Room()
    room.delivery.silent = True
    room.send(s=0)
    (step,) = room.delivery.begun
    step.chosen, step.timer = True, None  # the device was told `busy`
    room.send(s=0)
    assert room.delivery.begun == [step, step]


def test_of_the_repeats_of_one_step_that_is_not_answered_only_the_newest_wait() -> None:
    room = Room()
    room.delivery.silent = True
    first = room.send(s=0)
    repeats = [room.send(s=0) for _ in range(REPEATS_MAX + 3)]
    (step,) = room.delivery.begun
    assert step.replies == [first, *repeats[3:]]
    assert [reply.fault.code for reply in repeats[:3]] == [Code.BUSY] * 3
    assert not any(reply.heard for reply in [first, *repeats[3:]])


# --- refusals ----------------------------------------------------------------------------------


def test_a_refusal_is_said_acknowledged_and_logged() -> None:
    room = Room(log=ManualLog())
    reply = room.send(s=3, o=[1, 2, 3])
    assert reply.heard == []
    room.log.commit()
    assert (reply.fault.code, reply.fault.step, reply.acknowledged) == (Code.SHAPE, 3, True)
    (event,) = room.log.of_kind(Kind.REFUSED)
    assert (event.device, event.step, event.reason) == ("heater", 3, "shape")
    refusal = msgspec.json.decode(event.payload or "", type=Refusal)
    assert refusal.message == "obs has 3 values, agent expects 2"


def test_refusals_are_logged_up_to_a_limit_and_always_said() -> None:
    room = Room(settings=StepSettings(refused_per_minute=3))
    replies = [room.send(o=[1]) for _ in range(5)]
    assert all(reply.fault.code is Code.SHAPE and reply.acknowledged for reply in replies)
    assert len(room.log.of_kind(Kind.REFUSED)) == 3
    assert room.receiver.refused == 5
    room.clock.seconds += 60
    room.send(o=[1])
    assert len(room.log.of_kind(Kind.REFUSED)) == 4


def test_a_refused_step_leaves_a_gap() -> None:
    room = Room()
    for step, values in enumerate(([0, 0], [0], [0, 0], [0, 0])):
        room.send(s=step, o=values, r=1.0)
    assert room.joined == [(2, 3)]


def test_what_may_be_late_copies_of_a_boots_first_messages_joins_nothing() -> None:
    room = Room()
    for step in range(3):
        room.send(s=step, f=step == 0, r=1.0)
    for step in range(5):  # the same again, and then on
        room.send(s=step, f=step == 0, r=1.0)
    assert room.joined == [(0, 1), (1, 2), (3, 4)]


def test_a_crowded_log_takes_nothing_new_and_acknowledges_nothing() -> None:
    room = Room()
    room.send(s=0)
    room.log.crowded = True
    reply = room.send(s=1)
    assert (reply.fault.code, reply.acknowledged) == (Code.BUSY, False)
    assert room.log.of_kind(Kind.REFUSED) == []
    assert room.send(s=0).heard == ["durable", "act"]  # a repeat costs the log nothing
    room.log.crowded = False
    room.send(s=1, r=1.0)
    assert room.joined == [(0, 1)]


def test_a_deleted_agents_device_is_told_so() -> None:
    room = Room()
    room.registry.agents.clear()
    assert room.send(s=0).fault.code is Code.AUTH
