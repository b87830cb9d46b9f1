"""The setting `http.origins`: whose web pages may use the hub from a browser.

By default it is `*`, all of them: a device's key is the lock, and who has none gets nothing.
With a list, a request that a browser sends for a page of another origin is refused before anything
of it is read, and answers name the one origin they are for (Fetch standard, 3.2). What sends no
`Origin`, as devices do, is not asked for one; nor is a page that this hub itself serves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from litestar.enums import ScopeType

from bridge.errors import denied
from bridge.http import JSON, Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from litestar.types import Message, Receive, Scope, Send

    Application = Callable[[Scope, Receive, Send], Awaitable[None]]

ANY: Final = "*"
OWN_SHAPE: Final = ("/shepherd/", "/remote/")
"""Routes whose errors are `{"error": "a sentence"}`, this one with status 200: no client of theirs
looks at it."""
ALLOW_ORIGIN: Final = b"access-control-allow-origin"


def guarded(application: Application, origins: str) -> Application:
    """The application for pages of these origins only; itself, where all are welcome."""
    allowed = frozenset(origins.lower().encode().split())
    if ANY.encode() in allowed:
        return application

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        origin = origin_of(dict(scope.get("headers", ())))
        if origin is None:
            await application(scope, receive, send)
        elif origin in allowed or _is_own(origin, dict(scope["headers"])):
            await application(scope, receive, _for_origin(send, origin))
        else:
            await refuse(scope, send, _refusal(scope, origin))

    return serve


def origin_of(headers: dict[bytes, bytes]) -> bytes | None:
    """Of the page that asks, in small letters; None when it is no page."""
    origin = headers.get(b"origin")
    return None if origin is None else origin.strip().lower()


async def refuse(scope: Scope, send: Send, response: Response) -> None:
    """Answer a request, or the opening of a WebSocket, without letting it in."""
    prefix = "websocket.http.response" if scope["type"] == ScopeType.WEBSOCKET else "http.response"
    headers = [
        (b"content-type", response.content_type),
        (b"content-length", b"%d" % len(response.body)),
    ]
    start = {"type": f"{prefix}.start", "status": int(response.status), "headers": headers}
    body = {"type": f"{prefix}.body", "body": response.body, "more_body": False}
    for message in (start, body):
        await send(message)  # type: ignore[arg-type]  # ASGI's union has no type by a name like this


def _is_own(origin: bytes, headers: dict[bytes, bytes]) -> bool:
    return origin.partition(b"://")[2] == headers.get(b"host", b"").lower()


def _for_origin(send: Send, origin: bytes) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message["headers"] if pair[0].lower() != ALLOW_ORIGIN]
            message["headers"] = [*kept, (ALLOW_ORIGIN, origin), (b"vary", b"origin")]
        await send(message)

    return sending


def _refusal(scope: Scope, origin: bytes) -> Response:
    shown = origin[:100].decode("latin-1")
    sentence = (
        f"pages of {shown} may not use this hub; its operator can add the origin to http.origins"
    )
    if scope["path"].startswith(OWN_SHAPE):
        return Response(200, msgspec.json.encode({"error": sentence}), JSON)
    return denied(sentence)
