"""How far a model of the library's has come, and what it says of an update."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


def advance(model: BaseAlgorithm, total: int) -> None:
    """Move SB3's schedules on; past their end they stay there."""
    model._update_current_progress_remaining(min(model.num_timesteps, total), total)


def metrics(model: BaseAlgorithm) -> dict[str, float]:
    """What SB3 recorded since it was asked last, by its own names without `train/`.

    Of several calls of `train()`, what the last one recorded of each.
    """
    recorded = dict(model.logger.name_to_value)
    model.logger.dump()  # nowhere; else an update of TD3's critics would say its actor's loss again
    return {
        name.removeprefix("train/"): float(value)
        for name, value in recorded.items()
        if name.startswith("train/") and np.isfinite(value)
    }
