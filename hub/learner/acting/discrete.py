"""Actions that are choices, drawn from the logits or Q-values of a network.

All take observations as the first layer sees them, float32 (batch, features), and uniform numbers
in (0, 1), (batch, `UNIFORMS` of the kind); None = greedily. Choices are counted from 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hub.learner.interface import Choice
from hub.spaces import Discrete

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hub.learner.acting.drawing import Drawing

    Matrix = NDArray[np.float32]


def categorical(
    drawing: Drawing,
    x: Matrix,
    uniforms: NDArray[np.float64] | None,
    masks: NDArray[np.bool_] | None = None,
) -> Choice:
    """One choice, by the softmax of the logits."""
    logits = _logits(drawing, x, masks)
    values = drawing.net.value(x)
    if uniforms is None:
        return Choice(_column(logits.argmax(axis=1)), None, values)
    # A row for each choice: numpy is slow on rows of two. `np.maximum.reduce` is `.max` without
    # 2 µs of Python around it, and so below.
    rows = logits.T.copy()
    shifted = rows - np.maximum.reduce(rows)
    cumulative = np.add.accumulate(np.exp(shifted))
    total = cumulative[-1]
    chosen = np.add.reduce(uniforms[:, 0] * total > cumulative[:-1])  # the inverse CDF
    logprobs = shifted[chosen, np.arange(len(chosen))] - np.log(total)
    return Choice(_column(chosen), logprobs, values)


def multi_categorical(
    drawing: Drawing,
    x: Matrix,
    uniforms: NDArray[np.float64] | None,
    masks: NDArray[np.bool_] | None = None,
) -> Choice:
    """Each number of the action by itself as `categorical`; the log-probability is their sum."""
    logits = _logits(drawing, x, masks)
    values = drawing.net.value(x)
    # One table (batch, m, choices), where what a number does not have is impossible.
    never = np.full((len(logits), 1), -np.inf, dtype=np.float32)
    table = np.concatenate([logits, never], axis=1)[:, drawing.places]
    if uniforms is None:
        return Choice(table.argmax(axis=2).astype(np.float32), None, values)
    shifted = table - table.max(axis=2, keepdims=True)
    cumulative = np.add.accumulate(np.exp(shifted), axis=2)
    total = cumulative[:, :, -1:]
    chosen = (uniforms[:, :, None] * total > cumulative[:, :, :-1]).sum(axis=2)
    logprobs = np.take_along_axis(shifted, chosen[:, :, None], axis=2) - np.log(total)
    return Choice(chosen.astype(np.float32), logprobs[:, :, 0].sum(axis=1), values)


def bernoulli(drawing: Drawing, x: Matrix, uniforms: NDArray[np.float64] | None) -> Choice:
    """Each switch by itself; the logit is log(p / (1 - p)) of its being on."""
    logits = drawing.net.action(x)
    values = drawing.net.value(x)
    if uniforms is None:
        return Choice((logits > 0.0).astype(np.float32), None, values)
    on = np.log(uniforms) - np.log1p(-uniforms) < logits  # u < p, and exact where p is almost 1
    logprobs = -np.logaddexp(np.float32(0.0), np.where(on, -logits, logits)).sum(axis=1)
    return Choice(on.astype(np.float32), logprobs, values)


def epsilon_greedy(drawing: Drawing, x: Matrix, uniforms: NDArray[np.float64] | None) -> Choice:
    """The choice of the highest Q, and in a share of cases any."""
    return _mostly_best(drawing, drawing.net.action(x), uniforms)


def epsilon_greedy_quantiles(
    drawing: Drawing, x: Matrix, uniforms: NDArray[np.float64] | None
) -> Choice:
    """Q is the mean of the return's quantiles (Dabney et al. 2018, QR-DQN)."""
    assert isinstance(drawing.actions, Discrete), "the algorithm takes no other"
    quantiles = drawing.net.action(x).reshape(len(x), -1, drawing.actions.n)
    return _mostly_best(drawing, quantiles.mean(axis=1), uniforms)


def _mostly_best(drawing: Drawing, q: Matrix, uniforms: NDArray[np.float64] | None) -> Choice:
    best = q.argmax(axis=1)
    values = q.max(axis=1)
    if uniforms is None:
        return Choice(_column(best), None, values)
    count = q.shape[1]
    epsilon = drawing.exploration
    anything = np.minimum((uniforms[:, 1] * count).astype(np.int64), count - 1)
    chosen = np.where(uniforms[:, 0] < epsilon, anything, best)
    probabilities = (epsilon / count + (1.0 - epsilon) * (chosen == best)).astype(np.float32)
    return Choice(_column(chosen), np.log(probabilities), values)


def _logits(drawing: Drawing, x: Matrix, masks: NDArray[np.bool_] | None) -> Matrix:
    """Of all choices; those that are not allowed are impossible (Huang & Ontañón 2022)."""
    logits = drawing.net.action(x)
    return logits if masks is None else np.where(masks, logits, np.float32(-np.inf))


def _column(chosen: NDArray[np.int64]) -> Matrix:
    return chosen.astype(np.float32).reshape(-1, 1)
