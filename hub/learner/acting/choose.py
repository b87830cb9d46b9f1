"""A policy version's numpy half: features, forward pass, and how an action is drawn.

    chooser = Chooser(read_policy(path), seed=agent.seed)
    replies = chooser.choose(questions, greedy=False)

The same numbers as Stable-Baselines3's own policies to float32 rounding, 13 times faster alone
(15-20 µs), without torch. What is logged is what stands here: it is never computed again.
"""

from __future__ import annotations

import math
from itertools import repeat
from typing import TYPE_CHECKING, Final

import numpy as np
from msgspec import structs

from hub.learner.acting.chance import Chance, normals
from hub.learner.acting.exploring import Drift, Matrices
from hub.learner.acting.memory import Memory, each_device_once
from hub.learner.acting.net import Net
from hub.learner.features import features
from hub.learner.interface import Choice
from hub.learner.messages import Question, Reply
from hub.learner.open import own_chooser
from hub.learner.versions.scaling import Scale, scale_of
from hub.spaces import (
    Box,
    Dict,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    Space,
    choices,
    parse,
    size,
)
from hub.words import Floats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from hub.learner.algorithms.libraries import PolicyKind
    from hub.learner.versions.policy import PolicyFile

    Matrix = NDArray[np.float32]

LOG_STD_MIN: Final = -20.0
LOG_STD_MAX: Final = 2.0
SQUASH_EPSILON: Final = 1e-6
"""SAC's bounds on log(standard deviation), and what keeps its log(1 - tanh²) finite; as in SB3."""
SDE_MEAN_MAX: Final = 2.0
"""SAC's and TQC's own bound on the mean with gSDE."""
STATE_DEPENDENT: Final = ("state_dependent", "squashed_state_dependent")
LOG_SQRT_2PI: Final = 0.5 * math.log(2.0 * math.pi)


