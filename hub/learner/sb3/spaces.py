"""Flat float32 values as Stable-Baselines3 wants them, and the spaces it is told of.

The log holds every observation as one flat vector (`hub.spaces`); SB3 wants arrays of the space's
shape, whole numbers counted from 0 for choices, a dict for Dict. The numbers are the same but for a
Discrete space that starts elsewhere; and of an image the channels come first, as convolutions want
them (SB3's VecTransposeImage has nothing left to do).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from hub.learner.algorithms.observed import IMAGE_AXES, channels_axis, is_image
from hub.spaces import (
    Box,
    Dict,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    Space,
    size,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hub.spaces import Leaf
    from hub.words import Floats


class Spaces(gymnasium.Env[Any, Any]):
    """The environment that SB3's constructors ask for; they read its spaces and never step it."""

    def __init__(self, observations: Space, actions: Space) -> None:
        self.observation_space = gym_space(observations)
        self.action_space = gym_space(actions)


def gym_space(space: Space) -> gymnasium.spaces.Space[Any]:
    """The Gymnasium space of the same values; choices are counted from 0."""
    if isinstance(space, Discrete):
        return gymnasium.spaces.Discrete(space.n)
    if isinstance(space, Box):
        low = np.array(space.low, dtype=space.dtype).reshape(space.shape)
        high = np.array(space.high, dtype=space.dtype).reshape(space.shape)
        if is_image(space):
            low, high = _channels_first(space, low), _channels_first(space, high)
        return gymnasium.spaces.Box(low, high, dtype=np.dtype(space.dtype).type)
    if isinstance(space, MultiDiscrete):
        return gymnasium.spaces.MultiDiscrete(np.array(space.n))
    if isinstance(space, MultiBinary):
        return gymnasium.spaces.MultiBinary(space.n)
    return gymnasium.spaces.Dict({name: gym_space(part) for name, part in space.spaces.items()})


def shaped(space: Space, values: Floats) -> NDArray[Any] | dict[str, NDArray[Any]]:
    """One value with a batch axis in front, as SB3's buffers and policies take it."""
    return batched(space, np.frombuffer(values, dtype="<f4").reshape(1, -1))


def batched(space: Space, rows: NDArray[np.float32]) -> NDArray[Any] | dict[str, NDArray[Any]]:
    """Flat values (batch, n) in the shapes of the space; images with their channels first."""
    if isinstance(space, Dict):
        parts, start = {}, 0
        for name, part in space.spaces.items():
            end = start + size(part)
            parts[name] = _batched_leaf(part, rows[:, start:end])
            start = end
        return parts
    return _batched_leaf(space, rows)


def indices(space: Space, values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Choices as SB3 counts them, from 0."""
    start = space.start if isinstance(space, Discrete) else 0
    return values.astype(np.int64) - start


def _batched_leaf(space: Leaf, rows: NDArray[np.float32]) -> NDArray[Any]:
    if isinstance(space, Box):
        values = rows.astype(space.dtype).reshape(-1, *space.shape)
        return _channels_first(space, values) if is_image(space) else values
    if isinstance(space, Discrete):
        return indices(space, rows).reshape(-1)
    return rows.astype(np.int64 if isinstance(space, MultiDiscrete) else np.int8)


def _channels_first(image: Box, values: NDArray[Any]) -> NDArray[Any]:
    """Channels, rows, columns, whatever the device's order is; axes before those stay.

    In memory they stay as the device has them, as in SB3's `VecTransposeImage`: by that order torch
    chooses how a convolution is computed, and on some processors its last bit is another.
    """
    from_the_end = channels_axis(image) - IMAGE_AXES
    return np.moveaxis(values, from_the_end, -IMAGE_AXES)
