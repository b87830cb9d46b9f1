"""Asks the analyst process: the result as bytes, in pieces, while it is being made.

    ask = Ask("SELECT agent, count(*) FROM events GROUP BY agent", "csv", after=log.last_seq)
    async with aclosing(stream(data, ask)) as pieces:
        async for piece in pieces:
            await send(piece)

    for piece in stream_blocking(data, ask):        # a command line
        write(piece)

Leaving early cancels the query.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final, assert_never

from hub.errors import LogUnavailable, OperatorFault
from hub.frames import LENGTH, receive_frame
from hub.log.address import unix_address
from hub.log.analyst import messages

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

GONE: Final = "the analyst process is not there or has ended; ask again"


async def stream(data: Path, ask: messages.Ask) -> AsyncGenerator[bytes, None]:
    """The result of a query, piece by piece.

    Args:
        data: the hub's data folder.
        ask: what is asked, and for whom.

    Raises:
        OperatorFault: refused, wrong or over a limit, maybe after some pieces; the message says
            what to do.
        LogUnavailable: not now; ask again.
    """
    question = _framed(ask)
    try:
        with unix_address(messages.socket_path(data)) as address:
            reader, writer = await asyncio.open_unix_connection(address)
    except OSError as error:
        raise LogUnavailable(GONE) from error
    try:
        writer.write(question)
        while True:
            (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            piece = _piece(await reader.readexactly(length))
            if piece is None:
                return
            yield piece
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise LogUnavailable(GONE) from error
    finally:
        writer.close()


def stream_blocking(data: Path, ask: messages.Ask) -> Generator[bytes, None, None]:
    """The result of a query, piece by piece.

    Raises:
        OperatorFault, LogUnavailable: as `stream`.
    """
    question = _framed(ask)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            with unix_address(messages.socket_path(data)) as address:
                connection.connect(address)
            connection.sendall(question)
            while True:
                body = receive_frame(connection)
                if body is None:
                    raise LogUnavailable(GONE)
                piece = _piece(body)
                if piece is None:
                    return
                yield piece
        except OSError as error:
            raise LogUnavailable(GONE) from error


def _framed(ask: messages.Ask) -> bytes:
    question = messages.framed(ask)
    if len(question) > messages.ASK_BYTES_MAX:
        raise OperatorFault(f"the query is too long: {len(question)} bytes")
    return question


def _piece(body: bytes) -> bytes | None:
    """What a message brings; None at the end.

    Raises:
        OperatorFault, LogUnavailable: the query was refused.
    """
    message = messages.to_client.decode(body)
    match message:
        case messages.Chunk(piece):
            return piece
        case messages.End():
            return None
        case messages.Refused(reason, again):
            raise LogUnavailable(reason) if again else OperatorFault(reason)
        case _:
            assert_never(message)
