"""What is read again of the log when a trainer resumes, and what operators did, as it reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from hub.facts import AgentMade, PolicyChosen
from hub.learner.experience.transitions import Follow
from hub.words import Agent, Event, Kind

if TYPE_CHECKING:
    from hub.learner.interface import Learner
    from hub.learner.training.measure import Measure

_decode_fact: Final = msgspec.json.Decoder(AgentMade | PolicyChosen).decode


class Refill:
    """Puts a replay buffer's rows back from the log; the snapshot holds everything else.

    Reading begins before the oldest row, at the observation it started from. What ended before
    `seq_first` had left the buffer already. `missing_reward` is the agent's until the log says
    otherwise.
    """

    def __init__(
        self,
        learner: Learner,
        measure: Measure,
        *,
        seq_first: int,
        missing_reward: float | None = None,
    ) -> None:
        self._learner = learner
        self._measure = measure
        self._seq_first = seq_first
        self._follow = Follow(missing_reward=missing_reward)
        self._learning = True

    def fold(self, event: Event) -> None:
        """Take the row in that this event completed, if it was one."""
        made = agent_made(event) if event.kind is Kind.ADMIN else None
        if made is not None:
            self._learning = made.learning and made.status == "active"
            self._follow.missing_reward = made.missing_reward
        _, transition = self._measure.learnable(event, self._follow.fold(event))
        if transition is None or transition.seq_last < self._seq_first or not self._learning:
            return
        self._learner.remember(transition)


def agent_made(event: Event) -> Agent | None:
    """The agent as this event declares it, None when it is about something else."""
    fact = fact_of(event)
    return fact.agent if isinstance(fact, AgentMade) else None


def fact_of(event: Event) -> AgentMade | PolicyChosen | None:
    """What this event tells a trainer to do, None when nothing."""
    if event.payload is None:
        return None
    try:
        fact: AgentMade | PolicyChosen = _decode_fact(event.payload)
    except msgspec.ValidationError:  # about something else
        return None
    return fact
