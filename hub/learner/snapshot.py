"""A learner as tensors and back: what must be kept so that training goes on as if never stopped.

Weights stand under SB3's own names, so the tensors that act are the ones that learn. What only
training needs is under `resume/`: optimizer moments, target entropies, both random generators. The
replay buffer is not kept: the log has it, and the Card says from where.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import torch
from stable_baselines3 import DQN, SAC

from hub.errors import HubFault
from hub.learner.policy import Card
from hub.learner.sb3 import OffPolicy, OnPolicy
from hub.spaces import Discrete, parse

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from hub.learner.parameters import Parameters
    from hub.learner.policy import PolicyKind, Tensors
    from hub.words import Agent

RESUME: Final = "resume/"
TORCH_RANDOM: Final = RESUME + "random/torch"
NUMPY_RANDOM: Final = RESUME + "random/numpy"
COUNTERS: Final = ("num_timesteps", "_n_updates", "_n_calls")
"""Of SB3's models: transitions taken, updates made, and DQN's steps towards its next target."""
REPLAY_FROM: Final = "replay_from"
REPLAY_FIRST: Final = "replay_first"
REPLAY_ROW: Final = "replay_row"
"""Seq to refill from, seq of the oldest row, and the place of that row in the ring."""


def tensors_of(model: BaseAlgorithm) -> Tensors:
    """Everything that later updates depend on, as copies."""
    tensors = {name: tensor.numpy().copy() for name, tensor in model.policy.state_dict().items()}
    for name, optimizer in _optimizers(model).items():
        for i, state in optimizer.state_dict()["state"].items():
            for key, tensor in state.items():
                tensors[f"{RESUME}{name}/{i}/{key}"] = tensor.numpy().copy()
    for name in _loose_tensors(model):
        tensors[RESUME + name] = attrgetter(name)(model).detach().numpy().copy()
    tensors[TORCH_RANDOM] = torch.get_rng_state().numpy().copy()
    _, words, position, _, _ = np.random.get_state(legacy=True)
    tensors[NUMPY_RANDOM] = np.append(words, np.uint32(position)).astype(np.uint32)
    return tensors


def restore(model: BaseAlgorithm, tensors: Tensors) -> None:
    """Put a model back to where `tensors_of` took it.

    Raises:
        HubFault: the tensors are of another network; the agent was declared anew since.
    """
    weights = {
        name: torch.from_numpy(array.copy())
        for name, array in tensors.items()
        if not name.startswith(RESUME)
    }
    try:
        model.policy.load_state_dict(weights)
    except RuntimeError as error:
        raise HubFault(f"the snapshot is of another network: {error}") from error
    for name, optimizer in _optimizers(model).items():
        _restore_optimizer(optimizer, f"{RESUME}{name}/", tensors)
    with torch.no_grad():
        for name in _loose_tensors(model):
            attrgetter(name)(model).copy_(torch.from_numpy(tensors[RESUME + name].copy()))
    torch.set_rng_state(torch.from_numpy(tensors[TORCH_RANDOM].copy()))
    *words, position = tensors[NUMPY_RANDOM].tolist()
    np.random.set_state(("MT19937", np.array(words, dtype=np.uint32), position, 0, 0.0))


def card_of(
    learner: OnPolicy | OffPolicy,
    agent: Agent,
    parameters: Parameters,
    *,
    version: int,
    parent: int | None,
    position: int,
) -> Card:
    """What the policy file says of the learner as it is now."""
    network = _network(agent, depth=len(parameters.net_arch))
    return Card(
        algorithm=agent.algorithm,
        kind=network.kind,
        observations=agent.observations,
        actions=agent.actions,
        activation=parameters.activation_fn,
        action_layers=network.action_layers,
        value_layers=network.value_layers,
        spread=network.spread,
        exploration=_exploration(learner.model),
        version=version,
        parent=parent,
        position=position,
        learning=agent.learning,
        missing_reward=agent.missing_reward,
        counts=_counts(learner),
        parameters=agent.parameters,
    )


def take_up(learner: OnPolicy | OffPolicy, card: Card, tensors: Tensors) -> None:
    """Put a fresh learner to where a version was written; the replay buffer is still empty.

    Raises:
        HubFault: the tensors are of another network; the learner is good for nothing now.
    """
    restore(learner.model, tensors)
    for name in COUNTERS:
        if name in card.counts:
            setattr(learner.model, name, card.counts[name])
    if isinstance(learner.model, DQN):
        learner.model.exploration_rate = card.exploration
    if isinstance(learner, OffPolicy):
        buffer = learner.model.replay_buffer
        assert buffer is not None, "made with the model"
        # Rows go back to their own places, or the same random indices would draw other ones.
        buffer.pos = card.counts[REPLAY_ROW]


def is_sound(model: BaseAlgorithm) -> bool:
    """Whether every weight is a finite number."""
    return all(bool(tensor.isfinite().all()) for tensor in model.policy.state_dict().values())


def loose_tensors(model: BaseAlgorithm) -> dict[str, torch.Tensor]:
    """Tensors that are learnt and belong to no module, by SB3's names: no copies."""
    return {name: attrgetter(name)(model) for name in _loose_tensors(model)}


