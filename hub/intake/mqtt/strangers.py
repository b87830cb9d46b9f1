"""Sockets before anybody is known on them: how many there may be, and for how long.

Rule 1: a right key is never made to wait for what others do from its address.
Rule 2: sockets that show no key cannot take the room of those that do: above `strangers_max` the
    one that has waited longest is closed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from hub.registry.buckets import Buckets

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.settings import MqttSettings
    from hub.words import KeyId

log: Final = logging.getLogger("hub.mqtt")

BURST_S: Final = 20.0
ADDRESSES_MAX: Final = 10_000
LATE_S_MAX: Final = 5.0
"""A refusal comes so late at most."""
KEYS_SAID_MAX: Final = 1_000
"""Keys whose refused logins are printed, once each."""


class Socket(Protocol):
    """One that is open; `hub.intake.mqtt.connection.Connection` is one."""

    @property
    def peer(self) -> tuple[str, int]:
        """Address and port."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class Strangers:
    """Counts all sockets, and remembers those without a key."""

    def __init__(self, settings: MqttSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._waiting: dict[Socket, None] = {}
        """In the order they came."""
        self._of_address: dict[str, int] = {}
        self._failures: Buckets[str] = Buckets(
            settings.failures_per_minute / 60, burst_s=BURST_S, most=ADDRESSES_MAX
        )
        self.sockets = 0
        self.refused = 0
        """Logins, since start."""
        self._said: set[KeyId] = set()

    def enter(self, socket: Socket) -> bool:
        """A socket has opened; False: it is one too many and is to be closed."""
        address = socket.peer[0]
        self.sockets += 1
        self._of_address[address] = self._of_address.get(address, 0) + 1
        if (
            self.sockets > self._settings.connections_max
            or self._of_address[address] > self._settings.address_connections_max
        ):
            return False
        self._waiting[socket] = None
        if len(self._waiting) > self._settings.strangers_max:
            longest = next(iter(self._waiting))
            del self._waiting[longest]
            longest.close()
        return True

    def known(self, socket: Socket) -> None:
        """Its key was accepted."""
        self._waiting.pop(socket, None)

    def failed(self, socket: Socket) -> float:
        """Its key was refused; how late to say so, in seconds."""
        self.refused += 1
        return min(LATE_S_MAX, self._failures.take(socket.peer[0], self._clock.monotonic()))

    def say_once(self, key: KeyId, why: str) -> None:
        """Print why a login with a right key was refused: MQTT 3.1.1 can't tell its device."""
        if key not in self._said and len(self._said) < KEYS_SAID_MAX:
            self._said.add(key)
            log.warning("a login over MQTT with key %s was refused: %s", key, why)

    def leave(self, socket: Socket) -> None:
        """It is gone."""
        self._waiting.pop(socket, None)
        self.sockets -= 1
        address = socket.peer[0]
        left = self._of_address[address] - 1
        if left:
            self._of_address[address] = left
        else:
            del self._of_address[address]
