"""How long the body of a request may take to come: no form is waited for without end."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from litestar.exceptions import HTTPException
from litestar.middleware import ASGIMiddleware

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send
    from litestar.types.asgi_types import HTTPReceiveMessage, WebSocketReceiveMessage

BODY_S_MAX: Final = 30.0


class BodyInTime(ASGIMiddleware):
    """Ends a request whose body is not there in time; what comes after a body may take long."""

    def __init__(self, limit_s: float = BODY_S_MAX) -> None:
        self._limit_s = limit_s

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass the request on.

        Raises:
            HTTPException: 408, where the body is read.
        """
        until = asyncio.get_running_loop().time() + self._limit_s
        whole = False

        async def receive_in_time() -> HTTPReceiveMessage | WebSocketReceiveMessage:
            nonlocal whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError as error:
                text = f"The form was not here within {self._limit_s:g} s; send it again."
                status = HTTPStatus.REQUEST_TIMEOUT
                raise HTTPException(text, status_code=status) from error
            whole = not message.get("more_body", False)
            return message

        await next_app(scope, receive_in_time, send)
