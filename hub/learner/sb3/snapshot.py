"""A learner as tensors and back: what must be kept so that training goes on as if never stopped.

Weights stand under SB3's own names, so the tensors that act are the ones that learn. What only
training needs is under `resume/`: optimizer moments, target entropies, both random generators. The
replay buffer is not kept: the log has it, and the Card says from where.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from msgspec import structs
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from hub.errors import HubFault
from hub.learner.algorithms.observed import has_images
from hub.learner.algorithms.parameters import algorithm_of
from hub.learner.algorithms.row import with_sde
from hub.learner.interface import SINCE
from hub.learner.sb3 import folding, normalise
from hub.learner.sb3.off_policy import OffPolicy, Since
from hub.learner.versions import scaling
from hub.learner.versions.policy import Card
from hub.spaces import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stable_baselines3.common.base_class import BaseAlgorithm

    from hub.learner.algorithms.row import Parameters
    from hub.learner.sb3.on_policy import OnPolicy
    from hub.learner.versions.policy import Tensors
    from hub.words import Agent

RESUME: Final = "resume/"
TORCH_RANDOM: Final = RESUME + "random/torch"
NUMPY_RANDOM: Final = RESUME + "random/numpy"
COUNTERS: Final = ("num_timesteps", "_n_updates", "_n_calls")
"""Of SB3's models: transitions taken, updates made, and DQN's steps towards its next target."""
SINCE_NAMES: Final = (f"{SINCE}transitions", f"{SINCE}skipped", f"{SINCE}seq_first")
MOMENTS: Final = ("exp_avg", "exp_avg_sq", "square_avg")
"""torch's names of what Adam and RMSprop keep of each weight."""
INITIAL_EPSILON: Final = "exploration_initial_eps"
LSTMS: Final = ("lstm_actor", "lstm_critic")
"""sb3-contrib's names: for the action, and for V(o)."""


def tensors_of(model: BaseAlgorithm) -> Tensors:
    """Everything that later updates depend on, as copies."""
    second = _second_names(model)
    named = model.policy.state_dict().items()
    tensors = {name: t.numpy().copy() for name, t in named if name not in second}
    for name, optimizer in _optimizers(model).items():
        for i, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():  # A2C's RMSprop counts its steps in a plain int
                tensors[f"{RESUME}{name}/{i}/{key}"] = torch.as_tensor(value).numpy().copy()
    for name in _loose_tensors(model):
        tensors[RESUME + name] = attrgetter(name)(model).detach().numpy().copy()
    tensors[TORCH_RANDOM] = torch.get_rng_state().numpy().copy()
    _, words, position, _, _ = np.random.get_state(legacy=True)
    tensors[NUMPY_RANDOM] = np.append(words, np.uint32(position)).astype(np.uint32)
    return tensors


def moments_of(model: BaseAlgorithm) -> Iterator[tuple[str, torch.Tensor]]:
    """Names of what optimizers keep of each weight, also where they have not begun to."""
    for name, optimizer in _optimizers(model).items():
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        for i, weight in enumerate(weights):
            for moment in MOMENTS:
                yield f"{RESUME}{name}/{i}/{moment}", weight


def restore(model: BaseAlgorithm, tensors: Tensors) -> None:
    """Put a model back to where `tensors_of` took it.

    Raises:
        HubFault: the tensors are of another network; the agent was declared anew since.
    """
    weights = {
        name: torch.from_numpy(array.copy())
        for name, array in tensors.items()
        if not name.startswith((RESUME, folding.PREFIX, scaling.PREFIX))
    }
    try:
        model.policy.load_state_dict(with_second_names(model, weights))
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


