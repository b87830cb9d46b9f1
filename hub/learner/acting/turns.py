"""Whose turn it is on a device that has a network beside the shared policy: one for an episode.

    turns = Turns(card, before)
    turns.is_own(question)

Strictly in turn, so that both are compared on as many episodes of the same days. Kept nowhere but
here: after a restart a device in mid-episode goes on by the shared policy, and the log has of each
action which network acted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from hub.learner.columns import Question
    from hub.learner.versions.policy import Card

MOSTLY_OWN = 3
"""Of so many episodes or more, all but one are by the device's own network: it was better."""


class _Turn(NamedTuple):
    boot: int
    is_own: bool
    episodes: int
    """Begun since it has a network of its own."""


class Turns:
    """Of one version."""

    def __init__(self, card: Card, before: Turns | None = None) -> None:
        self._every = {
            device: replica.shared_every
            for device, replica in (card.replicas or {}).items()
            if replica.shared_every
        }
        known: dict[str, _Turn] = {} if before is None else before._now
        self._now: dict[str, _Turn] = {
            device: turn for device, turn in known.items() if device in self._every
        }

    def is_own(self, question: Question, *, greedy: bool) -> bool:
        """Whether the device's own network acts.

        Args:
            question: of any device.
            greedy: nothing is learnt, so nothing is to be found out: the better network acts.
        """
        every = self._every.get(question.device)
        if every is None:
            return False
        if greedy:
            return every >= MOSTLY_OWN
        turn = self._now.get(question.device)
        if question.first or (turn is not None and turn.boot != question.boot):
            episodes = 1 if turn is None else turn.episodes + 1
            turn = _Turn(question.boot, episodes % every != 0, episodes)
            self._now[question.device] = turn
        return turn is not None and turn.is_own
