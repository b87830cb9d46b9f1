"""What waits for a trainer: in order, with whether it is too much, and when there is nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hub.learner.messages import Idle, Waiting
from hub.learner.training.waiting import IDLE_S, MORE_OBSERVATIONS, TELL_S, in_order
from hub.words import Event, Kind
from tests.intake.fakes import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator


class Ended(Exception):
    """No more pages."""


class Pages:
    """A feed that gives one page each time it is asked; None = nothing comes in time."""

    def __init__(self, *pages: int | None) -> None:
        self.caught_up = True
        self.waits: list[float | None] = []
        self._pages = iter(pages)
        self._seq = 0

    def receive(self, timeout_s: float | None) -> list[Event] | None:
        self.waits.append(timeout_s)
        count = next(self._pages, -1)
        if count is None:
            return None
        if count < 0:
            if timeout_s == 0:
                return None
            raise Ended
        steps = range(self._seq, self._seq + count)
        self._seq += count
        kinds = (Kind.OBSERVATION, Kind.ACTION)
        return [Event(kind, ts=0, seq=2 * s + i + 1) for s in steps for i, kind in enumerate(kinds)]


def taken(
    feed: Pages,
    lag_max: int,
    said: list[Idle | Waiting] | None = None,
    clock: ManualClock | None = None,
) -> Iterator[tuple[Event, bool, bool]]:
    told = [] if said is None else said
    with pytest.raises(Ended):
        yield from in_order(feed, clock or ManualClock(), lag_max=lambda: lag_max, tell=told.append)


def test_events_come_in_order_however_they_are_paged() -> None:
    seqs = [event.seq for event, *_ in taken(Pages(3, 0, 200, 1, 0), 1000)]
    assert seqs == list(range(1, 2 * 204 + 1))


def test_a_trainer_is_behind_above_the_most_that_may_wait_until_half_of_it_is_left() -> None:
    behind = [b for event, _, b in taken(Pages(100), 40) if event.kind is Kind.OBSERVATION]
    # Of a hundred observations, so many wait behind each: 99, 98, … 0.
    assert behind == [left > 20 for left in range(99, -1, -1)]
    assert not any(behind for *_, behind in taken(Pages(41), 40))


def test_more_waits_until_few_are_left() -> None:
    more = [more for event, more, _ in taken(Pages(100), 400) if event.kind is Kind.OBSERVATION]
    assert more == [left > MORE_OBSERVATIONS for left in range(99, -1, -1)]


def test_no_more_is_read_than_may_wait_and_one_page() -> None:
    feed = Pages(100, 100)
    waits = [len(feed.waits) for _ in taken(feed, 40)]
    assert waits.index(2) == 128  # with 36 observations left


def test_a_trainer_that_waits_says_so_once_and_says_when_it_does_not() -> None:
    said: list[Idle | Waiting] = []
    feed = Pages(1, None, 1, 1)
    for _ in taken(feed, 10, said):
        pass
    assert said == [Idle(on=True), Idle(on=False)]
    assert feed.waits == [IDLE_S, IDLE_S, None, IDLE_S, IDLE_S]


def test_a_trainer_that_waits_for_a_slow_log_is_not_idle() -> None:
    said: list[Idle | Waiting] = []
    feed = Pages(None, 1)
    feed.caught_up = False
    for _ in taken(feed, 10, said):
        pass
    assert said == []


def test_a_busy_trainer_says_once_a_second_how_much_waits() -> None:
    said: list[Idle | Waiting] = []
    clock = ManualClock()
    for count, _ in enumerate(taken(Pages(100), 1000, said, clock), start=1):
        if count in (64, 65, 128):  # looks are 64 events apart, which are 32 observations
            clock.seconds += TELL_S / 2
    assert said == [Waiting(36)]
