"""The setting `http.origins`: pages of which origins may use the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest

from bridge.origins import guarded

if TYPE_CHECKING:
    from tests.bridge.rooms import Rooms

GOOD = "https://museum.example"
BAD = "https://elsewhere.example"


def client(rooms: Rooms, origins: str = f"{GOOD} http://192.168.0.7:8080") -> httpx.AsyncClient:
    application = guarded(cast("Any", rooms.app), origins)
    transport = httpx.ASGITransport(app=cast("Any", application))
    return httpx.AsyncClient(transport=transport, base_url="http://hub")


async def test_all_are_welcome_unless_it_says_otherwise(rooms: Rooms) -> None:
    assert guarded(cast("Any", rooms.app), "*") is rooms.app


@pytest.mark.parametrize("method", ["OPTIONS", "POST"])
@pytest.mark.parametrize("origin", [GOOD, GOOD.upper(), "http://192.168.0.7:8080"])
async def test_a_page_on_the_list_is_named_in_the_answer(
    rooms: Rooms, method: str, origin: str
) -> None:
    async with client(rooms) as http:
        answer = await http.request(method, "/v1/step", headers={"Origin": origin})
    assert answer.headers["access-control-allow-origin"] == origin.lower()
    assert answer.headers["vary"] == "origin"


@pytest.mark.parametrize("method", ["OPTIONS", "POST"])
@pytest.mark.parametrize("origin", [BAD, "null", f"{GOOD}.evil.example", ""])
async def test_a_page_that_is_not_is_refused_with_the_reason(
    rooms: Rooms, method: str, origin: str
) -> None:
    async with client(rooms) as http:
        answer = await http.request(method, "/v1/step", headers={"Origin": origin})
        assert (answer.status_code, answer.json()["code"]) == (403, "auth")
        assert "http.origins" in answer.json()["detail"]
        assert "access-control-allow-origin" not in answer.headers
        own = await http.request(method, "/shepherd/env/", headers={"Origin": origin})
        assert (own.status_code, set(own.json())) == (200, {"error"})


async def test_devices_and_the_hubs_own_pages_are_not_asked(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    step = {"device": "d", "s": 0, "o": [0, 0]}
    async with client(rooms) as http:
        for headers in ({}, {"Origin": "http://hub"}):
            answer = await http.post("/v1/step", json=step, headers=headers | {"X-Api-Key": key})
            assert answer.status_code == 200
