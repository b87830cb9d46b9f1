"""Stable-Baselines3, unmodified, driven from transitions instead of by its own `learn()`.

`learn()` steps an environment and waits for it. Here devices step when they please, so the loop is
turned inside out: each transition comes in, and SB3's own pieces do the rest, in `learn()`'s order.
With one device and the same seed the weights are those of `learn()`, bit for bit (tests/learning).

    learner = open_learner(agent, read_parameters(agent))
    update = learner.learn(transition, version=7)     # most transitions complete no update
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import LinearSchedule, obs_as_tensor

from hub.learner.fragments import Fragment, Fragments
from hub.learner.interface import Update
from hub.learner.parameters import Fall, algorithm_of
from hub.learner.spaces import Spaces, indices, shaped
from hub.spaces import Box, Dict, parse

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

    from hub.learner.algorithms import Algorithm
    from hub.learner.parameters import Parameters
    from hub.learner.transitions import Transition
    from hub.spaces import Space
    from hub.words import Agent, Floats

ACTIVATIONS: Final = {
    "tanh": torch.nn.Tanh,
    "relu": torch.nn.ReLU,
    "elu": torch.nn.ELU,
    "leaky_relu": torch.nn.LeakyReLU,
}
SEEDS: Final = 1 << 32
"""numpy's generators take a seed below this."""


def open_learner(agent: Agent, parameters: Parameters) -> OnPolicy | OffPolicy:
    """A learner as the agent declares it, its weights drawn from the agent's seed."""
    torch.set_num_threads(1)
    torch.set_deterministic_debug_mode("error")
    model = _open_model(agent, parameters)
    if algorithm_of(agent).family == "on_policy":
        return OnPolicy(agent, model, parameters)
    return OffPolicy(agent, model, parameters)


def class_of(algorithm: Algorithm) -> type[Any]:
    """The library's class, imported now."""
    found: type[Any] = getattr(import_module(algorithm.library), algorithm.name)
    return found


class OnPolicy:
    """PPO and its kin: an update whenever all devices' fragments hold `n_steps` transitions."""

    def __init__(self, agent: Agent, model: OnPolicyAlgorithm, parameters: Parameters) -> None:
        self.model = model
        self._observations = parse(agent.observations)
        self._actions = parse(agent.actions)
        self._total = parameters.total_timesteps
        self._fragments = Fragments()

    def learn(self, transition: Transition, *, version: int, behind: bool) -> Update | None:
        """Take a transition in; the update that it completed, if any.

        Args:
            transition: the next in the log.
            version: the newest of the policy.
            behind: so much more is waiting that training should be left out where it can be.
        """
        del behind  # what is too old is dropped, so this learner can't fall behind
        self._fragments.add(transition, version=version)
        if self._fragments.count < self.model.n_steps:
            return None
        dropped = self._fragments.dropped
        fragments = self._fragments.take()
        self._fill(fragments)
        model = self.model
        model.num_timesteps += model.n_steps
        _progress(model, self._total)
        model.train()
        seqs = [step.seq_last for fragment in fragments for step in fragment]
        return Update(model.n_steps, dropped, min(seqs), max(seqs), _metrics(model))

    def remember(self, transition: Transition) -> bool:
        """Put back what a snapshot left to the log: nothing, an update uses up all fragments."""
        del transition
        return False

    def _fill(self, fragments: list[Fragment]) -> None:
        """Lay the fragments end to end in SB3's buffer, as one column.

        At each join the fragment's last reward gets gamma * V(o'), and the next step is flagged as
        an episode's start: SB3's own arithmetic for time limits (Pardo et al. 2018), and equal to
        generalized advantage estimation (Schulman et al. 2016) for each fragment by itself.
        """
        model, buffer = self.model, self.model.rollout_buffer
        model.policy.set_training_mode(False)
        buffer.reset()
        for fragment in fragments:
            for i, step in enumerate(fragment):
                reward = np.array([step.reward], dtype=np.float32)
                ends = i == len(fragment) - 1 and (step.truncated or fragment is not fragments[-1])
                if ends and not step.terminated:
                    reward += model.gamma * self._value(step.next_observation).numpy()[0]
                buffer.add(
                    _given(self._observations, step.observation),
                    self._drawn(step),
                    reward,
                    np.array([i == 0]),
                    torch.tensor([step.value]),
                    torch.tensor([step.logprob]),
                    **_masked(step),
                )
        last = fragments[-1][-1]
        buffer.compute_returns_and_advantage(
            last_values=self._value(last.next_observation),
            dones=np.array([last.terminated or last.truncated]),
        )

    def _value(self, observation: Floats) -> torch.Tensor:
        """V(o), one at a time as SB3 asks for it: a batch would differ in the last bit."""
        values = _given(self._observations, observation)
        with torch.no_grad():
            return self.model.policy.predict_values(obs_as_tensor(values, self.model.device))

    def _drawn(self, step: Transition) -> np.ndarray[Any, np.dtype[Any]]:
        """The action as sampled: the ratio is of what was drawn, not of what the bounds left."""
        action = np.frombuffer(step.raw or step.action or b"", dtype="<f4")
        if isinstance(self._actions, Box):
            return action.reshape(1, -1)
        return indices(self._actions, action)


