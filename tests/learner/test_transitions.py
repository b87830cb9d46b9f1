"""Follow against a simulator that knows what really happened."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.learner.experience.transitions import Follow, Transition
from hub.words import Event, Floats, Kind, Source

BOOTS = 3


def floats(*values: float) -> Floats:
    return Floats(struct.pack(f"<{len(values)}f", *values))


def observation(step: int, seq: int, *, device: str = "d", boot: int = 0, **columns: Any) -> Event:
    return Event(
        Kind.OBSERVATION,
        ts=0,
        device=device,
        boot=boot,
        step=step,
        obs=floats(step),
        seq=seq,
        **columns,
    )


def action(step: int, seq: int, *, device: str = "d", boot: int = 0, **columns: Any) -> Event:
    said: dict[str, Any] = {
        "source": Source.POLICY,
        "policy": 1,
        "logprob": -1.0,
        "value": 0.5,
    } | columns
    return Event(
        Kind.ACTION,
        ts=0,
        device=device,
        boot=boot,
        step=step,
        action=floats(step + 0.5),
        seq=seq,
        **said,
    )


def fold(events: list[Event], *, missing_reward: float | None = None) -> list[Transition]:
    follow = Follow(missing_reward=missing_reward)
    return [made for event in events if (made := follow.fold(event)) is not None]


def test_two_observations_that_follow_each_other_are_a_transition() -> None:
    (made,) = fold([observation(0, 1), action(0, 2), observation(1, 3, reward=2.0)])
    assert (made.observation, made.action, made.reward) == (floats(0), floats(0.5), 2.0)
    assert (made.next_observation, made.seq_first, made.seq_last) == (floats(1), 1, 3)
    assert (made.policy, made.logprob, made.value) == (1, -1.0, 0.5)


@pytest.mark.parametrize(
    ("next_one", "why"),
    [
        (observation(2, 3, reward=1.0), "a gap"),
        (observation(0, 3, reward=1.0), "a repeated number"),
        (observation(1, 3, reward=1.0, boot=1), "another boot"),
        (observation(1, 3, reward=1.0, device="e"), "another device"),
        (observation(1, 3, reward=1.0, first=True), "a first step"),
        (observation(1, 3), "no reward"),
    ],
)
def test_nothing_joins_across(next_one: Event, why: str) -> None:
    assert fold([observation(0, 1), action(0, 2), next_one]) == [], why


@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_nothing_joins_across_the_end_of_an_episode(end: str) -> None:
    made = fold(
        [
            observation(0, 1),
            action(0, 2),
            msgspec.structs.replace(observation(1, 3, reward=1.0), **{end: True}),
            observation(2, 4, reward=1.0),
        ]
    )
    assert [getattr(one, end) for one in made] == [True]


def test_a_missing_reward_is_what_the_agent_declares() -> None:
    (made,) = fold([observation(0, 1), action(0, 2), observation(1, 3)], missing_reward=0.25)
    assert made.reward == 0.25


def test_the_first_action_of_a_step_was_the_one_sent() -> None:
    late = action(0, 3, policy=9)
    fallback = action(0, 2, source=Source.FALLBACK, policy=None, logprob=None, value=None)
    (made,) = fold([observation(0, 1), fallback, late, observation(1, 4, reward=0.0)])
    assert (made.source, made.policy) == (Source.FALLBACK, None)


def test_an_action_after_the_next_observation_is_no_transitions_action() -> None:
    (made,) = fold([observation(0, 1), observation(1, 2, reward=0.0), action(0, 3)])
    assert made.action is None


def test_what_was_executed_and_what_was_sampled_are_both_kept() -> None:
    act = action(0, 2, payload='{"raw":[3.25]}')
    (made,) = fold([observation(0, 1), act, observation(1, 3, reward=0.0, executed=floats(7))])
    assert (made.executed, made.raw) == (floats(7), floats(3.25))


@dataclass
class Truth:
    """Devices that step, reboot, lose and fall silent; it writes down what really followed what."""

    events: list[Event] = field(default_factory=list)
    joined: list[tuple[str, Floats, Floats]] = field(default_factory=list)
    last: dict[str, tuple[int, int, Floats | None]] = field(default_factory=dict)
    clock: int = 0

    def step(self, device: str, what: str) -> None:
        self.clock += 1
        values = floats(self.clock)  # every observation is another one
        boot, number, before = self.last.get(device) or (0, -1, None)
        first = what == "first" or before is None
        if what == "reboot":
            boot, number, before = boot + 1, -1, None
        elif what == "gap":
            number, before = number + 3, None
        number += 1
        lost_reward = what == "no reward"
        if before is not None and not first and not lost_reward:
            self.joined.append((device, before, values))
        over = what in ("terminated", "truncated")
        self._log(
            kind=Kind.OBSERVATION,
            device=device,
            boot=boot,
            step=number,
            obs=values,
            reward=None if lost_reward else 1.0,
            first=first,
            terminated=what == "terminated",
            truncated=what == "truncated",
        )
        if not over and what != "unanswered":
            self._log(
                kind=Kind.ACTION,
                device=device,
                boot=boot,
                step=number,
                action=values,
                source=Source.FALLBACK if what == "fallback" else Source.POLICY,
            )
        self.last[device] = (boot, number, None if over else values)

    def _log(self, **columns: Any) -> None:
        self.events.append(Event(ts=0, seq=len(self.events) + 1, **columns))


HAPPENINGS = st.sampled_from(
    ["on", "on", "on", "first", "gap", "reboot", "no reward", "terminated", "truncated", "fallback",
     "unanswered"]
)  # fmt: skip
STORIES = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), HAPPENINGS), max_size=80)


def told(story: list[tuple[str, str]]) -> Truth:
    truth = Truth()
    for device, what in story:
        truth.step(device, what)
    return truth


def test_nothing_follows_a_copy_of_a_step_that_its_boot_had_reached() -> None:
    events = [observation(0, 1, boot=7), action(0, 2, boot=7), observation(1, 3, boot=7, reward=1)]
    events += [observation(0, 4, boot=8, first=True), action(0, 5, boot=8)]
    events += [observation(0, 6, boot=7, first=True), action(0, 7, boot=7)]
    events += [observation(1, 8, boot=7, reward=1), action(1, 9, boot=7)]
    events += [observation(2, 10, boot=7, reward=1), observation(3, 11, boot=7, reward=1)]
    assert [(one.seq_first, one.seq_last) for one in fold(events)] == [(1, 3), (10, 11)]


@given(STORIES)
def test_exactly_the_transitions_that_happened(story: list[tuple[str, str]]) -> None:
    truth = told(story)
    made = fold(truth.events)
    assert [(one.device, one.observation, one.next_observation) for one in made] == truth.joined


@given(STORIES, st.integers(0, 160))
def test_going_on_from_a_snapshot_changes_nothing(story: list[tuple[str, str]], cut: int) -> None:
    events = told(story).events
    before, after = Follow(), Follow()
    made = [one for event in events[:cut] if (one := before.fold(event))]
    after.restore(before.snapshot())
    made += [one for event in events[cut:] if (one := after.fold(event))]
    assert made == fold(events)
