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
    """What SB3 recorded of this update, by its own names without `train/`."""
    recorded = model.logger.name_to_value
    return {
        name.removeprefix("train/"): float(value)
        for name, value in recorded.items()
        if name.startswith("train/") and np.isfinite(value)
    }
