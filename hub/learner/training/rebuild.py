"""A policy made again from the log alone, and held against what the log says of it.

    rebuilt = rebuild(line, events, folder, live, clock)

Every version on the way is compared, so that the first one that differs is named. Nothing is
written but into `folder`; the hub may be at work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from hub.errors import HubFault, OperatorFault
from hub.learner.messages import policy_path
from hub.learner.training.train import Trainer
from hub.learner.versions.policy import copy_policy
from hub.words import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from hub.clock import Clock
    from hub.learner.messages import Made
    from hub.learner.versions.line import Line, Logged
    from hub.words import Event

FILES_KEPT = 4


class Rebuilt(Struct, frozen=True):
    """What came of a rebuild."""

    agent: str
    version: int
    sha256: str | None
    """Of the version as it was made now; None when it was not."""
    logged: str
    """As the log has it."""
    equal: bool
    seq: int
    """Of the version's event."""
    versions: int
    """Compared, all equal but for the last when `equal` is false."""
    transitions: int
    seconds: float


def rebuild(
    line: Line,
    events: Iterable[Event],
    folder: Path,
    live: Path,
    clock: Clock,
    *,
    told: Callable[[int], None] = lambda _: None,
) -> Rebuilt:
    """Fold the events after the line's beginning until its last version is made.

    Args:
        line: what the log says must come of it.
        events: what trainers read, of this agent, after `line.begins`, in order.
        folder: where versions are written.
        live: the data folder, for policies that came from outside.
        clock: for the time it took.
        told: called with the seq of each event.

    Raises:
        OperatorFault: a policy that an operator had imported is not there any more.
    """
    began = clock.monotonic()
    _fetch_chosen(line, folder, live)
    pinned = frozenset(one.sha256 for one in line.versions if one.chosen)
    trainer = Trainer(line.agent, folder, clock, policies_kept=FILES_KEPT, pinned=pinned)
    check = _Check(line)
    check.made(trainer.open(None, after=line.begins, version=line.first))
    for event in events:
        if check.over:
            break
        told(event.seq)
        if check.awaited is not None:
            trainer.version_next = check.awaited.version
        more, behind = line.is_gathered(event.seq), line.is_skipped(event.seq)
        check.made(trainer.take(event, more=more, behind=behind))
        if event.kind is Kind.ADMIN:
            check.chosen(event.seq)
    return check.result(clock.monotonic() - began)


class _Check:
    """Goes along the line while versions are made."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._at = 0
        self._other: str | None = None
        self._transitions = 0

    @property
    def _next(self) -> Logged | None:
        return self._line.versions[self._at] if self._at < len(self._line.versions) else None

    @property
    def awaited(self) -> Logged | None:
        """The version that the trainer has to make next; None when an operator's comes first."""
        return None if self._next is None or self._next.chosen else self._next

    @property
    def over(self) -> bool:
        """All of the line was made, or something else was."""
        return self._next is None or self._other is not None

    def made(self, made: Made | None) -> None:
        """The trainer made a version. One that comes before an operator's was never logged."""
        if made is None:
            return
        if made.update is not None:
            self._transitions += made.update.transitions
        if self.awaited is None:
            return
        if made.policy.sha256 == self.awaited.sha256:
            self._at += 1
        else:
            self._other = made.policy.sha256

    def chosen(self, seq: int) -> None:
        """What an operator did at this seq was folded."""
        if self._next is not None and self._next.chosen and self._next.seq == seq:
            self._at += 1

    def result(self, seconds: float) -> Rebuilt:
        """How far it came."""
        at = self._next or self._line.wanted
        equal = self._next is None
        return Rebuilt(
            agent=self._line.agent.name,
            version=at.version,
            sha256=at.sha256 if equal else self._other,
            logged=at.sha256,
            equal=equal,
            seq=at.seq,
            versions=self._at + (not equal),
            transitions=self._transitions,
            seconds=round(seconds, 3),
        )


def _fetch_chosen(line: Line, folder: Path, live: Path) -> None:
    """Copy the policies that the fold needs and does not make: imported, or from before it."""
    made: set[str] = set()
    for one in line.versions:
        if not one.chosen:
            made.add(one.sha256)
        elif one.sha256 not in made:
            source = policy_path(live, line.agent.name, one.sha256)
            try:
                copy_policy(source, policy_path(folder, line.agent.name, one.sha256))
            except (OSError, HubFault) as error:
                why = error.strerror if isinstance(error, OSError) else error
                raise OperatorFault(
                    f"version {one.version} of agent {line.agent.name!r} came from outside, and "
                    f"its file {one.sha256[:12]}… can't be read: {why}"
                ) from error
