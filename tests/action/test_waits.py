"""Waits that share one timer of the loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.action.waits import TICK_S, Waits

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.step import Step


class HandLoop:
    """The part of a loop that `Waits` needs, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[HandTimer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, callback: Callable[[], None]) -> HandTimer:
        self.timers = [timer for timer in self.timers if not timer.is_cancelled]
        self.timers.append(HandTimer(at, callback))
        return self.timers[-1]

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while due := [t for t in self.timers if t.at <= until and not t.is_cancelled]:
            first = min(due, key=lambda timer: timer.at)
            self.timers.remove(first)
            self.now = max(self.now, first.at)
            first.callback()
        self.now = until


class HandTimer:
    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


def step(name: str) -> Step:
    """Only ever handed on."""
    return cast("Step", name)


def waits_on(loop: HandLoop) -> Waits:
    return Waits(cast("asyncio.AbstractEventLoop", loop))


@given(st.lists(st.tuples(st.floats(0, 2), st.booleans()), max_size=30))
def test_what_is_not_cancelled_falls_due_once_in_time_and_in_order(
    asked: list[tuple[float, bool]],
) -> None:
    loop, called = HandLoop(), list[tuple[str, float]]()
    waits = waits_on(loop)
    for i, (delay_s, cancelled) in enumerate(asked):
        wait = waits.call_later(delay_s, lambda s: called.append((str(s), loop.now)), step(str(i)))
        if cancelled:
            wait.cancel()
    loop.advance(3.0)
    due = {str(i): 100.0 + delay_s for i, (delay_s, cancelled) in enumerate(asked) if not cancelled}
    assert sorted(name for name, _ in called) == sorted(due)
    assert [name for name, _ in called] == sorted(due, key=lambda name: due[name])
    assert all(due[name] <= at <= due[name] + TICK_S + 1e-6 for name, at in called)


def test_a_wait_set_while_others_fall_due_is_not_forgotten() -> None:
    loop, called = HandLoop(), list[str]()
    waits = waits_on(loop)

    def again(_: Step) -> None:
        waits.call_later(0.5, lambda s: called.append(str(s)), step("second"))

    waits.call_later(0.1, again, step("first"))
    waits.call_later(1.0, lambda s: called.append(str(s)), step("last"))
    loop.advance(0.7)
    assert called == ["second"]
    loop.advance(0.4)
    assert called == ["second", "last"]


def test_an_error_in_one_call_costs_the_others_nothing() -> None:
    loop, called = HandLoop(), list[str]()
    waits = waits_on(loop)

    def broken(_: Step) -> None:
        raise ValueError("broken")

    waits.call_later(0.1, broken, step("first"))
    waits.call_later(0.1, lambda s: called.append(str(s)), step("second"))
    with pytest.raises(ValueError, match="broken"):
        loop.advance(0.2)
    loop.advance(0.2)
    assert called == ["second"]


def test_thousands_of_cancelled_waits_leave_one_timer_and_then_none() -> None:
    loop = HandLoop()
    waits = waits_on(loop)
    for _ in range(5_000):
        waits.call_later(0.02, lambda _: None, step("answered")).cancel()
        loop.advance(0.001)
    assert sum(not timer.is_cancelled for timer in loop.timers) <= 1
    loop.advance(1.0)
    assert not loop.timers
