"""The routes of devices before all others: found by their path alone.

    application = DevicesFirst({"/v1/step": serve_step, …}, litestar)

Litestar's router and handling of exceptions are a quarter of a request, and a device's step uses
neither. Whatever is no plain request to one of these paths
goes on to the application behind, which has the same routes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar.enums import ScopeType

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from litestar import Litestar
    from litestar.types import Receive, Scope, Send

    Application = Callable[[Scope, Receive, Send], Awaitable[None]]


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
        await (self.others if route is None else route)(scope, receive, send)