class Chooser:
    """One version, ready to act."""

    def __init__(self, policy: PolicyFile, seed: int, before: Chooser | None = None) -> None:
        """`before` acted until now: what it had going on a device goes on."""
        card, tensors = policy.card, policy.tensors
        self.version = card.version
        self._observations = parse(card.observations)
        self.actions = parse(card.actions)
        self._name = card.kind
        self._kind = KINDS[card.kind]
        self.own = own_chooser(card, tensors) if card.kind == "own" else None
        self.net = Net(tensors, card.activation, card.action_layers, card.value_layers, card.spread)
        self.memory: Memory | None = None
        """Of a recurrent policy."""
        if card.recurrent:
            memory = None if before is None else before.memory
            self.memory = Memory(tensors, card.recurrent, memory)
            self.net.split = self.memory.width
        self.drift: Drift | None = None
        """Of noise that goes on from step to step."""
        if card.noise_drifts:
            self.drift = Drift(card.noise, None if before is None else before.drift)
        self.matrices: Matrices | None = None
        """Of noise that depends on the state."""
        if card.kind in STATE_DEPENDENT:
            self.matrices = Matrices(
                self.net.log_std, seed, every=card.sde_sample_freq, version=card.version
            )
        self.asked: Sequence[Question] = ()
        """The batch at hand."""
        self.exploration = card.exploration
        self.noise = card.noise
        if isinstance(self.actions, Box):
            self.low = np.array(self.actions.low, dtype=np.float32)
            self.high = np.array(self.actions.high, dtype=np.float32)
        if card.kind == "multi_categorical":
            assert isinstance(self.actions, (MultiDiscrete, MultiBinary)), "it has no other"
            self.places = _places(choices(self.actions))
        self._first = self.actions.start if isinstance(self.actions, Discrete) else 0
        count = self.own.uniforms if self.own else UNIFORMS[card.kind](self.actions)
        self._chance = Chance(seed, count)
        self._size = size(self._observations)
        self._plain = self.own is not None or isinstance(self._observations, Box | MultiBinary)
        self._features = features
        if card.extractor is not None:
            # Torch, and only here: convolutions are what numpy can't do in time.
            from hub.learner.sb3.images import Extractor

            self._plain = False
            self._features = Extractor(self._observations, tensors, card.extractor)
        self._scale: Scale | None = None
        if card.clip_obs is not None:
            self._scale = scale_of(self._observations, tensors, clip=card.clip_obs)

    def choose(self, questions: Sequence[Question], *, greedy: bool) -> list[Reply]:
        """A reply to each question, in order."""
        if self.memory is None and self.drift is None:
            return self._choose(questions, greedy=greedy)
        replies = []
        for run in each_device_once(questions):
            replies += self._choose(run, greedy=greedy)
        return replies

    def _choose(self, questions: Sequence[Question], *, greedy: bool) -> list[Reply]:
        joined = b"".join([question.values for question in questions])
        observations = np.frombuffer(joined, dtype="<f4").reshape(-1, self._size)
        if self._scale is not None:
            observations = self._scale(observations)
        x = observations if self._plain else self._features(self._observations, observations)
        seen: list[int] = []
        if self.memory is not None:
            x, seen = self.memory.remember(questions, x)
        self.asked = questions
        uniforms = None if greedy else self._chance.uniforms(questions)
        if any([question.mask is not None for question in questions]):  # noqa: C419 - half the time
            choice = MASKED[self._name](self, x, uniforms, self._masks(questions))
        else:
            choice = self._kind(self, x, uniforms)
        if self._first:
            choice = choice._replace(actions=choice.actions + np.float32(self._first))
        replies = self._replies(questions, choice)
        if self.memory is not None:
            replies = [structs.replace(r, memory=n) for r, n in zip(replies, seen, strict=True)]
        return replies

    def _masks(self, questions: Sequence[Question]) -> NDArray[np.bool_]:
        """What each question allows, (batch, choices)."""
        assert not isinstance(self.actions, (Box, Dict)), "only choices have a mask"
        everything = b"\1" * sum(choices(self.actions))
        joined = b"".join([question.mask or everything for question in questions])
        return np.frombuffer(joined, dtype=np.bool_).reshape(len(questions), -1)

    def _replies(self, questions: Sequence[Question], choice: Choice) -> list[Reply]:
        count = len(questions)
        actions = np.ascontiguousarray(choice.actions)
        width = actions.shape[1] * actions.itemsize
        rows: list[Floats] = actions.view(f"V{width}")[:, 0].tolist()
        logprobs = [None] * count if choice.logprobs is None else choice.logprobs.tolist()
        values = [None] * count if choice.values is None else choice.values.tolist()
        raws: list[Floats | None] = [None] * count
        if choice.raw is not None:
            for i in np.flatnonzero((choice.raw != actions).any(axis=1)):
                raws[i] = Floats(choice.raw[i].tobytes())
        ids = [question.id for question in questions]
        return list(map(Reply, ids, rows, raws, logprobs, values, repeat(self.version)))


# --- the kinds of policy ---------------------------------------------------------------------


def _categorical(
    chooser: Chooser,
    x: Matrix,
    uniforms: NDArray[np.float64] | None,
    masks: NDArray[np.bool_] | None = None,
) -> Choice:
    logits = _logits(chooser, x, masks)
    values = chooser.net.value(x)
    if uniforms is None:
        return Choice(_column(logits.argmax(axis=1)), None, values)
    # `np.maximum.reduce` is `.max` without 2 µs of Python around it, and so below.
    shifted = logits - np.maximum.reduce(logits, axis=1, keepdims=True)
    cumulative = np.add.accumulate(np.exp(shifted), axis=1)
    total = cumulative[:, -1:]
    chosen = np.add.reduce(uniforms * total > cumulative[:, :-1], axis=1)  # the inverse CDF
    logprobs = shifted[np.arange(len(chosen)), chosen] - np.log(total[:, 0])
    return Choice(_column(chosen), logprobs, values)


