"""When a cause becomes an alert and when it is over; what is open is a fold of the log."""

from __future__ import annotations

from typing import Final

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from hub.alerts.cause import DO, Cause, Rule, Subject, span
from hub.alerts.standing import Change, Standing
from hub.facts import AlertCleared, AlertRaised
from hub.words import Event, Kind

START_US: Final = 1_800_000_000_000_000
LOOK_S: Final = 10.0
HEATER: Final = Subject(Rule.SILENT, "heating", "heater-1")
DISK: Final = Subject(Rule.DISK)
SUBJECTS: Final = (HEATER, Subject(Rule.SILENT, "heating", "heater-2"), DISK)


def cause(subject: Subject = HEATER, *, raise_s: float = 0.0, clear_s: float = 0.0) -> Cause:
    return Cause(subject, "it is so", {"silent_s": 901.0}, raise_s=raise_s, clear_s=clear_s)


class Watched:
    """A Standing that is looked at every `LOOK_S`, and the log it makes."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.events: list[Event] = []
        self.standing = Standing()

    def see(self, *causes: Cause) -> list[str]:
        """What is told of one more look: `raised` or `cleared`, each."""
        self.now_s += LOOK_S
        changes = self.standing.look(causes, self.now_s, self.now_us)
        self.events += [self._logged(change) for change in changes]
        return [type(change.fact).__name__.removeprefix("Alert").lower() for change in changes]

    @property
    def now_us(self) -> int:
        return START_US + int(self.now_s * 1_000_000)

    def restart(self) -> None:
        """Only the log is left, and another monotonic clock."""
        self.standing = Standing()
        for event in self.events:
            self.standing.apply(event)

    def _logged(self, change: Change) -> Event:
        return Event(
            Kind.ADMIN,
            self.now_us,
            agent=change.subject.agent,
            device=change.subject.device,
            payload=msgspec.json.encode(change.fact).decode(),
        )


def test_a_cause_is_raised_once_and_cleared_when_it_is_gone() -> None:
    watched = Watched()
    assert watched.see(cause()) == ["raised"]
    assert watched.see(cause()) == []
    assert watched.see() == ["cleared"]
    assert watched.see() == []


def test_a_cause_must_last_before_it_is_raised() -> None:
    watched = Watched()
    assert watched.see(cause(raise_s=15)) == []
    assert watched.see(cause(raise_s=15)) == []
    assert watched.see(cause(raise_s=15)) == ["raised"]


def test_one_that_comes_and_goes_before_it_lasts_is_never_raised() -> None:
    watched = Watched()
    for _ in range(5):
        assert watched.see(cause(raise_s=15)) == []
        assert watched.see() == []


def test_one_that_comes_and_goes_after_it_was_raised_is_one_alert() -> None:
    watched = Watched()
    assert watched.see(cause(clear_s=25)) == ["raised"]
    for _ in range(5):
        assert watched.see() == []
        assert watched.see() == []
        assert watched.see(cause(clear_s=25)) == []
    assert [watched.see() for _ in range(3)] == [[], [], ["cleared"]]


def test_what_replaces_another_text_ends_it_and_is_raised_at_once() -> None:
    watched = Watched()
    watched.see(cause(DISK, clear_s=600))
    other = Cause(DISK, "another is lost", {}, clear_s=600, replaces=True)
    assert watched.see(other) == ["cleared", "raised"]
    assert watched.standing.open[DISK].fact.says == "another is lost"
    assert watched.see(other) == []
    assert watched.see(cause(DISK)) == [], "only what says so replaces"
    watched.restart()
    assert watched.standing.open[DISK].fact.says == "another is lost"


def test_the_alert_says_since_when_what_and_what_to_do() -> None:
    watched = Watched()
    watched.see(cause(raise_s=10))
    watched.see(cause(raise_s=10))
    raised = watched.standing.open[HEATER].fact
    assert raised.since == START_US + 10_000_000
    assert (raised.says, raised.do) == ("it is so", DO[Rule.SILENT])
    assert raised.figures == {"silent_s": 901.0}


def test_what_clears_it_says_how_long_it_was() -> None:
    watched = Watched()
    watched.see(cause())
    watched.see()
    fact = msgspec.json.decode(watched.events[-1].payload or "", type=AlertCleared)
    assert (
        fact.says
        == "over after 10 s: heard again, or its agent waits for it no more; it was: it is so"
    )


def test_a_restart_raises_nothing_that_is_open() -> None:
    watched = Watched()
    watched.see(cause(), cause(DISK))
    watched.restart()
    assert watched.see(cause(), cause(DISK)) == []
    assert watched.see(cause(DISK)) == ["cleared"]


def test_an_alert_of_before_the_start_whose_cause_is_not_seen_is_held_for_a_while() -> None:
    watched = Watched()
    watched.see(cause())
    watched.standing = Standing(lambda alert, _now_us: 15 if alert.fact.says == "it is so" else 0)
    watched.standing.apply(watched.events[0])
    assert [watched.see() for _ in range(3)] == [[], [], ["cleared"]]


def test_an_alert_about_what_is_no_more_is_over_at_once() -> None:
    watched = Watched()
    watched.see(cause(clear_s=600), cause(DISK, clear_s=600))
    changes = watched.standing.look([], 20.0, watched.now_us, lambda subject: subject == DISK)
    assert [change.subject for change in changes] == [HEATER]


def test_events_about_anything_else_pass_by() -> None:
    standing = Standing()
    standing.apply(Event(Kind.ADMIN, START_US, payload='{"type":"alert","message":"","by":"hub"}'))
    standing.apply(Event(Kind.HELLO, START_US, payload='{"type":"alert_raised"}'))
    standing.apply(Event(Kind.ADMIN, START_US))
    assert standing.open == {}


def test_a_rule_of_a_newer_hub_is_held_open_and_then_over() -> None:
    watched = Watched()
    fact = AlertRaised("tides", "it is high", "wait", START_US)
    payload = msgspec.json.encode(fact).decode()
    watched.standing.apply(Event(Kind.ADMIN, START_US, agent="heating", payload=payload))
    assert watched.see() == ["cleared"]


looks = st.lists(
    st.tuples(
        st.sets(st.sampled_from(SUBJECTS)),
        st.sampled_from([0.0, 15.0, 35.0]),
        st.sampled_from([0.0, 15.0, 35.0]),
        st.booleans(),
    ),
    max_size=30,
)


@given(looks)
def test_whatever_comes_goes_and_restarts_alerts_are_raised_and_cleared_in_turn(
    seen: list[tuple[set[Subject], float, float, bool]],
) -> None:
    watched = Watched()
    for subjects, raise_s, clear_s, restarts in seen:
        watched.see(*(cause(one, raise_s=raise_s, clear_s=clear_s) for one in sorted(subjects)))
        known = dict(watched.standing.open)
        folded = Standing()
        for event in watched.events:
            folded.apply(event)
        assert folded.open == known, "what is open is what the log says"
        if restarts:
            watched.restart()
    for subject in SUBJECTS:
        facts = [
            msgspec.json.decode(event.payload or "", type=AlertRaised | AlertCleared)
            for event in watched.events
            if (event.agent, event.device) == (subject.agent, subject.device)
        ]
        kinds = [isinstance(fact, AlertRaised) for fact in facts]
        assert kinds == [place % 2 == 0 for place in range(len(kinds))]


def test_every_rule_says_what_to_do() -> None:
    assert set(DO) == set(Rule)


def test_spans_are_in_the_unit_a_person_would_choose() -> None:
    assert [span(s) for s in (3, 119, 720, 9000)] == ["3 s", "119 s", "12 min", "2.5 h"]
