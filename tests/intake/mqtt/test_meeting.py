"""Other hubs at this gate: what each may say and hear, and what it costs who says too much."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hub.errors import AccessDenied
from hub.intake.mqtt.wire import ConnectCode
from hub.mqtt_meeting import BrokerLink
from hub.registry.access import fingerprint, operator_of
from hub.topics import HUB_HEARS_THERE, HUB_PUBLISHES_THERE
from hub.words import AgentName, Key, KeyId, User
from tests.intake.house import KEY, WALKER, become, publish
from tests.intake.mqtt.raw_client import PUBACK, PUBCOMP, PUBLISH, PUBREC, WAIT_S
from tests.intake.mqtt.raw_client5 import RawClient5

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.intake.house import House
    from tests.intake.mqtt.raw_client import RawClient

ACL = Path(__file__).parents[3] / "deploy" / "hubs" / "acl"
TREE = "rl/v1/agents/walker"
POLICY_B, WANT_B = f"{TREE}/policy/site-b", f"{TREE}/want/site-b"
REFUSED = 0x80


def with_hubs(house: House) -> House:
    """Ann owns the walkers and hubs a and b, bob the runners and a hub, root a hub for all."""
    for name, role in (("ann", "owner"), ("bob", "owner"), ("root", "admin")):
        house.registry.users[name] = User(name, role)  # type: ignore[arg-type]  # one of the two
    for hub, user in (("site-a", "ann"), ("site-b", "ann"), ("bobs", "bob"), ("all", "root")):
        house.registry.keys[fingerprint(f"{hub}'s")] = Key(KeyId(hub), None, user=user, hub=hub)
    house.registry.owners = {WALKER: "ann", AgentName("runner"): "bob"}
    return house


@pytest.fixture
async def house(open_house: Callable[..., Any]) -> House:
    """With hubs that may come."""
    return with_hubs(await open_house())


async def come(client: RawClient, name: str, *filters: str) -> list[int]:
    """Connect, and subscribe; the codes."""
    await client.connected(name, f"{name}'s")
    return await client.subscribed(*filters) if filters else []


def said(topic: str, payload: bytes = b"x", **more: Any) -> bytes:
    return publish(payload, topic=topic, qos=0, **more)


def test_the_topics_of_a_hub_are_those_that_the_deployed_acl_gives_it() -> None:
    lines = [line.split() for line in ACL.read_text().splitlines() if line[:1] == "p"]
    given = {(way, topic.removeprefix("rl/v1/agents/+/")) for _, way, topic in lines}
    both = {leaf for way, leaf in given if way == "readwrite"}
    for way, shapes in (("write", HUB_PUBLISHES_THERE), ("read", HUB_HEARS_THERE)):
        ours = {shape.replace("<own>", "%u") for shape in shapes}
        assert ours == {leaf for one, leaf in given if one == way} | both


async def test_a_hub_of_another_name_than_its_key_hears_why_its_connection_ends(
    house: House,
) -> None:
    link = BrokerLink("site-c", "127.0.0.1", house.port, login=("site-b", "site-b's"))
    link.open()
    link.publish(f"{TREE}/policy/site-c", b"{}", retain=True)
    with pytest.raises(ConnectionError, match=r"hub 'site-b' may not publish to .*/site-c"):
        await _served(link)
    assert link.accepted


async def test_a_hub_with_a_wrong_key_hears_that_it_is_refused(house: House) -> None:
    link = BrokerLink("site-b", "127.0.0.1", house.port, login=("site-b", "none"))
    link.open()
    with pytest.raises(ConnectionRefusedError, match="the broker refuses this hub: "):
        await _served(link)
    assert not link.accepted


async def _served(link: BrokerLink) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            link.receive()
            await asyncio.sleep(0)


async def test_a_hub_hears_what_another_has_retained_and_what_comes_then(house: House) -> None:
    async with house.client() as b, RawClient5(house.port) as a, house.client() as stranger:
        await come(b, "site-b")
        b.send(said(POLICY_B, b"first", retain=True))
        assert await b.answers_ping() == []
        await a.accepted("site-a", "site-a's")
        assert await a.granted(f"{TREE}/policy/+") == [0]
        kept = await a.hear()
        assert (kept.topic, kept.payload, kept.packet.flags & 1) == (POLICY_B, b"first", 1)
        await come(stranger, "bobs", "rl/v1/agents/+/policy/+")
        b.send(said(POLICY_B, b"second", retain=True))
        new = await a.hear()
        assert (new.payload, new.packet.flags & 1) == (b"second", 0)
        assert await stranger.answers_ping() == [], "the agent is not of its user"


async def test_a_question_is_heard_by_whom_it_is_for(house: House) -> None:
    async with house.client() as a, house.client() as b, house.client() as other:
        assert await come(b, "site-b", WANT_B, f"{TREE}/want/site-a") == [0, REFUSED]
        assert await come(other, "all", "rl/v1/agents/+/want/+") == [0]
        await come(a, "site-a")
        a.send(said(WANT_B, b"parts, please"))
        assert (await b.read()).payload == b"parts, please"
        assert await other.answers_ping() == []


@pytest.mark.parametrize(
    ("hub", "topic"),
    [
        ("site-a", POLICY_B),
        ("site-a", f"{TREE}/policy"),
        ("site-a", f"{TREE}/alert/silent"),
        ("site-a", "rl/v1/heater/cmd/learn"),
        ("site-a", "rl/v1/agents/runner/policy/site-a"),
        ("site-a", "rl/v1/agents/nobodys/policy/site-a"),
        ("all", POLICY_B),
    ],
)
async def test_another_publish_ends_the_connection(house: House, hub: str, topic: str) -> None:
    async with house.client() as client:
        await come(client, hub)
        client.send(said(topic))
        assert await client.read_until_closed() == []
    await become(lambda: not house.gate.meeting.online)


async def test_an_admins_hub_reaches_agents_that_are_not_here(house: House) -> None:
    async with house.client() as client:
        await come(client, "all", "rl/v1/agents/nobodys/policy/+")
        client.send(said("rl/v1/agents/nobodys/policy/all", b"mine"))
        assert (await client.read()).payload == b"mine"


@pytest.mark.parametrize(
    ("name", "key"), [("site-a", "site-b's"), ("ann", "site-a's"), ("site-a", "wrong"), ("", "")]
)
async def test_a_key_lets_its_own_hub_in_and_nobody_else(house: House, name: str, key: str) -> None:
    async with house.client() as client:
        client.connect_with(name, key)
        (refused,) = await client.read_until_closed()
    assert refused.body[1] == ConnectCode.BAD_CREDENTIALS


async def test_a_hubs_key_is_no_operators_and_no_device_reaches_hubs(house: House) -> None:
    with pytest.raises(AccessDenied, match="for a hub"):
        operator_of(house.registry, "site-a's")
    async with house.client() as device:
        await device.connected("heater", KEY)
        assert await device.subscribed(f"{TREE}/policy/+") == [REFUSED]
        device.send(said(POLICY_B))
        await device.read_until_closed()


async def test_the_newest_connection_of_a_hub_wins_and_the_wills_of_none_are_lost(
    house: House,
) -> None:
    async with house.client() as watcher, RawClient5(house.port) as old, house.client() as new:
        await come(watcher, "site-a", f"{TREE}/policy/+")
        await old.accepted("site-b", "site-b's", will=(POLICY_B, b"gone"))
        await come(new, "site-b")
        (goodbye,) = await old.hear_until_closed()
        assert goodbye.reason == 0x8E, "taken over"
        assert (await watcher.read()).payload == b"gone"
        new.send(said(POLICY_B, b"here"))
        assert (await watcher.read()).payload == b"here"


async def test_a_revoked_key_ends_the_hubs_connection_and_takes_back_what_it_retained(
    house: House,
) -> None:
    async with house.client() as a, house.client() as b:
        await come(a, "site-a", f"{TREE}/policy/+")
        await come(b, "site-b")
        b.send(said(POLICY_B, b"mine", retain=True))
        assert (await a.read()).payload == b"mine"
        del house.registry.keys[fingerprint("site-b's")]
        house.gate.recheck()
        await b.read_until_closed()
        taken_back = await a.read()
        assert (taken_back.topic, taken_back.payload) == (POLICY_B, b"")
        async with house.client() as later:
            await come(later, "all", "rl/v1/agents/+/policy/+")
            assert await later.answers_ping() == []


async def test_what_a_hub_had_retained_of_an_agent_goes_when_its_user_has_it_no_more(
    house: House,
) -> None:
    async with house.client() as a, house.client() as bobs:
        await come(a, "site-a")
        a.send(said(f"{TREE}/policy/site-a", b"of ann's", retain=True))
        assert await a.answers_ping() == []
        await come(bobs, "bobs")
        house.registry.owners[WALKER] = "bob"
        await bobs.subscribed(f"{TREE}/policy/+")
        assert await bobs.answers_ping() == []
        house.gate.recheck()
        house.registry.owners[WALKER] = "ann"
        await a.subscribed(f"{TREE}/policy/+")
        assert await a.answers_ping() == []


async def test_what_is_retained_comes_once_however_many_filters_take_it_in(house: House) -> None:
    async with house.client() as a, house.client() as b:
        await come(b, "site-b")
        b.send(said(POLICY_B, b"mine", retain=True))
        assert await b.answers_ping() == []
        await come(a, "site-a", *[f"{TREE}/policy/+"] * 2, f"{TREE}/#")
        assert len(await a.answers_ping()) == 1


async def test_a_hub_that_subscribes_again_and_again_waits_as_one_that_says_too_much(
    open_house: Callable[..., Any],
) -> None:
    house = with_hubs(await open_house(hub_messages_per_s=100.0))
    now_s = asyncio.get_running_loop().time
    async with house.client() as a:
        await come(a, "site-a")
        began_s = now_s()
        for _ in range(40):
            await a.subscribed(*[f"{TREE}/policy/+"] * 3)
        assert now_s() - began_s > 0.15, "100 at once, and 20 more at 100 a second"


async def test_a_hub_is_sent_more_than_a_device_before_it_has_read_it(
    open_house: Callable[..., Any],
) -> None:
    house = with_hubs(await open_house(hub_retained_max=512, hub_messages_per_s=1e6))
    part, count = bytes(20_000), 300  # more than a kernel takes for who does not read
    async with house.client() as b, RawClient5(house.port) as a:
        await come(b, "site-b")
        for i in range(count):
            b.send(said(f"{TREE}/part/x/{i}", part, retain=True))
        assert await b.answers_ping() == []
        await a.accepted("site-a", "site-a's")
        assert await a.granted(f"{TREE}/part/+/+") == [0]
        for _ in range(count):
            assert (await a.hear()).payload == part


async def test_a_publish_is_acknowledged_at_its_own_qos(house: House) -> None:
    async with house.client() as a:
        own = f"{TREE}/want/site-a"
        await come(a, "site-a", own)
        a.send(publish(b"1", topic=own, qos=1))
        assert {(await a.read()).type, (await a.read()).type} == {PUBLISH, PUBACK}
        for _ in range(2):  # the second is the first again
            a.send(publish(b"2", topic=own, qos=2))
        types = [(await a.read()).type for _ in range(3)]
        assert sorted(types) == sorted((PUBLISH, PUBREC, PUBREC))
        a.send(b"\x62\x02\x00\x07")
        assert (await a.read()).type == PUBCOMP


async def test_too_many_retained_or_subscribed_are_refused(open_house: Callable[..., Any]) -> None:
    house = with_hubs(await open_house(hub_retained_max=2, person_filters_max=2))
    async with house.client() as a:
        filters = [f"rl/v1/agents/{name}/policy/+" for name in ("walker", "b", "c")]
        assert await come(a, "site-a", *filters) == [0, 0, REFUSED]
    async with house.client() as client:
        await come(client, "all")
        for name in ("one", "two", "three"):
            client.send(said(f"rl/v1/agents/{name}/policy/all", b"x", retain=True))
        await client.read_until_closed()
    async with house.client() as client:
        await come(client, "all", "rl/v1/agents/+/policy/+")
        assert len(await client.answers_ping()) == 2


async def test_what_comes_too_fast_waits_and_costs_no_device_a_step(
    open_house: Callable[..., Any],
) -> None:
    house = with_hubs(await open_house(hub_messages_per_s=100.0))
    now_s = asyncio.get_running_loop().time
    async with house.client() as a, house.client() as b, house.client() as device:
        await come(b, "site-b", WANT_B)
        await come(a, "site-a")
        began_s = now_s()
        for i in range(130):
            a.send(said(WANT_B, b"%d" % i))
        await device.connected("heater", KEY)
        device.send(publish(b'{"s":1,"o":[1,2]}'))
        assert (await device.read()).type == PUBACK
        assert [(await b.read()).payload for _ in range(130)] == [b"%d" % i for i in range(130)]
        assert now_s() - began_s > 0.2, "100 at once, and 30 more at 100 a second"


async def test_a_packet_larger_than_any_between_hubs_ends_the_connection(house: House) -> None:
    async with house.client() as a:
        await come(a, "site-a")
        a.send(said(f"{TREE}/part/x/0", bytes(20_481)))
        assert await a.read_until_closed() == []
