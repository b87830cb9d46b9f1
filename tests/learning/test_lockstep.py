"""Transitions of one device, fed as a log, give the weights that `learn()` gives, bit for bit.

Method: SB3's own `learn()` runs on a Gymnasium environment while a callback writes down as events
what happened. A fresh Trainer reads the events; nothing else goes from one to the other.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import gymnasium
import msgspec
import numpy as np
import pytest
import torch
from sb3_contrib.common.utils import conjugate_gradient_solver
from sb3_contrib.trpo import trpo
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.utils import LinearSchedule

from hub.learner.algorithms.libraries import ALGORITHMS
from hub.learner.algorithms.parameters import read_parameters
from hub.learner.algorithms.row import Fall
from hub.learner.experience.transitions import FOLLOWED
from hub.learner.messages import Drawn, drawn_of, payload_of, policy_path
from hub.learner.sb3.hindsight import replay_arguments
from hub.learner.sb3.model import class_of, policy_kwargs
from hub.learner.training.train import Trainer
from hub.learner.versions.policy import read_policy
from hub.words import Agent, Event, Kind, Source
from tests.learning.harness import (
    Dials,
    StoppedClock,
    agent_of,
    cartpole,
    floats,
    pendulum,
)

if TYPE_CHECKING:
    from pathlib import Path

    from hub.words import Sharing

NEWEST: Final = 1_000_000
"""A version that is never too old."""
SHARED: Final = ("pi_features_extractor", "vf_features_extractor")
GRID: Final = 128
"""Actions are multiples of 1/128: scaled to [-1, 1] and back they come back exact."""


class Written(BaseCallback):
    """Writes each step of `learn()` down as the events that a device would have caused."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []
        self._step = -1
        self._begins = True

    def _on_step(self) -> bool:
        told = self.locals
        if self._begins:
            self._observe(first_of(self.model._last_obs), first=True)
        info, over = told["infos"][0], bool(told["dones"][0])
        action = told.get("clipped_actions", told["actions"])[0]
        sampled = told["actions"][0]
        raw = None if np.array_equal(action, sampled) else floats(sampled)
        masks = told.get("action_masks")
        mask = None if masks is None else masks[0].astype(np.uint8).tobytes()
        self._log(
            kind=Kind.ACTION,
            action=floats(action),
            policy=NEWEST,
            source=Source.POLICY,
            logprob=float(told["log_probs"][0]) if "log_probs" in told else None,
            payload=payload_of(Drawn(raw, mask)),
            value=float(told["values"][0]) if "values" in told else None,
        )
        truncated = over and info["TimeLimit.truncated"]
        self._observe(
            info["terminal_observation"] if over else first_of(told["new_obs"]),
            reward=float(told["rewards"][0]),
            terminated=over and not truncated,
            truncated=truncated,
        )
        self._begins = over
        return True

    def _observe(self, values: Any, **columns: Any) -> None:
        self._step += 1
        self._log(kind=Kind.OBSERVATION, obs=floats(values), **columns)

    def _log(self, **columns: Any) -> None:
        seq = len(self.events) + 1
        self.events.append(Event(ts=0, seq=seq, device="d", step=self._step, **columns))


class Scripted:
    """Acts from a generator of its own: how an action is chosen is not what is compared."""

    def _sample_action(self, *_: Any) -> tuple[Any, Any]:
        model: Any = self
        chance = model.__dict__.setdefault("script", np.random.default_rng(3))
        if isinstance(model.action_space, gymnasium.spaces.Discrete):
            action = np.array([chance.integers(model.action_space.n)])
            return action, action
        scaled = chance.integers(-GRID, GRID, size=(1, *model.action_space.shape)) / GRID
        scaled = scaled.astype(np.float32)
        return model.policy.unscale_action(scaled), scaled


class Unheard(Scripted):
    """Acts without a trace in torch's generator, from which gSDE draws a matrix even so."""

    def collect_rollouts(self, *arguments: Any, **named: Any) -> Any:
        state = torch.get_rng_state()
        model: Any = super()
        rollout = model.collect_rollouts(*arguments, **named)
        torch.set_rng_state(state)
        return rollout


def scripted(agent: Agent) -> Any:
    """The algorithm's learning with other acting."""
    kind = Unheard if "use_sde" in agent.parameters else Scripted
    return type("ScriptedLearner", (kind, class_of(ALGORITHMS[agent.algorithm])), {})


def seeded(solve: Any, *arguments: Any, **named: Any) -> Any:
    torch.manual_seed(1)
    return solve(*arguments, **named)


def first_of(batch: Any) -> Any:
    """The only device's, of an array or a dict of arrays."""
    if isinstance(batch, dict):
        return {name: part[0] for name, part in batch.items()}
    return batch[0]


