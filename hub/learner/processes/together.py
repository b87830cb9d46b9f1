"""What comes in turns of the event loop that follow each other is handed on together.

    together = Together(hand_on)
    together.add(question)            # hand_on([question, …]) soon

Devices that were answered by one commit come back in as many turns, some 50 µs apart, since each
has its own socket. Asked together they wake the actor once: with four devices of PPO, 56 µs of its
processor time a step instead of 74, and 130 of the hub's instead of 142.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

TURNS_MAX: Final = 4
"""After the first, that each brought something; then it is handed on, whatever comes. An empty turn
takes microseconds."""

Thing = TypeVar("Thing")


class Together(Generic[Thing]):
    """Things that wait for the end of a turn that brings none.

    Args:
        hand_on: called with all that came, at least one, in their order.
    """

    def __init__(self, hand_on: Callable[[list[Thing]], None]) -> None:
        self._hand_on = hand_on
        self._waiting: list[Thing] = []

    def add(self, thing: Thing) -> None:
        """One more, in this turn."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._end_turn, 0, 0)
        self._waiting.append(thing)

    def clear(self) -> None:
        """Hand on nothing of what waits."""
        self._waiting.clear()

    def _end_turn(self, before: int, turns: int) -> None:
        """`before` waited by the turn before, the last of so many that each brought something."""
        count = len(self._waiting)
        if before < count and turns < TURNS_MAX:
            asyncio.get_running_loop().call_soon(self._end_turn, count, turns + 1)
        elif count:
            waiting, self._waiting = self._waiting, []
            self._hand_on(waiting)
