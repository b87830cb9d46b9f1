"""SB3's own models: their spaces, their policy and the arguments of their constructors.

spaces = seen_by(agent, parameters)
model = open_model(agent, parameters, spaces, normal)
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from stable_baselines3.common.utils import LinearSchedule

from hub.learner.algorithms.observed import has_images, is_image
from hub.learner.algorithms.parameters import algorithm_of
from hub.learner.algorithms.row import Fall
from hub.learner.sb3.advised import AdvisedPolicy, Unadvised, with_advice
from hub.learner.sb3.factors import Factored
from hub.learner.sb3.hindsight import open_spaces, replay_arguments
from hub.learner.sb3.trunk import TrunkPolicy
from hub.learner.slots import with_slot
from hub.spaces import Box, Dict, MultiBinary, parse

if TYPE_CHECKING:
    from hub.learner.algorithms.row import Algorithm, Parameters
    from hub.learner.sb3.normalise import Normal
    from hub.spaces import Space
    from hub.words import Agent

ACTIVATIONS: Final = {
    "tanh": torch.nn.Tanh,
    "relu": torch.nn.ReLU,
    "elu": torch.nn.ELU,
    "leaky_relu": torch.nn.LeakyReLU,
}
IMAGE_FEATURES: Final = 512
"""Of SB3's CnnPolicy; in a dict an image has 256."""
SEEDS: Final = 1 << 32
"""numpy's generators take a seed below this."""


class Seen(NamedTuple):
    """What a learner's networks take and give."""

    observations: Space
    """With the device's slot behind them where it has one, or with what it was advised."""
    actions: Space


def seen_by(agent: Agent, parameters: Parameters) -> Seen:
    """What devices send, with what stands behind it; and their actions."""
    observations, actions = parse(agent.observations), parse(agent.actions)
    if is_advised(agent, parameters):
        return Seen(with_advice(observations, actions), actions)
    return Seen(with_slot(observations, parameters.device_slots), actions)


def is_advised(agent: Agent, parameters: Parameters) -> bool:
    """Whether its updates are on the product with what was advised; off-policy it makes no odds."""
    return parameters.advice_choice is not None and algorithm_of(agent).family == "on_policy"


def class_of(algorithm: Algorithm) -> type[Any]:
    """The library's class, imported now."""
    found: type[Any] = getattr(import_module(algorithm.library), algorithm.name)
    return found


def open_model(agent: Agent, parameters: Parameters, spaces: Seen, normal: Normal | None) -> Any:  # noqa: ANN401 - of the one family or the other, as the algorithm's row says
    """A model of the library, its weights drawn from the agent's seed."""
    observations, actions = spaces
    arguments = {
        name: LinearSchedule(value.start, value.end, 1.0) if isinstance(value, Fall) else value
        for name, value in parameters.arguments.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a last minibatch may be a short one
        model = class_of(algorithm_of(agent))(
            _policy(agent, parameters, observations),
            open_spaces(observations, actions, parameters.hindsight)
            if normal is None
            else normal.vec,
            policy_kwargs=policy_kwargs(parameters) | _extractor_kwargs(agent, parameters),
            seed=agent.seed % SEEDS,
            device="cpu",
            **arguments,
            **replay_arguments(parameters.hindsight),
        )
    model.set_logger(Logger(folder=None, output_formats=[]))
    if parameters.device_slots:
        _fuse(model.policy)
    return model


def takes_factors(agent: Agent, parameters: Parameters) -> bool:
    """Whether devices have factors of their own: on-policy, of what is no image."""
    slots = parameters.device_slots > 0
    on_policy = algorithm_of(agent).family == "on_policy"
    return slots and on_policy and not has_images(parse(agent.observations))


def policy_kwargs(parameters: Parameters) -> dict[str, Any]:
    """What the library's policy is made of."""
    kwargs: dict[str, Any] = {
        "net_arch": list(parameters.net_arch),
        "activation_fn": ACTIVATIONS[parameters.activation_fn],
    }
    if parameters.lstm_hidden_size:
        kwargs["lstm_hidden_size"] = parameters.lstm_hidden_size
    return kwargs


def _extractor_kwargs(agent: Agent, parameters: Parameters) -> dict[str, Any]:
    """An image beside a slot keeps as many features as SB3 gives an image alone."""
    if is_advised(agent, parameters):
        return {"features_extractor_class": Unadvised}
    if takes_factors(agent, parameters):
        return {"features_extractor_class": Factored}
    if parameters.device_slots and is_image(parse(agent.observations)):
        return {"features_extractor_kwargs": {"cnn_output_dim": IMAGE_FEATURES}}
    return {}


def _policy(agent: Agent, parameters: Parameters, observations: Space) -> str | type[Any]:
    """What the library's constructor is given."""
    if is_advised(agent, parameters):
        return AdvisedPolicy
    name = _policy_name(observations, parameters)
    usual = class_of(algorithm_of(agent)).policy_aliases.get(name) is MultiInputActorCriticPolicy
    sent = parse(agent.observations)
    parts = sent.spaces.values() if isinstance(sent, Dict) else [sent]
    numbers = all(isinstance(part, Box | MultiBinary) for part in parts)
    factored = takes_factors(agent, parameters)
    return TrunkPolicy if usual and numbers and factored and parameters.net_arch else name


def _policy_name(observations: Space, parameters: Parameters) -> str:
    lstm = "Lstm" if parameters.lstm_hidden_size else ""
    if isinstance(observations, Dict):
        return f"MultiInput{lstm}Policy"
    return f"Cnn{lstm}Policy" if is_image(observations) else f"Mlp{lstm}Policy"


def _fuse(policy: torch.nn.Module) -> None:
    """Have Adam step by one kernel for all weights, where it would go through them one by one.

    PPO's trainer takes an eighth less time. The last bits are others, so this is for policies that
    tell devices apart: the rest learn exactly what `learn()` learns. `optimizer_kwargs` could not
    say it: they would replace the epsilon that SB3 gives PPO, and QRDQN would replace them.
    """
    for part in policy.modules():
        optimizer = getattr(part, "optimizer", None)
        if isinstance(optimizer, torch.optim.Adam):
            for group in optimizer.param_groups:
                group["fused"] = True
