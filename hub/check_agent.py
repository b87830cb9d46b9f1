"""Whether an agent, as it is declared, can be served: asked before it is made or changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from hub.action.safety import read_rules
from hub.learner.algorithms.parameters import check_advised, read_parameters
from hub.registry.fold import spec_of

if TYPE_CHECKING:
    from hub.words import Agent


def check_agent(agent: Agent) -> None:
    """Refuse an agent that no learner could run, or whose safety rules no guard could keep.

    Raises:
        OperatorFault: with what would be right.
    """
    read_parameters(agent)
    check_advised(agent)
    read_rules(spec_of(structs.replace(agent, reward=None)))  # which has been read, with its names
