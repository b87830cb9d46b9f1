"""`/v1/claim` and `/v1/key/rotate` by a clock that is ours: limits, and keys that end by time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hub.registry.access import fingerprint
from hub.registry.claim_acts import CreateClaim
from hub.registry.key_acts import RotateKey
from hub.words import Kind
from tests.bridge.rooms import bearer

if TYPE_CHECKING:
    from tests.bridge.rooms import Rooms


async def token(rooms: Rooms, **terms: Any) -> str:
    """A new one of agent `pumps`."""
    made = await rooms.control.act(CreateClaim("pumps", **terms), "test", lambda: None)
    return str(made["token"])


async def claimed(rooms: Rooms, token: str, device: str, **said: Any) -> Any:
    """The answer."""
    return await rooms.post("/v1/claim", {"token": token, "device": device, **said})


async def ended(rooms: Rooms, key: str) -> None:
    """Wait until a key is not accepted any more."""
    async with asyncio.timeout(10):
        while fingerprint(key) in rooms.registry.keys:  # noqa: ASYNC110 - the fold has no event
            await asyncio.sleep(0)


async def test_a_key_ends_when_its_overlap_is_over_and_not_before(rooms: Rooms) -> None:
    old = rooms.make_agent("pumps")
    act = RotateKey(old.partition(".")[0], overlap_s=60)
    new = (await rooms.control.act(act, "test", lambda: None))["api_key"]
    for second in (0, 59):
        rooms.clock.seconds = second
        rooms.provision.look()
        assert (await rooms.post("/v1/step", step(second), bearer(old))).status_code == 200
        assert (await rooms.post("/v1/step", step(second + 1), bearer(new))).status_code == 200
    sessions = len(rooms.logged(Kind.HELLO))
    assert sessions == 1, "a key of many devices opens no session for each request"
    rooms.clock.seconds = 60
    rooms.provision.look()
    await ended(rooms, old)
    assert (await rooms.post("/v1/step", step(90), bearer(new))).status_code == 200
    revoked = [e for e in rooms.logged(Kind.ADMIN) if "key_revoked" in (e.payload or "")]
    assert len(revoked) == 1


def step(number: int) -> dict[str, Any]:
    """An observation."""
    return {"device": "p", "s": number, "o": [0, 0], "r": 0}


async def test_a_device_rotates_its_key_a_few_times_a_minute(rooms: Rooms) -> None:
    rooms.make_agent("pumps")
    key = (await claimed(rooms, await token(rooms), "p")).json()["key"]
    for _ in range(3):  # each by the key that it got by the one before
        key = (await rooms.post("/v1/key/rotate", b"", bearer(key))).json()["key"]
    refused = await rooms.post("/v1/key/rotate", b"", bearer(key))
    assert refused.status_code == 429
    rooms.clock.seconds += float(refused.headers["retry-after"])
    assert (await rooms.post("/v1/key/rotate", b"", bearer(key))).status_code == 200


async def test_form_fields_claim_too_whatever_they_look_like(rooms: Rooms) -> None:
    rooms.make_agent("pumps")
    made = await token(rooms)
    body = f"token={made}&device=42&nonce=1234567890123456&dt=7".encode()
    answer = await rooms.post("/v1/claim", body)
    assert (answer.status_code, answer.json()["device"]) == (200, "42")


async def test_a_claim_waits_for_the_log_and_is_answered_once_it_is_there(rooms: Rooms) -> None:
    rooms.make_agent("pumps")
    made = await token(rooms)
    rooms.log.held = True
    asking = asyncio.create_task(claimed(rooms, made, "p"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not asking.done()
    assert dict(rooms.registry.devices) == {}
    rooms.log.release()
    assert (await asking).status_code == 200
    assert rooms.logged(Kind.ADMIN)[-1].device == "p"


async def test_refusals_of_a_token_are_logged_so_often_and_no_oftener(rooms: Rooms) -> None:
    rooms.make_agent("pumps")
    made = await token(rooms)
    await claimed(rooms, made, "p")
    for i in range(40):
        assert (await claimed(rooms, made, f"q-{i}")).status_code == 403
    await asyncio.sleep(0)  # nobody waits for them to be durable
    refused = [e for e in rooms.logged(Kind.ADMIN) if "claim_refused" in (e.payload or "")]
    assert len(refused) == 30
