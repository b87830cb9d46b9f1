"""Opens what an algorithm's row names: its learner in trainers, its own chooser in actors.

    learner = open_learner(agent)
    chooser = own_chooser(card, tensors)

Nothing of them is imported before. A policy file names no class: what runs is what is installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hub.errors import HubFault, OperatorFault
from hub.learner.algorithms import elsewhere
from hub.learner.algorithms.parameters import algorithm_of, read_parameters
from hub.learner.flock import Flock
from hub.learner.guarded import GuardedFlock

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.learner.interface import Learner, OwnChooser
    from hub.learner.versions.policy import Card, Tensors
    from hub.words import Agent


def open_learner(agent: Agent) -> Learner:
    """A learner as the agent declares it, its weights drawn from the agent's seed.

    Raises: as `open_one`.
    """
    parameters = read_parameters(agent)
    if parameters.replicas:
        return Flock(agent, open_one, parameters.replicas, parameters.advice_choice)
    if parameters.guard is not None:
        return GuardedFlock(agent, open_one, parameters.guard)
    return open_one(agent)


def open_one(agent: Agent) -> Learner:
    """A learner of one network, however many the agent's devices have.

    Raises:
        OperatorFault: the agent can't be learnt as declared.
        HubFault: its algorithm comes from elsewhere, and its class can't be loaded.
    """
    row = algorithm_of(agent)
    learner: Learner = _named(row.learner, row.name)(agent, read_parameters(agent))
    return learner


def own_chooser(card: Card, tensors: Tensors) -> OwnChooser:
    """What draws the actions of a version whose Card says `own`.

    Raises:
        HubFault: its algorithm is not installed here, or its class can't be loaded.
    """
    try:
        row = elsewhere.find(card.algorithm)
    except OperatorFault as error:  # it was broken since
        raise HubFault(str(error)) from error
    if row is None or row.chooser is None:
        raise HubFault(f"nothing installed draws actions of algorithm {card.algorithm!r}")
    chooser: OwnChooser = _named(row.chooser, row.name)(card, tensors)
    return chooser


def _named(text: str, algorithm: str) -> Callable[..., Any]:
    """What `module:name` means, imported now."""
    module, _, name = text.partition(":")
    try:
        found: Callable[..., Any] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise HubFault(
            f"algorithm {algorithm!r} names {text!r}, which can't be loaded: {error}"
        ) from error
    return found