class OffPolicy:
    """DQN, SAC and their kin: every transition with a known action goes into the replay buffer.

    Gradient steps grow with the data of all devices together; the batch does not.
    """

    def __init__(self, agent: Agent, model: OffPolicyAlgorithm, parameters: Parameters) -> None:
        self.model = model
        self._observations = parse(agent.observations)
        self._actions = parse(agent.actions)
        self._total = parameters.total_timesteps
        self._publish_every = parameters.publish_every
        frequency = parameters.arguments.get("train_freq", 1)
        assert isinstance(frequency, int), "the table says so"
        self._train_every = frequency
        rows = model.buffer_size
        self.started = np.zeros(rows, dtype=np.int64)
        """For each row of the buffer, the seq of its observation: where a refill must begin."""
        self.ended = np.zeros(rows, dtype=np.int64)
        self._first = 0
        self._taken = 0
        self._skipped = 0

    def learn(self, transition: Transition, *, version: int, behind: bool) -> Update | None:
        """Take a transition in, as `OnPolicy.learn` does."""
        del version  # off-policy: whoever chose the action, it may be learnt from
        if not self.remember(transition):
            return None
        self._first = self._first or transition.seq_last
        self._taken += 1
        model = self.model
        model.num_timesteps += 1
        _progress(model, self._total)
        model._on_step()
        if model.num_timesteps % self._train_every or model.num_timesteps <= model.learning_starts:
            return None
        buffer = model.replay_buffer
        assert buffer is not None, "made with the model"
        if buffer.size() < min(model.learning_starts, model.buffer_size):
            return None  # weights from outside have seen more than the buffer has
        steps = model.gradient_steps if model.gradient_steps >= 0 else self._train_every
        if behind:
            self._skipped += steps
            return None
        begins = model._n_updates == 0  # until now actions were drawn at random: let that end
        model.train(gradient_steps=steps, batch_size=model.batch_size)
        if self._taken < self._publish_every and not begins:
            return None
        update = Update(
            self._taken, self._skipped, self._first, transition.seq_last, _metrics(model)
        )
        self._taken = self._skipped = self._first = 0
        return update

    def remember(self, transition: Transition) -> bool:
        """Make it a row of the replay buffer, untrained; False when its action is unknown.

        A truncation is flagged: SB3 bootstraps there, as Pardo et al. 2018 say one must.
        """
        if transition.executed is None and transition.action is None:
            return False
        buffer = self.model.replay_buffer
        assert buffer is not None, "made with the model"
        self.started[buffer.pos] = transition.seq_first
        self.ended[buffer.pos] = transition.seq_last
        over = transition.terminated or transition.truncated
        buffer.add(
            _given(self._observations, transition.observation),
            _given(self._observations, transition.next_observation),
            self._done(transition),
            np.array([transition.reward], dtype=np.float32),
            np.array([over]),
            [{"TimeLimit.truncated": over and not transition.terminated}],
        )
        return True

    def _done(self, transition: Transition) -> np.ndarray[Any, np.dtype[Any]]:
        """What the device really did, as the buffer holds it: Box actions scaled to [-1, 1]."""
        values = transition.executed or transition.action
        assert values is not None, "learn() has looked"
        action = np.frombuffer(values, dtype="<f4").reshape(1, -1)
        if not isinstance(self._actions, Box):
            return indices(self._actions, action)
        return self.model.policy.scale_action(action).clip(-1.0, 1.0)


def _open_model(agent: Agent, parameters: Parameters) -> Any:
    observations = parse(agent.observations)
    arguments = {
        name: LinearSchedule(value.start, value.end, 1.0) if isinstance(value, Fall) else value
        for name, value in parameters.arguments.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a last minibatch may be a short one
        model = class_of(algorithm_of(agent))(
            "MultiInputPolicy" if isinstance(observations, Dict) else "MlpPolicy",
            Spaces(observations, parse(agent.actions)),
            policy_kwargs={
                "net_arch": list(parameters.net_arch),
                "activation_fn": ACTIVATIONS[parameters.activation_fn],
            },
            seed=agent.seed % SEEDS,
            device="cpu",
            **arguments,
        )
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def _masked(step: Transition) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """What sb3-contrib's buffers take beside; without it they allow everything."""
    if step.mask is None:
        return {}
    return {"action_masks": np.frombuffer(step.mask, dtype=np.uint8)}


def _given(space: Space, observation: Floats) -> Any:
    """As SB3 wants it: an array, or a dict of arrays, which its annotations leave out."""
    return shaped(space, observation)


def _progress(model: BaseAlgorithm, total: int) -> None:
    """Move SB3's schedules on; past their end they stay there."""
    model._update_current_progress_remaining(min(model.num_timesteps, total), total)


def _metrics(model: BaseAlgorithm) -> dict[str, float]:
    """What SB3 recorded of this update, by its own names without `train/`."""
    recorded = model.logger.name_to_value
    return {
        name.removeprefix("train/"): float(value)
        for name, value in recorded.items()
        if name.startswith("train/") and np.isfinite(value)
    }
