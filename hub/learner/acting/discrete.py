"""Actions that are choices, drawn from the logits or Q-values of a network.

All take observations as the first layer sees them, float32 (batch, features), and uniform numbers
in (0, 1), (batch, `UNIFORMS` of the kind); None = greedily. Choices are counted from 0.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from hub.learner.interface import Choices
from hub.spaces import Discrete

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hub.learner.acting.drawing import Drawing

    Matrix = NDArray[np.float32]

FEW: Final = 4
"""So many choices are summed row by row, a batch of 256 in a quarter of numpy's time."""


def categorical(
    drawing: Drawing,
    x: Matrix,
    uniforms: NDArray[np.float64] | None,
    masks: NDArray[np.bool_] | None = None,
) -> Choices:
    """One choice, by the softmax of the logits."""
    said = drawing.net.look(x)
    logits, values = _allowed(said.action, masks), said.value
    if uniforms is None:
        return Choices(_column(logits.argmax(axis=1)), None, values)
    # A row for each choice: numpy is slow on rows of two. `np.maximum.reduce` is `.max` without
    # 2 µs of Python around it, and so below.
    rows = logits.T
    shifted = rows - np.maximum.reduce(rows)
    cumulative = _running_sums(np.exp(shifted))
    total = cumulative[-1]
    chosen = np.add.reduce(uniforms[:, 0] * total > cumulative[:-1])  # the inverse CDF
    logprobs = shifted[chosen, np.arange(len(chosen))] - np.log(total)
    return Choices(_column(chosen), logprobs, values)


def multi_categorical(
    drawing: Drawing,
    x: Matrix,
    uniforms: NDArray[np.float64] | None,
    masks: NDArray[np.bool_] | None = None,
) -> Choices:
    """Each number of the action by itself as `categorical`; the log-probability is their sum."""
    said = drawing.net.look(x)
    logits, values = _allowed(said.action, masks), said.value
    # One table (batch, m, choices), where what a number does not have is impossible.
    never = np.full((len(logits), 1), -np.inf, dtype=np.float32)
    table = np.concatenate([logits, never], axis=1)[:, drawing.places]
    if uniforms is None:
        return Choices(table.argmax(axis=2).astype(np.float32), None, values)
    shifted = table - table.max(axis=2, keepdims=True)
    cumulative = np.add.accumulate(np.exp(shifted), axis=2)
    total = cumulative[:, :, -1:]
    chosen = (uniforms[:, :, None] * total > cumulative[:, :, :-1]).sum(axis=2)
    logprobs = np.take_along_axis(shifted, chosen[:, :, None], axis=2) - np.log(total)
    return Choices(chosen.astype(np.float32), logprobs[:, :, 0].sum(axis=1), values)


def bernoulli(drawing: Drawing, x: Matrix, uniforms: NDArray[np.float64] | None) -> Choices:
    """Each switch by itself; the logit is log(p / (1 - p)) of its being on."""
    said = drawing.net.look(x)
    logits, values = said.action, said.value
    if uniforms is None:
        return Choices((logits > 0.0).astype(np.float32), None, values)
    on = np.log(uniforms) - np.log1p(-uniforms) < logits  # u < p, and exact where p is almost 1
    logprobs = -np.logaddexp(np.float32(0.0), np.where(on, -logits, logits)).sum(axis=1)
    return Choices(on.astype(np.float32), logprobs, values)


def epsilon_greedy(drawing: Drawing, x: Matrix, uniforms: NDArray[np.float64] | None) -> Choices:
    """The choice of the highest Q, and in a share of cases any."""
    return _mostly_best(drawing, drawing.net.look(x).action, uniforms)


def epsilon_greedy_quantiles(
    drawing: Drawing, x: Matrix, uniforms: NDArray[np.float64] | None
) -> Choices:
    """Q is the mean of the return's quantiles (Dabney et al. 2018, QR-DQN)."""
    assert isinstance(drawing.actions, Discrete), "the algorithm takes no other"
    quantiles = drawing.net.look(x).action.reshape(len(x), -1, drawing.actions.n)
    return _mostly_best(drawing, quantiles.mean(axis=1), uniforms)


def _mostly_best(drawing: Drawing, q: Matrix, uniforms: NDArray[np.float64] | None) -> Choices:
    best = q.argmax(axis=1)
    values = np.maximum.reduce(q.T)
    if uniforms is None:
        return Choices(_column(best), None, values)
    count = q.shape[1]
    epsilon = drawing.exploration
    anything = np.minimum((uniforms[:, 1] * count).astype(np.int64), count - 1)
    chosen = np.where(uniforms[:, 0] < epsilon, anything, best)
    other = math.log(epsilon / count) if epsilon else -math.inf
    logprobs = np.array([other, math.log(epsilon / count + 1.0 - epsilon)], np.float32)
    return Choices(_column(chosen), logprobs.take(chosen == best), values)


def _allowed(logits: Matrix, masks: NDArray[np.bool_] | None) -> Matrix:
    """Choices that are not allowed are impossible (Huang & Ontañón 2022)."""
    return logits if masks is None else np.where(masks, logits, np.float32(-np.inf))


def _running_sums(rows: Matrix) -> Matrix:
    """Of each row the sum with all above it, in place; zeros leave it as it is, to the last bit."""
    if len(rows) > FEW:
        return np.add.accumulate(rows, out=rows)
    for above, row in pairwise(rows):
        row += above
    return rows


def _column(chosen: NDArray[np.int64]) -> Matrix:
    return chosen.astype(np.float32).reshape(-1, 1)