def learned(
    model_class: Any, agent: Agent, environment: Any, written: Written | None = None
) -> tuple[Any, list[Event]]:
    """What `learn()` makes of the agent, and the events of it."""
    torch.set_num_threads(1)  # as the trainer: sums of two threads differ in the last bit
    torch.set_deterministic_debug_mode("error")
    parameters = read_parameters(agent)
    arguments = {
        name: LinearSchedule(value.start, value.end, 1.0) if isinstance(value, Fall) else value
        for name, value in parameters.arguments.items()
    }
    kind = "Cnn" if is_image_space(environment.observation_space) else "Mlp"
    if isinstance(environment.observation_space, gymnasium.spaces.Dict):
        kind = "MultiInput"
    model = model_class(
        f"{kind}LstmPolicy" if parameters.lstm_hidden_size else f"{kind}Policy",
        environment,
        seed=agent.seed,
        device="cpu",
        policy_kwargs=policy_kwargs(parameters),
        **arguments,
        **replay_arguments(parameters.hindsight),
    )
    written = written or Written()
    model.learn(parameters.total_timesteps, callback=written)
    return model.policy.state_dict(), written.events


def trained(
    agent: Agent, events: list[Event], folder: Path, *, sharing: Sharing = "none"
) -> dict[str, Any]:
    """The tensors of the last version that a trainer makes of the events, all of one device."""
    agent = msgspec.structs.replace(agent, sharing=sharing)
    trainer = Trainer(agent, folder, StoppedClock(), policies_kept=2)
    made = trainer.open(None)
    for event in events:
        made = trainer.take(event) or made
    assert made is not None
    return read_policy(policy_path(folder, agent.name, made.policy.sha256)).tensors


def assert_same(weights: Any, tensors: dict[str, Any]) -> None:
    for name, wanted in weights.items():
        if name.startswith(SHARED) and name not in tensors:
            continue  # the same tensors as those of `features_extractor`
        assert torch.equal(torch.from_numpy(tensors[name].copy()), wanted), name


@pytest.mark.parametrize("episode_steps", [500, 25])
@pytest.mark.parametrize(
    ("algorithm", "parameters"),
    [
        ("PPO", {"n_steps": "128", "batch_size": "32", "n_epochs": "4"}),
        ("A2C", {"n_steps": "16"}),
        ("TRPO", {"n_steps": "128", "batch_size": "32"}),
    ],
)
def test_an_on_policy_algorithm_learns_what_learn_learns(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
    parameters: dict[str, str],
    episode_steps: int,
) -> None:
    # TRPO's solver begins at a random vector; in `learn()` acting has drawn from that generator.
    monkeypatch.setattr(
        trpo, "conjugate_gradient_solver", partial(seeded, conjugate_gradient_solver)
    )
    agent = cartpole(
        algorithm,
        seed=4,
        learning_rate="lin_1e-3_1e-4",
        total_timesteps="768",
        **parameters,
    )
    environment = gymnasium.make("CartPole-v1", max_episode_steps=episode_steps)
    weights, events = learned(class_of(ALGORITHMS[algorithm]), agent, environment)
    assert_same(weights, trained(agent, events, tmp_path))


@pytest.mark.parametrize(
    ("declared", "actions"),
    [
        ({"multi_discrete": [3, 4, 2]}, gymnasium.spaces.MultiDiscrete([3, 4, 2])),
        ({"multi_binary": 3}, gymnasium.spaces.MultiBinary(3)),
    ],
)
@pytest.mark.parametrize(
    ("algorithm", "parameters"),
    [
        ("PPO", {"n_steps": "64", "batch_size": "32", "n_epochs": "4"}),
        ("A2C", {"n_steps": "16"}),
        ("TRPO", {"n_steps": "64", "batch_size": "32"}),
    ],
)
def test_several_choices_are_learnt_as_learn_learns_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
    parameters: dict[str, str],
    declared: Any,
    actions: gymnasium.spaces.Space[Any],
) -> None:
    monkeypatch.setattr(
        trpo, "conjugate_gradient_solver", partial(seeded, conjugate_gradient_solver)
    )
    agent = agent_of(
        algorithm,
        {"multi_discrete": [3, 4]},
        declared,
        seed=4,
        net_arch="16,16",
        total_timesteps="384",
        **parameters,
    )
    weights, events = learned(class_of(ALGORITHMS[algorithm]), agent, Dials(actions))
    assert_same(weights, trained(agent, events, tmp_path))


@pytest.mark.parametrize(
    ("declared", "actions"),
    [
        ({"multi_discrete": [3, 4, 2]}, gymnasium.spaces.MultiDiscrete([3, 4, 2])),
        ({"multi_binary": 3}, gymnasium.spaces.MultiBinary(3)),
        (6, gymnasium.spaces.Discrete(6)),
    ],
)
def test_under_a_mask_it_is_learnt_what_learn_learns(
    tmp_path: Path, declared: Any, actions: gymnasium.spaces.Space[Any]
) -> None:
    agent = agent_of(
        "MaskablePPO",
        {"multi_discrete": [3, 4]},
        declared,
        seed=4,
        net_arch="16,16",
        n_steps="64",
        batch_size="32",
        n_epochs="4",
        total_timesteps="384",
    )
    weights, events = learned(class_of(ALGORITHMS["MaskablePPO"]), agent, Dials(actions))
    assert_same(weights, trained(agent, events, tmp_path))
    unmasked = [msgspec.structs.replace(event, payload=None) for event in events]
    with pytest.raises(AssertionError):
        assert_same(weights, trained(agent, unmasked, tmp_path / "unmasked"))


