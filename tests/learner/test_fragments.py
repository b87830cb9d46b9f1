"""Which transitions an on-policy update may learn from, and where a run of them is cut."""

from __future__ import annotations

from itertools import pairwise

import msgspec
from hypothesis import given

from hub.learner.experience.fragments import Fragments
from hub.learner.experience.transitions import Transition
from hub.words import Source
from tests.learner.test_transitions import STORIES, floats, fold, told

VERSION = 7


def step(number: int, **columns: object) -> Transition:
    made = Transition(
        device="d",
        observation=floats(number),
        action=floats(0),
        executed=None,
        reward=1.0,
        next_observation=floats(number + 1),
        terminated=False,
        truncated=False,
        source=Source.POLICY,
        policy=VERSION,
        logprob=-0.5,
        value=0.0,
        raw=None,
        seq_first=2 * number + 1,
        seq_last=2 * number + 3,
    )
    return msgspec.structs.replace(made, **columns)


def lengths(*transitions: Transition) -> list[int]:
    fragments = Fragments()
    for transition in transitions:
        fragments.add(transition, version=VERSION)
    count = fragments.count
    found = [len(fragment) for fragment in fragments.take()]
    assert count == sum(found)
    return found


def test_an_unbroken_run_is_one_fragment() -> None:
    assert lengths(step(0), step(1), step(2)) == [3]


def test_an_action_of_the_version_before_is_used() -> None:
    assert lengths(step(0, policy=VERSION - 1), step(1)) == [2]


def test_an_action_of_an_older_version_cuts_and_is_counted() -> None:
    fragments = Fragments()
    for one in (step(0), step(1, policy=VERSION - 2), step(2)):
        fragments.add(one, version=VERSION)
    assert fragments.dropped == 1
    assert [len(fragment) for fragment in fragments.take()] == [1, 1]
    assert fragments.dropped == 0


def test_a_fallback_cuts_the_fragment_before_it() -> None:
    assert lengths(step(0), step(1), step(2, source=Source.FALLBACK), step(3)) == [2, 1]


def test_a_clamped_action_cuts_though_its_wish_was_drawn() -> None:
    """The log keeps the log-probability of what was wanted, which is not what was done."""
    clamped = step(2, source=Source.CLAMP, action=floats(1))
    assert clamped.logprob is not None
    assert lengths(step(0), step(1), clamped, step(3)) == [2, 1]


def test_an_override_cuts_and_a_faithful_report_does_not() -> None:
    assert lengths(step(0), step(1, executed=floats(1)), step(2)) == [1, 1]
    assert lengths(step(0), step(1, executed=floats(0)), step(2)) == [3]


def test_a_greedy_action_was_not_drawn() -> None:
    assert lengths(step(0), step(1, logprob=None)) == [1]


def test_a_gap_begins_a_new_fragment() -> None:
    assert lengths(step(0), step(5)) == [1, 1]


def test_the_end_of_an_episode_ends_the_fragment() -> None:
    assert lengths(step(0, terminated=True), step(1)) == [1, 1]


def test_a_device_goes_on_in_a_new_fragment_after_an_update() -> None:
    fragments = Fragments()
    fragments.add(step(0), version=VERSION)
    assert len(fragments.take()) == 1
    fragments.add(step(1), version=VERSION)
    assert fragments.take() == [[step(1)]]


@given(STORIES)
def test_within_a_fragment_each_transition_begins_where_the_one_before_ended(
    story: list[tuple[str, str]],
) -> None:
    fragments = Fragments()
    drawn = 0
    for one in fold(told(story).events):
        acted = msgspec.structs.replace(one, policy=VERSION, logprob=-1.0, value=0.0)
        fragments.add(acted, version=VERSION)
        drawn += one.source is Source.POLICY
    assert fragments.count == drawn
    for fragment in fragments.take():
        for before, after in pairwise(fragment):
            assert before.next_observation == after.observation
            assert before.device == after.device
            assert not before.terminated
            assert not before.truncated


def test_what_is_left_out_while_behind_cuts_and_is_counted() -> None:
    fragments = Fragments()
    fragments.add(step(0), version=VERSION)
    fragments.add(step(0, device="e"), version=VERSION)
    fragments.drop("d")
    fragments.add(step(2), version=VERSION)
    fragments.add(step(1, device="e"), version=VERSION)
    assert (fragments.count, fragments.dropped) == (4, 1)
    assert [len(fragment) for fragment in fragments.take()] == [1, 2, 1]
    assert fragments.dropped == 0
