"""A broker's bad day: a relay before the hub that pours packets over a device as it connects."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Final

from hub.intake.mqtt import wire
from tests.acceptance.real_hub import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNACK_BYTES: Final = 4
POURED: Final = b"".join(
    [
        *(wire.publish(f"rl/v1/other-{n}/state", b'{"ep":1}' * n, retain=True) for n in range(40)),
        wire.publish("rl/v1/somebody/act/f32", b"\x10\x01\x01\x00\x01\x00"),
        wire.publish("big", bytes(16_000)),
    ]
)
"""What a broker sends that mistakes everybody's retained messages for this device's."""
FRAMED: Final = b"\x82\x7e" + len(POURED).to_bytes(2, "big") + POURED
"""The same in a WebSocket: one binary frame (RFC 6455, 5.2)."""
FLOOD: Final = POURED + wire.publish("", b"")
"""And one without a topic, over which a client may hang up (MQTT 3.1.1, 4.7.3)."""


@contextlib.contextmanager
def flooding(port: int) -> Iterator[int]:
    """The relay's port; it sends the flood between the hub's CONNACK and what comes after."""
    with socket.create_server((HOST, 0)) as server:
        threading.Thread(target=_serve, args=(server, port), daemon=True).start()
        yield int(server.getsockname()[1])


def _serve(server: socket.socket, port: int) -> None:
    with contextlib.suppress(OSError):  # closed: the block has ended
        device, _ = server.accept()
        with device, socket.create_connection((HOST, port)) as hub:
            threading.Thread(target=_copy, args=(device, hub), daemon=True).start()
            device.sendall(exactly(hub, CONNACK_BYTES) + FLOOD)
            _copy(hub, device)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def exactly(source: socket.socket, count: int) -> bytes:
    """So many bytes; fewer where it ends before."""
    data = b""
    while len(data) < count and (more := source.recv(count - len(data))):
        data += more
    return data


def up_to(source: socket.socket, end: bytes) -> bytes:
    """Bytes up to and with these; fewer where it ends before."""
    data = b""
    while not data.endswith(end) and (more := source.recv(1)):
        data += more
    return data
