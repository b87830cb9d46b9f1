"""What replicas here ask of advisers elsewhere, and the answers that come in time.

    questions = Questions(settings, base, ours="site-a", random_bytes=os.urandom)
    questions.ask(ask, part, now); questions.hear(payload, now); questions.expire(now)

For who has no network to give: a hub with another algorithm or too large a policy, a program, a
person. Where a network comes (`collect.py`), it is asked in the actor, in microseconds.

Rule 1: each question gets one answer, from whom it was sent to, by its deadline; or none.
Rule 2: what is said has the width of the agent's advice and is finite, before an actor sees it.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from hub.errors import Unheard
from hub.federation.messages import Told
from hub.federation.part import Part, Publish
from hub.federation.payloads import ASKED, OBSERVATION_MAX, AskSent, encode, read_answer
from hub.federation.units import meant
from hub.federation.vetting import advice_width
from hub.learner.messages import Counsel
from hub.registry.buckets import Bucket
from hub.topics import agent_topic
from hub.words import FLOAT_BYTES, Floats

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.federation.messages import Ask, FromFederation
    from hub.settings.federation import FederationSettings
    from hub.words import Agent, AgentName

ID_BYTES: Final = 8
BURST_S: Final = 1.0
ADVICE_MAX: Final = 1e4
"""Of a number in an advice: what is beyond, either way, says no more than this."""


class _Open(NamedTuple):
    agent: AgentName
    declared: Agent
    """The same, as it was when it asked."""
    number: int
    """The actor's own."""
    width: int
    until_s: float


class Questions:
    """Of all agents.

    Args:
        settings: `[federation]`.
        base: of topics.
        ours: this hub's name.
        random_bytes: for ids that nobody guesses.

    Attributes:
        out: what is to be said to the broker.
        told: the same to the hub.
        refused: what was left alone, by reason.
        asked: questions.
        heard: answers that came in time.
        late: questions whose answer did not.
    """

    def __init__(
        self,
        settings: FederationSettings,
        base: str,
        ours: str,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.out: list[Publish] = []
        self.told: list[FromFederation] = []
        self.refused: Counter[str] = Counter()
        self.asked = self.heard = self.late = 0
        self._ms = settings.advice_ms
        self._open_max = settings.questions_open_max
        self._base = base
        self._ours = ours
        self._random_bytes = random_bytes
        self._bucket = Bucket(settings.questions_per_s, burst_s=BURST_S)
        self._open: dict[str, _Open] = {}
        """By id; all have as long, so the first is the next to be late."""

    def ask(self, ask: Ask, part: Part | None, now_s: float) -> None:
        """Send a question to whom it is for, or say at once that nobody answers."""
        agent, consult = ask.agent, ask.consult
        name = consult.adviser.removesuffix(f"/{ASKED}")
        count = len(consult.values) // FLOAT_BYTES
        if part is None or name not in part.advisers or count > OBSERVATION_MAX:
            self._tell(agent, consult.id, None)
            return
        if ask.until_s <= now_s:  # this process stood still, and its actor has gone on
            self.late += 1
            self._tell(agent, consult.id, None)
            return
        if len(self._open) >= self._open_max or self._bucket.take(now_s):
            self.refused["rate"] += 1
            self._tell(agent, consult.id, None)
            return
        question = self._random_bytes(ID_BYTES).hex()
        declared = part.namesake.agent
        width = advice_width(declared)
        self._open[question] = _Open(agent, declared, consult.id, width, ask.until_s)
        values = list(struct.unpack(f"<{count}f", consult.values))
        sent = AskSent(question, self._ours, values, self._ms)
        self.out.append(Publish(agent_topic(self._base, agent, "ask", name), encode(sent)))
        self.asked += 1

    def hear(self, payload: bytes, now_s: float) -> None:
        """An answer.

        Raises:
            Unheard: nobody asked, or no more; or it is no advice.
        """
        answer = read_answer(payload)
        asked = self._open.pop(answer.id, None)
        if asked is None:
            raise Unheard("answer", "nobody asked, or it is too late")
        if asked.until_s < now_s:
            self.late += 1
            self._tell(asked.agent, asked.number, None)
            raise Unheard("answer", "it is too late")
        advice = answer.advice
        if len(advice) != asked.width or not all(map(math.isfinite, advice)):
            self._tell(asked.agent, asked.number, None)
            raise Unheard(
                "unfit", f"advice of {len(advice)} numbers, not {asked.width} finite ones"
            )
        bounded = np.array(advice).clip(-ADVICE_MAX, ADVICE_MAX)
        values = meant(bounded.astype(np.float32), asked.declared).astype("<f4").tobytes()
        self._tell(asked.agent, asked.number, Floats(values))
        self.heard += 1

    def expire(self, now_s: float) -> None:
        """Have nobody wait for what has not come."""
        for question, asked in list(self._open.items()):
            if asked.until_s >= now_s:
                return
            del self._open[question]
            self.late += 1
            self._tell(asked.agent, asked.number, None)

    def abandon(self) -> None:
        """The broker is gone, and what was asked with it."""
        self.out.clear()
        for asked in self._open.values():
            self._tell(asked.agent, asked.number, None)
        self._open.clear()

    @property
    def until_s(self) -> float | None:
        """When the first of those that wait is late; None when none does."""
        return next((asked.until_s for asked in self._open.values()), None)

    def _tell(self, agent: AgentName, number: int, values: Floats | None) -> None:
        self.told.append(Told(agent, Counsel(number, values)))
