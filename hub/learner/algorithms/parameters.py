"""An agent's parameters: text in, typed arguments of its algorithm out, or a refusal that helps.

    parameters = read_parameters(agent)      # raises OperatorFault; needs no torch

Types come from `parameters_table.py`, which is generated from Stable-Baselines3's own constructors
(a test fails when it is stale), so the hub can refuse a bad parameter when an agent is created
without importing torch. What an agent leaves out is set from its row in `libraries.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from hub.errors import OperatorFault
from hub.learner.algorithms import elsewhere
from hub.learner.algorithms.goals import Hindsight, read_hindsight
from hub.learner.algorithms.libraries import ALGORITHMS, EXTRA, Algorithm, installed
from hub.learner.algorithms.observed import channels_axis, is_image, is_measured
from hub.learner.algorithms.parameters_table import TABLE
from hub.spaces import Box, Dict, MultiDiscrete, Space, parse, size
from hub.words import FLOAT_BYTES

if TYPE_CHECKING:
    from hub.words import Agent

Activation = Literal["tanh", "relu", "elu", "leaky_relu"]

OWN: Final = (
    "net_arch",
    "activation_fn",
    "total_timesteps",
    "publish_every",
    "action_noise",
    "norm_obs",
    "norm_reward",
    "clip_obs",
    "clip_reward",
    "lstm_hidden_size",
    "replay_buffer",
    "n_sampled_goal",
    "goal_selection_strategy",
    "goal_reward",
)
"""Parameters that are not arguments of the constructor: the network's, the length of schedules
(in transitions of all devices); off-policy, the transitions between two versions; the noise that a
deterministic policy explores with; and, by the names that VecNormalize gives them, whether and how
observations and rewards are scaled by what was seen; how wide a recurrent policy's state is; and by
those of HerReplayBuffer, whether and how episodes are replayed with other goals."""

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

IMAGE_SIDE_MIN: Final = 36
"""Below it, nothing is left of an image behind three convolutions of 8, 4 and 3 pixels."""
CONVOLVED: Final = 64
"""Channels of the last convolution."""
CONVOLVED_MAX: Final = 20_000
"""Numbers behind it; each has 512 weights to the features."""
FALL_PREFIX: Final = "lin_"
NOISE_PREFIX: Final = "normal_"
DRIFT_PREFIX: Final = "ou_"
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
MINIMA: Final = {
    "gradient_steps": -1,
    "learning_starts": 0,
    "n_steps": 2,
    "batch_size": 2,
    "sde_sample_freq": -1,
}
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
    action_noise: float
    """Standard deviation of the noise on an action scaled to [-1, 1]; 0 = none."""
    noise_drifts: bool
    """The noise is Ornstein and Uhlenbeck's, which goes on from step to step."""
    norm_obs: bool
    norm_reward: bool
    clip_obs: float
    """Scaled observations beyond this are cut to it."""
    clip_reward: float
    lstm_hidden_size: int
    """0 where there is no LSTM."""
    hindsight: Hindsight | None
    """None where episodes are replayed as they were."""

    @property
    def use_sde(self) -> bool:
        """Noise depends on the state (gSDE)."""
        return self.arguments.get("use_sde") is True


