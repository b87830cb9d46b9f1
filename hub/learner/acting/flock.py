"""The actor's half of a flock: each device acts by its own network, others by the one that leads.

Of a guarded policy the shared one leads, and a device with a network of its own takes turns.

chooser = open_chooser(read_policy(path), seed=agent.seed, before=chooser)
choices = chooser.choose(questions, greedy=False)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from hub.learner.acting.advisers import Advisers
from hub.learner.acting.choose import Chooser
from hub.learner.acting.guests import Guests
from hub.learner.acting.turns import Turns
from hub.learner.columns import Questions
from hub.learner.messages import NOTHING, Drawn
from hub.learner.versions.parts import alone
from hub.learner.versions.policy import PolicyFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.learner.columns import Chosen, Question
    from hub.learner.versions.parts import Part
    from hub.step import Choice

OWN: Final = Drawn(own=True)


class Choosing(Protocol):
    """One version, ready to act."""

    version: int

    def choose(self, questions: Questions, *, greedy: bool) -> Chosen:
        """An action for each question, in order, as the log will have it."""
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
        return Chooser(policy, seed, _lead_of(before, policy))
    return FlockChooser(policy, seed, before, guests)


def _lead_of(before: Choosing | None, policy: PolicyFile) -> Chooser | None:
    """What acted for devices without a network of their own, where that is the same policy's."""
    if isinstance(before, FlockChooser):
        return before.lead if policy.card.sharing == "shared" else None
    return before if isinstance(before, Chooser) else None


class FlockChooser:
    """A Chooser for each network; those that did not change are kept.

    Attributes:
        networks: of this version, by the SHA-256 of their files.
        lead: acts for devices without a network.
    """

    def __init__(
        self,
        policy: PolicyFile,
        seed: int,
        acted: Choosing | None = None,
        guests: Guests | None = None,
    ) -> None:
        """`acted` did until now."""
        card, tensors = policy.card, policy.tensors
        before = acted if isinstance(acted, FlockChooser) else None
        self.version = card.version
        self.networks: dict[str, Part] = {}
        self._own: dict[str, Chooser] = {}
        self._files: dict[str, str] = {}
        known = {} if before is None else before.networks
        for device, replica in (card.replicas or {}).items():
            sha256 = self._files[device] = replica.sha256
            part = known.get(sha256) or alone(card, tensors, device)
            self.networks[sha256] = part
            own = None if before is None else before._own.get(device)
            if own is None or before is None or before._files[device] != sha256:
                own = Chooser(PolicyFile(*part, sha256), seed, own)
            own.version = card.version
            self._own[device] = own
        self._guests = Guests() if guests is None else guests
        self._advisers: Advisers | None = None
        """None where nobody advises anybody."""
        if card.sharing == "advice":
            self._advisers = Advisers(card, seed, None if before is None else before._advisers)
        self._turns: Turns | None = None
        """None where every device acts by its own network alone."""
        if card.sharing == "shared":
            self._turns = Turns(card, None if before is None else before._turns)
        lead = PolicyFile(*alone(card, tensors, None), policy.sha256)
        led = _lead_of(acted, policy) if before is None else before.lead
        self.lead: Chooser = Chooser(lead, seed, led)

    def choose(self, questions: Questions, *, greedy: bool) -> Chosen:
        """As each question's device would by itself, or with its adviser."""
        if self._advisers is not None and not greedy:
            return [self._advised(self._advisers, question) for question in questions]
        if len(questions) == 1 and self._turns is None:
            return self._of(questions.devices[0]).choose(questions, greedy=greedy)
        asked: dict[Chooser, dict[int, Question]] = {}
        for i, question in enumerate(questions):
            asked.setdefault(self._acts_for(question, greedy=greedy), {})[i] = question
        choices: dict[int, Choice] = {}
        for chooser, some in asked.items():
            beside = NOTHING if self._turns is None or chooser is self.lead else OWN
            together = Questions.of(list(some.values()))
            chosen = chooser.choose(together, greedy=greedy, beside=beside)
            choices.update(zip(some, chosen, strict=True))
        return [choices[i] for i in range(len(questions))]

    def asks(self, question: Question) -> str | None:
        """Who elsewhere has to be asked before it can be chosen; None = it can be now."""
        if self._advisers is None or question.device not in self._own:
            return None
        adviser = self._advisers.of(question, self._guests.names)
        return adviser if adviser in self._guests.asked else None

    def _advised(self, advisers: Advisers, question: Question) -> Choice:
        own, alone = self._of(question.device), Questions.of([question])
        adviser, advice = None, None
        if question.device in self._own:
            adviser = advisers.of(question, self._guests.names)
        if adviser is not None:
            peer, guests = self._own.get(adviser), self._guests
            advice = guests.advise(adviser, alone) if peer is None else peer.advise(alone)
        if adviser is None or advice is None:  # or a guest that has nothing to say
            (choice,) = own.choose(alone, greedy=False)
            return choice
        return own.choose_advised(alone, adviser, advice)

    def forget(self) -> None:
        """Begin anew with every device."""
        for chooser in (self.lead, *self._own.values()):
            chooser.forget()

    def _acts_for(self, question: Question, *, greedy: bool) -> Chooser:
        if self._turns is not None and not self._turns.is_own(question, greedy=greedy):
            return self.lead
        return self._of(question.device)

    def _of(self, device: str) -> Chooser:
        return self._own.get(device, self.lead)
