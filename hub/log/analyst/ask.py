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
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, assert_never

from hub.errors import LogUnavailable, OperatorFault
from hub.frames import LENGTH, receive_frame
from hub.log.address import unix_address
from hub.log.analyst import messages

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

GONE: Final = "the analyst process is not there or has ended; ask again"
RETRY_S: Final = 0.05
ATTEMPTS: Final = 100
"""Five seconds; the process takes about one to start again."""


class _Gone(Exception):
    """The process was not there, or ended before the answer did."""

    def __init__(self, *, asked: bool) -> None:
        super().__init__(asked)
        self.asked = asked


class _Patience:
    """How often to ask again: while the process starts, and once when it ended over the question.

    Only once, because it may have ended of this very query.
    """

    def __init__(self) -> None:
        self._attempts = ATTEMPTS
        self._ended = False

    def after(self, gone: _Gone, *, begun: bool) -> None:
        """Ask again, or not.

        Args:
            gone: how the last attempt ended.
            begun: it had brought something.

        Raises:
            LogUnavailable: not.
        """
        self._attempts -= 1
        if begun or not self._attempts or (gone.asked and self._ended):
            raise LogUnavailable(GONE) from gone
        self._ended = self._ended or gone.asked


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
    question, patience, begun = _framed(ask), _Patience(), False
    while True:
        try:
            async with aclosing(_stream(data, question)) as pieces:
                async for piece in pieces:
                    begun = True
                    yield piece
        except _Gone as gone:
            patience.after(gone, begun=begun)
        else:
            return
        await asyncio.sleep(RETRY_S)


async def _stream(data: Path, question: bytes) -> AsyncGenerator[bytes, None]:
    try:
        with unix_address(messages.socket_path(data)) as address:
            reader, writer = await asyncio.open_unix_connection(address)
    except OSError as error:
        raise _Gone(asked=False) from error
    try:
        writer.write(question)
        while True:
            (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            piece = _piece(await reader.readexactly(length))
            if piece is None:
                return
            yield piece
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise _Gone(asked=True) from error
    finally:
        writer.close()


def stream_blocking(data: Path, ask: messages.Ask) -> Generator[bytes, None, None]:
    """The result of a query, piece by piece.

    Raises:
        OperatorFault, LogUnavailable: as `stream`.
    """
    question, patience, begun = _framed(ask), _Patience(), False
    while True:
        try:
            for piece in _stream_blocking(data, question):
                begun = True
                yield piece
        except _Gone as gone:
            patience.after(gone, begun=begun)
        else:
            return
        time.sleep(RETRY_S)


def _stream_blocking(data: Path, question: bytes) -> Generator[bytes, None, None]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            with unix_address(messages.socket_path(data)) as address:
                connection.connect(address)
        except OSError as error:
            raise _Gone(asked=False) from error
        try:
            connection.sendall(question)
            while (body := receive_frame(connection)) is not None:
                piece = _piece(body)
                if piece is None:
                    return
                yield piece
        except OSError as error:
            raise _Gone(asked=True) from error
        raise _Gone(asked=True)


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
