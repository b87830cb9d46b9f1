"""Observations on one scale before a network sees them, as the version that acts was made to see.

    scale = scale_of(space, tensors, clip=10.0)
    x = scale(observations)      # float32 (batch, n), flat as logged

The numbers are those of Stable-Baselines3's VecNormalize with these statistics, to the last bit.
Declared bounds play no part: a Box of ±3.4e38 is scaled by what was seen. Numpy only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hub.learner.algorithms.observed import is_measured
from hub.spaces import Dict, size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hub.learner.versions.policy import Tensors
    from hub.spaces import Space

    Matrix = NDArray[np.float32]

PREFIX: Final = "norm/"
"""Of the tensors that hold statistics."""
OBSERVATIONS: Final = PREFIX + "obs/"
MEAN: Final = OBSERVATIONS + "mean"
VARIANCE: Final = OBSERVATIONS + "var"
"""float64 (columns,), of the values that are scaled, in the order of the flat observation."""
EPSILON: Final = 1e-8
"""VecNormalize's own; keeps a value that never changes finite."""


class Scale:
    """(x - mean) / sqrt(variance + epsilon), clipped; values that are no measurements stay."""

    def __init__(
        self,
        space: Space,
        mean: NDArray[np.float64],
        variance: NDArray[np.float64],
        *,
        clip: float,
    ) -> None:
        self.clip = clip
        self._columns = columns(space)
        self._all = len(self._columns) == size(space)
        self._mean = mean
        self._deviation = np.sqrt(variance + EPSILON)

    def __call__(self, observations: Matrix) -> Matrix:
        """float32 (batch, n) in and out."""
        part = observations if self._all else observations[:, self._columns]
        scaled = ((part - self._mean) / self._deviation).clip(-self.clip, self.clip)
        if self._all:
            return scaled.astype(np.float32)
        mixed = observations.copy()
        mixed[:, self._columns] = scaled
        return mixed


def scale_of(space: Space, tensors: Tensors, *, clip: float) -> Scale:
    """As a version's file has it.

    Raises:
        KeyError: the file has no statistics of observations.
    """
    return Scale(space, tensors[MEAN], tensors[VARIANCE], clip=clip)


def columns(space: Space) -> NDArray[np.int64]:
    """Where in the flat observation the measurements stand: the numbers of float32 Boxes."""
    places: list[NDArray[Any]] = []
    start = 0
    for part in space.spaces.values() if isinstance(space, Dict) else (space,):
        if is_measured(part):
            places.append(np.arange(start, start + size(part)))
        start += size(part)
    return np.concatenate(places) if places else np.empty(0, dtype=np.int64)
