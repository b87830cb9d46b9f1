"""What each of our ends of MQTT does with paho's socket."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paho.mqtt.client import Client, SocketLike


def unread(client: Client) -> bool:
    """Whether TLS has taken more from the socket than paho has: then no readiness tells of it."""
    connection = client.socket()
    return isinstance(connection, ssl.SSLSocket) and connection.pending() > 0


def send_at_once(_client: Client, _userdata: object, connection: SocketLike) -> None:
    """Switch Nagle off, as paho's `on_socket_open`."""
    # CRUCIAL: paho leaves it on, and a PUBACK followed by a PUBLISH then waits for the hub's
    # delayed ACK: 40 ms a step instead of 0.3.
    assert isinstance(connection, socket.socket)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
