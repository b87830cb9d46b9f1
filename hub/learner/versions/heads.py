"""The newest version of each agent, with what is on its way to the log: who may follow it.

Rule 1: no version number is given twice; operators and trainers draw from the same count.
Rule 2: a trainer's version is logged only as the child of the newest, so that the log's versions
    are those a fold of the log makes, whoever was killed, or acted at the same moment.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from hub.learner.messages import Made
    from hub.registry.fold import Registry
    from hub.words import AgentName

NONE_YET: Final = -1


class Head(NamedTuple):
    """An agent's newest version."""

    version: int
    sha256: str | None
    """None before the first version, and after a restart of the agent."""
    chosen: bool
    """An operator put it in place."""


class Verdict(Enum):
    """What is to be done with a version that a trainer made."""

    LOG = auto()
    LEAVE = auto()
    """It was made again after a restart, or before the trainer read what an operator chose."""
    ASTRAY = auto()
    """The trainer is not where the log is: let it start again from there."""


class Heads:
    """Ahead of the registry by what is not durable yet."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._heads: dict[AgentName, Head] = {}

    def of(self, agent: AgentName) -> Head:
        """The agent's newest version."""
        head = self._heads.get(agent)
        if head is None:
            head = self._heads[agent] = self._logged(agent)
        return head

    def choose(self, agent: AgentName, sha256: str | None) -> int:
        """The next version is this file, or None: a trainer will make it. Returns its number.

        The caller appends the event before anything else can be appended.
        """
        version = self.of(agent).version + 1
        if sha256 is None:
            self._heads[agent] = Head(version - 1, None, chosen=True)
        else:
            self._heads[agent] = Head(version, sha256, chosen=True)
        return version

    def follow(self, agent: AgentName, made: Made) -> Verdict:
        """Whether a trainer's version may be logged; then it is the newest."""
        head = self.of(agent)
        if made.version <= head.version:
            return Verdict.LEAVE
        if made.policy.parent is not None and made.parent_sha256 != head.sha256:
            return Verdict.LEAVE if head.chosen else Verdict.ASTRAY
        self._heads[agent] = Head(made.version, made.policy.sha256, chosen=False)
        return Verdict.LOG

    def _logged(self, agent: AgentName) -> Head:
        policy = self._registry.policies.get(agent)
        if policy is not None:
            chosen = policy.version in self._registry.chosen.get(agent, {})
            return Head(policy.version, policy.made.sha256, chosen=chosen)
        begun = self._registry.begun.get(agent)
        return Head(NONE_YET if begun is None else begun.version - 1, None, chosen=False)
