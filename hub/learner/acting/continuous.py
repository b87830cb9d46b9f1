"""Actions that are numbers within bounds, drawn around the mean that a network gives.

All take observations as the first layer sees them, float32 (batch, features), and uniform numbers
in (0, 1), (batch, `UNIFORMS` of the kind); None = greedily.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from hub.learner.acting.chance import normals
from hub.learner.interface import Choices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hub.learner.acting.drawing import Drawing

    Matrix = NDArray[np.float32]

LOG_STD_MIN: Final = -20.0
LOG_STD_MAX: Final = 2.0
SQUASH_EPSILON: Final = 1e-6
"""SAC's bounds on log(standard deviation), and what keeps its log(1 - tanh²) finite; as in SB3."""
SDE_MEAN_MAX: Final = 2.0
"""SAC's and TQC's own bound on the mean with gSDE."""
ONE: Final = np.ones(1, dtype=np.float32)
LOG_SQRT_2PI: Final = 0.5 * math.log(2.0 * math.pi)


def gaussian(drawing: Drawing, x: Matrix, uniforms: NDArray[np.float64] | None) -> Choices:
    """The log-probability is that of the sample before the bounds cut it."""
    mean, log_std, values, _ = drawing.net.look(x)
    assert log_std is not None, "a Gaussian has a spread"
    if uniforms is None:
        return Choices(_within(mean, drawing.low, drawing.high), None, values)
    noise = normals(uniforms).astype(np.float32)
    raw = (mean + np.exp(log_std) * noise).astype(np.float32, copy=False)
    logprobs = _normal_logprobs(noise, log_std)
    return Choices(_within(raw, drawing.low, drawing.high), logprobs, values, raw)


def squashed_gaussian(drawing: Drawing, x: Matrix, uniforms: NDArray[np.float64] | None) -> Choices:
    """A Gaussian through tanh, scaled to the bounds (Haarnoja et al. 2018, appendix C)."""
    mean, log_std, _, _ = drawing.net.look(x)
    assert log_std is not None, "a Gaussian has a spread"
    if uniforms is None:
        squashed = np.tanh(mean)
        logprobs = None
    elif drawing.exploration >= 1.0:
        squashed, logprobs = _anywhere(uniforms, mean.shape[1])
    else:
        log_std = log_std.clip(LOG_STD_MIN, LOG_STD_MAX)
        noise = normals(uniforms).astype(np.float32)
        squashed = np.tanh(mean + np.exp(log_std) * noise)
        correction = np.log(1.0 - squashed**2 + np.float32(SQUASH_EPSILON)).sum(axis=1)
        logprobs = _normal_logprobs(noise, log_std) - correction
    return Choices(_scaled(drawing, squashed), logprobs, None)


def state_dependent(drawing: Drawing, x: Matrix, uniforms: NDArray[np.float64] | None) -> Choices:
    """Noise is a matrix times what the mean's layer saw (Raffin et al. 2021), as in SB3.

    The log-probability is that over all matrices, which is what SB3's ratio is of.
    """
    mean, _, values, seen = drawing.net.look(x)
    if uniforms is None:
        return Choices(_within(mean, drawing.low, drawing.high), None, values)
    noise, standard, log_std = _of_the_state(drawing, seen[:, : drawing.net.latent])
    raw = mean + noise
    logprobs = _normal_logprobs(standard, log_std)
    return Choices(_within(raw, drawing.low, drawing.high), logprobs, values, raw)


def squashed_state_dependent(
    drawing: Drawing, x: Matrix, uniforms: NDArray[np.float64] | None
) -> Choices:
    """The same noise before tanh, and around a mean that is bounded itself, as in SB3."""
    mean, _, _, seen = drawing.net.look(x)
    mean = mean.clip(-SDE_MEAN_MAX, SDE_MEAN_MAX)
    logprobs = None
    if uniforms is None:
        squashed = np.tanh(mean)
    elif drawing.exploration >= 1.0:
        squashed, logprobs = _anywhere(uniforms, mean.shape[1])
    else:
        noise, standard, log_std = _of_the_state(drawing, seen[:, : drawing.net.latent])
        squashed = np.tanh(mean + noise)
        correction = np.log(1.0 - squashed**2 + np.float32(SQUASH_EPSILON)).sum(axis=1)
        logprobs = _normal_logprobs(standard, log_std) - correction
    return Choices(_scaled(drawing, squashed), logprobs, None)


def deterministic(drawing: Drawing, x: Matrix, uniforms: NDArray[np.float64] | None) -> Choices:
    """mu(o) with normal noise, scaled to the bounds (Lillicrap et al. 2016; Fujimoto et al. 2018).

    The log-probability is the noise's, before the bounds cut it; None without noise. Noise that
    drifts has that of its newest step.
    """
    scaled = np.tanh(drawing.net.look(x).action)
    logprobs = None
    if uniforms is not None and drawing.exploration >= 1.0:
        scaled, logprobs = _anywhere(uniforms, scaled.shape[1])
    elif uniforms is not None and drawing.noise > 0.0:
        drawn = normals(uniforms)
        noise, scale = drawn.astype(np.float32), drawing.noise
        if drawing.drift is None:
            scaled = scaled + np.float32(scale) * noise
        else:
            scaled, scale = scaled + drawing.drift.walk(drawing.asked, drawn), drawing.drift.scale
        scaled = _within(scaled, -ONE, ONE)
        log_std = np.full(noise.shape[1], math.log(scale), dtype=np.float32)
        logprobs = _normal_logprobs(noise, log_std)
    return Choices(_scaled(drawing, scaled), logprobs, None)


def _of_the_state(drawing: Drawing, latent: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """gSDE's noise, the same in deviations over all matrices, and the log of these: (batch, m)."""
    assert drawing.matrices is not None, "policies of these kinds have some"
    noise = np.einsum("bi,bij->bj", latent, drawing.matrices.of(drawing.asked))
    variance = latent**2 @ np.exp(drawing.net.log_std) ** 2
    log_std = 0.5 * np.log(variance + np.float32(SQUASH_EPSILON))
    return noise, (noise / np.exp(log_std)).astype(np.float32), log_std


def _anywhere(uniforms: NDArray[np.float64], width: int) -> tuple[Matrix, Matrix]:
    """Of the whole action space, scaled to [-1, 1], as SB3 draws before learning starts."""
    scaled = (2.0 * uniforms[:, :width] - 1.0).astype(np.float32)
    return scaled, np.full(len(scaled), -math.log(2.0) * width, dtype=np.float32)


def _normal_logprobs(noise: Matrix, log_std: Matrix) -> Matrix:
    """Log-density of mean + std * noise, summed over the dimensions."""
    each = -0.5 * noise**2 - log_std - np.float32(LOG_SQRT_2PI)
    return np.asarray(np.add.reduce(each, axis=1))


def _scaled(drawing: Drawing, squashed: Matrix) -> Matrix:
    """From [-1, 1] to the bounds."""
    return _within(drawing.middle + squashed * drawing.half, drawing.low, drawing.high)


def _within(x: Matrix, low: Matrix, high: Matrix) -> Matrix:
    """`x.clip` without 2 µs of Python around it."""
    return np.minimum(np.maximum(x, low), high)