def read_parameters(agent: Agent) -> Parameters:
    """The agent's parameters over the defaults.

    Raises:
        OperatorFault: an unknown algorithm or name, an ill-typed value, or spaces that the
            algorithm can't take. The message lists what is valid.
    """
    algorithm = algorithm_of(agent)
    table, defaults = table_of(algorithm), algorithm.defaults
    valid = {*table, *(name for name in OWN if name in defaults)}
    for name in agent.parameters:
        if name not in valid:
            raise OperatorFault(
                f"{agent.algorithm} has no parameter {name!r}; it has {', '.join(sorted(valid))}"
            )
    texts = {**defaults, **agent.parameters}
    parameters = Parameters(
        arguments={n: READERS[table[n]](n, text) for n, text in texts.items() if n in table},
        net_arch=_layers("net_arch", texts.get("net_arch", "")),
        activation_fn=_activation("activation_fn", texts.get("activation_fn", "tanh")),
        total_timesteps=_whole("total_timesteps", texts.get("total_timesteps", "1")),
        publish_every=_whole("publish_every", texts.get("publish_every", "1")),
        action_noise=_noise("action_noise", texts.get("action_noise", "none")),
        noise_drifts=texts.get("action_noise", "none").startswith(DRIFT_PREFIX),
        norm_obs=_truth("norm_obs", texts.get("norm_obs", "false")),
        norm_reward=_truth("norm_reward", texts.get("norm_reward", "false")),
        clip_obs=_number("clip_obs", texts.get("clip_obs", "10")),
        clip_reward=_number("clip_reward", texts.get("clip_reward", "10")),
        lstm_hidden_size=_width("lstm_hidden_size", texts),
        hindsight=read_hindsight(
            agent, texts, n_sampled_goal=_whole("n_sampled_goal", texts.get("n_sampled_goal", "4"))
        ),
    )
    if algorithm.recurrent:
        _check_recurrent(agent, parameters)
    if algorithm.family != "none":
        _check_spaces(agent, algorithm, parameters)
    if algorithm.check is not None:
        algorithm.check(agent, parameters)
    return parameters


def table_of(algorithm: Algorithm) -> dict[str, str]:
    """The names of its parameters, with the kind of their values."""
    return TABLE[algorithm.name] if algorithm.parameters is None else algorithm.parameters


def algorithm_of(agent: Agent) -> Algorithm:
    """The row of the agent's algorithm.

    Raises:
        OperatorFault: there is none, it is broken, or its library is not installed.
    """
    algorithm = elsewhere.find(agent.algorithm)
    if algorithm is None:
        names = ", ".join([*ALGORITHMS, *elsewhere.names()])
        raise OperatorFault(f"algorithm {agent.algorithm!r} is unknown; take {names}")
    if algorithm.parameters:
        _check_row(algorithm, algorithm.parameters)
    if algorithm.library in EXTRA and not installed(algorithm.library):
        raise OperatorFault(
            f"{algorithm.name} needs {algorithm.library}, which is not installed; "
            f"pip install {EXTRA[algorithm.library]!r}"
        )
    return algorithm


def that_learn_from_others(agent: Agent) -> list[str]:
    """Algorithms that learn from whatever was done, of those that take the agent's actions."""
    actions = type(parse(agent.actions))
    rows = elsewhere.usable()
    return [row.name for row in rows if row.family == "off_policy" and actions in row.heads]


def _check_row(algorithm: Algorithm, table: dict[str, str]) -> None:
    """Refuse an algorithm from elsewhere whose parameters nobody could set."""
    for name, text in algorithm.defaults.items():
        if name not in table and name not in OWN:
            raise OperatorFault(f"{algorithm.name} has a default for {name!r}, no parameter of it")
        if table.get(name, "int") not in READERS:
            kinds = ", ".join(READERS)
            raise OperatorFault(
                f"{algorithm.name} says that {name} is of kind {table[name]!r}; there are {kinds}"
            )
        if name in table:
            READERS[table[name]](name, text)
    if missing := sorted(set(table) - set(algorithm.defaults)):
        raise OperatorFault(f"{algorithm.name} has no default for {', '.join(missing)}")


def _width(name: str, texts: dict[str, str]) -> int:
    width = _whole(name, texts[name]) if name in texts else 0
    if width > LAYER_WIDTH_MAX:
        raise OperatorFault(f"{name} is at most {LAYER_WIDTH_MAX}, not {width}")
    return width


def _check_recurrent(agent: Agent, parameters: Parameters) -> None:
    observations = parse(agent.observations)
    parts = observations.spaces.values() if isinstance(observations, Dict) else (observations,)
    if any(isinstance(part, MultiDiscrete) for part in parts):
        raise OperatorFault(
            "sb3-contrib can't make a recurrent policy of multi_discrete observations; declare "
            'an object of ints instead, {"a": 3, "b": 4}'
        )
    steps, batch = parameters.arguments["n_steps"], parameters.arguments["batch_size"]
    assert isinstance(steps, int), "the table says so"
    assert isinstance(batch, int), "the table says so"
    if steps % batch == 1:
        raise OperatorFault(
            f"n_steps {steps} in batches of {batch} leaves a batch of one, whose advantage has no "
            "deviation; take a multiple of batch_size"
        )


