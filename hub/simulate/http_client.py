"""POSTs, one after the other, on a connection that is opened when it is needed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from httptools import HttpParserError, HttpResponseParser

from hub.simulate.exchange import ANSWER_TIMEOUT_S, HalfOpen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.simulate.exchange import Endpoint

BODY_BYTES_MAX: Final = 1 << 20
"""Of an answer: an action, or a sentence."""


class HttpClient:
    """One kept-alive connection to one host.

    Args:
        endpoint: of the hub's HTTP.
        headers: sent with each request, beside length and type.
    """

    def __init__(self, endpoint: Endpoint, headers: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        lines = {"Host": str(endpoint), "Content-Type": "application/json", **headers}
        self._head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._wire: _Wire | None = None
        self._turn = asyncio.Lock()
        """One request at a time: copies of a step would each open a connection, and lose one."""
        self._is_closed = False
        self._abandoned = HalfOpen()

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer.

        Raises:
            OSError: no connection, or no answer within `ANSWER_TIMEOUT_S`. The connection is
                closed then, so that an answer that comes late is not taken for the next.
        """
        request = f"POST {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        async with self._turn:
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    answer = await (await self._opened()).ask(request.encode() + body)
            except BaseException:  # cancelled too: the answer may be on its way
                self._hang_up()
                raise
            if self._is_closed:  # it was on its way already, and is the last
                self._hang_up()
            return answer

    def abandon(self) -> None:
        """Leave the connection as it is and never look at it again."""
        if self._wire is not None:
            self._wire.ignore()
            self._abandoned.keep(self._wire.close)
            self._wire = None

    def close(self) -> None:
        """Hang up on all of them."""
        self._is_closed = True
        self._hang_up()
        self._abandoned.close()

    async def _opened(self) -> _Wire:
        if self._wire is None or self._wire.closed:
            loop, there = asyncio.get_running_loop(), self._endpoint
            _, self._wire = await loop.create_connection(
                _Wire, there.host, there.port, ssl=there.tls
            )
        return self._wire

    def _hang_up(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None


class _Wire(asyncio.Protocol):
    """A connection and the request under way on it."""

    def __init__(self) -> None:
        self.closed = False
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self._body = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        assert self._transport is not None, "it is connected"
        self._body.clear()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def ignore(self) -> None:
        """Read no more."""
        assert self._transport is not None, "it is connected"
        with suppress(RuntimeError):  # it is closing
            self._transport.pause_reading()

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    # asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not derived from it

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._fail(ConnectionResetError(f"no HTTP comes from there: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(ConnectionResetError(f"the hub broke off: {exc or 'end of stream'}"))

    def _fail(self, error: Exception) -> None:
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    # httptools' calls

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > BODY_BYTES_MAX:
            self._fail(ConnectionResetError(f"an answer of over {BODY_BYTES_MAX} bytes"))

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if not self._parser.should_keep_alive():
            self.close()
        if status >= HTTPStatus.OK and self._answer is not None and not self._answer.done():
            self._answer.set_result((status, bytes(self._body)))
