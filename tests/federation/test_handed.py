"""What the process for other hubs is handed has a bound, of number, of age and of bytes."""

from __future__ import annotations

from hub.federation.handed import STILL_S, UNREAD_BYTES_MAX, Handed
from hub.settings.federation import FederationSettings
from hub.words import AgentName

PRESS = AgentName("press")
OVEN = AgentName("oven")


def test_so_many_are_open_at_once_and_no_more() -> None:
    handed = Handed(FederationSettings(questions_open_max=2))
    full = []
    for agent in (PRESS, OVEN):
        handed.add(agent, 1, 0.0)
        full.append(handed.is_full)
    for _ in range(2):
        handed.end(PRESS, 1)
        full.append(handed.is_full)
    assert full == [False, True, False, False]


def test_it_stands_still_when_the_oldest_should_have_been_told_of_long_ago() -> None:
    handed = Handed(FederationSettings(advice_ms=500.0))
    for number in range(3):
        handed.add(PRESS, number, float(number))
    assert not handed.stands_still(0.5 + STILL_S, 0)
    assert handed.stands_still(0.6 + STILL_S, 0)
    handed.end(PRESS, 0)
    assert not handed.stands_still(0.6 + STILL_S, 0), "the next is younger"


def test_it_stands_still_when_it_does_not_read_what_it_is_told() -> None:
    handed = Handed(FederationSettings())
    assert not handed.stands_still(0.0, UNREAD_BYTES_MAX)
    assert handed.stands_still(0.0, UNREAD_BYTES_MAX + 1)


def test_an_actor_that_counts_from_one_again_has_one_question_of_each_number() -> None:
    handed = Handed(FederationSettings(advice_ms=500.0))
    handed.add(PRESS, 1, 0.0)
    handed.add(PRESS, 2, 1.0)
    handed.add(PRESS, 1, 2.0)
    assert len(handed) == 2
    assert not handed.stands_still(1.0 + 0.5 + STILL_S, 0), "the first of that number is forgotten"
    assert handed.give_up() == [(PRESS, 2), (PRESS, 1)]
    assert handed.give_up() == []
