"""An agent's parameters: text in, typed arguments of its algorithm out, or a refusal that helps.

    parameters = read_parameters(agent)      # raises OperatorFault; needs no torch

Types come from `parameters_table.py`, which is generated from Stable-Baselines3's own constructors
(a test fails when it is stale), so the hub can refuse a bad parameter when an agent is created
without importing torch. What an agent leaves out is set from `DEFAULTS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from hub.errors import OperatorFault
from hub.learner.parameters_table import TABLE
from hub.spaces import Box, Dict, Discrete, Space, parse, size
from hub.words import FLOAT_BYTES

if TYPE_CHECKING:
    from hub.words import Agent

Activation = Literal["tanh", "relu", "elu", "leaky_relu"]

DEFAULTS: Final[dict[str, dict[str, str]]] = {
    "PPO": {
        "net_arch": "64,64",
        "activation_fn": "tanh",
        "learning_rate": "1e-3",
        "n_steps": "256",
        "batch_size": "256",
        "n_epochs": "20",
        "gamma": "0.98",
        "gae_lambda": "0.8",
        "total_timesteps": "100000",
    },
    "DQN": {
        "net_arch": "128,128",
        "activation_fn": "relu",
        "learning_rate": "5e-4",
        "buffer_size": "100000",
        "learning_starts": "1000",
        "batch_size": "128",
        "train_freq": "8",
        "gradient_steps": "4",
        "tau": "0.01",
        "target_update_interval": "1",
        "exploration_fraction": "0.1",
        "exploration_final_eps": "0.02",
        "total_timesteps": "50000",
        "publish_every": "256",
    },
    "SAC": {
        "net_arch": "64,64",
        "activation_fn": "relu",
        "learning_rate": "1e-3",
        "buffer_size": "100000",
        "learning_starts": "500",
        "batch_size": "256",
        "total_timesteps": "100000",
        "publish_every": "64",
    },
}
"""Tuned on small control tasks with four devices; all else is Stable-Baselines3's default."""

OWN: Final = ("net_arch", "activation_fn", "total_timesteps", "publish_every")
"""Parameters that are not arguments of the constructor: the network's, the length of schedules
(in transitions of all devices) and, off-policy, the transitions between two versions."""

ACTIVATIONS: Final[dict[str, Activation]] = {
    "tanh": "tanh",
    "relu": "relu",
    "elu": "elu",
    "leaky_relu": "leaky_relu",
}
LAYERS_MAX: Final = 8
LAYER_WIDTH_MAX: Final = 4096
COUNT_MAX: Final = 10_000_000
REPLAY_BYTES_MAX: Final = 4 << 30
"""Of observations in a replay buffer; more would take the machine down with the agent."""

IMAGE_AXES: Final = 3
FALL_PREFIX: Final = "lin_"
TRUTHS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
SHARES: Final = {
    "gamma",
    "gae_lambda",
    "tau",
    "exploration_fraction",
    "exploration_initial_eps",
    "exploration_final_eps",
}
"""Numbers that are never above 1."""
ACTIONS: Final[dict[str, tuple[type[Space], ...]]] = {
    "PPO": (Discrete, Box),
    "DQN": (Discrete,),
    "SAC": (Box,),
}
"""Action spaces each algorithm takes."""
MINIMA: Final = {"gradient_steps": -1, "learning_starts": 0, "n_steps": 2, "batch_size": 2}
"""Least values of whole numbers where it is not 1. -1 gradient steps = as many as transitions."""


class Fall(Struct, frozen=True):
    """A value that falls in a straight line over `total_timesteps`, then stays."""

    start: float
    end: float


Argument = int | float | bool | str | Fall | None


class Parameters(Struct, frozen=True):
    """Everything that makes an agent's algorithm."""

    arguments: dict[str, Argument]
    """Of the constructor, by its own names."""
    net_arch: tuple[int, ...]
    activation_fn: Activation
    total_timesteps: int
    publish_every: int


def read_parameters(agent: Agent) -> Parameters:
    """The agent's parameters over the defaults.

    Raises:
        OperatorFault: an unknown algorithm or name, an ill-typed value, or spaces that the
            algorithm can't take. The message lists what is valid.
    """
    table = TABLE.get(agent.algorithm)
    if table is None:
        raise OperatorFault(f"algorithm {agent.algorithm!r} is unknown; take {', '.join(TABLE)}")
    defaults = DEFAULTS[agent.algorithm]
    valid = {*table, *(name for name in OWN if name in defaults)}
    for name in agent.parameters:
        if name not in valid:
            raise OperatorFault(
                f"{agent.algorithm} has no parameter {name!r}; it has {', '.join(sorted(valid))}"
            )
    texts = {**defaults, **agent.parameters}
    parameters = Parameters(
        arguments={n: READERS[table[n]](n, text) for n, text in texts.items() if n in table},
        net_arch=_layers("net_arch", texts["net_arch"]),
        activation_fn=_activation("activation_fn", texts["activation_fn"]),
        total_timesteps=_whole("total_timesteps", texts["total_timesteps"]),
        publish_every=_whole("publish_every", texts.get("publish_every", "1")),
    )
    _check_spaces(agent, parameters)
    return parameters


