"""Questions that wait for an adviser elsewhere, in the actor: for a while, and none for long.

    consults = Consults(guests, clock)
    now, consult = consults.hold(chooser, [questions])     # to be chosen now; to be asked
    ready = consults.hear(counsel) + consults.late()       # to be chosen with what was said, or not

Rule 1: nothing waits beyond `within_s`. Then it is chosen without advice, as if nobody were asked.
Rule 2: who is late `MISSES_MAX` times in a row is not asked for `REST_S`: its silence does not cost
    each step the whole wait.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from hub.learner.acting.flock import FlockChooser
from hub.learner.columns import Questions
from hub.learner.messages import Consult

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.learner.acting.flock import Choosing
    from hub.learner.acting.guests import Guests
    from hub.learner.columns import Question
    from hub.learner.messages import Counsel, Invite

MISSES_MAX: Final = 3
REST_S: Final = 10.0


class _Held(NamedTuple):
    question: Question
    adviser: str
    until_s: float


class Consults:
    """Of one actor.

    Args:
        guests: where what was said is laid down, for the chooser.
        clock: for waits.
    """

    def __init__(self, guests: Guests, clock: Clock) -> None:
        self._guests = guests
        self._clock = clock
        self._within_s = 0.0
        self._held: dict[int, _Held] = {}
        """By the question's id, in the order of asking."""
        self._misses: dict[str, int] = {}
        self._rests_until_s: dict[str, float] = {}

    def invite(self, invite: Invite) -> None:
        """These guests from now on; who is new has missed nothing."""
        self._guests.invite(invite.guests, invite.asked)
        self._within_s = invite.within_s
        self._misses = {name: self._misses.get(name, 0) for name in invite.asked}
        now_s, rests = self._clock.monotonic(), self._rests_until_s
        self._rests_until_s = {name: until for name, until in rests.items() if until > now_s}

    def hold(
        self, chooser: Choosing, asked: list[Questions]
    ) -> tuple[list[Questions], list[Consult]]:
        """Those that need nobody elsewhere, and what is to be asked for the others."""
        if not self._guests.asked or not isinstance(chooser, FlockChooser):
            return asked, []
        now, consults = [], []
        now_s = self._clock.monotonic()
        for question in chain.from_iterable(asked):
            adviser = chooser.asks(question)
            if adviser is None or now_s < self._rests_until_s.get(adviser, 0.0):
                now.append(question)
                continue
            self._held[question.id] = _Held(question, adviser, now_s + self._within_s)
            consults.append(Consult(question.id, adviser, question.values))
        return [Questions.of(now)] if now else [], consults

    def hear(self, counsel: Counsel) -> list[Question]:
        """The question, if it still waits, with what was said laid down for it."""
        held = self._held.pop(counsel.id, None)
        if held is None:
            return []
        if counsel.values is None:
            self._missed(held.adviser)
        else:
            self._misses[held.adviser] = 0
            advice = np.frombuffer(counsel.values, dtype="<f4").reshape(1, -1)
            self._guests.said[counsel.id] = held.adviser, advice
        return [held.question]

    def late(self) -> list[Question]:
        """Those that have waited long enough."""
        now_s, late = self._clock.monotonic(), []
        for held in list(self._held.values()):
            if now_s < held.until_s:
                break
            del self._held[held.question.id]
            self._missed(held.adviser)
            late.append(held.question)
        return late

    @property
    def wait_s(self) -> float | None:
        """Until the first of them is late; None when none waits."""
        for held in self._held.values():
            return max(0.0, held.until_s - self._clock.monotonic())
        return None

    def _missed(self, adviser: str) -> None:
        self._misses[adviser] = self._misses.get(adviser, 0) + 1
        if self._misses[adviser] >= MISSES_MAX:
            self._misses[adviser] = 0
            self._rests_until_s[adviser] = self._clock.monotonic() + REST_S
