"""Device routes stand before the router of all others, and behave as if they were behind it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

import httpx
import pytest
from litestar import Litestar, get
from litestar.response import Stream

from bridge.front import DevicesFirst

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.bridge.rooms import Rooms

WAIT_S: Final = 20
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


@pytest.mark.parametrize(
    "path", ["/healthz", "/schema/openapi.json", "/", "/v2", "/v1/sql", "/v1/actions/12"]
)
async def test_head_is_answered_as_get_without_the_body(rooms: Rooms, path: str) -> None:
    wanted, got = await rooms.ask("GET", path), await rooms.ask("HEAD", path)
    assert (got.status_code, got.content) == (wanted.status_code, b"")
    assert got.headers == wanted.headers


async def test_head_of_a_stream_without_end_ends() -> None:
    @get("/", sync_to_thread=False)
    def endless() -> Stream:
        return Stream(_for_ever())

    async def _for_ever() -> AsyncIterator[str]:
        while True:
            yield "."
            await asyncio.sleep(0)

    transport = httpx.ASGITransport(app=cast("Any", DevicesFirst({}, Litestar([endless]))))
    async with (
        asyncio.timeout(WAIT_S),
        httpx.AsyncClient(transport=transport, base_url="http://hub") as client,
    ):
        assert (await client.head("/")).status_code == 200