def _check_spaces(agent: Agent, algorithm: Algorithm, parameters: Parameters) -> None:
    observations, actions = parse(agent.observations), parse(agent.actions)
    parts = list(observations.spaces.values()) if isinstance(observations, Dict) else [observations]
    for part in parts:
        if is_image(part):
            _check_image(part, algorithm)
    if parameters.norm_obs and not any(map(is_measured, parts)):
        raise OperatorFault(
            f"norm_obs needs measurements, a Box of float32; {agent.observations!r} has none"
        )
    taken = algorithm.observations
    if taken is not None and type(observations) not in taken:
        names = " or ".join(kind.__name__ for kind in taken)
        raise OperatorFault(
            f"{algorithm.name} needs {names} observations, not {agent.observations!r}"
        )
    if isinstance(observations, Dict) and not algorithm.dicts:
        raise OperatorFault(f"{algorithm.name} takes no dict of observations; declare one vector")
    if type(actions) not in algorithm.heads:
        names = " or ".join(kind.__name__ for kind in algorithm.heads)
        others = ", ".join(row.name for row in elsewhere.usable() if type(actions) in row.heads)
        raise OperatorFault(
            f"{agent.algorithm} needs {names} actions, not {agent.actions!r}; "
            + (f"take one of {others}" if others else "no algorithm takes those")
        )
    if parameters.use_sde and not isinstance(actions, Box):
        raise OperatorFault(f"use_sde needs Box actions, not {agent.actions!r}")
    if isinstance(actions, Box) and not all(map(math.isfinite, actions.low + actions.high)):
        raise OperatorFault(f"actions need finite bounds, not {agent.actions!r}")
    rows = parameters.arguments.get("buffer_size", 0)
    assert isinstance(rows, int), "the table says so"
    row_bytes = sum(size(part) * (1 if _is_bytes(part) else FLOAT_BYTES) for part in parts)
    if 2 * rows * row_bytes > REPLAY_BYTES_MAX:
        raise OperatorFault(
            f"buffer_size {rows} of {size(observations)} values each is over "
            f"{REPLAY_BYTES_MAX >> 30} GiB; choose a smaller one"
        )


def _check_image(image: Space, algorithm: Algorithm) -> None:
    assert isinstance(image, Box), "an image is one"
    shape = list(image.shape)
    flat = f"declare the pixels flat, [[{size(image)}], 0, 255]"
    if not algorithm.images:
        others = ", ".join(row.name for row in ALGORITHMS.values() if row.images)
        raise OperatorFault(f"{algorithm.name} takes no images; take one of {others}, or {flat}")
    channels = channels_axis(image)
    if channels == 1:
        raise OperatorFault(
            f"an image is rows, columns and channels, or channels first; in {shape} the shortest "
            "axis, which is taken for the channels, is in the middle"
        )
    sides = [side for axis, side in enumerate(shape) if axis != channels]
    if min(sides) < IMAGE_SIDE_MIN:
        raise OperatorFault(
            f"the convolutions (Mnih et al. 2015) need images of at least {IMAGE_SIDE_MIN} x "
            f"{IMAGE_SIDE_MIN} pixels, not {shape}; enlarge it on the device, or {flat}"
        )
    if CONVOLVED * math.prod(map(_behind_convolutions, sides)) > CONVOLVED_MAX:
        raise OperatorFault(
            f"behind the convolutions an image of {shape} would need more than 10 million weights, "
            "100 MB a version with the optimizer; make it smaller on the device, 160 x 160 say"
        )


def _behind_convolutions(side: int) -> int:
    for kernel, stride in ((8, 4), (4, 2), (3, 1)):
        side = (side - kernel) // stride + 1
    return side


def _is_bytes(space: Space) -> bool:
    return isinstance(space, Box) and space.dtype == "uint8"


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


def _noise(name: str, text: str) -> float:
    if text.lower() == "none":
        return 0.0
    for prefix in (NOISE_PREFIX, DRIFT_PREFIX):
        if text.startswith(prefix):
            return _number(name, text.removeprefix(prefix))
    raise OperatorFault(
        f"{name} is normal_0.1 (its standard deviation), ou_0.1 (Ornstein-Uhlenbeck) or none, "
        f"not {text!r}"
    )


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
