"""Questions that wait for an adviser elsewhere: what is said counts, and silence has an end."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest

from hub.learner.acting.consults import MISSES_MAX, REST_S, Consults
from hub.learner.acting.flock import open_chooser
from hub.learner.acting.guests import Guests
from hub.learner.columns import Question, Questions
from hub.learner.messages import Advice, Counsel, Invite, drawn_of
from hub.words import Floats, Source
from tests.federation.meeting import Moved
from tests.learner.choices import chosen, numbers_of
from tests.learning.harness import Hub, file_of, run
from tests.learning.test_resume import ADVISED

if TYPE_CHECKING:
    from hub.learner.acting.flock import Choosing
    from hub.step import Choice

EXPERT: Final = "expert/?"
WITHIN_S: Final = 0.1
VALUES: Final = Floats(np.array([0.1, -0.2, 0.3, -0.4], dtype="<f4").tobytes())
STRONGLY: Final = Floats(np.array([0.0, 50.0], dtype="<f4").tobytes())


class Desk:
    """An actor's chooser of one device, which has nobody but the expert to ask."""

    def __init__(self, chooser: Choosing, guests: Guests) -> None:
        self.clock = Moved()
        self.chooser = chooser
        self.guests = guests
        self.consults = Consults(guests, self.clock)
        self.consults.invite(Invite([], [EXPERT], WITHIN_S))

    def ask(self, count: int = 64) -> tuple[list[Question], list[int]]:
        """First steps of episodes: those that are chosen now, and ids of those that wait."""
        asked = [Question(i, "device-0", 0, i, VALUES, first=True) for i in range(count)]
        now, consults = self.consults.hold(self.chooser, [Questions.of(asked)])
        assert {consult.adviser for consult in consults} <= {EXPERT}
        return list(chain.from_iterable(now)), [consult.id for consult in consults]

    def choose(self, questions: list[Question]) -> list[Choice]:
        return chosen(self.chooser, questions, greedy=False)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A version of a flock of one."""
    hub = Hub(ADVISED[0], tmp_path_factory.mktemp("learnt"))
    run(hub, "CartPole-v1", devices=1, steps_max=200, threshold=1e9)
    return file_of(hub, hub.versions[-1])


@pytest.fixture
def desk(learnt: Any) -> Desk:
    guests = Guests()
    return Desk(open_chooser(learnt, 1, None, guests), guests)


def test_what_is_said_is_multiplied_in_and_logged_as_advice(desk: Desk) -> None:
    now, waiting = desk.ask()
    assert now
    assert waiting
    assert {choice.source for choice in desk.choose(now)} == {Source.POLICY}
    ready = [one for i in waiting for one in desk.consults.hear(Counsel(i, STRONGLY))]
    choices = desk.choose(ready)
    assert {choice.source for choice in choices} == {Source.ADVICE}
    assert {numbers_of(choice)[0] for choice in choices} == {1.0}
    assert {drawn_of(r.payload).advice for r in choices} == {Advice(EXPERT, STRONGLY)}
    assert desk.consults.wait_s is None


def test_who_says_nothing_costs_the_wait_and_no_more(desk: Desk) -> None:
    _, waiting = desk.ask()
    assert desk.consults.late() == []
    assert desk.consults.wait_s == pytest.approx(WITHIN_S)
    desk.clock.now_s += WITHIN_S
    late = desk.consults.late()
    assert [question.id for question in late] == waiting
    assert {choice.source for choice in desk.choose(late)} == {Source.POLICY}
    assert desk.consults.hear(Counsel(waiting[0], STRONGLY)) == [], "it is answered"


def test_nobody_says_at_once_that_there_will_be_no_answer(desk: Desk) -> None:
    _, waiting = desk.ask()
    (question,) = desk.consults.hear(Counsel(waiting[0], None))
    assert question.id == waiting[0]
    (choice,) = desk.choose([question])
    assert choice.source is Source.POLICY


def test_who_is_silent_again_and_again_is_left_alone_for_a_while(desk: Desk) -> None:
    _, waiting = desk.ask()
    for i in waiting[:MISSES_MAX]:
        desk.consults.hear(Counsel(i, None))
    assert desk.ask() == (desk.ask()[0], [])
    desk.clock.now_s += REST_S
    assert desk.ask()[1]


def test_an_answer_after_the_adviser_was_let_go_is_no_advice(desk: Desk) -> None:
    _, waiting = desk.ask()
    desk.consults.invite(Invite([]))
    (question,) = desk.consults.hear(Counsel(waiting[0], STRONGLY))
    (choice,) = desk.choose([question])
    assert choice.source is Source.POLICY
