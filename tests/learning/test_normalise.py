"""Statistics of observations and rewards: SB3's numbers, the version's own, and worth having."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import gymnasium
import numpy as np
import pytest
import torch
from msgspec.structs import replace
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from hub.learner.algorithms.libraries import ALGORITHMS
from hub.learner.algorithms.parameters import read_parameters
from hub.learner.messages import policy_path
from hub.learner.sb3.model import class_of
from hub.learner.sb3.normalise import Normal
from hub.learner.sb3.spaces import Spaces, shaped
from hub.learner.versions.policy import read_policy
from hub.learner.versions.scaling import MEAN, VARIANCE, scale_of
from hub.spaces import parse, size
from hub.words import Event, Kind
from tests.learning.harness import Hub, agent_of, cartpole, floats, pendulum, run
from tests.learning.test_lockstep import (
    Written,
    assert_same,
    learned,
    scripted,
    trained,
)
from tests.learning.test_resume import PPO, devices, scaled

if TYPE_CHECKING:
    from pathlib import Path

    from hub.words import Agent

SMALL: Final = {
    "buffer_size": "300",
    "learning_starts": "100",
    "train_freq": "4",
    "gradient_steps": "2",
    "batch_size": "32",
    "net_arch": "16,16",
    "total_timesteps": "400",
    "publish_every": "1",
}
ENDLESS: Final = 1_000_000
SCALES: Final = np.array([1e3, 1e-3, 1e2, 1e-2], dtype=np.float32)
MIXED: Final[dict[str, Any]] = {"a": [[2], "-inf", "inf"], "b": 3, "c": [[2, 2], 0.0, 9e5]}


class WrittenRaw(Written):
    """As a device would say it: what VecNormalize was given, not what it made of it."""

    def __init__(self, env: VecNormalize) -> None:
        super().__init__()
        self._env: Any = env

    def _on_training_start(self) -> None:
        self._observe(self._env.get_original_obs()[0], first=True)

    def _on_step(self) -> bool:
        told: dict[str, Any] = self.locals
        over = bool(told["dones"][0])
        self.locals = {
            **told,
            "new_obs": self._env.get_original_obs(),
            "rewards": self._env.get_original_reward(),
        }
        if self._begins:  # `_last_obs` is scaled; it was written down when it was seen
            self._begins = False
        going_on = super()._on_step()
        if over:
            self._observe(self._env.get_original_obs()[0], first=True)
        return going_on


@pytest.mark.parametrize("algorithm", ["SAC", "TD3", "TQC"])
def test_off_policy_it_is_learnt_what_learn_learns_under_vecnormalize(
    tmp_path: Path, algorithm: str
) -> None:
    """Endless: at an episode's end SB3 makes the last observation again from the scaled one."""
    agent = pendulum(algorithm, seed=4, norm_obs="true", norm_reward="true", clip_obs="2", **SMALL)
    inner = DummyVecEnv([lambda: gymnasium.make("Pendulum-v1", max_episode_steps=ENDLESS)])
    env = VecNormalize(inner, clip_obs=2.0)
    weights, events = learned(scripted(agent), agent, env, WrittenRaw(env))
    tensors = trained(agent, events, tmp_path)
    assert_same(weights, tensors)
    statistics: Any = env.obs_rms
    np.testing.assert_array_equal(tensors[MEAN], statistics.mean)
    np.testing.assert_array_equal(tensors[VARIANCE], statistics.var)
    unscaled = replace(agent, parameters=agent.parameters | {"norm_obs": "false"})
    with pytest.raises(AssertionError):
        assert_same(weights, trained(unscaled, events, tmp_path / "unscaled"))


@pytest.mark.parametrize("episode_steps", [500, 25])
def test_on_policy_rewards_are_scaled_as_learn_scales_them(
    tmp_path: Path, episode_steps: int
) -> None:
    agent = cartpole("PPO", seed=4, n_steps="128", batch_size="32", total_timesteps="768")
    agent = replace(agent, parameters=agent.parameters | {"norm_reward": "true"})
    inner = DummyVecEnv([lambda: gymnasium.make("CartPole-v1", max_episode_steps=episode_steps)])
    env = VecNormalize(inner, norm_obs=False, gamma=0.98)
    weights, events = learned(class_of(ALGORITHMS["PPO"]), agent, env, WrittenRaw(env))
    assert_same(weights, trained(agent, events, tmp_path))


