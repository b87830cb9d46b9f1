"""A person's reward: for a device that there is, within what the key may give; and its page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from hub.registry.rewarding import rewarding
from hub.words import EXTERNAL, Kind
from tests.bridge.rooms import bearer

if TYPE_CHECKING:
    from tests.bridge.rooms import Rooms

STEP: Final[dict[str, Any]] = {"device": "lamp", "s": 0, "o": [0, 0], "r": 0}


async def given(rooms: Rooms, key: str, reward: object, device: str | None = "lamp") -> Any:
    """Status and document of `POST /v1/reward`."""
    body = {"r": reward} if device is None else {"device": device, "r": reward}
    answer = await rooms.post("/v1/reward", body, bearer(key))
    return answer.status_code, answer.json()


async def test_a_device_that_there_is_not_is_said_so_and_not_made(rooms: Rooms) -> None:
    key = rooms.make_agent("lamps")
    status, answer = await given(rooms, key, 1, "lmap")
    assert (status, answer["device"]) == (404, "lmap")
    assert "no device 'lmap'" in answer["detail"]
    assert "device list" in answer["detail"]
    assert dict(rooms.registry.devices) == {}
    assert rooms.logged(Kind.REWARD) == rooms.logged(Kind.HELLO) == []


async def test_a_device_that_was_added_and_never_heard_is_there(rooms: Rooms) -> None:
    key = rooms.make_agent("lamps")
    rooms.move("lamp", "lamps")
    assert (await given(rooms, key, 1))[0] == 200


async def test_a_device_of_another_agent_is_not_this_key_s_to_reward(rooms: Rooms) -> None:
    key = rooms.make_agent("lamps")
    rooms.make_agent("fans")
    rooms.move("lamp", "fans")
    assert (await given(rooms, key, 1))[0] == 403


async def test_a_reward_opens_no_session(rooms: Rooms) -> None:
    key = rooms.make_agent("lamps")
    await rooms.post("/v1/step", STEP, bearer(key))
    assert (await given(rooms, key, 1))[0] == 200
    assert len(rooms.logged(Kind.HELLO)) == 1
    (reward,) = rooms.logged(Kind.REWARD)
    assert reward.session == rooms.logged(Kind.OBSERVATION)[0].session


async def test_a_key_for_rewards_rewards_its_device_and_the_log_says_which_key(
    rooms: Rooms,
) -> None:
    key = rooms.make_agent("lamps")
    await rooms.post("/v1/step", STEP, bearer(key))
    link = rooms.make_key("lamps", "lamp", rewarding=rewarding())
    assert (await given(rooms, link, -1, None))[0] == 200
    (reward,) = rooms.logged(Kind.REWARD)
    said = msgspec.json.decode(reward.payload or "")
    assert (reward.reward, said["by"]) == (-1, f"key {link.partition('.')[0]}")
    assert (await given(rooms, link, 1, "other"))[0] == 403


@pytest.mark.parametrize("reward", [1.01, -2, 1e300, 10**400])
async def test_it_gives_no_more_than_it_may(rooms: Rooms, reward: object) -> None:
    rooms.make_agent("lamps")
    rooms.move("lamp", "lamps")
    link = rooms.make_key("lamps", "lamp", rewarding=rewarding())
    body = b'{"device":"lamp","r":%s}' % str(reward).encode()
    answer = await rooms.post("/v1/reward", body, bearer(link))
    assert (answer.status_code, answer.json()["code"]) == (422, "range")
    assert rooms.logged(Kind.REWARD) == []


async def test_what_is_wrong_is_said_whatever_the_rate_and_uses_none_of_it(rooms: Rooms) -> None:
    rooms.make_agent("lamps")
    rooms.move("lamp", "lamps")
    link = rooms.make_key("lamps", "lamp", rewarding=rewarding(per_minute=60))
    for _ in range(5):
        assert (await given(rooms, link, 2))[0] == 422
    statuses = [(await given(rooms, link, 1))[0] for _ in range(3)]
    assert statuses == [200, 200, 429]


async def test_it_rewards_no_oftener_than_it_may(rooms: Rooms) -> None:
    rooms.make_agent("lamps")
    rooms.move("lamp", "lamps")
    link = rooms.make_key("lamps", "lamp", rewarding=rewarding(per_minute=60))
    statuses = [(await given(rooms, link, 1))[0] for _ in range(3)]
    assert statuses == [200, 200, 429]
    rooms.clock.seconds += 1
    assert (await given(rooms, link, 1))[0] == 200


async def test_it_does_nothing_else(rooms: Rooms) -> None:
    rooms.make_agent("afar", algorithm=EXTERNAL, deadline_ms=None)
    rooms.move("lamp", "afar")
    link = rooms.make_key("afar", rewarding=rewarding())
    for method, path in (
        ("POST", "/v1/step"), ("POST", "/v1/env/lamp/reset"), ("POST", "/v1/env/lamp/step"),
        ("GET", "/v1/env"), ("GET", "/v1/actions/1"), ("POST", "/v1/key/rotate"),
        ("POST", "/remote/lamp/post_step_request/"), ("GET", "/v1/things/lamp"),
    ):  # fmt: skip
        answer = await rooms.ask(method, path, STEP | {"action": 0}, bearer(link))
        assert answer.status_code == 401, path
    assert "for rewards" in (await rooms.shepherd("login_user/", {"apikey": link}))["error"]
    assert rooms.logged(Kind.HELLO) == []


async def test_its_page_learns_by_the_key_what_a_press_may_give(rooms: Rooms) -> None:
    own = rooms.make_agent("lamps")
    rooms.make_agent("fans")
    for device, agent in (("lamp", "lamps"), ("other", "lamps"), ("fan", "fans")):
        rooms.move(device, agent)
    link = rooms.make_key("lamps", "lamp", rewarding=rewarding(most=0.25))
    told = []
    for key, device in (
        (link, "lamp"), (own, "lamp"), (link, "other"), (own, "fan"), (own, "lmap"), ("no", "lamp"),
    ):  # fmt: skip
        answer = await rooms.ask("GET", f"/reward/{device}/may", headers=bearer(key))
        told.append(answer.json().get("most", answer.status_code))
        assert answer.headers["cache-control"] == "no-store"
    assert told == [0.25, 1, 403, 403, 404, 401]


async def test_its_page_needs_no_login_and_lets_nothing_else_run_in_it(rooms: Rooms) -> None:
    page = await rooms.ask("GET", "/reward/lamp")
    assert page.status_code == 200
    assert 'data-device="lamp"' in page.text
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for name in ("LAMP", "a" * 24, "%3Cscript%3E", "hub"):
        assert (await rooms.ask("GET", f"/reward/{name}")).status_code == 404
