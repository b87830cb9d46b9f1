"""Whole columns into Stable-Baselines3's rollout buffer, as its `add` puts them row by row.

    if takes_columns(model.rollout_buffer, observations):
        lay(model.rollout_buffer, columns)

`add` makes arrays and tensors of one number each: 25 µs a transition, a fifth of what a trainer of
a small PPO did. Only SB3's own two buffers are filled so; those of sb3-contrib keep more than these
columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeGuard

from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer

from hub.spaces import size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from stable_baselines3.common.buffers import BaseBuffer

    from hub.spaces import Space

PLAIN: Final = (RolloutBuffer, DictRolloutBuffer)
VALUES_MAX: Final = 1024
"""Of an observation; larger ones, images, are not held a second time as float32 for all of an
update."""


class Columns(NamedTuple):
    """An update's transitions in their order; all arrays have a row each."""

    observations: NDArray[Any] | dict[str, NDArray[Any]]
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    starts: NDArray[np.bool_]
    """The row begins a fragment."""
    values: NDArray[np.float32]
    logprobs: NDArray[np.float32]


def takes_columns(buffer: BaseBuffer, observations: Space) -> TypeGuard[RolloutBuffer]:
    """Whether it is one of SB3's own, and not of a kind that knows more of a row."""
    return type(buffer) in PLAIN and size(observations) <= VALUES_MAX


def lay(buffer: RolloutBuffer, columns: Columns) -> None:
    """Fill the buffer, of one environment, from its beginning."""
    buffer.reset()
    rows = len(columns.rewards)
    assert (buffer.n_envs, rows) == (1, buffer.buffer_size), "an update is as long as its buffer"
    seen: Any = columns.observations
    if isinstance(buffer, DictRolloutBuffer):
        for name, kept in buffer.observations.items():
            kept[:, 0] = seen[name].reshape(kept[:, 0].shape)
    else:
        buffer.observations[:, 0] = seen.reshape(buffer.observations[:, 0].shape)
    buffer.actions[:, 0] = columns.actions.reshape(rows, -1)
    buffer.rewards[:, 0] = columns.rewards
    buffer.episode_starts[:, 0] = columns.starts
    buffer.values[:, 0] = columns.values
    buffer.log_probs[:, 0] = columns.logprobs
    buffer.pos, buffer.full = rows, True
