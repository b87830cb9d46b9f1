"""What a link makes of hubs that do not let it in; with those that do it meets the real one."""

from __future__ import annotations

import socket
import threading

import pytest

from hub.remote import Address, RemoteFault
from hub.remote.errors import HubUnreachable
from hub.remote.link import NO_DEVICE, Link

REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
ASKED = {NO_DEVICE: {"env": "spaces"}}


def refuse_twice(listener: socket.socket) -> None:
    for _ in range(2):
        line, _ = listener.accept()
        with line:
            line.recv(4096)
            line.sendall(REFUSED)


def test_a_hub_that_refuses_the_handshake_refuses_it_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        refusing = threading.Thread(target=refuse_twice, args=(listener,), daemon=True)
        refusing.start()
        link = Link(Address("127.0.0.1", listener.getsockname()[1], "arm", "k.s"), 5.0)
        for _ in range(2):
            with pytest.raises(RemoteFault, match="answers 403"):
                link.exchange(ASKED)
        refusing.join()


def test_a_hub_that_does_not_open_the_connection_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # nobody takes the connection
        link = Link(Address("127.0.0.1", listener.getsockname()[1], "arm", "k.s"), 0.2)
        with pytest.raises(HubUnreachable, match=r"within 0\.2 s"):
            link.exchange({"cart-1": {"env": "reset"}})