def gradient_steps(model: BaseAlgorithm) -> int:
    """Optimizer steps since the agent began, as the optimizer itself counts them."""
    optimizer = next(iter(_optimizers(model).values()))
    states = list(optimizer.state.values())
    return int(states[0]["step"]) if states else 0


class _Network(NamedTuple):
    kind: PolicyKind
    action_layers: list[str]
    value_layers: list[str]
    spread: str | None


def _network(agent: Agent, *, depth: int) -> _Network:
    """Which of SB3's tensors an actor needs, in the order it applies them."""
    if agent.algorithm == "PPO":
        layers = [*_hidden("mlp_extractor.policy_net", depth), "action_net"]
        values = [*_hidden("mlp_extractor.value_net", depth), "value_net"]
        if isinstance(parse(agent.actions), Discrete):
            return _Network("categorical", layers, values, None)
        return _Network("gaussian", layers, values, "log_std")
    if agent.algorithm == "DQN":
        return _Network("epsilon_greedy", _hidden("q_net.q_net", depth + 1), [], None)
    assert agent.algorithm == "SAC", "read_parameters knows no other"
    layers = [*_hidden("actor.latent_pi", depth), "actor.mu"]
    return _Network("squashed_gaussian", layers, [], "actor.log_std")


def _hidden(name: str, depth: int) -> list[str]:
    return [f"{name}.{2 * i}" for i in range(depth)]  # every other one is an activation


def _exploration(model: BaseAlgorithm) -> float:
    if isinstance(model, DQN):
        return model.exploration_rate if model.num_timesteps else model.exploration_initial_eps
    return 1.0 if isinstance(model, SAC) and model._n_updates == 0 else 0.0


def _counts(learner: OnPolicy | OffPolicy) -> dict[str, int]:
    model = learner.model
    counts = {name: getattr(model, name) for name in COUNTERS if hasattr(model, name)}
    if isinstance(learner, OffPolicy):
        buffer = learner.model.replay_buffer
        assert buffer is not None, "made with the model"
        oldest = buffer.pos if buffer.full else 0
        rows = buffer.size()
        counts[REPLAY_FROM] = int(learner.started[:rows].min()) if rows else 0
        counts[REPLAY_FIRST] = int(learner.ended[oldest]) if rows else 0
        counts[REPLAY_ROW] = oldest
    return counts


def _optimizers(model: BaseAlgorithm) -> dict[str, torch.optim.Optimizer]:
    """By SB3's own names; its list of what to save has the policy's weights first."""
    names = model._get_torch_save_params()[0]
    return {name: attrgetter(name)(model) for name in names if name.endswith("optimizer")}


def _loose_tensors(model: BaseAlgorithm) -> list[str]:
    """Tensors that belong to no module: SAC's entropy coefficient."""
    return model._get_torch_save_params()[1]


def _restore_optimizer(optimizer: torch.optim.Optimizer, prefix: str, tensors: Tensors) -> None:
    states: dict[int, dict[str, torch.Tensor]] = {}
    for name, array in tensors.items():
        if name.startswith(prefix):
            index, key = name.removeprefix(prefix).split("/")
            states.setdefault(int(index), {})[key] = torch.from_numpy(array.copy())
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": states, "param_groups": groups})
