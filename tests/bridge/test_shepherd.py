"""Shepherd's two routes, as its unchanged clients use them (docs/legacy.md)."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest
from msgspec import structs

from hub.registry.fold import spec_of
from hub.words import AgentName, DeviceId, Kind
from tests.bridge.rooms import BODY_BYTES_MAX, SESSION_IDLE_S, Rooms

STEP: dict[str, Any] = {"obs": [0.25, -0.5], "reward": 0.5, "done": False, "info": {}}


async def login(rooms: Rooms, key: str, **more: Any) -> str:
    """A session key."""
    answer = await rooms.shepherd("login_user/", {"apikey": key} | more)
    assert answer["ok"] is True
    return str(answer["session_key"])


async def step(rooms: Rooms, session_key: str, **changes: Any) -> Any:
    """The answer to one observation."""
    return await rooms.shepherd("env/", {"session_key": session_key} | STEP | changes)


def devices(rooms: Rooms) -> list[str]:
    """Devices of the observations, in the order of the log."""
    return [event.device for event in rooms.logged(Kind.OBSERVATION)]


def assert_error(answer: Any) -> None:
    """One clear sentence and nothing else: its clients test for `ok`."""
    assert set(answer) == {"error"}
    assert len(answer["error"]) > 10
    assert "Traceback" not in answer["error"]
    assert "\n" not in answer["error"]


@pytest.mark.parametrize("slash", ["", "/"])
async def test_login_and_step_with_and_without_slash(rooms: Rooms, slash: str) -> None:
    key = rooms.make_agent("cart")
    answer = await rooms.shepherd(f"login_user{slash}", {"apikey": key})
    assert set(answer) == {"ok", "session_key"}
    session_key = answer["session_key"]
    assert await rooms.shepherd(f"env{slash}", {"session_key": session_key} | STEP) == {"action": 0}


async def test_login_is_durable_when_it_is_answered(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    rooms.log.held = True
    asked = asyncio.ensure_future(rooms.shepherd("login_user/", {"apikey": key}))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not asked.done()
    rooms.log.release()
    assert (await asked)["ok"] is True
    assert rooms.logged(Kind.HELLO)


async def test_login_is_refused_while_nothing_can_be_made_durable(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    rooms.log.held = True
    assert_error(await rooms.shepherd("login_user/", {"apikey": key}))


async def test_action_is_null_after_done_and_never_otherwise(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    session_key = await login(rooms, key)
    for _ in range(2):  # the session goes on after an end
        assert await step(rooms, session_key) == {"action": 0}
        assert await step(rooms, session_key) == {"action": 0}
        assert await step(rooms, session_key, done=True) == {"action": None}
    rooms.actor.silent = True
    assert await step(rooms, session_key) == {"action": 0}


async def test_fallback_none_still_gives_an_action(rooms: Rooms) -> None:
    key = rooms.make_agent("cart", fallback="none")
    rooms.actor.silent = True
    assert await step(rooms, await login(rooms, key)) == {"action": 0}


async def test_declared_default_is_the_action_in_need(rooms: Rooms) -> None:
    key = rooms.make_agent("cart", fallback=1)
    rooms.actor.silent = True
    assert await step(rooms, await login(rooms, key)) == {"action": 1}


async def test_paused_agent_answers_with_the_fallback(rooms: Rooms) -> None:
    key = rooms.make_agent("cart", fallback=1)
    session_key = await login(rooms, key)
    rooms.change_agent("cart", status="paused")
    assert await step(rooms, session_key) == {"action": 1}
    rooms.change_agent("cart", status="active")
    assert await step(rooms, session_key) == {"action": 0}


async def test_box_action_is_a_list(rooms: Rooms) -> None:
    key = rooms.make_agent("arm", actions=[[2], -1.0, 1.0])
    rooms.actor.action = struct.pack("<2f", 0.5, -0.25)
    assert await step(rooms, await login(rooms, key)) == {"action": [0.5, -0.25]}


@pytest.mark.parametrize(
    ("observations", "value"),
    [
        (3, 2),
        ([[1], -1.0, 1.0], 0.5),
        ([[2, 2], 0, 255], [[0, 255], [1, 2]]),
        ({"position": [[2], -1.0, 1.0], "mode": 4}, {"mode": 3, "position": [0, 1]}),
    ],
    ids=["discrete", "number", "image", "dict"],
)
async def test_observations_of_every_space_are_taken(
    rooms: Rooms, observations: Any, value: Any
) -> None:
    key = rooms.make_agent("any", observations=observations)
    assert await step(rooms, await login(rooms, key), obs=value) == {"action": 0}


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "x/y", ""])
async def test_any_content_type_is_read(rooms: Rooms, content_type: str) -> None:
    key = rooms.make_agent("cart")
    answer = await rooms.shepherd("login_user/", {"apikey": key}, content_type=content_type)
    body = {"session_key": answer["session_key"]} | STEP
    assert await rooms.shepherd("env/", body, content_type=content_type) == {"action": 0}


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain"])
async def test_form_fields_and_the_json_field_are_read(rooms: Rooms, content_type: str) -> None:
    key = rooms.make_agent("cart")
    form = {"content_type": content_type}
    answer = await rooms.shepherd("login_user/", f"apikey={key}".encode(), **form)
    session_key = answer["session_key"]
    fields = f"session_key={session_key}&obs=[0,0]&reward=0&done=false&info={{}}".encode()
    assert await rooms.shepherd("env/", fields, **form) == {"action": 0}
    field = f'json={{"session_key":"{session_key}","obs":[0,0],"reward":0}}'.encode()
    assert await rooms.shepherd("env/", field, **form) == {"action": 0}
    done = f"session_key={session_key}&obs=[0,0]&reward=0&done=true".encode()
    assert await rooms.shepherd("env/", done, **form) == {"action": None}


async def test_the_end_of_an_episode_is_durable_before_it_is_answered(rooms: Rooms) -> None:
    session_key = await login(rooms, rooms.make_agent("cart"))
    await rooms.shepherd("env/", {"session_key": session_key, "obs": [0, 0]})
    rooms.log.held = True
    end = asyncio.ensure_future(rooms.shepherd("env/", {"session_key": session_key, "obs": None}))
    for _ in range(50):
        await asyncio.sleep(0)
    assert not end.done()
    rooms.log.release()
    assert await end == {"action": None}
    assert len(rooms.logged(Kind.EPISODE)) == 1


@pytest.mark.parametrize("body", [{"obs": None}, {"obs": None, "reward": 0, "done": False}])
async def test_probe_without_session_key_gets_a_null_action(rooms: Rooms, body: Any) -> None:
    assert await rooms.shepherd("env/", body) == {"action": None}
    assert rooms.log.events == []


async def test_info_that_is_no_object_says_nothing(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    session_key = await login(rooms, key)
    for info in ("text", None, [1], 5):
        assert await step(rooms, session_key, info=info) == {"action": 0}


async def test_a_field_that_no_message_has_is_said_once_beside_the_action(rooms: Rooms) -> None:
    session_key = await login(rooms, rooms.make_agent("cart"))
    answers = [await step(rooms, session_key, rewrad=1) for _ in range(2)]
    assert "no field 'rewrad'" in answers[0]["warning"]
    assert answers[1] == {"action": 0}


async def test_missing_reward_counts_as_zero(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    session_key = await login(rooms, key)
    await step(rooms, session_key)
    await step(rooms, session_key, reward=None)
    first, second = rooms.logged(Kind.OBSERVATION)
    assert (first.reward, second.reward) == (None, 0.0)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"\xff",
        b"[1]",
        b'"text"',
        {},
        {"session_key": 5, "obs": [0, 0]},
        {"session_key": "unknown", "obs": [0, 0]},
        {"session_key": "unknown", "obs": None},
        {"obs": [0, 0]},
        b" " * (BODY_BYTES_MAX + 1),
    ],
)
async def test_request_without_a_session_is_an_error(rooms: Rooms, body: object) -> None:
    rooms.make_agent("cart")
    assert_error(await rooms.shepherd("env/", body))


@pytest.mark.parametrize(
    "changes",
    [
        {"obs": [0, 0, 0]},
        {"obs": [0, "x"]},
        {"obs": "text"},
        {"obs": [0, 1.5]},
        {"obs": {"a": 1}},
        {"reward": "much"},
        {"reward": [1]},
        {"done": "maybe"},
        {"done": [1]},
    ],
)
async def test_refused_content_is_an_error_and_costs_one_step_only(
    rooms: Rooms, changes: dict[str, Any]
) -> None:
    key = rooms.make_agent("cart")
    session_key = await login(rooms, key)
    assert_error(await step(rooms, session_key, **changes))
    assert await step(rooms, session_key) == {"action": 0}
    assert len(rooms.logged(Kind.OBSERVATION)) == len(rooms.logged(Kind.REFUSED)) == 1


@pytest.mark.parametrize("apikey", ["wrong", "", None, 5, ["x"], "\N{SNOWMAN}"])
async def test_unknown_key_is_an_error_without_ok(rooms: Rooms, apikey: object) -> None:
    rooms.make_agent("cart")
    assert_error(await rooms.shepherd("login_user/", {"apikey": apikey}))


async def test_revoked_key_ends_its_sessions(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    session_key = await login(rooms, key)
    rooms.revoke(key)
    assert_error(await step(rooms, session_key))
    assert_error(await rooms.shepherd("login_user/", {"apikey": key}))


async def test_login_names_its_device_or_is_numbered(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    for named in ({}, {"device": "boiler"}, {}):
        await step(rooms, await login(rooms, key, **named))
    assert devices(rooms) == ["http-1", "boiler", "http-2"]


async def test_key_of_one_device_is_that_device(rooms: Rooms) -> None:
    rooms.make_agent("cart")
    key = rooms.make_key("cart", "boiler")
    await step(rooms, await login(rooms, key))
    assert devices(rooms) == ["boiler"]
    assert_error(await rooms.shepherd("login_user/", {"apikey": key, "device": "other"}))


@pytest.mark.parametrize("device", ["hub", "agents", "Capital", "a" * 24])
async def test_device_id_that_no_device_may_have_is_an_error(rooms: Rooms, device: str) -> None:
    key = rooms.make_agent("cart")
    assert_error(await rooms.shepherd("login_user/", {"apikey": key, "device": device}))


async def test_another_agents_device_is_an_error(rooms: Rooms) -> None:
    key, other = rooms.make_agent("cart"), rooms.make_agent("other")
    await login(rooms, key, device="boiler")
    assert_error(await rooms.shepherd("login_user/", {"apikey": other, "device": "boiler"}))


async def test_moved_device_must_log_in_for_its_new_agent(rooms: Rooms) -> None:
    key, other = rooms.make_agent("cart"), rooms.make_agent("other")
    session_key = await login(rooms, key, device="boiler")
    rooms.move("boiler", "other")
    assert_error(await step(rooms, session_key))
    assert await step(rooms, await login(rooms, other, device="boiler")) == {"action": 0}


async def test_forgotten_device_must_log_in_again_also_when_it_is_back(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    session_key = await login(rooms, key, device="boiler")
    rooms.forget("boiler")
    assert_error(await step(rooms, session_key))
    rooms.move("boiler", "cart")
    assert_error(await step(rooms, session_key))
    assert await step(rooms, await login(rooms, key, device="boiler")) == {"action": 0}


async def test_newest_login_of_a_device_wins(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    before = await login(rooms, key, device="boiler")
    now = await login(rooms, key, device="boiler")
    assert_error(await step(rooms, before))
    assert await step(rooms, now) == {"action": 0}


async def test_session_expires_when_idle_and_not_before(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    session_key = await login(rooms, key)
    for _ in range(3):
        rooms.clock.seconds += SESSION_IDLE_S * 0.9
        assert await step(rooms, session_key) == {"action": 0}
    rooms.clock.seconds += SESSION_IDLE_S * 1.1
    assert_error(await step(rooms, session_key))
    assert_error(await step(rooms, session_key))


async def test_number_is_taken_again_only_after_expiry_or_by_its_name(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    first = await login(rooms, key)
    await step(rooms, await login(rooms, key))
    assert devices(rooms) == ["http-2"]
    await step(rooms, await login(rooms, key, device="http-1"))
    assert devices(rooms) == ["http-2", "http-1"]
    assert_error(await step(rooms, first))
    rooms.clock.seconds += SESSION_IDLE_S + 1
    assert_error(await step(rooms, first))  # asking with an expired key must not lose the number
    for _ in range(3):
        await step(rooms, await login(rooms, key))
    assert sorted(devices(rooms)[2:]) == ["http-1", "http-2", "http-3"]


async def test_number_of_another_agent_is_never_taken(rooms: Rooms) -> None:
    key, other = rooms.make_agent("cart"), rooms.make_agent("other")
    await step(rooms, await login(rooms, key))
    rooms.clock.seconds += SESSION_IDLE_S + 1
    await step(rooms, await login(rooms, other))
    assert devices(rooms) == ["http-1", "http-2"]


async def test_a_free_number_is_not_taken_while_it_is_somebody_elses(rooms: Rooms) -> None:
    """Moved, forgotten, or logged in by its name: since it expired it is not this login's."""
    key, _ = rooms.make_agent("cart"), rooms.make_agent("other")
    for _ in range(3):
        await login(rooms, key)
    rooms.clock.seconds += SESSION_IDLE_S + 1
    named = await login(rooms, key, device="http-1")  # the three are free now, then this one is not
    rooms.registry.devices[DeviceId("http-2")] = AgentName("other")
    del rooms.registry.devices[DeviceId("http-3")]
    for _ in range(2):
        await step(rooms, await login(rooms, key))
    assert devices(rooms) == ["http-4", "http-5"]
    assert await step(rooms, named) == {"action": 0}


