"""Connections that are silent for too long are closed (MQTT 3.1.1, 3.1.2.10).

One timer for all of them: a timer each would be a sixth of an idle device's memory. Connections
stand in the slot of time in which they may have been silent for long enough; whether they were is
looked at then, so that a packet costs nothing but to note when it came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from hub.intake.mqtt.reasons import Reason

if TYPE_CHECKING:
    import asyncio

GRACE: Final = 1.5
"""Times the keep-alive the client has announced."""
SLOT_S: Final = 0.1
"""A connection is closed so much late at most."""
LOOK_S_MAX: Final = 60.0
"""One that is closed is let go of after so long at most."""


class Watched(Protocol):
    """A connection."""

    heard_s: float
    """When something came last, by the loop's clock."""
    silent_s_max: float
    """It must be heard so often; 0 = never mind."""

    @property
    def is_read(self) -> bool:
        """While we do not read, what waits is not the client's silence."""
        ...

    @property
    def is_open(self) -> bool:
        """Else it needs no watching."""
        ...

    def end(self, reason: Reason) -> None:
        """It was silent."""
        ...


class KeepAlive:
    """Watches connections.

    Args:
        loop: of the connections.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, list[Watched]] = {}
        self._turning = False

    def expect(self, connection: Watched, limit_s: float) -> None:
        """Something must be heard within `limit_s` from now, again and again; 0 = never mind.

        A connection that was watched before stays in its slot as well, which does no harm.
        """
        connection.heard_s = self._loop.time()
        connection.silent_s_max = limit_s
        if limit_s:
            self._put(connection, limit_s)

    def _put(self, connection: Watched, in_s: float) -> None:
        # One that is closed stands here until its slot comes, and a keep-alive may be 27 hours.
        slot = int((self._loop.time() + min(in_s, LOOK_S_MAX)) / SLOT_S) + 1
        self._slots.setdefault(slot, []).append(connection)
        if not self._turning:
            self._turning = True
            self._loop.call_later(SLOT_S, self._turn)

    def _turn(self) -> None:
        """Look at those whose slot has come; go on while there is anybody."""
        now_s = self._loop.time()
        for slot in [slot for slot in self._slots if slot * SLOT_S <= now_s]:
            for connection in self._slots.pop(slot):
                self._look(connection, now_s)
        self._turning = bool(self._slots)
        if self._turning:
            self._loop.call_later(SLOT_S, self._turn)

    def _look(self, connection: Watched, now_s: float) -> None:
        limit_s = connection.silent_s_max
        if not limit_s or not connection.is_open:
            return
        silent_s = now_s - connection.heard_s if connection.is_read else 0.0
        if silent_s >= limit_s:
            connection.end(Reason.KEEP_ALIVE_TIMEOUT)
        else:
            self._put(connection, limit_s - silent_s)
