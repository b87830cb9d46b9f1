"""Exploration that has a course of its own on each device: gSDE's matrices and OU noise.

Nothing of it needs to be logged. A matrix follows from who asks and when, as all randomness here
does. Ornstein-Uhlenbeck noise has a state, but only algorithms that learn from any action take it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from hub.learner.acting.chance import Chance, normals
from hub.learner.acting.memory import DEVICES_MAX
from hub.learner.columns import Questions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hub.learner.columns import Question

    Matrix = NDArray[np.float32]

THETA: Final = 0.15
DT: Final = 1e-2
"""How fast OU noise returns to 0, and the time of a step; SB3's own."""


class Matrices:
    """Of gSDE (Raffin et al. 2021): noise is W^T latent, and W stays for a while.

    W is drawn anew every `every` steps of a boot; where that is not above 0, with each version,
    as SB3 does with each rollout.
    """

    def __init__(self, log_std: Matrix, seed: int, *, every: int, version: int) -> None:
        self._std = np.exp(log_std)
        self._every = every
        self._version = version
        # Another key than that of actions, whose seeds are never negative.
        self._chance = Chance(-1 - seed, 2 * log_std.size)
        self._drawn: dict[str, tuple[int, int, Matrix]] = {}

    def of(self, questions: Questions) -> Matrix:
        """W for each, float32 (batch, latent, m)."""
        return np.stack([self._one(question) for question in questions])

    def _one(self, question: Question) -> Matrix:
        period = question.step // self._every if self._every > 0 else self._version
        boot, drawn_for, matrix = self._drawn.get(question.device, (None, None, None))
        if (boot, drawn_for) == (question.boot, period) and matrix is not None:
            return matrix
        key = Questions.of([question._replace(step=period)])
        drawn = normals(self._chance.uniforms(key)).reshape(self._std.shape)
        matrix = (self._std * drawn).astype(np.float32)
        if len(self._drawn) >= DEVICES_MAX:
            self._drawn.clear()  # it can be drawn again
        self._drawn[question.device] = (question.boot, period, matrix)
        return matrix


class _Place(NamedTuple):
    boot: int
    step: int
    noise: NDArray[np.float64]


class Drift:
    """Ornstein-Uhlenbeck noise (Uhlenbeck & Ornstein 1930; Lillicrap et al. 2016).

    It begins at 0 with an episode, a boot, a gap, and an actor's restart.
    """

    def __init__(self, sigma: float, before: Drift | None = None) -> None:
        self.scale = sigma * math.sqrt(DT)
        """Standard deviation of a step."""
        self._places: dict[str, _Place] = {} if before is None else before._places

    def walk(self, questions: Questions, drawn: NDArray[np.float64]) -> Matrix:
        """The noise of each, float32 (batch, m).

        Args:
            questions: of different devices.
            drawn: standard normal numbers (batch, m).
        """
        walked = np.empty_like(drawn)
        for i, question in enumerate(questions):
            place = self._places.pop(question.device, None)
            noise = np.zeros(drawn.shape[1])
            if place is not None and not question.first:
                follows = (place.boot, place.step + 1) == (question.boot, question.step)
                noise = place.noise if follows else noise
            walked[i] = noise - THETA * noise * DT + self.scale * drawn[i]
            self._places[question.device] = _Place(question.boot, question.step, walked[i])
        while len(self._places) > DEVICES_MAX:
            del self._places[next(iter(self._places))]
        return walked.astype(np.float32)
