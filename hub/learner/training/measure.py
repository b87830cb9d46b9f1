"""Numbers too large to be learnt from: one broken sensor must not stop what all devices share.

    measure = Measure(agent)
    event, transition = measure.learnable(event, transition)

An observation may be unbounded, and 3e38 is a float32. What a network makes of it is not: the
update of all that it went into is dropped, and so is each one after it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import numpy as np
from msgspec import structs

from hub.spaces import Dict, bounds, parse

if TYPE_CHECKING:
    from hub.learner.experience.transitions import Transition
    from hub.words import Agent, Event, Floats

LARGEST: Final = 1e12
"""Of a reward, and of an observation's length. Losses have squares of both in them, and gradients
their product: 1e36 is the last power of ten that float32 has room above."""


class Measure:
    """Of one agent's devices."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent.name
        space = parse(agent.observations)
        leaves = space.spaces.values() if isinstance(space, Dict) else [space]
        sides = [side for leaf in leaves for side in bounds(leaf)]
        self._unbounded = max(abs(bound) for side in sides for bound in side) > LARGEST
        self._told: set[str] = set()

    def learnable(
        self, event: Event, transition: Transition | None
    ) -> tuple[Event, Transition | None]:
        """The event without its observation, and no transition, where they are too large."""
        if transition is not None and (
            abs(transition.reward) > LARGEST
            or self._is_large(transition.observation)
            or self._is_large(transition.next_observation)
        ):
            self._tell(transition)
            transition = None
        if event.obs is not None and self._is_large(event.obs):
            event = structs.replace(event, obs=None)
        return event, transition

    def _is_large(self, observation: Floats) -> bool:
        if not self._unbounded:
            return False
        numbers = np.frombuffer(observation, dtype="<f4")
        return not numbers.dot(numbers) <= LARGEST**2

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