@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_choices_that_start_elsewhere_are_learnt_as_if_they_did_not(
    tmp_path: Path, algorithm: str
) -> None:
    parameters = {"PPO": {"n_steps": "32"}, "DQN": {"learning_starts": "50", "publish_every": "1"}}
    shift = 5.0
    tensors = []
    for first, start in ((0.0, 0), (shift, int(shift))):
        spaces = {"discrete": 6, "start": start}
        agent = agent_of(algorithm, spaces, spaces, seed=4, net_arch="8", **parameters[algorithm])
        tensors.append(trained(agent, walk(first), tmp_path / str(start)))
    for name, wanted in tensors[0].items():
        if name != FOLLOWED:  # the newest observation, as it was sent
            assert np.array_equal(tensors[1][name], wanted), name


def walk(first: float) -> list[Event]:
    """Of a device whose choices and places are counted from `first`."""
    chance = np.random.default_rng(3)
    written = Written()
    for step in range(200):
        written._step = step
        place, action = chance.integers(6, size=2) + first
        reward = {} if step == 0 else {"reward": float(chance.random())}
        written._log(kind=Kind.OBSERVATION, obs=floats([place]), first=step == 0, **reward)
        written._log(
            kind=Kind.ACTION,
            action=floats([action]),
            policy=NEWEST,
            source=Source.POLICY,
            logprob=-1.5,
            value=0.5,
        )
    return written.events


@pytest.mark.parametrize("algorithm", ["DQN", "QRDQN"])
def test_a_q_learner_learns_what_learn_learns(tmp_path: Path, algorithm: str) -> None:
    agent = cartpole(
        algorithm,
        seed=4,
        buffer_size="300",
        learning_starts="100",
        train_freq="16",
        gradient_steps="8",
        batch_size="8",
        net_arch="32,32",
        target_update_interval="50",
        total_timesteps="640",
        publish_every="1",
    )
    environment = gymnasium.make("CartPole-v1", max_episode_steps=15)
    weights, events = learned(scripted(agent), agent, environment)
    assert_same(weights, trained(agent, events, tmp_path))


@pytest.mark.parametrize("use_sde", ["false", "true"])
@pytest.mark.parametrize("algorithm", ["PPO", "A2C", "TRPO"])
def test_actions_that_the_bounds_cut_are_learnt_as_learn_learns_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str, use_sde: str
) -> None:
    monkeypatch.setattr(
        trpo, "conjugate_gradient_solver", partial(seeded, conjugate_gradient_solver)
    )
    agent = pendulum(
        algorithm,
        seed=4,
        n_steps="64",
        **({} if algorithm == "A2C" else {"batch_size": "32"}),
        net_arch="16",
        use_sde=use_sde,
        total_timesteps="256",
    )
    environment = gymnasium.make("Pendulum-v1", max_episode_steps=30)
    weights, events = learned(class_of(ALGORITHMS[algorithm]), agent, environment)
    assert any(drawn_of(event.payload).raw for event in events)
    assert weights["log_std"].shape == ((16, 1) if use_sde == "true" else (1,))
    assert_same(weights, trained(agent, events, tmp_path))


@pytest.mark.parametrize("algorithm", ["SAC", "TQC"])
def test_with_noise_that_depends_on_the_state_it_learns_what_learn_learns(
    tmp_path: Path, algorithm: str
) -> None:
    agent = pendulum(
        algorithm,
        seed=4,
        buffer_size="300",
        learning_starts="100",
        train_freq="8",
        gradient_steps="2",
        batch_size="32",
        net_arch="16,16",
        use_sde="true",
        total_timesteps="300",
        publish_every="1",
    )
    environment = gymnasium.make("Pendulum-v1", max_episode_steps=30)
    weights, events = learned(scripted(agent), agent, environment)
    assert_same(weights, trained(agent, events, tmp_path))


@pytest.mark.parametrize("algorithm", ["SAC", "TD3", "DDPG", "TQC", "CrossQ"])
def test_an_actor_critic_learns_what_learn_learns(tmp_path: Path, algorithm: str) -> None:
    agent = pendulum(
        algorithm,
        seed=4,
        buffer_size="300",
        learning_starts="100",
        train_freq="4",
        gradient_steps="2",
        batch_size="32",
        net_arch="16,16",
        total_timesteps="400",
        publish_every="1",
    )
    environment = gymnasium.make("Pendulum-v1", max_episode_steps=30)
    weights, events = learned(scripted(agent), agent, environment)
    assert_same(weights, trained(agent, events, tmp_path))