@pytest.mark.parametrize("declared", [[[3], "-inf", "inf"], [[3], -3.4e38, 3.4e38], MIXED])
def test_an_observation_is_scaled_to_the_bits_that_vecnormalize_gives(declared: Any) -> None:
    space = parse(declared)
    agent = agent_of("PPO", declared, 2, seed=1, norm_obs="true", clip_obs="1.5")
    normal = Normal(space, parse(2), read_parameters(agent))
    keys = ["a", "c"] if isinstance(declared, dict) else None
    theirs = VecNormalize(
        DummyVecEnv([lambda: Spaces(space, parse(2))]), clip_obs=1.5, norm_obs_keys=keys
    )
    chance = np.random.default_rng(2)
    for _ in range(20):
        values = chance.normal(5.0, 1000.0, size(space)).astype(np.float32)
        if keys:
            values[2] = chance.integers(3)
        given = floats(values)
        normal.gather(Event(Kind.OBSERVATION, ts=0, step=0, obs=given), None)
        row: Any = shaped(space, given)
        for name in keys or [""]:
            statistics: Any = theirs.obs_rms
            part(statistics, name).update(part(row, name))
        normal.freeze()
        wanted: Any = theirs.normalize_obs(row)
        scale = scale_of(space, normal.tensors(), clip=1.5)
        flat = scale(np.frombuffer(given, "<f4").reshape(1, -1))
        again: Any = shaped(space, floats(flat))
        for name in keys or [""]:
            np.testing.assert_array_equal(part(again, name), part(wanted, name))
        if keys:
            np.testing.assert_array_equal(again["b"], row["b"])


def part(whole: Any, name: str) -> Any:
    """Of a Dict; what has no names is one part."""
    return whole[name] if name else whole


def test_a_version_acts_by_the_statistics_it_was_published_with(tmp_path: Path) -> None:
    alike = replace(PPO, parameters=PPO.parameters | {"device_slots": "0"})
    hub = devices(scaled(alike), tmp_path)
    means = []
    for made in hub.versions:
        policy = read_policy(policy_path(tmp_path, PPO.name, made.policy.sha256))
        seen = [
            np.frombuffer(event.obs, "<f4")
            for event in hub.log[: policy.card.position]
            if event.obs and not event.terminated and not event.truncated
        ]
        means.append(policy.tensors[MEAN])
        if seen:
            # SB3 begins as if it had seen 0.0001 observations of mean 0.
            np.testing.assert_allclose(means[-1], np.mean(seen, axis=0), rtol=1e-4, atol=1e-5)
        action = next((e for e in hub.log if e.policy == made.version), None)
        if action is not None:
            assert action.logprob == pytest.approx(logprob(policy, hub.log, action), abs=1e-5)
    assert len(means) > 5
    assert not np.array_equal(means[1], means[2])


def logprob(policy: Any, log: list[Event], action: Event) -> float:
    """By SB3's own network, of the observation as this version's statistics scale it."""
    from hub.learner.sb3.drive import drive
    from hub.learner.sb3.snapshot import restore

    (observation,) = (
        event
        for event in log
        if event.kind is Kind.OBSERVATION
        and (event.device, event.step) == (action.device, action.step)
    )
    agent = replace(scaled(PPO), sharing="none")
    model: Any = drive(agent, read_parameters(agent)).model
    resumed = {name: tensor for name, tensor in policy.tensors.items() if "followed" not in name}
    restore(model, resumed)
    assert observation.obs is not None
    assert action.action is not None
    mean, variance = policy.tensors[MEAN], policy.tensors[VARIANCE]
    raw = np.frombuffer(observation.obs, "<f4")
    seen = np.clip((raw - mean) / np.sqrt(variance + 1e-8), -10, 10).astype(np.float32)
    distribution = model.policy.get_distribution(model.policy.obs_to_tensor(seen)[0])
    chosen = torch.from_numpy(np.frombuffer(action.action, "<f4").copy())
    return float(distribution.log_prob(chosen)[0].detach())


class BadlyScaled(gymnasium.ObservationWrapper[Any, Any, Any]):
    """CartPole in millimetres, turns and the like."""

    def observation(self, observation: Any) -> Any:
        """Each number in another unit."""
        return observation * SCALES


gymnasium.register(
    "BadlyScaled-v1",
    lambda **_: BadlyScaled(gymnasium.make("CartPole-v1")),
    order_enforce=False,
    disable_env_checker=True,
)


def steps_to(threshold: float, agent: Agent, folder: Path, steps_max: int) -> int | None:
    hub = Hub(agent, folder)
    outcome = run(hub, "BadlyScaled-v1", devices=4, steps_max=steps_max, threshold=threshold)
    return outcome.solved_at


@pytest.mark.parametrize(
    ("seed", "threshold"),
    [(0, 200.0), *(pytest.param(seed, 475.0, marks=pytest.mark.slow) for seed in range(4))],
)
def test_with_it_a_badly_scaled_task_is_learnt_and_without_it_is_not(
    tmp_path: Path, seed: int, threshold: float
) -> None:
    agent = cartpole("PPO", seed=seed)
    with_it = replace(agent, parameters={"norm_obs": "true"})
    steps = steps_to(threshold, with_it, tmp_path / "with", 60_000)
    assert steps is not None
    assert steps_to(threshold, agent, tmp_path / "without", steps) is None
