"""Policies that look at pictures: learnt as `learn()` learns them, resumed, and good at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from msgspec.structs import replace

from hub.learner.algorithms.libraries import ALGORITHMS
from hub.learner.messages import policy_path
from hub.learner.sb3.model import class_of
from hub.learner.versions.policy import read_policy
from tests.learning.harness import Glances, Hub, agent_of, run
from tests.learning.test_lockstep import Written, assert_same, learned, scripted, trained
from tests.learning.test_resume import logged, names, resumed

if TYPE_CHECKING:
    from pathlib import Path

    from hub.words import Agent

PICTURE: Final[list[Any]] = [[36, 36, 1], 0, 255]
IN_COLOUR: Final[list[Any]] = [[36, 36, 2], 0, 255]
SMALL: Final = {
    "PPO": {"n_steps": "32", "batch_size": "16", "n_epochs": "2"},
    "A2C": {"n_steps": "16"},
    "DQN": {
        "buffer_size": "100",
        "learning_starts": "30",
        "train_freq": "8",
        "gradient_steps": "1",
        "batch_size": "16",
        "publish_every": "16",
    },
}


class WrittenLast(Written):
    """As the device has its pictures, channels last; SB3 has put them first."""

    def _observe(self, values: Any, **columns: Any) -> None:
        super()._observe(np.moveaxis(values, 0, -1), **columns)


def looking(algorithm: str, picture: Any, **parameters: str) -> Agent:
    return agent_of(algorithm, picture, 3, seed=4, net_arch="16", **(SMALL[algorithm] | parameters))


@pytest.mark.parametrize("algorithm", SMALL)
def test_of_pictures_it_is_learnt_what_learn_learns(tmp_path: Path, algorithm: str) -> None:
    agent = looking(algorithm, IN_COLOUR, total_timesteps="96")
    model = class_of(ALGORITHMS[algorithm]) if algorithm != "DQN" else scripted(agent)
    weights, events = learned(model, agent, Glances(channels=2), WrittenLast())
    assert any("cnn" in name for name in weights)
    assert_same(weights, trained(agent, events, tmp_path))


@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_a_resumed_trainer_of_pictures_makes_the_same_bytes(tmp_path: Path, algorithm: str) -> None:
    hub = Hub(looking(algorithm, PICTURE), tmp_path, policies_kept=1000)
    run(hub, "Glances-v0", devices=3, steps_max=150, threshold=1e9)
    assert len(hub.versions) > 3
    for at in (0, 2, len(hub.versions) - 1):
        _, versions = resumed(hub, logged(hub.versions[at]))
        assert names(versions) == names(hub.versions[at + 1 :]), f"from version {at}"


def test_what_actor_and_critic_share_is_kept_once(tmp_path: Path) -> None:
    hub = Hub(looking("PPO", PICTURE), tmp_path)
    path = policy_path(tmp_path, hub.agent.name, hub.versions[0].policy.sha256)
    convolutions = [name for name in read_policy(path).tensors if "cnn.0.weight" in name]
    assert convolutions == ["features_extractor.extractors.observation.cnn.0.weight"]


@pytest.mark.parametrize("seed", [2, pytest.param(6, marks=pytest.mark.slow)])
def test_ppo_learns_to_see_where_the_square_is(tmp_path: Path, seed: int) -> None:
    parameters = {"n_steps": "128", "batch_size": "64", "n_epochs": "6", "learning_rate": "5e-4"}
    agent = replace(looking("PPO", PICTURE), seed=seed, parameters=parameters)
    outcome = run(Hub(agent, tmp_path), "Glances-v0", devices=4, steps_max=4000, threshold=16.0)
    assert outcome.solved_at is not None, outcome.returns[-20:]
    assert np.mean(outcome.returns[:20]) < 8.0, "guessing is paid a third of that"
