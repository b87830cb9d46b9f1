"""`GET /v1/things/{device}`: a Thing Description by W3C's own schema, true, and for whom it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import jsonschema
import pytest

from bridge.things import describe, schema_of
from hub.registry.access import fingerprint
from hub.spaces import parse
from hub.words import AgentName, DeviceId, Key, KeyId, User
from tests.architecture.tree import ROOT
from tests.bridge.rooms import bearer
from tests.intake.fakes import agent_spec

if TYPE_CHECKING:
    from tests.bridge.rooms import Rooms

OFFICIAL: Final = (
    ROOT / "node_modules/wot-thing-description-types/schema/td-json-schema-validation.json"
)
SPACES: Final[dict[str, tuple[Any, Any, Any]]] = {
    "choices": (3, 2, 3),
    "counted from -1": ({"discrete": 3, "start": -1}, -1, 2),
    "several": ({"multi_discrete": [3, 4]}, [2, 3], [3, 0]),
    "switches": ({"multi_binary": 2}, [0, 1], [0, 2]),
    "box": ([[2], [-1.0, 0.0], [1.0, 9.0]], [0.5, 5.0], [5.0, 0.5]),
    "unbounded": ([[1], "-inf", "inf"], [1e9], ["warm"]),
    "grid": ([[2, 2], -1.0, 1.0], [[0, 0], [1, 1]], [[0, 0], [1, 2]]),
    "many": ([[100], 0.0, 1.0], [0.5] * 100, [0.5] * 99),
    "parts": ({"room": [[1], -40.0, 60.0], "door": 2}, {"room": [21.5], "door": 1}, {"door": 1}),
}


def official() -> jsonschema.Draft7Validator:
    if not OFFICIAL.exists():
        pytest.skip("needs npm: scripts/assets")
    return jsonschema.Draft7Validator(json.loads(OFFICIAL.read_bytes()))


@pytest.mark.parametrize("space", SPACES)
def test_description_is_one_by_w3cs_schema(space: str) -> None:
    observations, _, _ = SPACES[space]
    actions = 2 if isinstance(observations, dict) and "room" in observations else observations
    spec = agent_spec(observations=observations, actions=actions)
    document = describe("heater", spec, "https://hub.example:8000")
    assert [error.message for error in official().iter_errors(document)] == []
    assert not official().is_valid(document | {"security": ["none such"], "actions": {"step": {}}})


@pytest.mark.parametrize("space", SPACES)
def test_data_schema_takes_what_the_space_does(space: str) -> None:
    declared, good, bad = SPACES[space]
    schema = jsonschema.Draft7Validator(schema_of(parse(declared)))
    assert (schema.is_valid(good), schema.is_valid(bad)) == (True, False)


async def test_what_it_describes_can_be_done(rooms: Rooms) -> None:
    key = rooms.make_agent("cart")
    sent: dict[str, Any] = {"device": "cart-1", "s": 1, "o": [0.0, 0.0]}
    await rooms.post("/v1/step", sent, bearer(key))
    response = await rooms.ask("GET", "/v1/things/cart-1", headers=bearer(key))
    assert response.headers["content-type"] == "application/td+json"
    assert response.headers["access-control-allow-origin"] == "*"
    thing = response.json()
    assert thing["id"] == thing["base"] + "v1/things/cart-1"
    for action, body in (("step", sent | {"s": 2}), ("reward", {"device": "cart-1", "r": 1.0})):
        described = thing["actions"][action]
        jsonschema.Draft7Validator(described["input"]).validate(body)
        (form,) = described["forms"]
        done = await rooms.post("/" + form["href"], body, bearer(key))
        assert done.status_code == 200
        jsonschema.Draft7Validator(described["output"]).validate(done.json())


async def test_only_who_may_see_the_device_is_told_of_it(rooms: Rooms) -> None:
    key, other = rooms.make_agent("cart"), rooms.make_agent("lamp")
    rooms.registry.devices[DeviceId("cart-1")] = AgentName("cart")
    for name, role, owns in (
        ("ann", "owner", "cart"),
        ("bob", "owner", "lamp"),
        ("root", "admin", ""),
    ):
        rooms.registry.users[name] = User(name, role)  # type: ignore[arg-type]  # one of the two
        rooms.registry.keys[fingerprint(f"{name}'s")] = Key(KeyId(name), None, user=name)
        if owns:
            rooms.registry.owners[AgentName(owns)] = name
    one_device = rooms.make_key("cart", device="cart-2")

    async def status(secret: str, device: str = "cart-1") -> int:
        answer = await rooms.ask("GET", f"/v1/things/{device}", headers=bearer(secret))
        return int(answer.status_code)

    assert [await status(secret) for secret in (key, "ann's", "root's")] == [200] * 3
    assert [await status(secret) for secret in (other, "bob's", one_device)] == [404] * 3
    assert await status("root's", "nobody") == 404
    assert await status("a wrong key") == 401