def with_second_names(
    model: BaseAlgorithm, weights: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The weights, those that stand in two places under both names, as SB3 wants them."""
    second = _second_names(model)
    return weights | {name: weights[first] for name, first in second.items() if first in weights}


def _second_names(model: BaseAlgorithm) -> dict[str, str]:
    """Actor and critic can share what looks at images: of each further name the first one."""
    first: dict[int, str] = {}
    named = model.policy.state_dict().items()
    return {
        name: first[tensor.data_ptr()]
        for name, tensor in named
        if first.setdefault(tensor.data_ptr(), name) != name
    }


def acting_of(agent: Agent, parameters: Parameters, tensors: Tensors) -> Tensors:
    """What an actor needs beside the learner's own tensors; for most algorithms nothing."""
    if algorithm_of(agent).normalised:
        return folding.folded(tensors, len(parameters.net_arch))
    return {}


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
    algorithm = algorithm_of(agent)
    head = algorithm.heads[type(parse(agent.actions))]
    if parameters.use_sde:
        head = with_sde(head)
    frequency = parameters.arguments.get("sde_sample_freq", -1)
    assert isinstance(frequency, int), "the table says so"
    depth = len(parameters.net_arch)
    folded = algorithm.normalised
    return Card(
        algorithm=agent.algorithm,
        kind=head.kind,
        observations=agent.observations,
        actions=agent.actions,
        activation=parameters.activation_fn,
        action_layers=folding.names(depth) if folded else _layers(head.hidden, head.last, depth),
        value_layers=_layers(head.value_hidden, head.value_last, depth),
        spread=folding.SPREAD if folded else head.spread,
        exploration=_exploration(learner.model),
        version=version,
        parent=parent,
        position=position,
        learning=agent.learning,
        missing_reward=agent.missing_reward,
        noise=parameters.action_noise,
        noise_drifts=parameters.noise_drifts,
        sde_sample_freq=frequency,
        counts=_counts(learner),
        parameters=agent.parameters,
        extractor=head.extractor if has_images(parse(agent.observations)) else None,
        recurrent=list(LSTMS) if algorithm.recurrent else [],
        sharing=agent.sharing,
        device_slots=parameters.device_slots,
        clip_obs=parameters.clip_obs if parameters.norm_obs else None,
    )


def take_up(learner: OnPolicy | OffPolicy, card: Card, tensors: Tensors) -> None:
    """Put a fresh learner to where a version was written; the replay buffer is still empty.

    Raises:
        HubFault: the tensors are of another network; the learner is good for nothing now.
    """
    restore(learner.model, tensors)
    normalise.restore(learner.normal, tensors)
    learner.take_back(tensors)
    for name in COUNTERS:
        if name in card.counts:
            setattr(learner.model, name, card.counts[name])
    if hasattr(learner.model, "exploration_rate"):
        learner.model.exploration_rate = card.exploration
    if isinstance(learner, OffPolicy):
        learner.rows.begin_at(card.counts)
        learner.since = Since(*(card.counts.get(name, 0) for name in SINCE_NAMES))


def settle(model: BaseAlgorithm, parameters: Parameters) -> None:
    """It has learnt already: actions are not to be drawn at random until it has learnt again."""
    if hasattr(model, "exploration_rate"):  # DQN and QRDQN
        share = parameters.arguments["exploration_fraction"]
        assert isinstance(share, float), "the table says so"
        model.num_timesteps = 1 + int(share * parameters.total_timesteps)
        model.exploration_rate = attrgetter("exploration_final_eps")(model)
    model._n_updates = max(1, model._n_updates)


def is_sound(model: BaseAlgorithm) -> bool:
    """Whether every weight is a finite number."""
    return all(bool(tensor.isfinite().all()) for tensor in model.policy.state_dict().values())


def loose_tensors(model: BaseAlgorithm) -> dict[str, torch.Tensor]:
    """Tensors that are learnt and belong to no module, by SB3's names: no copies."""
    return {name: attrgetter(name)(model) for name in _loose_tensors(model)}


def gradient_steps(model: BaseAlgorithm) -> int:
    """Optimizer steps since the agent began, as the optimizers themselves count them.

    Of the busiest: TD3's actor moves with every second step of its critics only, and a parameter
    that a version from before had not has fewer.
    """
    optimizers = _optimizers(model).values()
    states = (state for optimizer in optimizers for state in optimizer.state.values())
    return max((int(state["step"]) for state in states), default=0)


def _layers(hidden: str | None, last: str | None, depth: int) -> list[str]:
    """Names of the linear layers in the order they are applied; none without a network."""
    if hidden is None:
        return []
    linear = depth if last else depth + 1
    names = [f"{hidden}.{2 * i}" for i in range(linear)]  # every other one is an activation
    return [*names, last] if last else names


def _exploration(model: BaseAlgorithm) -> float:
    if hasattr(model, "exploration_rate"):  # DQN and QRDQN
        begun = model.num_timesteps > 0
        return float(model.exploration_rate if begun else attrgetter(INITIAL_EPSILON)(model))
    return 1.0 if isinstance(model, OffPolicyAlgorithm) and model._n_updates == 0 else 0.0


def _counts(learner: OnPolicy | OffPolicy) -> dict[str, int]:
    model = learner.model
    counts = {name: getattr(model, name) for name in COUNTERS if hasattr(model, name)}
    if isinstance(learner, OffPolicy):
        counts |= learner.rows.counts()
        # Of a replica, whose version another one's may come before.
        counts |= dict(zip(SINCE_NAMES, structs.astuple(learner.since), strict=True))
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
