"""Which spaces an algorithm takes, or a refusal that says what would do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from hub.errors import OperatorFault
from hub.learner.algorithms import elsewhere, values
from hub.learner.algorithms.libraries import ALGORITHMS
from hub.learner.algorithms.observed import channels_axis, is_image, is_measured
from hub.spaces import Box, Dict, MultiDiscrete, Space, parse, size
from hub.words import FLOAT_BYTES

if TYPE_CHECKING:
    from hub.learner.algorithms.row import Algorithm, Parameters
    from hub.words import Agent

REPLAY_BYTES_MAX: Final = 4 << 30
"""Of observations in a replay buffer; more would take the machine down with the agent."""

IMAGE_SIDE_MIN: Final = 36
"""Below it, nothing is left of an image behind three convolutions of 8, 4 and 3 pixels."""
CONVOLVED: Final = 64
"""Channels of the last convolution."""
CONVOLVED_MAX: Final = 20_000
"""Numbers behind it; each has 512 weights to the features."""


def check_spaces(agent: Agent, algorithm: Algorithm, parameters: Parameters) -> None:
    """Refuse spaces that an algorithm does not take, or not with these parameters."""
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


ADVISED: Final = (
    "categorical",
    "multi_categorical",
    "bernoulli",
    "gaussian",
    "squashed_gaussian",
    "epsilon_greedy",
)
"""Kinds of policy that can be multiplied with another's."""


def why_unadvised(agent: Agent, algorithm: Algorithm) -> str | None:
    """Why the agent's replicas can't advise each other; None when they can."""
    actions = type(parse(agent.actions))
    if not _is_advised(algorithm, actions):
        able = [row.name for row in elsewhere.usable() if _is_advised(row, actions)]
        there = ", ".join(able) or "none"
        return (
            f"{algorithm.name} can't take advice; with actions {agent.actions!r} these can: {there}"
        )
    if values.truth("use_sde", agent.parameters.get("use_sde", "false")):
        return "noise of use_sde can't be multiplied with advice"
    observations = parse(agent.observations)
    parts = observations.spaces.values() if isinstance(observations, Dict) else (observations,)
    if algorithm.family == "on_policy" and any(map(is_image, parts)):
        return f"{algorithm.name} takes no advice about images yet"
    return None


def _is_advised(algorithm: Algorithm, actions: type[Space]) -> bool:
    head = algorithm.heads.get(actions)
    masked = algorithm.name == "MaskablePPO"  # sb3-contrib's policy is one of its own
    return head is not None and head.kind in ADVISED and not algorithm.recurrent and not masked


def check_recurrent(agent: Agent, parameters: Parameters) -> None:
    """Refuse what a recurrent policy can't be made of, or not be trained with."""
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
