"""Questions that come in turns of the loop that follow each other go to the actor together."""

from __future__ import annotations

import asyncio

from hub.learner.processes.together import TURNS_MAX, Together


async def handed_on(*turns: list[int], clear_at: int | None = None) -> list[list[int]]:
    """What is handed on when each turn of the loop brings so many things."""
    handed: list[list[int]] = []
    together = Together[int](handed.append)
    for number, things in enumerate(turns):
        if number == clear_at:
            together.clear()
        for thing in things:
            together.add(thing)
        await asyncio.sleep(0)
    for _ in range(TURNS_MAX + 2):
        await asyncio.sleep(0)
    return handed


async def test_what_comes_in_turns_that_follow_each_other_goes_together() -> None:
    assert await handed_on([1, 2], [3], [4]) == [[1, 2, 3, 4]]


async def test_a_turn_that_brings_nothing_ends_the_wait() -> None:
    assert await handed_on([1], [], [], [2]) == [[1], [2]]


async def test_nothing_waits_for_more_turns_than_some_however_much_comes() -> None:
    each = [[i] for i in range(4 * TURNS_MAX)]
    handed = await handed_on(*each)
    assert [i for things in handed for i in things] == list(range(4 * TURNS_MAX))
    assert max(map(len, handed)) <= TURNS_MAX + 1


async def test_what_was_cleared_is_not_handed_on_and_what_comes_next_is() -> None:
    assert await handed_on([1], [2], clear_at=1) == [[2]]
