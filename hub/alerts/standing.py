"""Which alerts are open, a fold of the log; and when a cause becomes one, and when it is over.

standing = Standing()
for event in facts: standing.apply(event)                 # at start
for change in standing.look(causes, now_s, now_us): …     # again and again

Rule 1: an alert is raised when its cause has been seen at every look for `raise_s`, and cleared
    when it has been seen at none for `clear_s`: one that comes and goes is one alert. One that
    `replaces` another text is raised anew; one about what is no more is over at once.
Rule 2: what is open is the fold of what `look` has said: a hub that starts anew raises nothing
    that is open.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import Struct, structs

from hub.alerts.cause import DO, ENDS, Cause, Rule, Subject, span
from hub.facts import AlertCleared, AlertRaised
from hub.words import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hub.words import Event

MICROSECONDS: Final = 1_000_000
OVER_KEPT: Final = 256
TAGS: Final = ('{"type":"alert_raised"', '{"type":"alert_cleared"')

_fact: Final = msgspec.json.Decoder(AlertRaised | AlertCleared)


class Open(Struct, frozen=True):
    """An alert that is not over."""

    fact: AlertRaised
    raised_us: int
    """Hub time."""
    seq: int = 0
    """Of its event; 0 = the log does not have it yet."""


class Change(NamedTuple):
    """What the log is to be told."""

    subject: Subject
    fact: AlertRaised | AlertCleared


class _Absence(Struct):
    since_s: float
    clear_s: float


class Standing:
    """The open alerts, and the causes that are not alerts yet.

    Args:
        hold_s: for how long the cause of an alert that was raised before the start must be gone,
            given that and the hub time.
    """

    def __init__(self, hold_s: Callable[[Open, int], float] = lambda _alert, _now_us: 0.0) -> None:
        self.open: dict[Subject, Open] = {}
        self.over: deque[Subject] = deque(maxlen=OVER_KEPT)
        """Those that were cleared last."""
        self._hold_s = hold_s
        self._seen: dict[Subject, tuple[float, int]] = {}
        """Causes that are no alert yet: since when, by both hands of the clock."""
        self._gone: dict[Subject, _Absence] = {}
        """Of each open alert, when its cause was seen last."""

    def apply(self, event: Event) -> None:
        """Take in one event; those about anything else pass by."""
        if event.kind is not Kind.ADMIN or not (event.payload or "").startswith(TAGS):
            return
        assert event.payload is not None, "it begins with a tag"
        fact = _fact.decode(event.payload)
        change = Change(Subject(fact.rule, event.agent, event.device), fact)
        self._change(change, event.ts, event.seq)

    def look(
        self,
        causes: Iterable[Cause],
        now_s: float,
        now_us: int,
        is_known: Callable[[Subject], bool] = lambda _subject: True,
    ) -> list[Change]:
        """What has changed by what is seen now; it is folded already.

        Args:
            causes: all that there are; of two of one alert the first counts.
            now_s: seconds, monotonic.
            now_us: hub time.
            is_known: whether there still is what an alert is about: else it is over at once.
        """
        there: dict[Subject, Cause] = {}
        for cause in causes:
            there.setdefault(cause.subject, cause)
        others = [cause.subject for cause in there.values() if self._replaces(cause)]
        replaced = [self._over(subject, now_us, "it reads otherwise now") for subject in others]
        for change in replaced:
            self._change(change, now_us)
        self._seen = {one: since for one, since in self._seen.items() if one in there}
        raised = [self._raise(cause, now_s, now_us) for cause in there.values()]
        cleared = [
            self._clear(one, now_s, now_us)
            if is_known(one)
            else self._over(one, now_us, "it was forgotten or moved")
            for one in self.open
            if one not in there
        ]
        changes = [change for change in (*raised, *cleared) if change is not None]
        for change in changes:
            self._change(change, now_us)
        return [*replaced, *changes]

    def durable(self, subject: Subject, raised_us: int, seq: int) -> None:
        """The log has at `seq` that it was raised then."""
        alert = self.open.get(subject)
        if alert is not None and alert.raised_us == raised_us:
            self.open[subject] = structs.replace(alert, seq=seq)

    def _replaces(self, cause: Cause) -> bool:
        alert = self.open.get(cause.subject)
        return cause.replaces and alert is not None and alert.fact.says != cause.says

    def _raise(self, cause: Cause, now_s: float, now_us: int) -> Change | None:
        subject = cause.subject
        if subject in self.open:
            self._gone[subject] = _Absence(now_s, cause.clear_s)
            return None
        since_s, since_us = self._seen.setdefault(subject, (now_s, now_us))
        if now_s - since_s < cause.raise_s:
            return None
        del self._seen[subject]
        self._gone[subject] = _Absence(now_s, cause.clear_s)
        do = DO[Rule(subject.rule)]
        fact = AlertRaised(subject.rule, cause.says, do, since_us, cause.figures)
        return Change(subject, fact)

    def _clear(self, subject: Subject, now_s: float, now_us: int) -> Change | None:
        if subject not in self._gone:
            self._gone[subject] = _Absence(now_s, self._hold_s(self.open[subject], now_us))
        absence = self._gone[subject]
        if now_s - absence.since_s < absence.clear_s:
            return None
        return self._over(subject, now_us, ENDS.get(subject.rule, "it is not so any more"))

    def _over(self, subject: Subject, now_us: int, why: str) -> Change:
        alert = self.open[subject]
        lasted = span(max(0, now_us - alert.fact.since) / MICROSECONDS)
        says = f"over after {lasted}: {why}; it was: {alert.fact.says}"
        return Change(subject, AlertCleared(subject.rule, says))

    def _change(self, change: Change, at_us: int, seq: int = 0) -> None:
        if isinstance(change.fact, AlertRaised):
            self.open[change.subject] = Open(change.fact, at_us, seq)
        else:
            self.over.append(change.subject)
            self.open.pop(change.subject, None)
            self._gone.pop(change.subject, None)
