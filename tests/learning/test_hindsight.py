"""Hindsight experience replay: SB3's own, from devices whose episodes interleave."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import gymnasium
import numpy as np
import pytest
from msgspec.structs import replace
from stable_baselines3 import DQN, HerReplayBuffer

from hub.errors import OperatorFault
from hub.learner.acting.choose import Chooser
from hub.learner.algorithms.parameters import read_parameters
from hub.learner.columns import Question
from hub.learner.exchange.exporting import export_policy
from hub.learner.interface import REPLAY_FIRST, REPLAY_FROM
from hub.learner.messages import policy_path
from hub.learner.sb3.drive import drive
from hub.learner.sb3.hindsight import HELD, Episodes, GoalSpaces
from hub.learner.sb3.off_policy import OffPolicy
from hub.learner.versions.policy import read_policy
from hub.spaces import parse
from tests.learner.choices import chosen
from tests.learning.bits import Bits, bits
from tests.learning.harness import Hub, floats, run
from tests.learning.test_lockstep import assert_same, learned, scripted, trained
from tests.learning.test_resume import OFF_POLICY
from tests.learning.test_tabular import transition

if TYPE_CHECKING:
    from pathlib import Path

    from hub.learner.experience.transitions import Transition
    from hub.words import Agent

GOAL: Final = [[2], "-inf", "inf"]
SPACE: Final = {"observation": [[3], -1, 1], "achieved_goal": GOAL, "desired_goal": GOAL}


def small(algorithm: str, **parameters: str) -> Agent:
    return bits(algorithm, 6, seed=3, **(OFF_POLICY | parameters))


# --- the same as learn() ---------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["future", "final", "episode"])
@pytest.mark.parametrize("algorithm", ["DQN", "SAC"])
def test_it_learns_what_learn_learns(tmp_path: Path, algorithm: str, strategy: str) -> None:
    agent = small(
        algorithm,
        buffer_size="1000",
        total_timesteps="400",
        goal_selection_strategy=strategy,
        publish_every="1",
    )
    environment = Bits(6, continuous=algorithm == "SAC")
    weights, events = learned(scripted(agent), agent, environment)
    assert_same(weights, trained(agent, events, tmp_path))


@pytest.mark.parametrize("algorithm", ["TD3", "DDPG", "QRDQN", "TQC"])
def test_so_do_the_others(tmp_path: Path, algorithm: str) -> None:
    agent = small(algorithm, buffer_size="1000", total_timesteps="200", publish_every="1")
    environment = Bits(6, continuous=algorithm != "QRDQN")
    weights, events = learned(scripted(agent), agent, environment)
    assert_same(weights, trained(agent, events, tmp_path))


@pytest.mark.parametrize("algorithm", ["DQN", "SAC"])
def test_when_the_ring_comes_round_it_is_the_same_if_training_waits_for_ends(
    tmp_path: Path, algorithm: str
) -> None:
    """In mid-episode SB3 has let an old one go already; here that waits for the end."""
    agent = bits(
        algorithm,
        8,
        seed=3,
        **OFF_POLICY
        | {"buffer_size": "45", "learning_starts": "40", "publish_every": "1"}
        | {"total_timesteps": "400"},
    )
    environment = Bits(8, continuous=algorithm == "SAC", endless=True)
    weights, events = learned(scripted(agent), agent, environment)
    assert_same(weights, trained(agent, events, tmp_path))


def test_the_reward_of_other_goals_is_the_expressions(tmp_path: Path) -> None:
    agent = small("DQN", buffer_size="1000", total_timesteps="200", goal_reward="-distance")
    weights, events = learned(scripted(agent), agent, Bits(6))
    with pytest.raises(AssertionError):
        assert_same(weights, trained(agent, events, tmp_path))


# --- episodes of devices that interleave -----------------------------------------------------

ROWS: Final = 12
HAPPENINGS: Final = ("goes on", "terminated", "truncated", "unknown", "gap")
SEEDS = range(60)


@cache
def learner() -> OffPolicy:
    agent = bits("DQN", 2, seed=3, buffer_size=str(ROWS), learning_starts="1", net_arch="2")
    agent = replace(agent, sharing="none")
    inner = drive(agent, read_parameters(agent))
    assert isinstance(inner, OffPolicy)
    return inner


def episodes(rows: int = ROWS) -> Episodes:
    """Empty, of a buffer of its own."""
    model, space = learner().model, parse(bits("DQN", 2, seed=3).observations)
    assert isinstance(model.observation_space, gymnasium.spaces.Dict)
    assert model.env is not None
    model.buffer_size = rows
    model.replay_buffer = HerReplayBuffer(
        rows, model.observation_space, model.action_space, env=model.env, device="cpu"
    )
    return Episodes(model, space, parse(2))


def life_of(seed: int) -> list[tuple[str, str]]:
    """What happens to which device; the third is heard of seldom."""
    chance = np.random.default_rng(seed)
    ends = chance.choice([0.05, 0.2, 0.4])
    odds = [1 - ends, 0.4 * ends, 0.3 * ends, 0.15 * ends, 0.15 * ends]
    count = int(chance.integers(10, 150))
    devices = chance.choice(list("abc"), size=count, p=[0.6, 0.35, 0.05])
    return list(zip(devices.tolist(), chance.choice(HAPPENINGS, size=count, p=odds), strict=True))


def happened(life: list[tuple[str, str]]) -> list[Transition]:
    """What devices did, each event 10 seqs after the one before."""
    newest: dict[str, int | None] = {}
    transitions = []
    for i, (device, what) in enumerate(life):
        seq, before = 10 * i + 10, newest.get(device)
        over = what in ("terminated", "truncated")
        newest[device] = None if over and before is not None else seq
        if before is None or what == "gap":
            continue
        transitions.append(
            transition(
                device=device,
                observation=floats([0, 1] * 3),
                next_observation=floats([1, 0] * 3),
                action=None if what == "unknown" else floats([1]),
                reward=float(i),
                terminated=what == "terminated",
                truncated=what == "truncated",
                seq_first=before,
                seq_last=seq,
            )
        )
    return transitions


def seen(rows: Episodes) -> dict[str, Any]:
    """All that sampling and what comes later depend on."""
    buffer = rows.buffer
    lengths = buffer.ep_length[:, 0]
    live = lengths > 0
    return {
        "counts": rows.counts(),
        "kept": rows.kept()[HELD].tolist(),
        "place": (buffer.pos, buffer.full, int(buffer._current_ep_start[0])),
        "lengths": lengths.tolist(),
        "starts": buffer.ep_start[live].tolist(),
        "rewards": buffer.rewards[live].tolist(),
        "ends": (buffer.dones[live].tolist(), buffer.timeouts[live].tolist()),
        "seqs": (rows.started[live].tolist(), rows.ended[live].tolist()),
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_anywhere_it_holds_the_same_again(seed: int) -> None:
    some = happened(life_of(seed))
    kills = set(np.random.default_rng(seed).integers(len(some), size=5).tolist())
    whole, killed = episodes(), episodes()
    for i, one in enumerate(some):
        if i in kills:
            killed = resumed(killed, some[:i])
            assert seen(killed) == seen(whole), f"killed before transition {i}"
        assert killed.take(one) == whole.take(one)
    assert seen(killed) == seen(whole)


def resumed(killed: Episodes, some: list[Transition]) -> Episodes:
    """By what a version keeps, and what the log has from where it says."""
    again, counts = episodes(), killed.counts()
    again.take_back(killed.kept())
    again.begin_at(counts)
    first = counts[REPLAY_FROM]
    for one in some:
        if first and one.seq_first >= first and one.seq_last >= counts[REPLAY_FIRST]:
            again.put_back(one)
    return again


@pytest.mark.parametrize("seed", SEEDS)
def test_an_episode_is_whole_and_of_one_device_without_a_gap(seed: int) -> None:
    rows = episodes()
    some = {one.seq_last: one for one in happened(life_of(seed))}
    for one in some.values():
        rows.take(one)
        buffer = rows.buffer
        for start in {int(row) for row in buffer.ep_start[buffer.ep_length > 0]}:
            length = int(buffer.ep_length[start, 0])
            places = (start + np.arange(length)) % ROWS
            steps = [some[int(rows.ended[place])] for place in places]
            assert len({step.device for step in steps}) == 1
            for before, after in pairwise(steps):
                assert before.seq_last == after.seq_first
                assert not before.terminated
                assert not before.truncated
            assert buffer.dones[places, 0].tolist() == [0] * (length - 1) + [1]
            ended = steps[-1].terminated
            assert buffer.timeouts[places, 0].tolist() == [0] * (length - 1) + [not ended]


def test_a_device_that_left_holds_nothing_for_ever() -> None:
    rows = episodes()
    life = [("c", "goes on")] * 3 + [("a", "goes on"), ("a", "goes on"), ("a", "truncated")] * 10
    for one in happened(life):
        rows.take(one)
    assert rows.counts()[REPLAY_FROM] > 40, "what the device left behind was read no more"


@pytest.mark.parametrize("rows", [4, 9, 30])
@pytest.mark.parametrize("seed", range(10))
def test_a_buffer_of_another_size_takes_over_whole_episodes(seed: int, rows: int) -> None:
    before, heir = episodes(), episodes(rows)
    for one in happened(life_of(seed)):
        before.take(one)
    heir.inherit(before)
    newest = before.ended[before._sampled()].tolist()
    taken = heir.ended[heir._sampled()].tolist()
    assert taken == [seq for seq in newest if seq in taken], "in the order of before"
    assert taken[-1:] == newest[-1:]
    assert taken == newest or rows < ROWS


# --- parameters ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"replay_buffer": "hindsight"}, "replay_buffer is uniform or her, not 'hindsight'"),
        ({"goal_selection_strategy": "past"}, "one of future, final, episode, not 'past'"),
        ({"n_sampled_goal": "0"}, "n_sampled_goal is between 1 and"),
        ({"goal_reward": "none"}, "needs a goal_reward"),
        ({"replay_buffer": "uniform"}, "set replay_buffer=her too"),
        ({"goal_reward": "distance <"}, "goal_reward: 'distance <' can't be read"),
        ({"goal_reward": "achieved[2]"}, "is not in the goal, whose last value is [1]"),
        ({"goal_reward": "achieved[-1]"}, "'achieved[-1]' is not allowed"),
        ({"goal_reward": "o[0]"}, "'o[0]' is not allowed; write numbers, achieved[0]"),
        ({"goal_reward": "distance.__class__"}, "is not allowed"),
        ({"goal_reward": "open(1)"}, "'open(1)' is not allowed"),
        ({"goal_reward": "1 if distance else 0"}, "'distance' is neither true nor false"),
        ({"goal_reward": "sqrt(1, 2)"}, "has 2 numbers in it"),
        ({"goal_reward": "+".join("1" * 400)}, "a reward has at most 500"),
        ({"goal_reward": "-(" * 40 + "1" + ")" * 40}, "a reward is at most 32 deep"),
    ],
)
def test_a_refusal_says_what_to_do(changes: dict[str, str], said: str) -> None:
    agent = bits("DQN", 2, seed=3, **changes)
    with pytest.raises(OperatorFault) as refused:
        read_parameters(agent)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("observations", "said"),
    [
        ([[3], -1, 1], "an object of observation, achieved_goal, desired_goal"),
        ({"observation": 3, "achieved_goal": GOAL}, "an object of observation, achieved_goal"),
        (SPACE | {"desired_goal": [[3], -1, 1]}, "must be of one shape"),
        (SPACE | {"desired_goal": 5}, "must be of one shape"),
        (SPACE | {"desired_goal": [[36, 36, 3], 0, 255]}, "must be of one shape"),
    ],
)
def test_observations_without_a_goal_are_refused(observations: Any, said: str) -> None:
    agent = replace(bits("DQN", 2, seed=3), observations=observations)
    with pytest.raises(OperatorFault) as refused:
        read_parameters(agent)
    assert said in str(refused.value)


def test_crossq_takes_no_goals() -> None:
    with pytest.raises(OperatorFault, match="CrossQ has no parameter 'replay_buffer'"):
        read_parameters(bits("CrossQ", 2, seed=3))


# --- rewards ---------------------------------------------------------------------------------

ACHIEVED: Final = np.array([[0.0, 0.0], [3.0, 4.0], [1.0, -1.0]], dtype=np.float32)
DESIRED: Final = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]], dtype=np.float32)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0 if distance < 2.5 else -1", [0, -1, 0]),
        ("-distance", [0, -5, -2]),
        ("1", [1, 1, 1]),
        ("-sqrt(abs(achieved[1] - desired[1]))", [0, -2, -np.sqrt(2)]),
        ("min(achieved[0], 2, 3) + max(desired[0], desired[1])", [0, 2, 2]),
        ("+1 if not 0 < achieved[0] < 2 and distance >= 0 else -1 / 2", [1, 1, -0.5]),
        ("1 if achieved[0] == 3 or achieved[1] == -1 else 0 if 1 > 2 else 7 * 2", [14, 1, 1]),
    ],
)
def test_a_reward_is_computed_for_a_batch(text: str, wanted: list[float]) -> None:
    spaces = GoalSpaces(parse(SPACE), parse(2), text)
    assert spaces.compute_reward(ACHIEVED, DESIRED, None).tolist() == pytest.approx(wanted)


def test_a_reward_that_is_no_number_drops_the_update(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = small("DQN", goal_reward="1 / distance")
    hub = Hub(agent, tmp_path)
    run(hub, "Bits6-v0", devices=2, steps_max=200, threshold=1e9)
    assert "goal_reward has no finite value" in capsys.readouterr().err
    assert len(hub.versions) == 1


def test_a_zip_for_stable_baselines_loads_without_an_environment(tmp_path: Path) -> None:
    agent = small("DQN")
    hub = Hub(agent, tmp_path)
    run(hub, "Bits6-v0", devices=2, steps_max=300, threshold=1e9)
    source = policy_path(tmp_path, agent.name, hub.versions[-1].policy.sha256)
    export_policy(source, agent, tmp_path / "bits.zip")
    model = DQN.load(tmp_path / "bits.zip", device="cpu")
    observation, _ = Bits(6).reset(seed=1)
    (choice,) = chosen(
        Chooser(read_policy(source), agent.seed),
        [Question(0, "d", 0, 0, floats(observation))],
        greedy=True,
    )
    assert floats([model.predict(observation, deterministic=True)[0]]) == choice.action


# --- it learns -------------------------------------------------------------------------------


def reached(folder: Path, seed: int, **parameters: str) -> float:
    """Share of the last quarter's episodes in which the goal was reached, with four devices."""
    steps = 3000
    agent = bits(
        "DQN",
        8,
        seed=seed,
        net_arch="64,64",
        learning_rate="1e-3",
        gamma="0.95",
        tau="0.05",
        batch_size="64",
        train_freq="4",
        gradient_steps="4",
        learning_starts="300",
        exploration_fraction="0.3",
        total_timesteps=str(steps),
        publish_every="64",
        **parameters,
    )
    done = run(Hub(agent, folder), "Bits8-v0", devices=4, steps_max=steps, threshold=1e9)
    return float(np.mean([total > -8 for total in done.returns[3 * len(done.returns) // 4 :]]))


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 3))])
def test_with_hindsight_it_learns_what_it_does_not_learn_without(tmp_path: Path, seed: int) -> None:
    assert reached(tmp_path / "with", seed) >= 0.8
    without = {"replay_buffer": "uniform", "goal_reward": "none"}
    assert reached(tmp_path / "without", seed, **without) <= 0.2
