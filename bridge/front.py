"""The routes of devices before all others: found by their path alone.

    application = DevicesFirst({"/v1/step": serve_step, …}, litestar)

Litestar's router and handling of exceptions are a quarter of a request, and a device's step uses
neither. Whatever is no plain request to one of these paths
goes on to the application behind, which has the same routes; HEAD comes there as GET.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from litestar.enums import ScopeType

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from litestar import Litestar
    from litestar.types import Message, Receive, Scope, Send

    Application = Callable[[Scope, Receive, Send], Awaitable[None]]


HEAD: Final = "HEAD"


class DevicesFirst:
    """An application of both.

    Args:
        routes: by path; a slash at the end makes no difference.
        others: for all other paths.
    """

    def __init__(self, routes: Mapping[str, Application], others: Litestar) -> None:
        self.others = others
        self._by_path = {
            path + slash: serve for path, serve in routes.items() for slash in ("", "/")
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        route = self._by_path.get(scope["path"]) if scope["type"] == ScopeType.HTTP else None
        if route is not None:
            await route(scope, receive, send)
        elif scope["type"] == ScopeType.HTTP and scope["method"] == HEAD:
            await self.others({**scope, "method": "GET"}, receive, _without_body(send))
        else:
            await self.others(scope, receive, send)


def _without_body(send: Send) -> Send:
    """Send what a GET would have, headers alone (RFC 9110, 9.3.2).

    The answer is complete with them: who streams for as long as somebody listens hears that nobody
    does any more.
    """

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return sending
