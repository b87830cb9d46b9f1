"""The bandit: whom a replica asks follows from what came of asking, and from nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.advice.trust import NOBODY, Arms, Trust, choose

PEERS = ["a", "b"]
EPISODES = st.lists(
    st.tuples(st.sampled_from(["x", "y"]), st.sampled_from([None, *PEERS]), st.floats(-1e3, 1e3)),
    max_size=40,
)


def chosen(trust: Trust, seed: int, times: int = 200) -> list[str | None]:
    chance = np.random.default_rng(seed)
    arms = trust.arms("x")
    return [choose(arms, PEERS, chance.normal(size=3).tolist()) for _ in range(times)]


def test_who_knows_nothing_asks_everybody_alike() -> None:
    asked = chosen(Trust(), 1, 3000)
    for arm in (None, *PEERS):
        assert asked.count(arm) / 3000 == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.parametrize("best", [None, *PEERS])
def test_what_paid_best_is_chosen_most(best: str | None) -> None:
    trust, chance = Trust(), np.random.default_rng(2)
    for i in range(60):
        adviser = (None, *PEERS)[i % 3]
        trust.fold("x", adviser, float(chance.normal(100 if adviser == best else 20, 10)))
    asked = chosen(trust, 3)
    assert asked.count(best) > 150


def test_what_was_long_ago_fades() -> None:
    trust = Trust()
    for _ in range(30):
        trust.fold("x", "a", 100.0)
    for i in range(90):
        trust.fold("x", ("a", "b")[i % 2], (10.0, 60.0)[i % 2])
    assert chosen(trust, 4).count("b") > 150


def test_returns_that_are_all_alike_decide_nothing() -> None:
    trust = Trust()
    for i in range(30):
        trust.fold("x", (None, *PEERS)[i % 3], 500.0)
    asked = chosen(trust, 5, 900)
    assert min(asked.count(arm) for arm in (None, *PEERS)) > 200


def test_nobody_is_chosen_where_there_is_nobody() -> None:
    assert choose(Arms(), [], [1.0]) is None


@given(EPISODES, st.integers(0, 40))
def test_a_snapshot_goes_on_as_if_it_had_never_stopped(
    episodes: list[tuple[str, str | None, float]], at: int
) -> None:
    whole, first, second = Trust(), Trust(), Trust()
    for i, episode in enumerate(episodes):
        whole.fold(*episode)
        if i < at:
            first.fold(*episode)
    second.restore(first.snapshot())
    for episode in episodes[at:]:
        second.fold(*episode)
    assert second.snapshot() == whole.snapshot()


@given(EPISODES)
def test_all_arms_together_are_what_is_known_of_the_device(
    episodes: list[tuple[str, str | None, float]],
) -> None:
    trust = Trust()
    for episode in episodes:
        trust.fold(*episode)
    for device in ("x", "y"):
        arms = trust.arms(device)
        assert sum(arm.weight for arm in arms.by.values()) == pytest.approx(arms.weight)
        assert sum(arm.total for arm in arms.by.values()) == pytest.approx(arms.total, abs=1e-6)
        assert set(arms.by) <= {NOBODY, *PEERS}
    weights = [trust.arms(d).weight for d in ("x", "y")]
    assert all(weight < 20.0 for weight in weights), "1 / (1 - 0.95) episodes at most"
