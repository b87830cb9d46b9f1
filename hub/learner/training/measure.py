"""What is too large to be learnt from, left out of what a trainer sees (`hub/learner/largest.py`).

measure = Measure(agent)
event, transition = measure.learnable(event, follow.fold(event))
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs

from hub.learner.largest import LARGEST, fits, is_unbounded
from hub.spaces import parse

if TYPE_CHECKING:
    from hub.learner.experience.transitions import Transition
    from hub.words import Agent, Event, Floats


class Measure:
    """Of one agent's devices."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent.name
        self._unbounded = is_unbounded(parse(agent.observations))
        self._told: set[str] = set()

    def learnable(
        self, event: Event, transition: Transition | None
    ) -> tuple[Event, Transition | None]:
        """The event without its observation, and no transition, where they are too large."""
        is_large = event.obs is not None and self._is_large(event.obs)  # what it led to, too
        if transition is not None and (
            is_large or abs(transition.reward) > LARGEST or self._is_large(transition.observation)
        ):
            self._tell(transition)
            transition = None
        if is_large:
            event = structs.replace(event, obs=None)
        return event, transition

    def _is_large(self, observation: Floats) -> bool:
        return self._unbounded and not fits(np.frombuffer(observation, dtype="<f4"))

    def _tell(self, transition: Transition) -> None:
        """Once of each device: it may go on so for days."""
        if transition.device in self._told:
            return
        self._told.add(transition.device)
        sys.stderr.write(
            f"trainer: agent {self._agent!r}, device {transition.device!r}: what it sent at seq "
            f"{transition.seq_last} is too large to be learnt from (above {LARGEST:g}); such "
            "transitions are left out\n"
        )
        sys.stderr.flush()