def _check_spaces(agent: Agent, parameters: Parameters) -> None:
    observations, actions = parse(agent.observations), parse(agent.actions)
    parts = observations.spaces.values() if isinstance(observations, Dict) else (observations,)
    if any(_is_image(part) for part in parts):
        raise OperatorFault(
            "images need a convolutional policy, which is not built in yet; "
            "declare the pixels flat, [[n], 0, 255]"
        )
    wanted = ACTIONS[agent.algorithm]
    if not isinstance(actions, wanted):
        names = " or ".join(kind.__name__ for kind in wanted)
        others = " or ".join(name for name, kinds in ACTIONS.items() if type(actions) in kinds)
        raise OperatorFault(
            f"{agent.algorithm} needs {names} actions, not {agent.actions!r}; "
            + (f"take {others}" if others else "no algorithm takes those")
        )
    if isinstance(actions, Box) and not all(map(math.isfinite, actions.low + actions.high)):
        raise OperatorFault(f"actions need finite bounds, not {agent.actions!r}")
    rows = parameters.arguments.get("buffer_size", 0)
    assert isinstance(rows, int), "the table says so"
    if 2 * rows * size(observations) * FLOAT_BYTES > REPLAY_BYTES_MAX:
        raise OperatorFault(
            f"buffer_size {rows} of {size(observations)} values each is over "
            f"{REPLAY_BYTES_MAX >> 30} GiB; choose a smaller one"
        )


def _is_image(space: Space) -> bool:
    return isinstance(space, Box) and space.dtype == "uint8" and len(space.shape) == IMAGE_AXES


def _whole(name: str, text: str) -> int:
    least = MINIMA.get(name, 1)
    try:
        value = int(text)
    except ValueError:
        raise OperatorFault(f"{name} is a whole number, not {text!r}") from None
    if not least <= value <= COUNT_MAX:
        raise OperatorFault(f"{name} is between {least} and {COUNT_MAX}, not {value}")
    if value == 0 and name == "gradient_steps":
        raise OperatorFault("gradient_steps 0 never learns; -1 means as many as transitions")
    return value


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise OperatorFault(f"{name} is a number, not {text!r}") from None
    if not math.isfinite(value) or (value < 0 and name != "target_entropy"):
        raise OperatorFault(f"{name} is a finite number from 0 up, not {text!r}")
    if name in SHARES and value > 1:
        raise OperatorFault(f"{name} is between 0 and 1, not {text!r}")
    return value


def _truth(name: str, text: str) -> bool:
    if text.lower() not in TRUTHS:
        raise OperatorFault(f"{name} is true or false, not {text!r}")
    return TRUTHS[text.lower()]


def _schedule(name: str, text: str) -> float | Fall:
    if not text.startswith(FALL_PREFIX):
        return _number(name, text)
    start, _, end = text.removeprefix(FALL_PREFIX).partition("_")
    return Fall(_number(name, start), _number(name, end or "0"))


def _automatic(name: str, text: str) -> str | float:
    head, _, start = text.partition("_")
    if head != "auto":
        return _number(name, text)
    if start and (name != "ent_coef" or _number(name, start) == 0):
        raise OperatorFault(f"{name} is a number, or auto, not {text!r}")
    return text


def _or_none(read: Callable[[str, str], Argument]) -> Callable[[str, str], Argument]:
    return lambda name, text: None if text.lower() == "none" else read(name, text)


def _layers(name: str, text: str) -> tuple[int, ...]:
    widths = tuple(_whole(name, part) for part in text.split(",")) if text else ()
    if len(widths) > LAYERS_MAX or any(width > LAYER_WIDTH_MAX for width in widths):
        raise OperatorFault(f"{name} is at most {LAYERS_MAX} widths of at most {LAYER_WIDTH_MAX}")
    return widths


def _activation(name: str, text: str) -> Activation:
    if text not in ACTIVATIONS:
        raise OperatorFault(f"{name} is one of {', '.join(ACTIVATIONS)}, not {text!r}")
    return ACTIVATIONS[text]


READERS: Final[dict[str, Callable[[str, str], Argument]]] = {
    "int": _whole,
    "float": _number,
    "bool": _truth,
    "schedule": _schedule,
    "auto": _automatic,
    "float?": _or_none(_number),
    "schedule?": _or_none(_schedule),
}
"""How each kind in the table is read from text."""
