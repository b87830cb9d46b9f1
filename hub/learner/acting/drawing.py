"""What a version's actions are drawn with: its layers, the space of actions, and its noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hub.learner.acting.exploring import Drift, Matrices
from hub.learner.acting.net import Net
from hub.learner.open import own_chooser
from hub.spaces import Box, MultiBinary, MultiDiscrete, choices, parse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hub.learner.columns import Questions
    from hub.learner.versions.policy import PolicyFile

STATE_DEPENDENT: Final = ("state_dependent", "squashed_state_dependent")


class Drawing:
    """Of one version; the functions in `discrete.py` and `continuous.py` draw with it.

    Attributes:
        asked: the batch at hand.
        net: of every kind but `own`.
        exploration: share of actions drawn uniformly from the action space.
        noise: standard deviation, on an action scaled to [-1, 1].
        low: bounds of a Box, float32 (m,).
        high: the same.
        middle: between them, float32 (m,).
        half: from there to either; the whole may be further than float32 goes.
        ranges: both of each number; empty where actions are choices.
        places: of `multi_categorical`, as `_places` has them.
    """

    def __init__(
        self, policy: PolicyFile, seed: int, before: Drawing | None = None, *, slots: int = 0
    ) -> None:
        """`before` was drawn with until now: noise that it had going on a device goes on.

        `slots` = the net adds them; 0 = they are among the features.
        """
        self.asked: Questions
        card, tensors = policy.card, policy.tensors
        self.actions = parse(card.actions)
        self.own = own_chooser(card, tensors) if card.kind == "own" else None
        if self.own is None:
            layers = (card.action_layers, card.value_layers)
            apart = bool(card.recurrent)
            self.net = Net(tensors, card.activation, *layers, card.spread, slots=slots, apart=apart)
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
        self.exploration = card.exploration
        self.noise = card.noise
        self.ranges: list[tuple[float, float]] = []
        if isinstance(self.actions, Box):
            self.low = np.array(self.actions.low, dtype=np.float32)
            self.high = np.array(self.actions.high, dtype=np.float32)
            self.middle = 0.5 * self.low + 0.5 * self.high
            self.half = 0.5 * self.high - 0.5 * self.low
            self.ranges = list(zip(self.low.tolist(), self.high.tolist(), strict=True))
        if card.kind == "multi_categorical":
            assert isinstance(self.actions, (MultiDiscrete, MultiBinary)), "it has no other"
            self.places = _places(choices(self.actions))


def _places(counts: tuple[int, ...]) -> NDArray[np.int64]:
    """Of each number's choices, where its logit stands: (m, choices), one past the end for none."""
    total = sum(counts)
    places = np.full((len(counts), max(counts)), total)
    for i, (start, n) in enumerate(zip(np.cumsum((0, *counts[:-1])), counts, strict=True)):
        places[i, :n] = np.arange(start, start + n)
    return places
