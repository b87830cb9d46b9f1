"""A learner that goes on as another: with other parameters, or from weights an operator chose.

What a trainer is after it depends on the log alone: random state comes with the tensors, and what
was gathered for the next update, whose extent depends on how busy the machine was, is left behind.
The replay buffer goes along, unless one of both is of whole episodes and the other is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.errors import HubFault
from hub.learner.flock import Flock
from hub.learner.guarded import GuardedFlock
from hub.learner.open import open_learner
from hub.learner.versions.parts import alone, without_gathered

if TYPE_CHECKING:
    from hub.learner.interface import Learner
    from hub.learner.versions.policy import Card, Tensors
    from hub.words import Agent


def reopen(before: Learner, agent: Agent, card: Card, tensors: Tensors) -> Learner:
    """A learner of the agent as it stands, at a version's weights, with the rows of another.

    Raises:
        HubFault: the tensors are of another network.
    """
    learner = open_learner(agent)
    if not isinstance(learner, Flock) or learner.folded not in tensors:
        card, tensors = alone(card, tensors, None)
    try:
        learner.take_up(card, without_gathered(tensors))
    except (KeyError, ValueError) as error:
        raise HubFault(f"its tensors are not those of {agent.algorithm}: {error}") from error
    learner.inherit(_left_by(learner, before))
    return learner


def begin_again(before: Learner, agent: Agent) -> Learner:
    """A learner of the agent as it stands, with new weights and all that another has seen."""
    learner = open_learner(agent)
    learner.inherit(_left_by(learner, before))
    learner.see_as(_as(learner, before))
    return learner


def see_as(learner: Learner, before: Learner) -> None:
    """Scale what it sees as the learner before, whatever either is made of."""
    learner.see_as(_as(learner, before))


def _left_by(learner: Learner, before: Learner) -> Learner:
    """What of the learner before another takes rows over from."""
    if isinstance(before, GuardedFlock) and not isinstance(learner, Flock):
        return before.unguarded()
    return before


def _as(learner: Learner, before: Learner) -> Learner:
    """What of the learner before another can go on from: of a guarded policy its shared one."""
    if isinstance(before, GuardedFlock) and not isinstance(learner, Flock):
        return before.shared
    return before
