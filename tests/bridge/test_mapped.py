"""`POST /v1/map/{mapping}`, as docs/legacy.md has it."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hub.words import Kind
from tests.bridge.rooms import Rooms, bearer
from tests.intake.mapping.mapped import PAYLOADS, shipped

if TYPE_CHECKING:
    from hub.words import Event

FORM = (PAYLOADS / "form.txt").read_bytes()
SPACES: dict[str, Any] = {"observations": [[2], [-20, 0], [60, 10]]}
NESTED = (PAYLOADS / "nested.json").read_bytes()


def forms(rooms: Rooms) -> str:
    key = rooms.make_agent("forms", **SPACES)
    rooms.add_mapping("form", "forms", shipped("form").mapping)
    return key


def kept(event: Event) -> dict[str, Any]:
    assert event.payload is not None
    return msgspec.json.decode(event.payload, type=dict[str, Any])


async def test_a_posted_form_is_an_observation_and_its_answer_the_devices_own_word(
    rooms: Rooms,
) -> None:
    key = forms(rooms)
    rooms.actor.action = struct.pack("<f", 1)
    first = await rooms.post("/v1/map/form?device=boiler", FORM, bearer(key))
    assert (first.status_code, first.text) == (200, "ON")
    assert first.headers["content-type"].startswith("text/plain")
    second = await rooms.post("/v1/map/form?device=boiler", FORM, bearer(key))
    assert second.text == "ON"
    observations = rooms.logged(Kind.OBSERVATION)
    assert [(o.device, o.step, o.reward) for o in observations] == [
        ("boiler", 0, None),
        ("boiler", 1, -0.25),
    ], "the hub numbers the steps, and a first one rewards nothing"
    assert struct.unpack("<2f", observations[0].obs or b"") == pytest.approx((21.5, 1.2))
    assert int(second.headers["sheepfold-seq"]) == observations[1].seq


async def test_the_raw_payload_is_in_the_log_beside_the_version_that_read_it(rooms: Rooms) -> None:
    key = forms(rooms)
    await rooms.post("/v1/map/form?device=boiler", FORM, bearer(key))
    rooms.add_mapping("form", "forms", shipped("form").mapping)
    await rooms.post("/v1/map/form?device=boiler", FORM, bearer(key))
    assert [kept(event) for event in rooms.logged(Kind.OBSERVATION)] == [
        {"mapping": "form", "version": version, "raw": FORM.decode()} for version in (1, 2)
    ]


async def test_the_body_names_its_device_where_the_mapping_says_so(rooms: Rooms) -> None:
    key = rooms.make_agent(
        "sheds", observations=[[2], [-20, 0], [60, 4]], actions={"multi_binary": 2}
    )
    rooms.add_mapping("nested", "sheds", shipped("nested").mapping)
    rooms.actor.action = struct.pack("<2f", 0, 1)
    answer = await rooms.post("/v1/map/nested", NESTED, bearer(key))
    assert answer.json() == {"valves": [0, 1]}
    assert rooms.logged(Kind.OBSERVATION)[0].device == "shed-1"


async def test_the_key_of_a_device_names_it_and_may_be_the_password_of_the_url(
    rooms: Rooms,
) -> None:
    forms(rooms)
    key = rooms.make_key("forms", "boiler")
    basic = "Basic " + base64.b64encode(f"any:{key}".encode()).decode()
    assert (await rooms.post("/v1/map/form", FORM, {"Authorization": basic})).status_code == 200
    assert rooms.logged(Kind.OBSERVATION)[0].device == "boiler"


async def test_end_of_an_episode_is_answered_without_a_word(rooms: Rooms) -> None:
    key = forms(rooms)
    answer = await rooms.post("/v1/map/form?device=boiler", FORM + b"&stop=ON", bearer(key))
    assert (answer.status_code, answer.content) == (204, b"")
    assert rooms.logged(Kind.OBSERVATION)[0].terminated


async def test_a_mapping_without_words_for_actions_is_answered_as_natively(rooms: Rooms) -> None:
    key = rooms.make_agent("tanks", observations=[[3], -1000, 1000])
    rooms.add_mapping("spb", "tanks", shipped("sparkplug").mapping)
    birth = (PAYLOADS / "sparkplug_birth.bin").read_bytes()
    answer = (await rooms.post("/v1/map/spb?device=t", birth, bearer(key))).json()
    assert (answer["s"], answer["a"]) == (0, 0)
    assert kept(rooms.logged(Kind.OBSERVATION)[0])["raw64"]
    nothing = await rooms.post("/v1/map/spb?device=t", b"", bearer(key))
    assert nothing.status_code == 204
    assert len(rooms.logged(Kind.OBSERVATION)) == 1


async def test_what_is_held_outlives_a_restart_of_the_hub(rooms: Rooms) -> None:
    key = rooms.make_agent("climate", observations=[[3], [-20, 0, 0], [60, 100, 1]])
    rooms.add_mapping("tasmota", "climate", shipped("tasmota").mapping)
    path = "/v1/map/tasmota?device=plug"
    await rooms.post(path, (PAYLOADS / "tasmota.json").read_bytes(), bearer(key))
    async with Rooms(rooms.log.events, rooms.clock) as again:
        answer = await again.post(path, b'{"BME280":{"Temperature":22}}', bearer(key))
        assert answer.status_code == 200
        (_, later) = again.logged(Kind.OBSERVATION)
        assert struct.unpack("<3f", later.obs or b"") == pytest.approx((22, 41.3, 1))


async def test_a_body_that_names_no_device_is_told_how_one_is_named(rooms: Rooms) -> None:
    key = rooms.make_agent(
        "sheds", observations=[[2], [-20, 0], [60, 4]], actions={"multi_binary": 2}
    )
    rooms.add_mapping("nested", "sheds", shipped("nested").mapping)
    answer = await rooms.post("/v1/map/nested", b'{"t":{"value":70}}', bearer(key))
    assert answer.status_code == 400
    assert "nor the payload at 'id': add '?device=ID'" in answer.json()["detail"]


async def test_the_same_body_after_a_503_is_the_same_step(rooms: Rooms) -> None:
    key = forms(rooms)
    path = "/v1/map/form?device=boiler"
    rooms.actor.action = struct.pack("<f", 1)
    await rooms.post(path, FORM, bearer(key))
    rooms.log.held = True
    busy = await rooms.post(path, FORM, bearer(key))
    assert (busy.status_code, busy.json()["code"]) == (503, "busy")
    rooms.log.release()
    repeated = await rooms.post(path, FORM, bearer(key))
    assert (repeated.status_code, repeated.text) == (200, "ON")
    assert [o.step for o in rooms.logged(Kind.OBSERVATION)] == [0, 1]
    assert int(repeated.headers["sheepfold-seq"]) == rooms.logged(Kind.OBSERVATION)[1].seq
    await rooms.post(path, FORM, bearer(key))
    assert [o.step for o in rooms.logged(Kind.OBSERVATION)] == [0, 1, 2], "once only"


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/v1/map/form?device=boiler", b"t=warm", 422, "temp (t) is 'warm', not a number"),
        ("/v1/map/form?device=boiler", b"watts=1", 422, "temp (t) is missing"),
        ("/v1/map/form?device=boiler", b"\xff", 400, "not UTF-8"),
        ("/v1/map/form", FORM, 400, "'?device=ID'"),
        ("/v1/map/form?device=Boiler+7", FORM, 403, "Boiler 7"),
        ("/v1/map/nobody?device=boiler", FORM, 404, "no mapping 'nobody'"),
        ("/v1/map/form?device=boiler", b"t=" + b"1" * 5000, 413, "4096"),
    ],
)
async def test_what_can_not_be_read_is_refused_as_natively(
    rooms: Rooms, path: str, body: bytes, status: int, says: str
) -> None:
    key = forms(rooms)
    answer = await rooms.post(path, body, bearer(key))
    assert answer.status_code == status
    assert says in answer.json()["detail"]
    assert rooms.logged(Kind.OBSERVATION) == []


async def test_another_agents_mapping_is_not_there_and_a_wrong_key_opens_nothing(
    rooms: Rooms,
) -> None:
    forms(rooms)
    other = rooms.make_agent("other", **SPACES)
    assert (await rooms.post("/v1/map/form?device=d", FORM, bearer(other))).status_code == 404
    assert (await rooms.post("/v1/map/form?device=d", FORM, bearer("x"))).status_code == 401
    assert (await rooms.ask("GET", "/v1/map/form")).status_code == 405


async def test_a_refused_payload_is_in_the_log_and_holds_nothing(rooms: Rooms) -> None:
    key = rooms.make_agent("climate", observations=[[3], [-20, 0, 0], [60, 50, 1]])
    rooms.add_mapping("tasmota", "climate", shipped("tasmota").mapping)
    path = "/v1/map/tasmota?device=plug"

    async def send(**values: float) -> int:
        body = {"BME280": values, "POWER": "ON"}
        return (await rooms.post(path, body, bearer(key))).status_code

    assert await send(Temperature=20, Humidity=40) == 200
    assert await send(Temperature=20, Humidity=90) == 422, "the agent's space ends at 50"
    assert await send(Temperature=20) == 200
    held = rooms.logged(Kind.OBSERVATION)[-1]
    assert struct.unpack("<3f", held.obs or b"") == pytest.approx((20, 40, 1))
    assert len(rooms.logged(Kind.REFUSED)) == 1


async def test_the_hub_computes_the_reward_where_the_agent_says_how(rooms: Rooms) -> None:
    key = forms(rooms)
    rooms.change_agent("forms", reward="-abs(temp - 21) - 0.1 * power")
    for _ in range(2):
        await rooms.post("/v1/map/form?device=boiler", FORM, bearer(key))
    await rooms.post("/v1/reward", {"device": "boiler", "r": 10}, bearer(key))
    await rooms.post("/v1/map/form?device=boiler", FORM, bearer(key))
    rooms.change_agent("forms", reward="1 / (temp - temp)")
    await rooms.post("/v1/map/form?device=boiler", FORM, bearer(key))
    rooms.change_agent("forms", reward=None)
    await rooms.post("/v1/map/form?device=boiler", FORM, bearer(key))
    rewards = [event.reward for event in rooms.logged(Kind.OBSERVATION)]
    assert rewards == [None, pytest.approx(-0.62), pytest.approx(9.38), None, -0.25], (
        "none on a first step; the button's on top; none that can't be computed; the device's own"
    )


async def test_native_steps_are_rewarded_by_the_hub_too(rooms: Rooms) -> None:
    key = rooms.make_agent("cart", reward="o[0] if o[1] > 0 else -1")
    for step, seen in enumerate(([0.5, 1], [0.25, 1], [0.25, -1])):
        sent = {"device": "d", "s": step, "o": seen, "r": 99}
        assert (await rooms.post("/v1/step", sent, bearer(key))).status_code == 200
    assert [event.reward for event in rooms.logged(Kind.OBSERVATION)] == [None, 0.25, -1]
