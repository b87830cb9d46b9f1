"""Who never ends a request is sent away, and nobody else is."""

from __future__ import annotations

import select
import socket
from contextlib import ExitStack
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from hub.words import EXTERNAL
from tests.acceptance.devices import bearer
from tests.acceptance.real_hub import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

WHOLE: Final = b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n"
UNFINISHED: Final = {
    "nothing": b"",
    "half a line": b"POST /v1/st",
    "half a head": b"POST /v1/step HTTP/1.1\r\nHost: hub\r\n",
    "half a second request": b"GET /healthz HTTP/1.1\r\n",
    "half a body": b"POST /v1/step HTTP/1.1\r\nHost: hub\r\nContent-Length: 100\r\n\r\n{",
}
ANSWER_S_MAX: Final = 20.0


def test_only_who_does_not_end_a_request_is_closed(new_hub: Callable[[str], RealHub]) -> None:
    hub = new_hub("[http]\nrequest_s_max = 0.4\n")
    hub.start()
    key = hub.make_agent("slow", algorithm=EXTERNAL, parameters={}, deadline_ms=None)
    with ExitStack() as stay:
        idle = stay.enter_context(socket.create_connection((HOST, hub.ready.http)))
        idle.sendall(WHOLE)
        _await_answer(idle)
        waiting = stay.enter_context(socket.create_connection((HOST, hub.ready.http)))
        body = msgspec.json.encode({"device": "waits", "s": 1, "o": [0, 0, 0, 0]})
        head = f"POST /v1/step HTTP/1.1\r\nHost: hub\r\nContent-Length: {len(body)}\r\n"
        authorization = "".join(f"{k}: {v}\r\n" for k, v in bearer(key).items())
        waiting.sendall(f"{head}{authorization}\r\n".encode() + body)
        for what, said in UNFINISHED.items():
            address = (HOST, hub.ready.http)
            slow = stay.enter_context(socket.create_connection(address, ANSWER_S_MAX))
            if what == "half a second request":
                slow.sendall(WHOLE)
                _await_answer(slow)
            slow.sendall(said)
            assert _all_from(slow).startswith(b"HTTP/1.1 408 "), what
        closed, _, _ = select.select([idle, waiting], [], [], 0)
        assert not closed, "one has asked for nothing, the other for an action that is to come"


def _await_answer(connection: socket.socket) -> None:
    """Of `WHOLE`."""
    response = HTTPResponse(connection)
    response.begin()
    assert response.status == 200
    response.read()


def _all_from(connection: socket.socket) -> bytes:
    """Until the hub closes it."""
    received = b""
    while data := connection.recv(4096):
        received += data
    return received