async def test_a_login_counts_for_the_quotas_before_a_session_is_opened(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    agent = structs.replace(rooms.registry.agents[AgentName("cart")].agent, messages_per_s=0.5)
    rooms.registry.agents[AgentName("cart")] = spec_of(agent)
    await login(rooms, key)
    assert_error(await rooms.shepherd("login_user/", {"apikey": key}))
    assert list(rooms.registry.devices) == ["http-1"]


async def test_session_key_survives_a_restart_of_the_hub(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    session_key = await login(rooms, key)
    await step(rooms, session_key)
    async with Rooms(rooms.log.events, rooms.clock) as after:
        assert await step(after, session_key) == {"action": 0}
        assert devices(after) == ["http-1", "http-1"]
        assert len(after.logged(Kind.HELLO)) == 1
        await step(after, await login(after, key))
        assert devices(after)[-1] == "http-2"


async def test_idle_time_counts_over_a_restart(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    session_key = await login(rooms, key)
    await step(rooms, session_key)
    rooms.clock.seconds += SESSION_IDLE_S + 1
    async with Rooms(rooms.log.events, rooms.clock) as after:
        assert_error(await step(after, session_key))
        await step(after, await login(after, key))
        assert devices(after)[-1] == "http-1"  # free again


async def test_newest_login_wins_over_a_restart_too(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    before = await login(rooms, key, device="boiler")
    now = await login(rooms, key, device="boiler")
    async with Rooms(rooms.log.events, rooms.clock) as after:
        assert_error(await step(after, before))
        assert await step(after, now) == {"action": 0}


async def test_numbered_steps_are_repeated_safely(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    session_key = await login(rooms, key)
    assert await step(rooms, session_key, step=4) == await step(rooms, session_key, step=4)
    assert len(rooms.logged(Kind.OBSERVATION)) == 1


async def test_a_session_that_is_over_says_why(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    replaced = await login(rooms, key, device="boiler")
    expired = await login(rooms, key, device="boiler")
    assert "a newer login of device 'boiler'" in (await step(rooms, replaced))["error"]
    rooms.clock.seconds += SESSION_IDLE_S + 1
    said = {
        "error": f"this session expired: it was not used for {SESSION_IDLE_S:g} s; log in again"
    }
    assert await step(rooms, expired) == said
    await login(rooms, key)  # which forgets the expired
    assert await step(rooms, expired) == said
    assert "not known" in (await step(rooms, "x"))["error"]
