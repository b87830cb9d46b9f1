"""The command line's end of the operator's socket: a request, and what the hub answers to it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

import msgspec

from hub.control import SOCKET_NAME, Done, NotDone, Reply, limit_s
from hub.errors import HubFault, OperatorFault
from hub.frames import frame, receive_frame
from hub.log.address import unix_address

if TYPE_CHECKING:
    from pathlib import Path

    from hub.control import Request

REPLY_S: Final = 5.0  # a command waits so much longer than the hub, to be told that it was long
NOBODY: Final = (FileNotFoundError, ConnectionRefusedError)  # or a killed hub left its socket

_reply: Final = msgspec.json.Decoder(Reply)


class NoHub(OperatorFault):
    """Nobody listens in the data folder."""


def ask(data: Path, request: Request) -> Done:
    """Have a running hub carry out a request; blocking, for the command line.

    Raises:
        NoHub: none runs on this folder.
        OperatorFault: it refused.
        HubFault: it did not answer.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(limit_s(request) + REPLY_S)
        try:
            with unix_address(data / SOCKET_NAME) as address:
                connection.connect(address)
        except OSError as error:
            fault = NoHub if isinstance(error, NOBODY) else OperatorFault
            raise fault(
                f"no hub answers in {data} ({error}); start one with "
                f"'sheepfold serve --data {data}', or name its folder with --data"
            ) from error
        try:
            connection.sendall(frame(msgspec.json.encode(request)))
            body = receive_frame(connection)
        except OSError as error:
            raise HubFault(f"the hub in {data} did not answer ({error})") from error
    if body is None:
        raise HubFault("the hub closed the connection; see its messages")
    reply: Reply = _reply.decode(body)
    if isinstance(reply, NotDone):
        raise OperatorFault(reply.message)
    return reply
