"""Every route of the application, for tests that leave none out: one that is added is asked too."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.bridge.rooms import Rooms

if TYPE_CHECKING:
    from collections.abc import Mapping

CONSOLE = "/console"


async def routes() -> list[tuple[str, str]]:
    """Methods and paths, without the files that pages load."""
    async with Rooms() as rooms:
        found = {
            (method, path)
            for route in rooms.app.others.routes
            for path in (str(route.path),)
            if "/static" not in path
            for method in getattr(route, "methods", ("GET", "POST"))
            if method not in ("OPTIONS", "HEAD")
        }
    return sorted(found)


async def pages() -> list[tuple[str, str]]:
    """Those of the console that need a login, without `/console` in front."""
    beside = {f"{CONSOLE}{path}" for path in ("/login", "/setup", "/logout")}
    return [
        (method, path.removeprefix(CONSOLE))
        for method, path in await routes()
        if path.startswith(CONSOLE) and path not in beside
    ]


def filled(path: str, values: Mapping[str, str]) -> str:
    """The path with its parameters; the mount of mappings has one that it does not say."""
    path = re.sub(r"\{(\w+)(:\w+)?\}", lambda found: values[found[1]], path)
    return f"{path}/{values['mapping']}" if path == "/v1/map" else path
