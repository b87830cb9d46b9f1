"""On-policy updates that are larger than a rollout, where devices are faster than training.

    most = model.n_steps * rollouts_max(model, observations)
    train(model, count)                      # its buffer holds so many transitions

A gradient step of a small network costs mostly what is around it, so of a larger batch it takes
hardly longer. What an update was is in the log: these bounds may change, `rebuild` obeys that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hub.learner.sb3.laying import takes_columns
from hub.spaces import size
from hub.words import FLOAT_BYTES

if TYPE_CHECKING:
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

    from hub.spaces import Space

ROLLOUTS_MAX: Final = 8
"""Four together cost the gradient steps twice the time of one (PPO, 64 by 64: 56, 75, 108 and
185 ms for 256 to 2,048 transitions)."""
MULTIPLIED_MAX: Final = 40_000_000
"""Weights times rows of a gradient step that may be made larger: with more of them a step takes as
long for each row as before (256 by 256: 4.7 and 32.6 ms for 256 and 2,048 rows)."""
GATHERED_BYTES_MAX: Final = 1 << 26
"""Of transitions for an update that is made larger: a memory limit was chosen for one rollout."""
TRANSITION_BYTES: Final = 1024
"""Beside its observations, about."""


def rollouts_max(model: OnPolicyAlgorithm, observations: Space) -> int:
    """How many rollouts one update may take, where its buffer can be made longer."""
    if not takes_columns(model.rollout_buffer, observations):
        return 1
    weights = sum(weight.numel() for weight in model.policy.parameters())
    multiplied = weights * getattr(model, "batch_size", model.n_steps)
    transition_bytes = 2 * FLOAT_BYTES * size(observations) + TRANSITION_BYTES
    fit = GATHERED_BYTES_MAX // (transition_bytes * model.n_steps)
    return max(1, min(ROLLOUTS_MAX, MULTIPLIED_MAX // multiplied, fit))


def train(model: Any, count: int) -> None:  # noqa: ANN401 - not all have a batch
    """With no more gradient steps than of one rollout, each of a batch larger in proportion."""
    batch_size = getattr(model, "batch_size", None)  # A2C has none: a step sees everything
    if batch_size is not None:
        model.batch_size = -(-batch_size * count // model.n_steps)
    try:
        model.train()
    finally:
        if batch_size is not None:
            model.batch_size = batch_size