def _multi_categorical(
    chooser: Chooser,
    x: Matrix,
    uniforms: NDArray[np.float64] | None,
    masks: NDArray[np.bool_] | None = None,
) -> Choice:
    """Each number of the action by itself as `_categorical`; the log-probability is their sum."""
    logits = _logits(chooser, x, masks)
    values = chooser.net.value(x)
    # One table (batch, m, choices), where what a number does not have is impossible.
    never = np.full((len(logits), 1), -np.inf, dtype=np.float32)
    table = np.concatenate([logits, never], axis=1)[:, chooser.places]
    if uniforms is None:
        return Choice(table.argmax(axis=2).astype(np.float32), None, values)
    shifted = table - table.max(axis=2, keepdims=True)
    cumulative = np.add.accumulate(np.exp(shifted), axis=2)
    total = cumulative[:, :, -1:]
    chosen = (uniforms[:, :, None] * total > cumulative[:, :, :-1]).sum(axis=2)
    logprobs = np.take_along_axis(shifted, chosen[:, :, None], axis=2) - np.log(total)
    return Choice(chosen.astype(np.float32), logprobs[:, :, 0].sum(axis=1), values)


def _logits(chooser: Chooser, x: Matrix, masks: NDArray[np.bool_] | None) -> Matrix:
    """Of all choices; those that are not allowed are impossible (Huang & Ontañón 2022)."""
    logits = chooser.net.action(x)
    return logits if masks is None else np.where(masks, logits, np.float32(-np.inf))


def _bernoulli(chooser: Chooser, x: Matrix, uniforms: NDArray[np.float64] | None) -> Choice:
    """Each switch by itself; the logit is log(p / (1 - p)) of its being on."""
    logits = chooser.net.action(x)
    values = chooser.net.value(x)
    if uniforms is None:
        return Choice((logits > 0.0).astype(np.float32), None, values)
    on = np.log(uniforms) - np.log1p(-uniforms) < logits  # u < p, and exact where p is almost 1
    logprobs = -np.logaddexp(np.float32(0.0), np.where(on, -logits, logits)).sum(axis=1)
    return Choice(on.astype(np.float32), logprobs, values)


def _gaussian(chooser: Chooser, x: Matrix, uniforms: NDArray[np.float64] | None) -> Choice:
    mean, log_std = chooser.net.mean_and_log_std(x)
    values = chooser.net.value(x)
    if uniforms is None:
        return Choice(mean.clip(chooser.low, chooser.high), None, values)
    noise = normals(uniforms).astype(np.float32)
    raw = (mean + np.exp(log_std) * noise).astype(np.float32, copy=False)
    logprobs = _normal_logprobs(noise, log_std)
    return Choice(raw.clip(chooser.low, chooser.high), logprobs, values, raw)


def _epsilon_greedy(chooser: Chooser, x: Matrix, uniforms: NDArray[np.float64] | None) -> Choice:
    return _mostly_best(chooser, chooser.net.action(x), uniforms)


def _epsilon_greedy_quantiles(
    chooser: Chooser, x: Matrix, uniforms: NDArray[np.float64] | None
) -> Choice:
    """Q is the mean of the return's quantiles (Dabney et al. 2018, QR-DQN)."""
    assert isinstance(chooser.actions, Discrete), "the algorithm takes no other"
    quantiles = chooser.net.action(x).reshape(len(x), -1, chooser.actions.n)
    return _mostly_best(chooser, quantiles.mean(axis=1), uniforms)


def _mostly_best(chooser: Chooser, q: Matrix, uniforms: NDArray[np.float64] | None) -> Choice:
    best = q.argmax(axis=1)
    values = q.max(axis=1)
    if uniforms is None:
        return Choice(_column(best), None, values)
    count = q.shape[1]
    epsilon = chooser.exploration
    anything = np.minimum((uniforms[:, 1] * count).astype(np.int64), count - 1)
    chosen = np.where(uniforms[:, 0] < epsilon, anything, best)
    probabilities = (epsilon / count + (1.0 - epsilon) * (chosen == best)).astype(np.float32)
    return Choice(_column(chosen), np.log(probabilities), values)


