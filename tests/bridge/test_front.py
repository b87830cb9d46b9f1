"""Device routes stand before the router of all others, and behave as if they were behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest

if TYPE_CHECKING:
    from tests.bridge.rooms import Rooms

DEVICE_ROUTES = ["/v1/step", "/v1/reward", "/shepherd/env", "/shepherd/login_user"]


@pytest.mark.parametrize("path", DEVICE_ROUTES)
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST"])
async def test_device_routes_answer_alike_before_and_behind_the_router(
    rooms: Rooms, method: str, path: str
) -> None:
    transport = httpx.ASGITransport(app=cast("Any", rooms.app.others))
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as behind:
        for address in (path, f"{path}/"):
            wanted, got = await behind.request(method, address), await rooms.ask(method, address)
            assert (got.status_code, got.content) == (wanted.status_code, wanted.content)
            assert got.headers == wanted.headers


async def test_other_routes_are_found_behind_them(rooms: Rooms) -> None:
    assert (await rooms.ask("GET", "/healthz")).status_code == 200
    assert (await rooms.ask("GET", "/v1/steps")).status_code == 404
