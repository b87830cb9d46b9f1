"""What this hub's replicas would do, for who asks from elsewhere.

    answers = Answers(data, settings, base)
    answers.told(part)                     # what is announced; None = nothing is answered
    answers.answer(part, payload, now)     # to be published, or Unheard

By the network that leads, or the one for all, of the newest version. The one who asks learns what
a policy says about one observation, and tells what it saw; both agents have to say `questions`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hub.errors import HubFault, Unheard
from hub.federation.part import Part, Publish
from hub.federation.payloads import Adviser, AnswerSent, encode, read_ask
from hub.federation.shelf import stripped
from hub.federation.units import said
from hub.federation.vetting import WRONG, can_be_vetted
from hub.learner.acting.choose import Chooser
from hub.learner.columns import Questions
from hub.learner.messages import policy_path
from hub.learner.versions.parts import alone
from hub.learner.versions.policy import PolicyFile, read_policy
from hub.registry.buckets import Bucket
from hub.spaces import parse, size
from hub.topics import agent_topic
from hub.words import Floats

if TYPE_CHECKING:
    from pathlib import Path

    from hub.settings.federation import FederationSettings
    from hub.words import AgentName

BURST_S: Final = 1.0


class Answers:
    """Of all agents.

    Args:
        data: the data folder.
        settings: `[federation]`.
        base: of topics.

    Attributes:
        answered: questions.
    """

    def __init__(self, data: Path, settings: FederationSettings, base: str) -> None:
        self.answered = 0
        self._data = data
        self._base = base
        self._bucket = Bucket(settings.questions_per_s, burst_s=BURST_S)
        self._choosers: dict[AgentName, tuple[str, Chooser]] = {}
        """With the SHA-256 of the version."""

    def told(self, part: Part) -> Adviser | None:
        """That questions are answered, and which."""
        agent = part.namesake.agent
        answers = agent.hubs == "questions" and part.namesake.policy is not None
        if not answers or not can_be_vetted(agent):
            return None
        return Adviser(agent.observations, agent.actions)

    def answer(self, part: Part, payload: bytes, now_s: float) -> Publish:
        """What is to be said to the one who asks.

        Raises:
            Unheard: it is no question, too many have asked, or there is no answer to it.
        """
        asked, agent = read_ask(payload), part.namesake.agent
        if self.told(part) is None:
            raise Unheard("ask", f"nobody answers for agent {agent.name!r}")
        if self._bucket.take(now_s):
            raise Unheard("rate")
        with np.errstate(over="ignore"):  # what is too large for float32 is not finite
            values = np.array(asked.o).astype(np.float32)
        if len(values) != size(parse(agent.observations)) or not np.isfinite(values).all():
            raise Unheard("unfit", "no observation of this agent")
        question = Questions.of([(0, "asked", 0, 0, Floats(values.tobytes()), None, True)])
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                advice = said(self._chooser(part).advise(question)[0], agent)
        except WRONG as error:
            raise Unheard("unfit", f"it can't be answered: {error}") from error
        if not np.isfinite(advice).all():
            raise Unheard("unfit", "the answer is not finite")
        self.answered += 1
        answer = encode(AnswerSent(asked.id, advice.tolist()))
        return Publish(agent_topic(self._base, agent.name, "answer", asked.hub), answer)

    def forget(self, agent: AgentName) -> None:
        """Nothing is answered for it any more."""
        self._choosers.pop(agent, None)

    def _chooser(self, part: Part) -> Chooser:
        """Of the newest version.

        Raises:
            HubFault: its file can't be read.
        """
        name, newest = part.name, part.namesake.policy
        if newest is None:
            raise HubFault(f"agent {name!r} has no policy")
        known = self._choosers.get(name)
        if known is None or known[0] != newest.sha256:
            policy = read_policy(policy_path(self._data, name, newest.sha256), acting=True)
            lead = PolicyFile(*stripped(*alone(policy.card, policy.tensors, None)), newest.sha256)
            known = self._choosers[name] = newest.sha256, Chooser(lead, seed=0)
        return known[1]
