"""A ring of transitions: the newest are there, and the log puts them back at their own places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.learner.interface import REPLAY_FIRST, REPLAY_FROM, REPLAY_ROW
from hub.learner.own.replay import Replay
from tests.learning.test_tabular import floats, transition

if TYPE_CHECKING:
    from hub.learner.experience.transitions import Transition

SIZES = st.integers(1, 8)
COUNTS = st.integers(0, 30)


def stream(count: int) -> list[Transition]:
    """Transitions of two devices: the second's begin long before they end."""
    return [
        transition(
            seq_first=10 * i + 1 - (50 if i % 2 else 0), seq_last=10 * i + 3, reward=float(i)
        )
        for i in range(10, 10 + count)
    ]


def filled(memory: Replay, some: list[Transition]) -> Replay:
    for one in some:
        memory.add(one, np.array([one.reward]), 1, np.array([-one.reward]))
    return memory


def rewards(memory: Replay) -> list[float]:
    return [float(reward) for reward in memory.r[: len(memory)]]


@given(rows=SIZES, count=COUNTS)
def test_it_holds_the_newest(rows: int, count: int) -> None:
    memory = filled(Replay(rows, 1), stream(count))
    assert len(memory) == min(rows, count)
    assert sorted(rewards(memory)) == [one.reward for one in stream(count)][-rows:]


@given(rows=SIZES, count=COUNTS)
def test_filled_again_from_where_its_counts_say_it_is_the_same(rows: int, count: int) -> None:
    some = stream(count)
    memory = filled(Replay(rows, 1), some)
    counts = memory.counts()
    again = Replay(rows, 1)
    again.begin_at(counts)
    kept = [one for one in some if count and one.seq_last >= counts[REPLAY_FIRST]]
    assert all(one.seq_first >= counts[REPLAY_FROM] for one in kept)
    filled(again, kept)
    assert len(again) == len(memory)
    assert rewards(again) == rewards(memory)
    assert again.counts() == counts
    assert set(counts) == {REPLAY_FROM, REPLAY_FIRST, REPLAY_ROW}


@given(rows=SIZES, other=SIZES, count=COUNTS)
def test_another_takes_over_the_newest_in_order(rows: int, other: int, count: int) -> None:
    memory = filled(Replay(rows, 1), stream(count))
    heir = Replay(other, 1)
    heir.inherit(memory)
    newest = [one.reward for one in stream(count)][-min(rows, other) :]
    assert sorted(rewards(heir)) == newest
    more = stream(count + 1)[-1:]
    filled(heir, more)
    assert sorted(rewards(heir)) == [*newest, more[0].reward][-other:]


@pytest.mark.parametrize(
    ("terminated", "truncated", "goes_on"), [(False, False, 1), (False, True, 1), (True, False, 0)]
)
def test_only_a_terminated_episode_does_not_go_on(
    terminated: bool, truncated: bool, goes_on: float
) -> None:
    one = transition(terminated=terminated, truncated=truncated, observation=floats(3))
    assert filled(Replay(2, 1), [one]).goes_on[0] == goes_on
