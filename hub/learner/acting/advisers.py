"""Who advises whom now, in the actor: one peer or nobody for an episode, or any peer at each step.

    advisers = Advisers(card, seed, before)
    adviser = advisers.of(question)          # a device, or None

Kept nowhere but here: after a restart a device in mid-episode chooses again, and each action in the
log says who was asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hub.advice.trust import Arms, choose
from hub.learner.acting.chance import Chance, normals
from hub.learner.columns import Questions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.learner.columns import Question
    from hub.learner.versions.policy import Card

STREAM: Final = 0x5EED
"""Apart from the randomness of actions."""


class Advisers:
    """Of one version."""

    def __init__(self, card: Card, seed: int, before: Advisers | None = None) -> None:
        self._peers = card.advisers
        self._trust = card.trust
        self._at_random = card.advice_choice == "random"
        self._seed = seed ^ STREAM
        self._chance = Chance(self._seed, 2 * (len(self._peers) + 1))
        self._now: dict[str, tuple[int, str | None]] = {} if before is None else before._now
        """Of each device, the boot it is in and who advises it in this episode."""

    def of(self, question: Question, guests: Sequence[str] = ()) -> str | None:
        """Who advises the question's device, one of its peers or a guest."""
        device = question.device
        peers = [peer for peer in self._peers if peer != device]
        peers += guests
        if not peers:
            return None
        if self._at_random:
            drawn = self._chance.uniforms(Questions.of([question]))[0, 0]
            return peers[int(drawn * len(peers))]
        boot, adviser = self._now.get(device, (-1, None))
        known = adviser is None or adviser in peers
        if question.first or boot != question.boot or not known:
            uniforms = self._chance_of(len(guests)).uniforms(Questions.of([question]))
            numbers = normals(uniforms)[0].tolist()
            arms = self._trust.get(device, Arms())
            adviser = choose(arms, peers, numbers[: len(peers) + 1])
            self._now[device] = question.boot, adviser
        return adviser

    def _chance_of(self, guests: int) -> Chance:
        """With numbers for all who can be chosen."""
        count = 2 * (len(self._peers) + guests + 1)
        if self._chance.count != count:
            self._chance = Chance(self._seed, count)
        return self._chance
