"""A connection that is silent for too long is closed (MQTT 3.1.1, 3.1.2.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

GRACE: Final = 1.5
"""Times the keep-alive the device has announced."""


class KeepAlive:
    """One timer a connection: it looks when it fires, so that a packet costs nothing.

    Args:
        loop: of the connection.
        close: called when the time is over.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, close: Callable[[], None]) -> None:
        self._loop = loop
        self._close = close
        self._limit_s = 0.0
        self._heard = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.held = False
        """While we do not read, what waits is not the device's silence."""

    def expect(self, limit_s: float) -> None:
        """Something must be heard within `limit_s` from now, again and again; 0 = never mind."""
        self.stop()
        self._limit_s = limit_s
        self.heard()
        if limit_s:
            self._timer = self._loop.call_later(limit_s, self._look)

    def heard(self) -> None:
        """The device has sent something."""
        self._heard = self._loop.time()

    def stop(self) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        silent_s = 0.0 if self.held else self._loop.time() - self._heard
        if silent_s >= self._limit_s:
            self._timer = None
            self._close()
        else:
            self._timer = self._loop.call_later(self._limit_s - silent_s, self._look)
