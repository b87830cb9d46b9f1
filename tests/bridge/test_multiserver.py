"""The six routes of MultiServerRL, row by row, as its unchanged clients use them."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from hub.words import EXTERNAL
from tests.bridge.rooms import BODY_BYTES_MAX, bearer
from tests.bridge.test_remote import Table, answered, started, turns

if TYPE_CHECKING:
    import asyncio

    import httpx

    from tests.bridge.rooms import Rooms


class Server(Table):
    """A device and a client of MultiServerRL."""

    def post(
        self, verb: str, body: object = None, device: str = "d"
    ) -> asyncio.Task[httpx.Response]:
        """As the client sends it: JSON in a JSON string, its key the password of the URL."""
        twice = json.dumps({} if body is None else body)
        password = base64.b64encode(f"any:{self.key}".encode()).decode()
        path = f"/remote/{device}/post_{verb}_request/"
        return started(self.rooms.post(path, twice, {"Authorization": f"Basic {password}"}))


@pytest.fixture
def table(rooms: Rooms) -> Server:
    return Server(rooms)


async def test_post_reset_request_gives_the_observation_alone(table: Server) -> None:
    _ = table.observe(2)
    assert await answered(table.post("reset")) == {"observation": {"mode": 2, "at": [0.5, -1.0]}}


async def test_post_step_request_gives_observation_reward_done_and_info(table: Server) -> None:
    device = table.observe(0)
    await answered(table.post("reset"))
    step = table.post("step", {"action": 3})
    assert (await answered(device))["a"] == 3
    device = table.observe(1, r=-0.5, i={"room": "attic"})
    seen = await answered(step)
    assert set(seen) == {"observation", "reward", "done", "info"}
    assert (seen["reward"], seen["done"], seen["info"]["room"]) == (-0.5, False, "attic")
    step = table.post("step", {"action": 0, "project": False})
    await answered(device)
    _ = table.observe(2, r=1, d=1)
    seen = await answered(step)
    assert (seen["reward"], seen["done"]) == (1.0, True)
    assert "TimeLimit.truncated" not in seen["info"]


async def test_done_tells_a_truncation_as_gym_did(table: Server) -> None:
    device = table.observe(0)
    await answered(table.post("reset"))
    step = table.post("step", {"action": 1})
    await answered(device)
    _ = table.observe(1, r=1, tr=1)
    seen = await answered(step)
    assert (seen["done"], seen["info"]["TimeLimit.truncated"]) == (True, True)


async def test_post_state_request_gives_the_observation_shown_last(table: Server) -> None:
    assert await answered(table.post("state")) == {"state": None}
    _ = table.observe(1)
    await answered(table.post("reset"))
    assert await answered(table.post("state")) == {"state": {"mode": 1, "at": [0.5, -1.0]}}


async def test_post_render_request_gives_a_picture_where_there_is_one(rooms: Rooms) -> None:
    table = Server(rooms)
    assert await answered(table.post("render", {"mode": "human"})) == {"screen": None}
    picture = [[[0, 255, 7]]]
    key = rooms.make_agent(
        "camera", algorithm=EXTERNAL, observations=[[1, 1, 3], 0, 255], deadline_ms=None
    )
    table.key = key
    _ = started(rooms.post("/v1/step", {"device": "c", "o": picture}, bearer(key)))
    await answered(table.post("reset", device="c"))
    shown = await answered(table.post("render", {"mode": "human"}, device="c"))
    assert shown == {"screen": picture}


async def test_post_seed_request_does_not_pretend(table: Server) -> None:
    assert await answered(table.post("seed", {"seed": 3})) == {
        "success": False,
        "why": "a device has no seed",
    }


async def test_post_close_request_succeeds_also_where_a_client_seeds_with_it(
    table: Server,
) -> None:
    assert await answered(table.post("close", {"seed": 3})) == {"success": True}


@pytest.mark.parametrize("body", [b"", b"{}", b'"{}"', b"  "])
async def test_a_body_may_be_json_in_json_or_json_or_empty(table: Server, body: bytes) -> None:
    _ = table.observe(2)
    path = "/remote/d/post_reset_request"
    assert "observation" in await answered(started(table.rooms.post(path, body, bearer(table.key))))


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "not JSON"),
        (b'"no"', 400, "not JSON"),
        (b"[1]", 400, "expected an object"),
        (b"\xff", 400, "not JSON"),
        (b'"{\\"action\\": 9}"', 422, "agent expects 0 to 3"),
        (b'"{\\"move\\": 1}"', 400, "expected an object with 'action'"),
        (b"x" * (BODY_BYTES_MAX + 1), 413, "the body has over"),
    ],
)
async def test_an_error_is_one_sentence(table: Server, body: bytes, status: int, said: str) -> None:
    _ = table.observe(0)
    await answered(table.post("reset"))
    answer = await table.rooms.post("/remote/d/post_step_request/", body, bearer(table.key))
    assert (answer.status_code, set(answer.json())) == (status, {"error"})
    assert said in answer.json()["error"]


@pytest.mark.parametrize("verb", ["step", "reset", "state", "render", "seed", "close"])
async def test_each_route_is_for_the_agents_own_key_only(rooms: Rooms, verb: str) -> None:
    table = Server(rooms)
    _ = table.observe(0)
    await turns()
    other = rooms.make_agent("other", algorithm=EXTERNAL)
    inside = rooms.make_agent("inside")
    path = f"/remote/d/post_{verb}_request/"
    asked: list[tuple[dict[str, str], int]] = [
        ({}, 401),
        (bearer("wrong"), 401),
        ({"Authorization": "Basic !"}, 401),
        (bearer(other), 403),
    ]
    for headers, status in asked:
        answer = await rooms.post(path, {}, headers)
        assert (answer.status_code, set(answer.json())) == (status, {"error"})
    answer = await rooms.post(path.replace("/d/", "/x/"), {"action": 0}, bearer(inside))
    assert (answer.status_code, "learns in the hub" in answer.text) == (422, True)


async def test_after_a_restart_of_the_hub_a_step_ends_the_episode_and_a_reset_goes_on(
    rooms: Rooms,
) -> None:
    table = Server(rooms)
    _ = table.observe(1)
    seen = await answered(table.post("step", {"action": 1}))
    assert (seen["done"], seen["reward"], seen["observation"]["mode"]) == (True, 0.0, 1)
    assert (await answered(table.post("reset")))["observation"]["mode"] == 1


async def test_a_hub_that_is_stopping_sends_no_json_so_that_clients_ask_again(
    rooms: Rooms,
) -> None:
    table = Server(rooms)
    asked: Any = table.post("reset")
    await turns()
    rooms.stop()
    answer = await asked
    assert (answer.status_code, answer.content) == (503, b"")
