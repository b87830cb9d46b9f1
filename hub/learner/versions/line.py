"""The versions of an agent that stand in its log, as one line that a fold can be held against.

    line = line_of(events)          # POLICY, UPDATE and ADMIN events of one agent, in order

Rule 1: a line begins with a version without a parent, or where the agent was declared or restarted.
Rule 2: a version that a trainer made has the one before it in the line as its parent. One that has
    an older parent was made by a trainer that could not read the newer ones' files; those go.
Rule 3: a version that an operator chose follows whatever came before it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from hub.errors import OperatorFault
from hub.facts import AgentMade, AgentRestarted, PolicyChosen, PolicyMade, Updated
from hub.words import Agent, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.words import Event

KINDS: Final = (Kind.POLICY, Kind.UPDATE, Kind.ADMIN)
"""What is read to find the line."""


class Logged(Struct, frozen=True):
    """A version as the log has it."""

    version: int
    sha256: str
    parent: int | None
    position: int
    """Seq of the last event that went in; of an operator's choice, its own."""
    seq: int
    chosen: bool


class Line(Struct, frozen=True):
    """What has to be folded, and what must come of it."""

    agent: Agent
    """As it stood where the line begins."""
    begins: int
    """Seq after which events go in."""
    first: int
    """Number of the first version."""
    versions: list[Logged]
    """At least one; the last is the one wanted."""
    skipped: list[tuple[int, int]]
    """Runs of seqs that were taken in while the trainer was behind, in order."""
    gathered: list[tuple[int, int]]
    """The same of those that put an update off."""

    def is_skipped(self, seq: int) -> bool:
        """Whether the trainer was behind here, and left out what it could."""
        return _is_in(self.skipped, seq)

    def is_gathered(self, seq: int) -> bool:
        """Whether an update was put off here, to take along what waited."""
        return _is_in(self.gathered, seq)

    @property
    def wanted(self) -> Logged:
        """The version that is to be made again."""
        return self.versions[-1]


def _is_in(runs: list[tuple[int, int]], seq: int) -> bool:
    at = bisect_right(runs, (seq, math.inf))
    return at > 0 and runs[at - 1][0] <= seq <= runs[at - 1][1]


_decode: Final = msgspec.json.Decoder(
    AgentMade | AgentRestarted | PolicyChosen | PolicyMade | Updated
).decode


def line_of(name: str, events: Iterable[Event]) -> Line:
    """The line that ends with the newest version of these events.

    Raises:
        OperatorFault: there is none, or the log does not reach back to where it begins.
    """
    finder = _Finder()
    for event in events:
        finder.take(event)
    return finder.line(name)


class _Finder:
    """Folds the events of an agent's versions."""

    def __init__(self) -> None:
        self._declared: list[tuple[int, Agent]] = []
        self._begins = 0
        self._first = 0
        self._versions: list[Logged] = []
        self._chosen: set[int] = set()
        self._updates: dict[int, Updated] = {}

    def take(self, event: Event) -> None:
        fact = _fact(event)
        match fact:
            case AgentMade(agent=agent):
                self._begins = self._begins or event.seq
                self._declared.append((event.seq, agent))
            case AgentRestarted(agent=agent, version=version):
                self._begins, self._first = event.seq, version
                self._declared.append((event.seq, agent))
                self._versions = []
            case PolicyChosen():
                self._chosen.add(fact.version)
                self._add(fact.version, fact.sha256, fact.parent, event.seq, event)
            case PolicyMade():
                assert event.policy is not None, "a policy event has a version"
                if event.policy not in self._chosen:
                    self._add(event.policy, fact.sha256, fact.parent, fact.position, event)
            case Updated():
                assert event.policy is not None, "an update event has a version"
                self._updates[event.policy] = fact
            case _:
                pass

    def _add(
        self, version: int, sha256: str, parent: int | None, position: int, event: Event
    ) -> None:
        chosen = event.kind is Kind.ADMIN
        if not chosen:
            while self._versions and self._versions[-1].version != parent:
                self._versions.pop()
        self._versions.append(Logged(version, sha256, parent, position, event.seq, chosen))

    def line(self, name: str) -> Line:
        if not self._versions:
            raise OperatorFault(f"agent {name!r} has no policy in the log up to there")
        root = self._versions[0]
        begins, first = self._begins, self._first
        if not root.chosen:
            begins, first = root.position, root.version
            if root.parent is not None:
                raise OperatorFault(
                    f"the log of agent {name!r} reaches back to version {root.version} only, not "
                    "to where its learning began: older segments were dropped ('log.retain_days')"
                )
        if not self._declared:
            raise OperatorFault(f"the log does not say how agent {name!r} was declared")
        stood = [agent for seq, agent in self._declared if seq <= begins]
        agent = stood[-1] if stood else self._declared[0][1]
        versions = [one.version for one in self._versions]
        updates = [self._updates[version] for version in versions if version in self._updates]
        skipped = sorted(run for update in updates for run in update.skipped)
        gathered = sorted(run for update in updates for run in update.gathered)
        return Line(agent, begins, first, self._versions, skipped, gathered)


def _fact(
    event: Event,
) -> AgentMade | AgentRestarted | PolicyChosen | PolicyMade | Updated | None:
    if event.payload is None:
        return None
    try:
        return _decode(event.payload)  # type: ignore[no-any-return]  # msgspec can't say it
    except msgspec.ValidationError:  # about something else
        return None
