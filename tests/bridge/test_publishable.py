"""Keys that stand in web pages: what they may do, and that it is all they may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from hub.errors import OperatorFault
from hub.words import EXTERNAL, Kind, Publishable
from tests.bridge.rooms import SESSION_IDLE_S, Rooms, bearer

if TYPE_CHECKING:
    import httpx

PAGE: Final = "https://museum.example"
LIMITS: Final = Publishable((PAGE, "http://localhost:3000"), sessions_max=3, messages_per_s=5.0)
STEP: Final[dict[str, Any]] = {"obs": [0, 0], "reward": 0.0, "done": False}


@pytest.fixture
def key(rooms: Rooms) -> str:
    """Of the agent `cart`, for pages."""
    rooms.make_agent("cart")
    return rooms.make_key("cart", publishable=LIMITS)


async def ask(rooms: Rooms, route: str, body: object, origin: str | None = PAGE) -> httpx.Response:
    """As the page's browser sends it."""
    return await rooms.post(
        f"/shepherd/{route}/", body, {} if origin is None else {"Origin": origin}
    )


async def login(rooms: Rooms, key: str, **more: Any) -> httpx.Response:
    return await ask(rooms, "login_user", {"apikey": key} | more)


async def test_each_visitor_of_the_page_is_a_device_of_its_own(rooms: Rooms, key: str) -> None:
    for _ in range(2):
        session_key = (await login(rooms, key)).json()["session_key"]
        answer = await ask(rooms, "env", {"session_key": session_key} | STEP)
        assert answer.json() == {"action": 0}
        assert answer.headers["access-control-allow-origin"] == "*"
    devices = [event.device for event in rooms.logged(Kind.OBSERVATION)]
    assert devices == ["http-1", "http-2"]


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", f"{PAGE}:444", None])
async def test_no_other_page_may_log_in_or_step(rooms: Rooms, key: str, origin: str | None) -> None:
    refused = (await ask(rooms, "login_user", {"apikey": key}, origin)).json()
    assert f"this key is for pages of {PAGE}" in refused["error"]
    session_key = (await login(rooms, key)).json()["session_key"]
    refused = (await ask(rooms, "env", {"session_key": session_key} | STEP, origin)).json()
    assert set(refused) == {"error"}
    assert rooms.logged(Kind.OBSERVATION) == []


async def test_it_opens_no_named_device(rooms: Rooms, key: str) -> None:
    await rooms.post("/v1/step", {"device": "d", "o": [0, 0]}, bearer(rooms.make_key("cart")))
    for device in ("d", "new", "http-1"):
        assert "devices of its own" in (await login(rooms, key, device=device)).json()["error"]


async def test_it_opens_nothing_else(rooms: Rooms) -> None:
    secret = rooms.make_agent("afar", algorithm=EXTERNAL, deadline_ms=None)
    key = rooms.make_key("afar", publishable=LIMITS)
    routes = [
        ("POST", "/v1/step"), ("POST", "/v1/reward"), ("POST", "/v1/env/d/reset"),
        ("POST", "/v1/env/d/step"), ("GET", "/v1/env"), ("GET", "/v1/actions/1"),
        *(
            ("POST", f"/remote/d/post_{verb}_request/")
            for verb in ("step", "reset", "render", "close", "seed", "state")
        ),
    ]  # fmt: skip
    body = {"device": "d", "o": [0, 0], "r": 1, "action": 0}
    for method, path in routes:
        answer = await rooms.ask(method, path, body, bearer(key) | {"Origin": PAGE})
        assert answer.status_code in (401, 403), path
        assert "publishable" in answer.text or path.startswith("/v1/actions"), answer.text
    assert rooms.logged(Kind.OBSERVATION) == []
    assert (await rooms.ask("GET", "/v1/env", b"", bearer(secret))).status_code == 200


async def test_over_its_rate_it_is_told_when_to_come_again(rooms: Rooms, key: str) -> None:
    session_key = (await login(rooms, key)).json()["session_key"]
    answers = [await ask(rooms, "env", {"session_key": session_key} | STEP) for _ in range(11)]
    refused = answers[-1]
    assert (answers[0].status_code, refused.status_code) == (200, 429)
    assert refused.headers["retry-after"] == "1"
    assert (refused.json()["code"], refused.json()["retry_s"] > 0) == ("rate", True)
    assert (await login(rooms, key)).status_code == 429, "a login counts too"
    rooms.clock.seconds += 1
    answer = await ask(rooms, "env", {"session_key": session_key} | STEP)
    assert answer.json() == {"action": 0}


async def test_over_its_sessions_it_opens_none_until_one_expires(rooms: Rooms, key: str) -> None:
    for _ in range(LIMITS.sessions_max):
        assert (await login(rooms, key)).json()["ok"]
    refused = await login(rooms, key)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate")
    assert "has 3 open sessions" in refused.json()["error"]
    other = rooms.make_key("cart")
    assert (await rooms.shepherd("login_user/", {"apikey": other}))["ok"], "others have their own"
    rooms.clock.seconds += SESSION_IDLE_S + 1
    assert (await login(rooms, key)).json()["ok"]


async def test_what_it_may_do_outlives_the_hub_and_ends_with_the_key(
    rooms: Rooms, key: str
) -> None:
    session_key = (await login(rooms, key)).json()["session_key"]
    async with Rooms(rooms.log.events, rooms.clock) as after:
        step = {"session_key": session_key} | STEP
        assert (await ask(after, "env", step)).json() == {"action": 0}
        assert "error" in (await ask(after, "env", step, "https://elsewhere.example")).json()
        after.revoke(key)
        assert "revoked" in (await ask(after, "env", step)).json()["error"]
        assert "not accepted" in (await login(after, key)).json()["error"]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Publishable((), 1, 1), "1 to 20 origins"),
        (Publishable(("museum.example",), 1, 1), "is no origin"),
        (Publishable((f"{PAGE}/",), 1, 1), "is no origin"),
        (Publishable(("https://Museum.example",), 1, 1), "is no origin"),
        (Publishable(("*",), 1, 1), "is no origin"),
        (Publishable((PAGE,) * 21, 1, 1), "1 to 20 origins"),
        (Publishable((PAGE,), 0, 1), "sessions at once are 1 to"),
        (Publishable((PAGE,), 1, 0), "messages a second are above 0"),
        (Publishable((PAGE,), 1, float("nan")), "messages a second are above 0"),
    ],
)
async def test_what_can_not_be_kept_is_refused(
    rooms: Rooms, limits: Publishable, said: str
) -> None:
    rooms.make_agent("cart")
    with pytest.raises(OperatorFault, match=said):
        rooms.make_key("cart", publishable=limits)
    with pytest.raises(OperatorFault, match="is of no device"):
        rooms.make_key("cart", "d", publishable=LIMITS)