def _squashed_gaussian(chooser: Chooser, x: Matrix, uniforms: NDArray[np.float64] | None) -> Choice:
    low, high = chooser.low, chooser.high
    mean, log_std = chooser.net.mean_and_log_std(x)
    if uniforms is None:
        squashed = np.tanh(mean)
        logprobs = None
    elif chooser.exploration >= 1.0:
        squashed, logprobs = _anywhere(uniforms, mean.shape[1])
    else:
        log_std = log_std.clip(LOG_STD_MIN, LOG_STD_MAX)
        noise = normals(uniforms).astype(np.float32)
        squashed = np.tanh(mean + np.exp(log_std) * noise)
        correction = np.log(1.0 - squashed**2 + np.float32(SQUASH_EPSILON)).sum(axis=1)
        logprobs = _normal_logprobs(noise, log_std) - correction
    actions = low + 0.5 * (squashed + 1.0) * (high - low)
    return Choice(actions.clip(low, high), logprobs, None)


def _state_dependent(chooser: Chooser, x: Matrix, uniforms: NDArray[np.float64] | None) -> Choice:
    """Noise is a matrix times what the mean's layer saw (Raffin et al. 2021), as in SB3.

    The log-probability is that over all matrices, which is what SB3's ratio is of.
    """
    mean, latent = chooser.net.mean_and_latent(x)
    values = chooser.net.value(x)
    if uniforms is None:
        return Choice(mean.clip(chooser.low, chooser.high), None, values)
    noise, standard, log_std = _of_the_state(chooser, latent)
    raw = mean + noise
    logprobs = _normal_logprobs(standard, log_std)
    return Choice(raw.clip(chooser.low, chooser.high), logprobs, values, raw)


def _squashed_state_dependent(
    chooser: Chooser, x: Matrix, uniforms: NDArray[np.float64] | None
) -> Choice:
    low, high = chooser.low, chooser.high
    mean, latent = chooser.net.mean_and_latent(x)
    mean = mean.clip(-SDE_MEAN_MAX, SDE_MEAN_MAX)
    logprobs = None
    if uniforms is None:
        squashed = np.tanh(mean)
    elif chooser.exploration >= 1.0:
        squashed, logprobs = _anywhere(uniforms, mean.shape[1])
    else:
        noise, standard, log_std = _of_the_state(chooser, latent)
        squashed = np.tanh(mean + noise)
        correction = np.log(1.0 - squashed**2 + np.float32(SQUASH_EPSILON)).sum(axis=1)
        logprobs = _normal_logprobs(standard, log_std) - correction
    actions = low + 0.5 * (squashed + 1.0) * (high - low)
    return Choice(actions.clip(low, high), logprobs, None)


