"""What bench devices observe: a random walk in CartPole's shape, made before the clock starts."""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct

STEPS: Final = 4096
"""Devices go round it, each from its own place."""
EPISODE_STEPS_MEAN: Final = 40
SCALE: Final = 0.05


class WalkStep(Struct, frozen=True):
    """One observation."""

    observation: list[float]
    reward: float | None
    """None on the first of an episode."""
    done: bool


def walk(seed: int = 1) -> list[WalkStep]:
    """The same walk for the same seed; values rounded as a device's `%.4f` would."""
    generator = np.random.default_rng(seed)
    ends = generator.random(STEPS) < 1 / EPISODE_STEPS_MEAN
    moves = generator.normal(0.0, SCALE, (STEPS, 4))
    steps: list[WalkStep] = []
    position = np.zeros(4)
    first = True
    for move, end in zip(moves, ends, strict=True):
        position = move if first else position + move
        done = bool(end) and not first
        steps.append(WalkStep(np.round(position, 4).tolist(), None if first else 1.0, done))
        first = done
    return steps
