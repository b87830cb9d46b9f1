"""A policy for a new agent, trained at once from all that another agent's devices went through.

    trained = train_again(agent, events, folder)

Off-policy algorithms learn from what others did, so any log will do; an on-policy one needs actions
drawn by its own policy, of which another's log has none. Gradient steps are those that a trainer
would have made that was never behind, so the same log and agent give the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from hub.errors import OperatorFault
from hub.learner.algorithms.parameters import algorithm_of, read_parameters, that_learn_from_others
from hub.learner.experience.transitions import Follow
from hub.learner.interface import Unsound
from hub.learner.open import open_one
from hub.learner.training.measure import Measure
from hub.learner.versions.policy import IMPORTED, write_policy
from hub.words import EXTERNAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from hub.words import Agent, Event

LOOK_TRANSITIONS = 1_000
"""How often the weights are looked at: training on what is not finite would be for nothing."""


class Trained(Struct, frozen=True):
    """What came of it."""

    sha256: str
    """Of the policy's file, which lies in the folder under the agent's name."""
    transitions: int
    gradient_steps: int


def check_learns_from_others(agent: Agent) -> None:
    """Refuse an agent that can't be trained from a log it did not fill itself.

    Raises:
        OperatorFault: its algorithm is on-policy; or a parameter is wrong.
    """
    read_parameters(agent)
    if algorithm_of(agent).family == "off_policy":
        return
    why = (
        "is not trained here"
        if agent.algorithm == EXTERNAL
        else "learns only from actions that its own policy drew; those in the log are another's"
    )
    others = ", ".join(that_learn_from_others(agent))
    raise OperatorFault(
        f"{agent.algorithm} {why}; choose one that learns from what others did: {others}"
    )


def train_again(
    agent: Agent,
    events: Iterable[Event],
    folder: Path,
    *,
    told: Callable[[int], None] = lambda _: None,
) -> Trained:
    """Train the agent on every transition whose action is known, in the order of the log.

    Args:
        agent: the new one; `missing_reward` is its own.
        events: OBSERVATION and ACTION of the other agent, in order.
        folder: where the policy is written.
        told: called with the seq of each event.

    Raises:
        OperatorFault: `check_learns_from_others`; or there was nothing to learn from, or what came
            of it is not finite.
    """
    check_learns_from_others(agent)
    learner = open_one(agent)
    follow, measure = Follow(missing_reward=agent.missing_reward), Measure(agent)
    taken = updates = 0
    try:
        for event in events:
            told(event.seq)
            event, transition = measure.learnable(event, follow.fold(event))
            learner.see(event, transition)
            if transition is None:
                continue
            taken += transition.executed is not None or transition.action is not None
            with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at
                updates += learner.learn(transition, version=0, behind=False) is not None
            if taken % LOOK_TRANSITIONS == 0 and not learner.is_sound():
                break
    except Unsound as error:
        raise _unsound(taken) from error
    if not updates and not learner.gradient_steps:
        raise OperatorFault(
            f"{taken} transitions are too few for {agent.algorithm} to learn from: "
            "its learning_starts says how many it gathers first"
        )
    if not learner.is_sound():
        raise _unsound(taken)
    card = learner.card(agent, version=IMPORTED, parent=None, position=0)
    sha256 = write_policy(folder, agent.name, card, learner.tensors())
    return Trained(sha256, taken, learner.gradient_steps)


def _unsound(taken: int) -> OperatorFault:
    return OperatorFault(
        f"the weights were no longer finite after {taken} transitions; try a smaller learning_rate"
    )
