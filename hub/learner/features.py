"""Flat observations as the first layer of a network sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hub.learner.slots import LOG_FACTORS_BOUND, QUICKER
from hub.spaces import Dict, Discrete, MultiDiscrete, Space, choices, size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]


def features(space: Space, observations: Matrix) -> Matrix:
    """What the first layer sees: choices one-hot, all parts in the order of their names."""
    parts = list(space.spaces.values()) if isinstance(space, Dict) else [space]
    columns, start = [], 0
    for part in parts:
        end = start + size(part)
        values = observations[:, start:end]
        if isinstance(part, Discrete):
            values = _one_hot(values.astype(np.int64) - part.start, choices(part))
        elif isinstance(part, MultiDiscrete):
            values = _one_hot(values.astype(np.int64), choices(part))
        columns.append(values)
        start = end
    return np.concatenate(columns, axis=1)


def factors_of(log_factors: Matrix) -> Matrix:
    """By what features are multiplied, of a version's tensor `LOG_FACTORS`; as `Factored` does."""
    exponents = np.float32(QUICKER) * log_factors
    factors: Matrix = np.exp(exponents.clip(-LOG_FACTORS_BOUND, LOG_FACTORS_BOUND))
    return factors


def _one_hot(chosen: NDArray[np.int64], counts: tuple[int, ...]) -> Matrix:
    """One choice a column in; as many columns out as there are choices in all."""
    hot = np.zeros((len(chosen), sum(counts)), dtype=np.float32)
    hot[np.arange(len(chosen))[:, None], np.cumsum((0, *counts[:-1])) + chosen] = 1.0
    return hot
