"""Advice about numbers, between what hubs say and what a policy means by it.

    said(advice, agent)                # of our policy: means and deviations in units of the action
    meant(advice, agent)               # the other way

Only a Gaussian behind a tanh means something else (SAC): its mean and deviation are those before
that, of a number within (-1, 1) that the bounds are laid on afterwards. What is said is the tanh's
value and slope at the mean (the delta method); all other advice is said as it is meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hub.learner.algorithms.parameters import algorithm_of
from hub.spaces import Box, parse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hub.words import Agent

EDGE: Final = 1e-6
"""As near to a bound as a mean comes: at it, tanh has no way back, and no slope."""


def said(advice: NDArray[np.float32], agent: Agent) -> NDArray[np.float32]:
    """What to tell others: (k,), of a policy of ours."""
    box = _squashed(agent)
    if box is None:
        return advice
    low, half = _bounds(box)
    mean, log_std = np.split(advice.astype(np.float64), 2)
    inside = np.tanh(mean).clip(EDGE - 1.0, 1.0 - EDGE)
    told = [low + half * (inside + 1.0), log_std + np.log(half * (1.0 - inside**2))]
    return np.concatenate(told).astype(np.float32)


def meant(advice: NDArray[np.float32], agent: Agent) -> NDArray[np.float32]:
    """What others said, as a policy of ours is multiplied with it: (k,)."""
    box = _squashed(agent)
    if box is None:
        return advice
    low, half = _bounds(box)
    mean, log_std = np.split(advice.astype(np.float64), 2)
    inside = ((mean - low) / half - 1.0).clip(EDGE - 1.0, 1.0 - EDGE)
    told = [np.arctanh(inside), log_std - np.log(half * (1.0 - inside**2))]
    return np.concatenate(told).astype(np.float32)


def _squashed(agent: Agent) -> Box | None:
    actions = parse(agent.actions)
    kind = algorithm_of(agent).heads[type(actions)].kind
    return actions if isinstance(actions, Box) and kind == "squashed_gaussian" else None


def _bounds(box: Box) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lower bounds, and half of the way to the upper ones."""
    low, high = np.array(box.low), np.array(box.high)
    return low, np.maximum((high - low) / 2, np.finfo(np.float32).tiny)
