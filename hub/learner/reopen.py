"""A learner that goes on as another: with other parameters, or from weights an operator chose.

What a trainer is after it depends on the log alone: random state comes with the tensors, and what
was gathered for the next update, whose extent depends on how busy the machine was, is left behind.
The replay buffer goes along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hub.errors import HubFault
from hub.learner.open import open_learner
from hub.learner.sb3 import OffPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from stable_baselines3.common.buffers import ReplayBuffer

    from hub.learner.interface import Learner
    from hub.learner.policy import Card, Tensors
    from hub.learner.sb3 import OnPolicy
    from hub.words import Agent


def reopen(before: Learner, agent: Agent, card: Card, tensors: Tensors) -> Learner:
    """A learner of the agent as it stands, at a version's weights, with the rows of another.

    Raises:
        HubFault: the tensors are of another network.
    """
    learner = open_learner(agent)
    try:
        learner.take_up(card, tensors)
    except (KeyError, ValueError) as error:
        raise HubFault(f"its tensors are not those of {agent.algorithm}: {error}") from error
    learner.inherit(before)
    return learner


def begin_again(before: Learner, agent: Agent) -> Learner:
    """A learner of the agent as it stands, with new weights and all that another has seen."""
    learner = open_learner(agent)
    learner.inherit(before)
    learner.see_as(before)
    return learner


def carry_rows(before: OnPolicy | OffPolicy, learner: OnPolicy | OffPolicy) -> None:
    """Put the newest rows of one replay buffer into another, oldest first; on-policy: nothing."""
    if not isinstance(before, OffPolicy) or not isinstance(learner, OffPolicy):
        return
    source, target = before.model.replay_buffer, learner.model.replay_buffer
    assert source is not None, "made with the model"
    assert target is not None, "made with the model"
    if source.buffer_size == target.buffer_size:
        # Rows keep their places, where a refill from the log will put them.
        learner.model.replay_buffer = source
        learner.started, learner.ended = before.started, before.ended
        return
    first = source.pos if source.full else 0
    rows = (first + np.arange(source.size())) % source.buffer_size
    rows = rows[-target.buffer_size :]
    for kept, taken in zip(_columns(source), _columns(target), strict=True):
        taken[: len(rows)] = kept[rows]
    learner.started[: len(rows)] = before.started[rows]
    learner.ended[: len(rows)] = before.ended[rows]
    target.full = len(rows) == target.buffer_size
    target.pos = len(rows) % target.buffer_size


def _columns(buffer: ReplayBuffer) -> Iterator[NDArray[Any]]:
    """The arrays that hold a row each, in one order; a Dict space has one for each part."""
    for name in ("observations", "next_observations", "actions", "rewards", "dones", "timeouts"):
        column: Any = getattr(buffer, name)
        if isinstance(column, dict):
            yield from (part for _, part in sorted(column.items()))
        else:
            yield column
