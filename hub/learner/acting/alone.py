"""An action for one observation: the networks in numpy, everything else in plain numbers.

Most frames bring one question. A call of numpy's takes 0.5 to 2 µs for one number, and to draw an
action takes a dozen of them: all in all two thirds of it for a Gaussian. `discrete.py` and
`continuous.py` draw the same for a batch, to float32 rounding (which is much in the log-probability
of a squashed Gaussian where tanh is flat).

All take the observation as the first layer sees it, float32 (1, features), and as many uniform
numbers in (0, 1) as `UNIFORMS` of the kind says; None = greedily. They raise ValueError or
OverflowError where a network says what is no number, or Python's `math` has none for it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

from hub.learner.acting.continuous import LOG_SQRT_2PI, LOG_STD_MAX, LOG_STD_MIN, SQUASH_EPSILON

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from hub.learner.acting.drawing import Drawing

    Matrix = NDArray[np.float32]
    Ranges = Sequence[tuple[float, float]]
    """Lowest and highest of each number."""

TWO_PI: Final = 2.0 * math.pi


class One(NamedTuple):
    """As a row of `Choices`."""

    action: list[float]
    logprob: float | None
    value: float | None
    raw: list[float] | None = None


def categorical(drawing: Drawing, x: Matrix, uniforms: list[float] | None) -> One:
    """One choice, by the softmax of the logits."""
    said = drawing.net.look(x)
    logits, value = _row(said.action), _number(said.value)
    highest = max(logits)
    if uniforms is None:
        return One([logits.index(highest)], None, value)
    sums = list(accumulate([math.exp(logit - highest) for logit in logits]))
    chosen = bisect_left(sums, uniforms[0] * sums[-1])  # the inverse CDF
    return One([chosen], logits[chosen] - highest - math.log(sums[-1]), value)


def epsilon_greedy(drawing: Drawing, x: Matrix, uniforms: list[float] | None) -> One:
    """The choice of the highest Q, and in a share of cases any."""
    q = _row(drawing.net.look(x).action)
    value = max(q)
    best = chosen = q.index(value)
    if uniforms is None:
        return One([best], None, value)
    epsilon, count = drawing.exploration, len(q)
    if uniforms[0] < epsilon:
        chosen = min(int(uniforms[1] * count), count - 1)
    return One([chosen], math.log(epsilon / count + (1.0 - epsilon) * (chosen == best)), value)


def gaussian(drawing: Drawing, x: Matrix, uniforms: list[float] | None) -> One:
    """The log-probability is that of the sample before the bounds cut it."""
    said = drawing.net.look(x)
    mean, value = _row(said.action), _number(said.value)
    if uniforms is None:
        return One(_within(mean, drawing.ranges), None, value)
    logprob, raw = 0.0, []
    for mu, log_std, normal in zip(mean, _row(said.log_std), _normals(uniforms), strict=True):
        raw.append(mu + math.exp(log_std) * normal)
        logprob -= 0.5 * normal * normal + log_std + LOG_SQRT_2PI
    return One(_within(raw, drawing.ranges), logprob, value, raw)


def squashed_gaussian(drawing: Drawing, x: Matrix, uniforms: list[float] | None) -> One:
    """A Gaussian through tanh, scaled to the bounds (Haarnoja et al. 2018, appendix C)."""
    said = drawing.net.look(x)
    mean = _row(said.action)
    if uniforms is None:
        return One(_scaled([math.tanh(mu) for mu in mean], drawing.ranges), None, None)
    if drawing.exploration >= 1.0:
        return _anywhere(drawing.ranges, uniforms)
    logprob, squashed = 0.0, []
    for mu, spread, normal in zip(mean, _row(said.log_std), _normals(uniforms), strict=True):
        log_std = min(max(spread, LOG_STD_MIN), LOG_STD_MAX)
        t = math.tanh(mu + math.exp(log_std) * normal)
        squashed.append(t)
        logprob -= 0.5 * normal * normal + log_std + LOG_SQRT_2PI
        logprob -= math.log(1.0 - t * t + SQUASH_EPSILON)
    return One(_scaled(squashed, drawing.ranges), logprob, None)


def deterministic(drawing: Drawing, x: Matrix, uniforms: list[float] | None) -> One:
    """mu(o) with normal noise, scaled to the bounds; the log-probability is the noise's."""
    scaled = [math.tanh(mu) for mu in _row(drawing.net.look(x).action)]
    noise = drawing.noise
    if uniforms is not None and drawing.exploration >= 1.0:
        return _anywhere(drawing.ranges, uniforms)
    if uniforms is None or noise <= 0.0:
        return One(_scaled(scaled, drawing.ranges), None, None)
    logprob = -len(scaled) * (math.log(noise) + LOG_SQRT_2PI)
    for i, normal in enumerate(_normals(uniforms)):
        scaled[i] = min(max(scaled[i] + noise * normal, -1.0), 1.0)
        logprob -= 0.5 * normal * normal
    return One(_scaled(scaled, drawing.ranges), logprob, None)


def _anywhere(ranges: Ranges, uniforms: list[float]) -> One:
    drawn = [2.0 * u - 1.0 for u in uniforms[: len(ranges)]]
    return One(_scaled(drawn, ranges), -math.log(2.0) * len(ranges), None)


def _scaled(squashed: list[float], ranges: Ranges) -> list[float]:
    """From [-1, 1] to the bounds."""
    return [
        min(max(low + 0.5 * (t + 1.0) * (high - low), low), high)
        for t, (low, high) in zip(squashed, ranges, strict=True)
    ]


def _within(numbers: list[float], ranges: Ranges) -> list[float]:
    return [min(max(x, low), high) for x, (low, high) in zip(numbers, ranges, strict=True)]


def _normals(uniforms: list[float]) -> list[float]:
    """As `chance.normals`."""
    half = len(uniforms) // 2
    return [
        math.sqrt(-2.0 * math.log(uniforms[i])) * math.cos(TWO_PI * uniforms[half + i])
        for i in range(half)
    ]


def _row(said: Matrix | None) -> list[float]:
    """Of a layer, (1, m), or a parameter, (m,).

    Raises:
        ValueError: not all of them are numbers: `max` would go past a NaN, and numpy's does not.
    """
    assert said is not None, "a Gaussian has a spread"
    row: list[float] = said.ravel().tolist()
    if not math.isfinite(sum(row)):
        raise ValueError
    return row


def _number(value: NDArray[np.float32] | None) -> float | None:
    return None if value is None else value.item()
