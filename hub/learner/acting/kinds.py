"""How an action is drawn, by the kind of a policy: for a batch, with masks, and for one alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hub.learner.acting import alone, continuous, discrete
from hub.learner.interface import Choices
from hub.spaces import Box, Dict, choices, size

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hub.learner.acting.drawing import Drawing
    from hub.learner.algorithms.row import PolicyKind
    from hub.spaces import Space

    Matrix = NDArray[np.float32]
    Uniforms = NDArray[np.float64]
    """(batch, as many as `UNIFORMS` says), in (0, 1)."""
    DrawAlone = Callable[[Drawing, Matrix, list[float] | None], alone.One]

GAUSSIAN: Final = ("gaussian", "squashed_gaussian")


def _own(drawing: Drawing, x: Matrix, uniforms: Uniforms | None) -> Choices:
    """As the algorithm's own class says; `x` is as devices sent it."""
    assert drawing.own is not None, "made with the chooser"
    actions, logprobs, values, raw = drawing.own.choose(x, uniforms)
    # Its class is somebody else's: numbers of float64 would be taken for twice as many.
    return Choices(
        actions.astype(np.float32, copy=False),
        None if logprobs is None else logprobs.astype(np.float32, copy=False),
        None if values is None else values.astype(np.float32, copy=False),
        None if raw is None else raw.astype(np.float32, copy=False),
    )


KINDS: Final[dict[PolicyKind, Callable[[Drawing, Matrix, Uniforms | None], Choices]]] = {
    "categorical": discrete.categorical,
    "multi_categorical": discrete.multi_categorical,
    "bernoulli": discrete.bernoulli,
    "gaussian": continuous.gaussian,
    "epsilon_greedy": discrete.epsilon_greedy,
    "epsilon_greedy_quantiles": discrete.epsilon_greedy_quantiles,
    "squashed_gaussian": continuous.squashed_gaussian,
    "state_dependent": continuous.state_dependent,
    "squashed_state_dependent": continuous.squashed_state_dependent,
    "deterministic": continuous.deterministic,
    "own": _own,
}

MASKED: Final[
    dict[
        PolicyKind,
        Callable[[Drawing, Matrix, Uniforms | None, NDArray[np.bool_]], Choices],
    ]
] = {"categorical": discrete.categorical, "multi_categorical": discrete.multi_categorical}
"""The kinds that can leave choices out."""

ALONE: Final[dict[PolicyKind, DrawAlone]] = {
    "categorical": alone.categorical,
    "gaussian": alone.gaussian,
    "epsilon_greedy": alone.epsilon_greedy,
    "squashed_gaussian": alone.squashed_gaussian,
    "deterministic": alone.deterministic,
}
"""The kinds that have a quicker form for one observation."""
WIDE: Final = 16
"""So many numbers an action has at most where that form is the quicker one (SAC: 62 and 67 µs)."""
MANY: Final = 128
"""The same of choices (1,000 take three times as long as in numpy, 100 half)."""


def alone_of(kind: PolicyKind, drawing: Drawing) -> DrawAlone | None:
    """The form for one observation; None where it gains nothing, or noise drifts."""
    actions = drawing.actions
    wide = size(actions) > WIDE if isinstance(actions, Box | Dict) else sum(choices(actions)) > MANY
    return None if wide or drawing.drift is not None else ALONE.get(kind)


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
