"""Who does not end a request is waited for so long, and no longer.

uvicorn closes a connection on which no request comes, but waits for ever for the rest of one that
has begun: a few thousand sockets that never end theirs would leave none for anybody else.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from hub.clock import Clock

LOOKS: Final = 4
"""In the time that is allowed; who is too slow has up to a quarter of it more."""
TOO_SLOW: Final = (
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 34\r\n\r\nthe request was not whole in time\n"
)


class Patience:
    """Looks at all connections a few times in `request_s`, which costs a request nothing.

    Args:
        connections: uvicorn's own, those of WebSockets among them.
        request_s: from the connection, or a request's first byte, to its last.
    """

    def __init__(self, connections: Iterable[object], request_s: float, clock: Clock) -> None:
        self._connections = connections
        self._request_s = request_s
        self._clock = clock
        self._since: dict[HttpToolsProtocol, tuple[object, float]] = {}
        """Who was waited for at the last look: in which request, and since when."""

    async def keep(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._request_s / LOOKS)
            self.look()

    def look(self) -> None:
        """End the connections of those who took too long."""
        now, before = self._clock.monotonic(), self._since
        self._since = {}
        for connection in list(self._connections):
            if not isinstance(connection, HttpToolsProtocol) or not _is_waited_for(connection):
                continue
            request, since = before.get(connection, (None, now))
            if request is not connection.cycle:
                since = now
            if now - since < self._request_s:
                self._since[connection] = connection.cycle, since
            else:
                connection.transport.write(TOO_SLOW)
                connection.transport.close()


@contextlib.asynccontextmanager
async def patient(patience: Patience) -> AsyncIterator[None]:
    """Look while the block runs."""
    looking = asyncio.create_task(patience.keep())
    try:
        yield
    finally:
        looking.cancel()


def _is_waited_for(connection: HttpToolsProtocol) -> bool:
    """It has sent less than a request, or nothing yet; between two requests uvicorn watches."""
    if connection.timeout_keep_alive_task is not None or connection.transport.is_closing():
        return False
    request = connection.cycle
    return request is None or request.response_complete or request.more_body
