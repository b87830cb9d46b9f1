"""Who is watched for silence, by a loop whose clock is moved by hand."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, cast

from hub.intake.mqtt.keep_alive import LOOK_S_MAX, SLOT_S, KeepAlive
from hub.intake.mqtt.reasons import Reason

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Loop:
    """Calls back when its clock is moved past the time."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self._due: list[tuple[float, Callable[[], object]]] = []

    def time(self) -> float:
        """Seconds."""
        return self.now_s

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> None:
        """Once."""
        self._due.append((self.now_s + delay_s, callback))

    def advance(self, seconds: float) -> None:
        """Move the clock on, by one slot after the other."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s += SLOT_S
            due = [call for call in self._due if call[0] <= self.now_s]
            self._due = [call for call in self._due if call[0] > self.now_s]
            for _, callback in due:
                callback()


class Line:
    """A connection."""

    def __init__(self) -> None:
        self.heard_s = 0.0
        self.silent_s_max = 0.0
        self.is_read = True
        self.is_open = True

    def end(self, reason: Reason) -> None:
        """It was silent."""
        assert reason is Reason.KEEP_ALIVE_TIMEOUT
        self.is_open = False


def watch() -> tuple[Loop, KeepAlive]:
    loop = Loop()
    return loop, KeepAlive(cast("asyncio.AbstractEventLoop", loop))


def test_a_closed_connection_is_let_go_of_long_before_its_keep_alive_is_over() -> None:
    loop, keep_alive = watch()
    line = Line()
    keep_alive.expect(line, 65_535 * 1.5)
    line.is_open = False
    known = weakref.ref(line)
    del line
    loop.advance(LOOK_S_MAX + 2 * SLOT_S)
    gc.collect()
    assert known() is None


def test_a_long_keep_alive_is_as_long_as_it_says() -> None:
    loop, keep_alive = watch()
    line = Line()
    keep_alive.expect(line, 3.5 * LOOK_S_MAX)
    loop.advance(3.4 * LOOK_S_MAX)
    assert line.is_open
    loop.advance(0.2 * LOOK_S_MAX)
    assert not line.is_open
