"""What the guard of a shared policy decides, of episodes and rewards that are made for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.errors import OperatorFault
from hub.facts import Guarded
from hub.learner.algorithms.parameters import read_parameters
from hub.learner.algorithms.row import GuardRule
from hub.learner.experience.transitions import Transition
from hub.learner.guard.decide import Guard
from hub.learner.guard.rewards import Rewards
from hub.words import Floats, Source
from tests.learning.harness import cartpole

if TYPE_CHECKING:
    from collections.abc import Callable

    Vector = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

PEERS: Final = ("a", "b", "c")
ODD: Final = "odd"
RULE: Final = GuardRule(episodes=5, forks=2)


def moved(
    device: str,
    seq: int,
    reward: float,
    *,
    over: bool = False,
    own: bool = False,
    seen: tuple[float, ...] = (0.1, 0.2),
    did: float = 0.0,
) -> Transition:
    values = Floats(np.array(seen, dtype="<f4").tobytes())
    done = Floats(np.array([did], dtype="<f4").tobytes())
    return Transition(
        device, values, done, None, reward, values, over, False, Source.POLICY, 1, -0.7, 0.0, None,
        seq, seq + 1, own=own,
    )  # fmt: skip


class Fleet:
    """A guard, and episodes of one transition each."""

    def __init__(self, rule: GuardRule = RULE) -> None:
        self.guard = Guard(rule, choices=2)
        self.seq = 0
        self.said: list[Guarded] = []

    def episode(self, device: str, returned: float, *, own: bool = False) -> None:
        self.seq += 2
        self.guard.fold(moved(device, self.seq, returned, over=True, own=own))
        self.said += [fact for _, fact in self.guard.decided()]

    def rounds(self, count: int, odd: float, *, own: bool = False, peers: float = 10.0) -> None:
        for _ in range(count):
            for peer in PEERS:
                self.episode(peer, peers)
            self.episode(ODD, odd, own=own)

    def alternate(self, count: int, own: Callable[[int], float], shared: float) -> None:
        for i in range(count):
            self.rounds(1, own(i), own=True)
            self.rounds(1, shared)

    @property
    def decisions(self) -> list[str]:
        return [fact.decision for fact in self.said]


def test_a_device_that_trails_for_so_many_episodes_gets_a_control() -> None:
    fleet = Fleet()
    fleet.rounds(2, 1.0)
    fleet.rounds(3, 1.0)
    assert fleet.decisions == []
    fleet.rounds(2, 1.0)
    assert fleet.guard.stages == {ODD: "control"}
    (control,) = fleet.said
    assert (control.decision, control.flock, control.shared) == ("control", 10.0, 1.0)
    assert (control.own, control.episodes) == (None, 5)


def test_a_device_that_is_now_below_and_now_above_gets_none() -> None:
    fleet = Fleet()
    for _ in range(60):
        fleet.rounds(1, 1.0)
        fleet.rounds(1, 30.0)
    assert fleet.decisions == []


def test_one_alone_trails_nobody() -> None:
    fleet = Fleet()
    for _ in range(50):
        fleet.episode(ODD, -5.0)
    assert fleet.decisions == []


def test_a_control_that_earns_more_is_kept_and_the_device_rejoins_when_it_does_not() -> None:
    fleet = Fleet()
    fleet.rounds(8, 1.0)
    fleet.alternate(6, lambda i: 8.0 + i % 2, shared=1.0)
    assert fleet.guard.stages == {ODD: "own"}
    won = fleet.said[-1]
    assert (won.decision, won.shared) == ("own", 1.0)
    assert won.own is not None
    assert won.own > 8.0
    fleet.alternate(6, lambda _: 8.0, shared=9.0)
    assert fleet.decisions == ["control", "own", "rejoined"]
    assert fleet.guard.stages == {}


def test_a_control_that_does_not_is_dropped_and_the_next_one_waits_longer() -> None:
    fleet = Fleet()
    fleet.rounds(8, 1.0)
    fleet.alternate(25, lambda _: 1.0, shared=1.0)
    assert fleet.decisions[:2] == ["control", "dropped"]
    again = Fleet()
    again.rounds(8, 1.0)
    again.alternate(20, lambda _: 1.0, shared=1.0)
    assert again.decisions == ["control", "dropped"]
    again.rounds(8, 1.0)
    assert again.decisions == ["control", "dropped"], "twice as long"
    again.rounds(4, 1.0)
    assert again.decisions == ["control", "dropped", "control"]


def test_episodes_of_both_networks_count_for_neither() -> None:
    fleet = Fleet()
    fleet.rounds(8, 1.0)
    for _ in range(30):
        fleet.seq += 3
        fleet.guard.fold(moved(ODD, fleet.seq - 1, 4.0, own=True))
        fleet.guard.fold(moved(ODD, fleet.seq, 4.0, over=True))
    assert fleet.guard.stages == {ODD: "control"}


def test_so_many_have_a_network_of_their_own_and_no_more() -> None:
    fleet = Fleet(GuardRule(episodes=5, forks=1))
    for _ in range(30):
        for device, returned in (("a", 9.0), ("b", 9.0), ("c", 9.0), ("x", 1.0), ("y", 1.0)):
            fleet.episode(device, returned)
    assert len(fleet.guard.stages) == 1


# --- rewards ----------------------------------------------------------------------------------


def of_the_seen(seen: Vector, did: float) -> float:
    """As honest devices have it."""
    return float(-(seen[0] ** 2) + 0.3 * seen[1] + 0.2 * did)


LIES: Final[dict[str, Callable[[float, np.random.Generator], float]]] = {
    "random": lambda _, chance: float(chance.uniform(-1.0, 1.0)),
    "random, as many": lambda _, chance: float(chance.normal(-0.4, 0.6)),
    "the reverse": lambda reward, _: -reward,
    "constant": lambda _, __: 1.0,
    "nothing": lambda _, __: 0.0,
}


def went(
    guard: Guard,
    steps: int,
    said: Callable[[float, np.random.Generator], float],
    *,
    seed: int = 0,
    honest: Callable[[Vector, float], float] = of_the_seen,
    begin: int = 0,
) -> list[Guarded]:
    """Steps of three honest devices and one that says what it likes."""
    chance = np.random.default_rng(seed)
    for step in range(steps):
        for device in (*PEERS, ODD):
            seen = chance.normal(size=2).astype(np.float32)
            did = float(chance.integers(2))
            reward = honest(seen, did) + 0.05 * float(chance.normal())
            if device == ODD:
                reward = said(reward, chance)
            both = (float(seen[0]), float(seen[1]))
            guard.fold(moved(device, begin + step, reward, seen=both, did=did))
    return [fact for _, fact in guard.decided()]


@pytest.mark.parametrize("lie", LIES)
def test_who_says_false_rewards_is_muted_and_nobody_else(lie: str) -> None:
    guard = Guard(RULE, choices=2)
    (muted,) = went(guard, 600, LIES[lie])
    assert (muted.decision, muted.peers is not None and muted.peers > 0.9) == ("muted", True)
    assert muted.relation is not None
    assert muted.relation < 0.2
    assert msgspec.json.decode(msgspec.json.encode(muted), type=Guarded) == muted
    assert guard.is_muted(ODD, 599)
    assert not guard.is_muted(ODD, 10), "what was learnt from before was not muted then"
    assert not any(guard.is_muted(peer, 599) for peer in PEERS)


@pytest.mark.parametrize("lie", ["random", "the reverse", "nothing"])
def test_where_all_honest_rewards_are_alike_a_lie_is_seen_too(lie: str) -> None:
    guard = Guard(RULE, choices=2)
    (muted,) = went(guard, 600, LIES[lie], honest=lambda _, __: 1.0)
    assert muted.decision == "muted"
    assert guard.is_muted(ODD, 599)


def test_who_tells_the_truth_again_is_heard_again() -> None:
    guard = Guard(RULE, choices=2)
    went(guard, 600, LIES["the reverse"])
    (unmuted,) = went(guard, 2500, lambda reward, _: reward, seed=1, begin=600)
    assert unmuted.decision == "unmuted"
    assert unmuted.relation is not None
    assert unmuted.relation > 0.5
    assert not guard.is_muted(ODD, 3100)
    assert guard.is_muted(ODD, 599), "a refill of the replay memory leaves the same out"
    guard.forget_before(unmuted.seq)
    assert not guard.is_muted(ODD, 599)


@pytest.mark.parametrize(
    "honest",
    [lambda reward, _: reward, lambda reward, _: 3.0 * reward + 5.0],
    ids=["as its peers", "on another scale"],
)
def test_an_honest_device_is_not_muted(
    honest: Callable[[float, np.random.Generator], float],
) -> None:
    assert went(Guard(RULE, choices=2), 1000, honest) == []


def test_rewards_of_what_is_not_seen_prove_nothing() -> None:
    chance = np.random.default_rng(3)
    hidden = lambda _, __: float(chance.normal())  # noqa: E731 - of nothing that is seen
    assert went(Guard(RULE, choices=2), 1000, LIES["the reverse"], honest=hidden) == []


def test_of_two_it_cannot_be_known_who_is_right() -> None:
    rewards = Rewards(2)
    chance = np.random.default_rng(0)
    for step in range(400):
        for device, sign in (("a", 1.0), ("b", -1.0)):
            seen = chance.normal(size=2).astype(np.float32)
            both = (float(seen[0]), float(seen[1]))
            rewards.fold(moved(device, step, sign * of_the_seen(seen, 0.0), seen=both))
    assert rewards.judge("a", ()) is None
    assert rewards.judge("b", ()) is None


def test_a_device_that_only_fails_is_not_taken_for_a_liar() -> None:
    guard = Guard(RULE, choices=2)
    for step in range(3000):
        for device in (*PEERS, ODD):
            over = step % 5 == 4
            reward = (-1.0 if device == ODD else 1.0) if over else 0.0
            guard.fold(moved(device, step, reward, over=over, seen=(step % 5, 0.0)))
    assert not guard.is_muted(ODD, 3000)


@pytest.mark.parametrize("reward", [1e308, -1e308, 3.4e38])
def test_a_reward_beyond_all_measure_harms_nobody_else(reward: float) -> None:
    guard = Guard(RULE, choices=0)
    said = went(guard, 600, lambda _, __: reward)
    assert all(fact.decision == "muted" for fact in said)
    assert not any(guard.is_muted(peer, 599) for peer in PEERS)


Told = tuple[str, float, bool, bool, float]


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.sampled_from((*PEERS, ODD)),
            st.floats(-10, 10),
            st.booleans(),
            st.booleans(),
            st.floats(-2, 2),
        ),
        min_size=30,
        max_size=300,
    ),
    st.data(),
)
def test_from_any_snapshot_it_decides_the_same(told: list[Told], data: st.DataObject) -> None:
    folded = [
        moved(device, 2 * i, reward, over=over, own=own, seen=(x, 1.0))
        for i, (device, reward, over, own, x) in enumerate(told)
    ]
    at = data.draw(st.integers(0, len(folded)))
    whole, before, after = (Guard(RULE, choices=2) for _ in range(3))
    for transition in folded:
        whole.fold(transition)
    for transition in folded[:at]:
        before.fold(transition)
    after.restore(before.snapshot())
    for transition in folded[at:]:
        after.fold(transition)
    assert before.decided() + after.decided() == whole.decided()
    assert after.snapshot() == whole.snapshot()


def test_its_parameters_are_of_every_algorithm_and_bounded() -> None:
    assert read_parameters(cartpole("PPO", seed=1)).guard == GuardRule(50, 4)
    assert read_parameters(cartpole("DQN", seed=1, guard="off")).guard is None
    for name, value in (
        ("guard", "yes"),
        ("guard_episodes", "2"),
        ("guard_episodes", "100000"),
        ("guard_forks", "65"),
    ):
        with pytest.raises(OperatorFault, match=name):
            read_parameters(cartpole("PPO", seed=1, **{name: value}))
