"""The random state of each model, where torch and numpy have one for a whole process.

    random = Randomness()
    random.hold()             # what is drawn from now on is this model's

A process with one model never swaps. With several, each draws what it would draw alone, so that a
replica with its own network learns what it would learn without the others, bit for bit.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch


class Randomness:
    """One model's share of the generators."""

    _holder: ClassVar[Randomness | None] = None

    def __init__(self) -> None:
        self._state: tuple[torch.Tensor, Any] | None = None
        """Both states while another draws; None before the first time."""

    def hold(self) -> None:
        """Let both generators go on where this model last drew from them."""
        holder = Randomness._holder
        if holder is self:
            return
        if holder is not None:
            holder._state = torch.get_rng_state(), np.random.get_state(legacy=True)
        if self._state is not None:
            torch_state, numpy_state = self._state
            torch.set_rng_state(torch_state)
            np.random.set_state(numpy_state)
        Randomness._holder = self
