"""The actor's half of a flock: each device acts by its own network, others by the one that leads.

chooser = open_chooser(read_policy(path), seed=agent.seed, before=chooser)
replies = chooser.choose(questions, greedy=False)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import structs

from hub.learner.acting.advisers import Advisers
from hub.learner.acting.choose import Chooser
from hub.learner.acting.guests import Guests
from hub.learner.messages import Advice
from hub.learner.versions.parts import alone
from hub.learner.versions.policy import PolicyFile
from hub.words import Floats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hub.learner.messages import Question, Reply
    from hub.learner.versions.parts import Part


class Choosing(Protocol):
    """One version, ready to act."""

    version: int

    def choose(self, questions: Sequence[Question], *, greedy: bool) -> list[Reply]:
        """A reply to each question, in order."""
        ...

    def forget(self) -> None:
        """Begin anew with every device."""
        ...

    @property
    def networks(self) -> Mapping[str, Part]:
        """Those that the next version need not read again."""
        ...


def open_chooser(
    policy: PolicyFile, seed: int, before: Choosing | None = None, guests: Guests | None = None
) -> Choosing:
    """What acts by a version; what `before` had going on a device goes on, where it can.

    `guests` may advise the replicas of a flock as their peers do.
    """
    if policy.card.replicas is None:
        return Chooser(policy, seed, before if isinstance(before, Chooser) else None)
    before = before if isinstance(before, FlockChooser) else None
    return FlockChooser(policy, seed, before, guests)


class FlockChooser:
    """A Chooser for each network; those that did not change are kept.

    Attributes:
        networks: of this version, by the SHA-256 of their files.
    """

    def __init__(
        self,
        policy: PolicyFile,
        seed: int,
        before: FlockChooser | None = None,
        guests: Guests | None = None,
    ) -> None:
        card, tensors = policy.card, policy.tensors
        self.version = card.version
        self.networks: dict[str, Part] = {}
        self._own: dict[str, Chooser] = {}
        self._files: dict[str, str] = {}
        known = {} if before is None else before.networks
        for device, replica in (card.replicas or {}).items():
            sha256 = self._files[device] = replica.sha256
            part = known.get(sha256) or alone(card, tensors, device)
            self.networks[sha256] = part
            acted = None if before is None else before._own.get(device)
            if acted is None or before is None or before._files[device] != sha256:
                acted = Chooser(PolicyFile(*part, sha256), seed, acted)
            acted.version = card.version
            self._own[device] = acted
        self._guests = Guests() if guests is None else guests
        self._advisers: Advisers | None = None
        """None where nobody advises anybody."""
        if card.sharing == "advice":
            self._advisers = Advisers(card, seed, None if before is None else before._advisers)
        lead = PolicyFile(*alone(card, tensors, None), policy.sha256)
        self._lead: Chooser = Chooser(lead, seed, None if before is None else before._lead)

    def choose(self, questions: Sequence[Question], *, greedy: bool) -> list[Reply]:
        """As each question's device would by itself, or with its adviser."""
        if self._advisers is not None and not greedy:
            return [self._advised(self._advisers, question) for question in questions]
        if len(questions) == 1:
            return self._of(questions[0].device).choose(questions, greedy=greedy)
        asked: dict[Chooser, list[int]] = {}
        for i, question in enumerate(questions):
            asked.setdefault(self._of(question.device), []).append(i)
        replies: list[Reply | None] = [None] * len(questions)
        for chooser, places in asked.items():
            some = chooser.choose([questions[i] for i in places], greedy=greedy)
            for i, reply in zip(places, some, strict=True):
                replies[i] = reply
        return [reply for reply in replies if reply is not None]

    def _advised(self, advisers: Advisers, question: Question) -> Reply:
        own = self._of(question.device)
        if question.device not in self._own:
            return own.choose([question], greedy=False)[0]
        adviser = advisers.of(question, self._guests.names)
        if adviser is None:
            return own.choose([question], greedy=False)[0]
        peer = self._own.get(adviser)
        advice = self._guests.advise(adviser, question) if peer is None else peer.advise(question)
        if advice is None:  # a guest that has nothing to say
            return own.choose([question], greedy=False)[0]
        reply = own.choose_advised(question, advice)
        return structs.replace(reply, advice=Advice(adviser, Floats(advice.tobytes())))

    def forget(self) -> None:
        """Begin anew with every device."""
        for chooser in (self._lead, *self._own.values()):
            chooser.forget()

    def _of(self, device: str) -> Chooser:
        return self._own.get(device, self._lead)
