"""The hub's spaces and values as Gymnasium's, and actions on their way back."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from hub.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space


def gym_space(space: Space) -> gymnasium.spaces.Space[Any]:
    """The same space; an image keeps the order of its axes."""
    match space:
        case Discrete(n, start):
            return gymnasium.spaces.Discrete(n, start=start)
        case Box():
            low = np.array(space.low, dtype=space.dtype).reshape(space.shape)
            high = np.array(space.high, dtype=space.dtype).reshape(space.shape)
            return gymnasium.spaces.Box(low, high, dtype=np.dtype(space.dtype).type)
        case MultiDiscrete(n):
            return gymnasium.spaces.MultiDiscrete(np.array(n))
        case MultiBinary(count):
            return gymnasium.spaces.MultiBinary(count)
        case Dict(parts):
            return gymnasium.spaces.Dict({name: gym_space(part) for name, part in parts.items()})


def value_of(space: gymnasium.spaces.Space[Any], document: Any) -> Any:
    """A value of the space from the hub's JSON."""
    if isinstance(space, gymnasium.spaces.Dict):
        return {name: value_of(part, document[name]) for name, part in space.spaces.items()}
    if isinstance(space, gymnasium.spaces.Discrete):
        return np.int64(document)
    assert space.shape is not None, "what is no Dict and no Discrete is an array"
    return np.asarray(document, dtype=space.dtype).reshape(space.shape)


def action_of(action: Any) -> Any:
    """The action as JSON: an int or a list."""
    return np.asarray(action).tolist()
