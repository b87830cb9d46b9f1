"""`POST /v1/step` and `/v1/reward`, as docs/legacy.md has them."""

from __future__ import annotations

import struct
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import pytest
from msgspec import structs

from hub.registry.fold import spec_of
from hub.words import AgentName, Kind, Source
from tests.bridge.rooms import BODY_BYTES_MAX, POLICY_VERSION, bearer

if TYPE_CHECKING:
    import httpx

    from tests.bridge.rooms import Rooms

STEP: dict[str, Any] = {"device": "d", "s": 12, "o": [0.25, -0.5]}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def problem_of(response: httpx.Response) -> dict[str, Any]:
    """The problem document, checked against RFC 9457 and the status."""
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == response.status_code
    assert document["title"] == HTTPStatus(response.status_code).phrase
    assert document["type"] == "about:blank"
    assert document["detail"]
    return document


async def test_step_is_answered_with_action_policy_and_seq(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    response = await rooms.post("/v1/step", STEP, bearer(key))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    (observation,) = rooms.logged(Kind.OBSERVATION)
    assert response.json() == {"s": 12, "a": 0, "pv": POLICY_VERSION, "seq": observation.seq}


async def test_answer_comes_after_observation_and_action_are_durable(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    await rooms.post("/v1/step", STEP, bearer(key))
    (action,) = rooms.logged(Kind.ACTION)
    assert (action.device, action.step, action.policy) == ("d", 12, POLICY_VERSION)


async def test_fallback_is_marked_and_has_no_policy(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    rooms.actor.silent = True
    answer = (await rooms.post("/v1/step", STEP, bearer(key))).json()
    assert (answer["src"], answer["a"], "pv" in answer) == ("fallback", 0, False)
    (action,) = rooms.logged(Kind.ACTION)
    assert (action.source, action.reason) == (Source.FALLBACK, "deadline")


@pytest.mark.parametrize("ending", ["d", "tr", "done", "truncated"])
async def test_end_of_an_episode_is_answered_with_null(rooms: Rooms, ending: str) -> None:
    key = rooms.make_agent("cart")
    answer = (await rooms.post("/v1/step", STEP | {ending: 1}, bearer(key))).json()
    assert answer["a"] is None
    assert "src" not in answer


async def test_what_was_not_taken_as_it_was_sent_is_said_with_the_answer(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    said = []
    sent: list[dict[str, Any]] = [{"rewrad": 1}, {"rewrad": 2, "terminated": True}, {"r": 1e39}]
    for step, beside in enumerate(sent):
        answer = await rooms.post("/v1/step", STEP | {"s": step} | beside, bearer(key))
        assert answer.status_code == 200
        said.append(answer.json().get("w", ""))
    assert "no field 'rewrad'" in said[0]
    assert "no field 'terminated'" in said[1]
    assert "rewrad" not in said[1], "it was told of that before"
    assert said[2] == "reward is no float32: taken as missing"


async def test_of_names_without_end_a_device_is_told_the_first_few(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    many = {f"{i}{'x' * 100}": i for i in range(20)}
    answer = await rooms.post("/v1/step", {**STEP, "s": 0, **many}, bearer(key))
    said = answer.json()["w"]
    assert len(said) < 800
    for step in range(1, 20):
        await rooms.post("/v1/step", STEP | {"s": step, f"name-{step}": 1}, bearer(key))
    last = await rooms.post("/v1/step", STEP | {"s": 99, "another": 1}, bearer(key))
    assert "w" not in last.json()


async def test_box_action_is_a_list(rooms: Rooms) -> None:
    key = rooms.make_agent("arm", actions=[[2], -1.0, 1.0])
    rooms.actor.action = struct.pack("<2f", 0.5, -0.25)
    assert (await rooms.post("/v1/step", STEP, bearer(key))).json()["a"] == [0.5, -0.25]


@pytest.mark.parametrize(
    ("observations", "value"),
    [
        (3, 2),
        ({"position": [[2], -1.0, 1.0], "mode": 4}, {"mode": 3, "position": [0, 1]}),
        ([[2, 2], 0, 255], [[0, 255], [1, 2]]),
        ([[1], -1.0, 1.0], 0.5),
    ],
    ids=["discrete", "dict", "image", "number"],
)
async def test_observations_of_every_space_are_taken(
    rooms: Rooms, observations: Any, value: Any
) -> None:
    key = rooms.make_agent("any", observations=observations)
    response = await rooms.post("/v1/step", STEP | {"o": value}, bearer(key))
    assert response.status_code == 200


@pytest.mark.parametrize(
    "header",
    [{"Authorization": "Bearer {}"}, {"authorization": "bearer {}"}, {"X-Api-Key": "{}"}],
)
async def test_key_comes_as_bearer_or_x_api_key(rooms: Rooms, header: dict[str, str]) -> None:
    key = rooms.make_agent("cart")
    headers = {name: value.format(key) for name, value in header.items()}
    assert (await rooms.post("/v1/step", STEP, headers)).status_code == 200


async def test_key_of_one_device_names_the_device(rooms: Rooms) -> None:
    rooms.make_agent("cart")
    key = rooms.make_key("cart", "d")
    response = await rooms.post("/v1/step", {"s": 1, "o": [0, 0]}, bearer(key))
    assert response.status_code == 200
    assert rooms.logged(Kind.OBSERVATION)[0].device == "d"
    other = await rooms.post("/v1/step", STEP | {"device": "e"}, bearer(key))
    assert problem_of(other)["status"] == 403


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "image/png", ""])
async def test_json_is_read_whatever_the_content_type_says(rooms: Rooms, content_type: str) -> None:
    key = rooms.make_agent("cart")
    headers = bearer(key) | {"Content-Type": content_type}
    assert (await rooms.post("/v1/step", STEP, headers)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"device=d&obs=[0.25,-0.5]&reward=0.5&step=12",
        b"device=d&o=%5B0.25%2C-0.5%5D&s=12",
        b'json={"device":"d","s":12,"o":[0.25,-0.5]}',
    ],
)
@pytest.mark.parametrize("content_type", [FORM, {}, {"Content-Type": "application/json"}])
async def test_form_fields_are_read_as_json_values(
    rooms: Rooms, body: bytes, content_type: dict[str, str]
) -> None:
    key = rooms.make_agent("cart")
    answer = (await rooms.post("/v1/step", body, bearer(key) | content_type)).json()
    assert (answer["s"], answer["a"]) == (12, 0)


async def test_device_called_by_a_number_can_use_form_fields(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    response = await rooms.post("/v1/step", b"device=42&obs=[0,0]", bearer(key) | FORM)
    assert response.status_code == 200
    assert rooms.logged(Kind.OBSERVATION)[0].device == "42"


async def test_form_of_very_many_fields_is_refused_unread(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    response = await rooms.post("/v1/step", b"&".join([b"a=1"] * 900), bearer(key) | FORM)
    assert "form fields" in problem_of(response)["detail"]


async def test_repeat_gets_the_same_answer_and_is_logged_once(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    first = await rooms.post("/v1/step", STEP, bearer(key))
    rooms.actor.action = struct.pack("<f", 1.0)
    second = await rooms.post("/v1/step", STEP, bearer(key))
    assert first.json() == second.json()
    assert len(rooms.logged(Kind.OBSERVATION)) == len(rooms.logged(Kind.ACTION)) == 1


@pytest.mark.parametrize(
    ("status", "code", "body"),
    [
        (400, "payload", b"{"),
        (400, "payload", b"text"),
        (400, "payload", b"\xff\xfe"),
        (400, "payload", b'{"device":"d","o":[NaN,0]}'),
        (400, "payload", b"[" * 3000),
        (400, "payload", [0, 0]),
        (400, "payload", {"o": [0, 0]}),
        (400, "payload", {"device": "d"}),
        (413, "size", b" " * (BODY_BYTES_MAX + 1)),
        (422, "shape", STEP | {"o": [0, 0, 0]}),
        (422, "shape", STEP | {"o": []}),
        (422, "type", STEP | {"o": "text"}),
        (422, "type", STEP | {"o": None}),
        (422, "type", STEP | {"o": [0, "x"]}),
        (422, "type", STEP | {"o": [0, True]}),
        (422, "type", STEP | {"s": -1}),
        (422, "type", STEP | {"s": "x"}),
        (422, "type", STEP | {"b": 2**32}),
        (422, "type", STEP | {"r": [1]}),
        (422, "type", STEP | {"i": 5}),
        (422, "type", STEP | {"x": "left"}),
        (422, "range", STEP | {"o": [0, 1.5]}),
        (422, "range", STEP | {"o": [0, 10**80]}),
        (422, "range", STEP | {"x": 2}),
    ],
)
async def test_refused_content_is_a_problem_document(
    rooms: Rooms, status: int, code: str, body: object
) -> None:
    key = rooms.make_agent("cart")
    response = await rooms.post("/v1/step", body, bearer(key))
    problem = problem_of(response)
    assert (problem["status"], problem["code"]) == (status, code)
    assert rooms.logged(Kind.OBSERVATION) == []
    again = await rooms.post("/v1/step", STEP, bearer(key))
    assert again.status_code == 200


async def test_problem_names_device_and_step(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    response = await rooms.post("/v1/step", STEP | {"o": [0, 0, 0]}, bearer(key))
    problem = problem_of(response)
    assert (problem["device"], problem["step"]) == ("d", 12)
    assert problem["detail"] == "obs has 3 values, agent expects 2"
    (refused,) = rooms.logged(Kind.REFUSED)
    assert (refused.device, refused.step, refused.reason) == ("d", 12, "shape")


@pytest.mark.parametrize("headers", [{}, bearer("wrong"), {"Authorization": "Basic eDp5"}])
async def test_401_without_an_accepted_key_whatever_the_body(
    rooms: Rooms, headers: dict[str, str]
) -> None:
    rooms.make_agent("cart")
    for body in (STEP, b"not JSON"):
        assert problem_of(await rooms.post("/v1/step", body, headers))["code"] == "auth"
        assert (await rooms.post("/v1/step", body, headers)).status_code == 401


async def test_401_once_the_key_is_revoked(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    assert (await rooms.post("/v1/step", STEP, bearer(key))).status_code == 200
    rooms.revoke(key)
    assert (await rooms.post("/v1/step", STEP, bearer(key))).status_code == 401


@pytest.mark.parametrize("device", ["hub", "agents", "http-3", "Capital", "a" * 24, "a/b", "a\n"])
async def test_403_for_a_device_id_that_no_device_may_have(rooms: Rooms, device: str) -> None:
    key = rooms.make_agent("cart")
    response = await rooms.post("/v1/step", STEP | {"device": device}, bearer(key))
    assert problem_of(response)["status"] == 403


async def test_403_for_another_agents_device(rooms: Rooms) -> None:
    key, other = rooms.make_agent("cart"), rooms.make_agent("other")
    await rooms.post("/v1/step", STEP, bearer(key))
    assert problem_of(await rooms.post("/v1/step", STEP, bearer(other)))["status"] == 403


async def test_moved_device_steps_for_its_new_agent_only(rooms: Rooms) -> None:
    key, other = rooms.make_agent("cart"), rooms.make_agent("other")
    await rooms.post("/v1/step", STEP, bearer(key))
    rooms.move("d", "other")
    assert (await rooms.post("/v1/step", STEP | {"s": 13}, bearer(key))).status_code == 403
    assert (await rooms.post("/v1/step", STEP | {"s": 14}, bearer(other))).status_code == 200
    assert rooms.logged(Kind.OBSERVATION)[-1].agent == "other"


async def test_409_for_a_step_with_other_content(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    await rooms.post("/v1/step", STEP, bearer(key))
    response = await rooms.post("/v1/step", STEP | {"o": [0, 0]}, bearer(key))
    assert (problem_of(response)["status"], problem_of(response)["code"]) == (409, "step")


async def test_409_late_for_a_step_that_was_skipped_and_is_past(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    for step in (1, 5):
        await rooms.post("/v1/step", STEP | {"s": step}, bearer(key))
    response = await rooms.post("/v1/step", STEP | {"s": 3}, bearer(key))
    assert (problem_of(response)["status"], problem_of(response)["code"]) == (409, "late")


async def test_503_while_nothing_can_be_made_durable_and_the_same_step_later(
    rooms: Rooms,
) -> None:
    key = rooms.make_agent("cart")
    await rooms.post("/v1/step", STEP | {"s": 11}, bearer(key))
    rooms.log.held = True
    response = await rooms.post("/v1/step", STEP, bearer(key))
    assert (problem_of(response)["status"], problem_of(response)["code"]) == (503, "busy")
    rooms.log.release()
    assert (await rooms.post("/v1/step", STEP, bearer(key))).status_code == 200
    assert [event.step for event in rooms.logged(Kind.OBSERVATION)] == [11, 12]


async def test_503_while_the_log_is_behind(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    rooms.log.crowded = True
    assert problem_of(await rooms.post("/v1/step", STEP, bearer(key)))["status"] == 503


async def test_reward_of_a_person_counts_for_the_next_observation(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    await rooms.post("/v1/step", STEP, bearer(key))
    response = await rooms.post("/v1/reward", {"device": "d", "r": 2}, bearer(key))
    (reward,) = rooms.logged(Kind.REWARD)
    assert (response.status_code, response.json()) == (200, {"seq": reward.seq})
    await rooms.post("/v1/step", STEP | {"s": 13, "r": 0.5}, bearer(key))
    assert rooms.logged(Kind.OBSERVATION)[-1].reward == 2.5


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b"{"),
        (400, {"r": 1}),
        (422, {"device": "d"}),
        (422, {"device": "d", "r": "x"}),
        (422, {"device": "d", "r": True}),
        (422, b'{"device": "d", "r": 1%s}' % (b"0" * 400)),
        (403, {"device": "hub", "r": 1}),
    ],
)
async def test_bad_reward_is_a_problem_document(rooms: Rooms, status: int, body: object) -> None:
    key = rooms.make_agent("cart")
    assert problem_of(await rooms.post("/v1/reward", body, bearer(key)))["status"] == status
    assert (await rooms.post("/v1/reward", body)).status_code == 401


async def test_429_over_the_quota_says_when_to_come_again(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    agent = structs.replace(rooms.registry.agents[AgentName("cart")].agent, messages_per_s=0.5)
    rooms.registry.agents[AgentName("cart")] = spec_of(agent)
    assert (await rooms.post("/v1/step", STEP, bearer(key))).status_code == 200
    refused = await rooms.post("/v1/step", STEP | {"s": 13}, bearer(key))
    assert (refused.status_code, problem_of(refused)["code"]) == (429, "rate")
    assert refused.headers["retry-after"] == "2"
    rooms.clock.seconds += 2.0
    assert (await rooms.post("/v1/step", STEP | {"s": 13}, bearer(key))).status_code == 200


@pytest.mark.parametrize(("path", "refused"), [("/v1/step", 429), ("/v1/reward", 404)])
async def test_over_the_quota_nothing_is_opened_for_a_device(
    rooms: Rooms, path: str, refused: int
) -> None:
    key = rooms.make_agent("cart")
    agent = structs.replace(rooms.registry.agents[AgentName("cart")].agent, messages_per_s=0.5)
    rooms.registry.agents[AgentName("cart")] = spec_of(agent)
    rooms.move("d0", "cart")
    answers = [
        await rooms.post(path, {"device": f"d{i}", "o": [0, 0], "r": 1}, bearer(key))
        for i in range(5)
    ]
    assert [answer.status_code for answer in answers] == [200, *[refused] * 4]
    assert problem_of(answers[1])["device"] == "d1"
    assert list(rooms.registry.devices) == ["d0"]


async def test_403_for_one_device_more_than_the_agent_may_have(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    agent = structs.replace(rooms.registry.agents[AgentName("cart")].agent, devices_max=1)
    rooms.registry.agents[AgentName("cart")] = spec_of(agent)
    assert (await rooms.post("/v1/step", STEP, bearer(key))).status_code == 200
    refused = await rooms.post("/v1/step", STEP | {"device": "e"}, bearer(key))
    assert (refused.status_code, problem_of(refused)["code"]) == (403, "auth")
    assert (
        "devices, as many as it may"
        in (await rooms.shepherd("login_user", {"apikey": key}))["error"]
    )


async def test_a_form_cut_off_by_a_hang_up_is_not_taken(rooms: Rooms) -> None:
    headers = [(k.lower().encode(), v.encode()) for k, v in bearer(rooms.make_agent("c")).items()]
    scope = {
        "type": "http", "method": "POST", "path": "/v1/reward", "raw_path": b"/v1/reward",
        "query_string": b"", "headers": headers, "state": {}, "extensions": {},
    }  # fmt: skip
    said: list[Any] = [
        {"type": "http.request", "body": b"device=d&r=1", "more_body": True},  # of r=15
        {"type": "http.disconnect"},
    ]
    heard = []

    async def receive() -> Any:
        return said.pop(0)

    async def send(message: Any) -> None:
        heard.append(message)

    await cast("Any", rooms.app)(scope, receive, send)
    assert (heard, rooms.logged(Kind.REWARD)) == ([], [])