def _of_the_state(chooser: Chooser, latent: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """gSDE's noise, the same in deviations over all matrices, and the log of these: (batch, m)."""
    assert chooser.matrices is not None, "policies of these kinds have some"
    noise = np.einsum("bi,bij->bj", latent, chooser.matrices.of(chooser.asked))
    variance = latent**2 @ np.exp(chooser.net.log_std) ** 2
    log_std = 0.5 * np.log(variance + np.float32(SQUASH_EPSILON))
    return noise, (noise / np.exp(log_std)).astype(np.float32), log_std


def _deterministic(chooser: Chooser, x: Matrix, uniforms: NDArray[np.float64] | None) -> Choice:
    """mu(o) with normal noise, scaled to the bounds (Lillicrap et al. 2016; Fujimoto et al. 2018).

    The log-probability is the noise's, before the bounds cut it; None without noise. Noise that
    drifts has that of its newest step.
    """
    low, high = chooser.low, chooser.high
    scaled = np.tanh(chooser.net.action(x))
    logprobs = None
    if uniforms is not None and chooser.exploration >= 1.0:
        scaled, logprobs = _anywhere(uniforms, scaled.shape[1])
    elif uniforms is not None and chooser.noise > 0.0:
        drawn = normals(uniforms)
        noise, scale = drawn.astype(np.float32), chooser.noise
        if chooser.drift is None:
            scaled = scaled + np.float32(scale) * noise
        else:
            scaled, scale = scaled + chooser.drift.walk(chooser.asked, drawn), chooser.drift.scale
        scaled = scaled.clip(-1.0, 1.0)
        log_std = np.full(noise.shape[1], math.log(scale), dtype=np.float32)
        logprobs = _normal_logprobs(noise, log_std)
    actions = low + 0.5 * (scaled + 1.0) * (high - low)
    return Choice(actions.clip(low, high), logprobs, None)


def _own(chooser: Chooser, x: Matrix, uniforms: NDArray[np.float64] | None) -> Choice:
    """As the algorithm's own class says; `x` is as devices sent it."""
    assert chooser.own is not None, "made with the chooser"
    return chooser.own.choose(x, uniforms)


def _anywhere(uniforms: NDArray[np.float64], width: int) -> tuple[Matrix, Matrix]:
    """Of the whole action space, scaled to [-1, 1], as SB3 draws before learning starts."""
    scaled = (2.0 * uniforms[:, :width] - 1.0).astype(np.float32)
    return scaled, np.full(len(scaled), -math.log(2.0) * width, dtype=np.float32)


KINDS: Final[dict[PolicyKind, Callable[[Chooser, Matrix, NDArray[np.float64] | None], Choice]]] = {
    "categorical": _categorical,
    "multi_categorical": _multi_categorical,
    "bernoulli": _bernoulli,
    "gaussian": _gaussian,
    "epsilon_greedy": _epsilon_greedy,
    "epsilon_greedy_quantiles": _epsilon_greedy_quantiles,
    "squashed_gaussian": _squashed_gaussian,
    "state_dependent": _state_dependent,
    "squashed_state_dependent": _squashed_state_dependent,
    "deterministic": _deterministic,
    "own": _own,
}

MASKED: Final[
    dict[
        PolicyKind,
        Callable[[Chooser, Matrix, NDArray[np.float64] | None, NDArray[np.bool_]], Choice],
    ]
] = {"categorical": _categorical, "multi_categorical": _multi_categorical}
"""The kinds that can leave choices out."""

UNIFORMS: Final[dict[PolicyKind, Callable[[Space], int]]] = {
    "categorical": lambda _: 1,
    "multi_categorical": size,
    "bernoulli": size,
    "gaussian": lambda actions: 2 * size(actions),
    "epsilon_greedy": lambda _: 2,
    "epsilon_greedy_quantiles": lambda _: 2,
    "squashed_gaussian": lambda actions: 2 * size(actions),
    "state_dependent": lambda _: 0,
    "squashed_state_dependent": size,
    "deterministic": lambda actions: 2 * size(actions),
    "own": lambda _: 0,  # its class says
}
"""Random numbers that one action uses."""


def _normal_logprobs(noise: Matrix, log_std: Matrix) -> Matrix:
    """Log-density of mean + std * noise, summed over the dimensions."""
    return np.asarray((-0.5 * noise**2 - log_std - np.float32(LOG_SQRT_2PI)).sum(axis=1))


def _column(chosen: NDArray[np.int64]) -> Matrix:
    return chosen.astype(np.float32).reshape(-1, 1)


def _places(counts: tuple[int, ...]) -> NDArray[np.int64]:
    """Of each number's choices, where its logit stands: (m, choices), one past the end for none."""
    total = sum(counts)
    places = np.full((len(counts), max(counts)), total)
    for i, (start, n) in enumerate(zip(np.cumsum((0, *counts[:-1])), counts, strict=True)):
        places[i, :n] = np.arange(start, start + n)
    return places
