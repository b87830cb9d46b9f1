"""A hub's bad day as a device sees it: late, a flood, an answer lost; then the hub is killed.

with BadDay(hub.ready.mqtt, answer=b"/act", floods=3) as day:
    with workbench.running(program, HOST, day.port, …) as process:
        until(lambda: day.waits, "ten answers")
        hub.kill_nine()
        day.go_on()
        hub.start()
        process.wait()
assert day.is_over

It is a relay before the hub. What happens is counted in answers, so that it happens to every device
at the same place: the tenth it keeps, until the hub itself is gone.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Final, Self

from hub.clock import SystemClock
from tests.acceptance.flood import CONNACK_BYTES, FRAMED, POURED, exactly, up_to
from tests.acceptance.real_hub import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOSED_S: Final = 0.3
"""For so long nobody listens, at first and each time that the hub is found away."""
TURNED_AWAY: Final = 2
"""Connections that are hung up on at once when it has begun to listen."""
LOST_AT: Final = 5
"""This answer never comes: the hub has logged the step, and the device has to say it again."""
KILL_AT: Final = 10
"""This answer neither: the hub is to be killed now."""
RESET: Final = struct.pack("ii", 1, 0)
UPGRADED: Final = b"\r\n\r\n"
FRAME_HEAD_BYTES: Final = 2


class BadDay:
    """One relay, for one device at a time.

    Args:
        port: of the hub.
        answer: what stands in every answer, and nowhere else.
        floods: at so many connections packets of MQTT are poured over the device.
        framed: it speaks MQTT in a WebSocket.
    """

    def __init__(self, port: int, *, answer: bytes, floods: int = 0, framed: bool = False) -> None:
        self.answers = 0
        self.turned_away = 0
        self.lost = 0
        self.floods_to_come = floods
        self.waits = False
        """For the hub to be killed; until then nothing more is answered."""
        self.silent_from = 0.0
        """When it began to wait, seconds on the monotonic clock."""
        self._hub = port
        self._answer = answer
        self._framed = framed
        self._connections: list[socket.socket] = []
        self._away = threading.Event()
        self._went_on = False
        self._over = threading.Event()
        # It is bound and never listens: nobody else gets the port while this hub is away.
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._place.bind((HOST, 0))
        self.port: int = self._place.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._hang_up()
        self._place.close()

    def go_on(self) -> None:
        """The hub was killed; what was kept is lost with it."""
        self._went_on = True
        self.waits = False
        self._away.set()

    @property
    def is_over(self) -> bool:
        """Whether all of it has happened."""
        happened = (self.turned_away, self.lost, self._went_on, self.floods_to_come)
        return happened == (TURNED_AWAY, 1, True, 0)

    def _listen(self) -> None:
        while not self._over.wait(CLOSED_S):
            self._away.clear()
            with socket.create_server((HOST, self.port), reuse_port=True) as server:
                server.settimeout(0.05)
                for device in self._arrivals(server):
                    self._receive(device)
            self._hang_up()

    def _arrivals(self, server: socket.socket) -> Iterator[socket.socket]:
        while not (self._away.is_set() or self._over.is_set()):
            with contextlib.suppress(TimeoutError):
                yield server.accept()[0]

    def _receive(self, device: socket.socket) -> None:
        hub = None
        if self.turned_away < TURNED_AWAY:
            self.turned_away += 1
        else:
            with contextlib.suppress(ConnectionRefusedError):
                hub = socket.create_connection((HOST, self._hub))
        if hub is None:
            device.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            device.close()
            if self._went_on:
                self._away.set()
            return
        for end in (device, hub):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections += [device, hub]
        threading.Thread(target=self._there, args=(device, hub), daemon=True).start()
        threading.Thread(target=self._back, args=(hub, device), daemon=True).start()

    def _there(self, device: socket.socket, hub: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := device.recv(65_536):
                hub.sendall(data)
        _close(device, hub)

    def _back(self, hub: socket.socket, device: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self.floods_to_come:
                self.floods_to_come -= 1
                head = 0
                if self._framed:
                    device.sendall(up_to(hub, UPGRADED))
                    head = FRAME_HEAD_BYTES
                poured = FRAMED if self._framed else POURED
                device.sendall(exactly(hub, head + CONNACK_BYTES) + poured)
            while (data := hub.recv(65_536)) and self._lasts(data):
                if not self.waits:
                    device.sendall(data)
        _close(device, hub)

    def _lasts(self, data: bytes) -> bool:
        """Count the answers in it; False = the line breaks here."""
        self.answers += data.count(self._answer)
        if not self.lost and self.answers >= LOST_AT:
            self.lost += 1
            return False
        if not self._went_on and not self.waits and self.answers >= KILL_AT:
            self.silent_from = SystemClock().monotonic()
            self.waits = True
        return True

    def _hang_up(self) -> None:
        while self._connections:
            _close(self._connections.pop())


def _close(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):  # it is closed
            end.shutdown(socket.SHUT_RDWR)
        end.close()
