"""Every algorithm reaches the return that counts as solved, through the log, with four devices.

Goal: the defaults learn. Method: the harness, until the mean return of the last 20 training
episodes (exploration and all) is at the threshold. The slow form has more seeds and algorithms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.learning.harness import Hub, Outcome, cartpole, pendulum, run

if TYPE_CHECKING:
    from pathlib import Path

    from hub.words import Agent

DEVICES: Final = 4
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


@pytest.mark.parametrize("seed", range(3))
def test_ppo_solves_cartpole(tmp_path: Path, seed: int) -> None:
    agent = cartpole("PPO", seed=seed)
    outcome = learned(agent, "CartPole-v1", tmp_path, PPO_STEPS_MAX, PPO_RETURN)
    assert_solved(outcome)
    assert outcome.dropped == 0, "no action was older than one version"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 10))
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
