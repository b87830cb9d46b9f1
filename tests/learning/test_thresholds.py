"""Every algorithm learns through the log, with four devices, as far as it should.

Goal: the defaults learn. Method: one run at equal transitions must come as far as 99 of 100 runs of
`learn()` do. The slow form asks for the return that counts as solved, the mean of the last 20
training episodes, exploration and all, of more seeds and algorithms.
"""

from __future__ import annotations

from statistics import mean
from typing import TYPE_CHECKING, Final

import pytest

from tests.learning.harness import Hub, Outcome, cartpole, pendulum, run
from tests.learning.noninferiority import TASKS, farmed

if TYPE_CHECKING:
    from pathlib import Path

    from hub.words import Agent

DEVICES: Final = 4
PPO_AREA: Final = 135.0
"""Mean greedy return on the way to 20,000 transitions. 99 % of the runs of `learn()` are above it,
95 % sure: the first 50 have a mean of 310 and a deviation of 61 (`python -m
tests.learning.noninferiority`, bench/learning.md). A random policy has 22."""
PPO_STEPS_MAX: Final = 60_000
PPO_RETURN: Final = 475.0
"""CartPole-v1 counts as solved at this, of 500."""
DQN_STEPS_MAX: Final = 50_000
DQN_RETURN: Final = 300.0
SAC_STEPS_MAX: Final = 12_000
SAC_RETURN: Final = -300.0
"""Doing nothing gets about -1,200 on Pendulum-v1, a good controller -150."""


def learned(agent: Agent, environment: str, folder: Path, steps_max: int, wanted: float) -> Outcome:
    hub = Hub(agent, folder)
    return run(hub, environment, devices=DEVICES, steps_max=steps_max, threshold=wanted)


def assert_solved(outcome: Outcome) -> None:
    assert outcome.solved_at is not None, f"the last returns were {outcome.returns[-20:]}"


@pytest.mark.parametrize("seed", range(2))
def test_ppo_comes_as_far_as_nearly_every_run_of_learn_does(tmp_path: Path, seed: int) -> None:
    task = TASKS["PPO"]
    hub = Hub(cartpole("PPO", seed=seed, total_timesteps=str(task.transitions)), tmp_path)
    assert mean(farmed(hub, task, DEVICES, churn=0.0)) > PPO_AREA
    dropped = [made.update.dropped for made in hub.versions if made.update]
    assert sum(dropped) == 0, "no action was older than one version"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_ppo_solves_cartpole_with_ten_seeds(tmp_path: Path, seed: int) -> None:
    agent = cartpole("PPO", seed=seed)
    assert_solved(learned(agent, "CartPole-v1", tmp_path, PPO_STEPS_MAX, PPO_RETURN))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(3))
def test_dqn_learns_to_balance_cartpole(tmp_path: Path, seed: int) -> None:
    agent = cartpole("DQN", seed=seed)
    assert_solved(learned(agent, "CartPole-v1", tmp_path, DQN_STEPS_MAX, DQN_RETURN))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(3))
def test_sac_learns_to_swing_a_pendulum_up(tmp_path: Path, seed: int) -> None:
    agent = pendulum("SAC", seed=seed)
    assert_solved(learned(agent, "Pendulum-v1", tmp_path, SAC_STEPS_MAX, SAC_RETURN))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("algorithm", ["TD3", "DDPG", "TQC", "CrossQ"])
@pytest.mark.parametrize("seed", range(3))
def test_an_actor_critic_learns_to_swing_a_pendulum_up(
    tmp_path: Path, algorithm: str, seed: int
) -> None:
    agent = pendulum(algorithm, seed=seed)
    assert_solved(learned(agent, "Pendulum-v1", tmp_path, SAC_STEPS_MAX, SAC_RETURN))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_trpo_solves_cartpole(tmp_path: Path, seed: int) -> None:
    agent = cartpole("TRPO", seed=seed)
    assert_solved(learned(agent, "CartPole-v1", tmp_path, PPO_STEPS_MAX, PPO_RETURN))
