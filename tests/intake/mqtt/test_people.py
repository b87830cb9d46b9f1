"""People's MQTT clients: what they hear, what they may have devices do, and what ends them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hub.errors import OperatorFault
from hub.facts import EpisodeEnded, Refusal, Rewarded
from hub.intake.mqtt.wire import ConnectCode
from hub.registry.access import fingerprint
from hub.words import AgentName, DeviceId, EndedBy, Key, KeyId, Kind, User
from tests.intake.fakes import ManualLog, floats
from tests.intake.house import ACT, KEY, WALKER, become, publish, step
from tests.intake.mqtt.raw_client import PUBACK, PUBCOMP, PUBLISH, PUBREC

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.intake.house import House

LEARN, RESET = "rl/v1/heater/cmd/learn", "rl/v1/heater/cmd/reset"
OVERRIDE = "rl/v1/heater/cmd/override"
REWARD, STATUS = "rl/v1/heater/reward", "rl/v1/heater/status"


def people(house: House) -> House:
    """Ann owns the walkers and their heater, bob the runners; root is an admin."""
    for name, role in (("ann", "owner"), ("bob", "owner"), ("root", "admin")):
        house.registry.users[name] = User(name, role)  # type: ignore[arg-type]  # one of the two
        house.registry.keys[fingerprint(f"{name}'s")] = Key(KeyId(name), None, user=name)
    house.registry.owners = {WALKER: "ann", AgentName("runner"): "bob"}
    house.registry.devices[DeviceId("heater")] = WALKER
    return house


@pytest.fixture
async def house(open_house: Callable[..., Any]) -> House:
    """With people."""
    return people(await open_house())


@pytest.mark.parametrize(
    ("name", "key"), [("ann", "bob's"), ("heater", "ann's"), ("", "ann's"), ("ann", "a wrong key")]
)
async def test_an_operator_key_lets_its_own_user_in_and_nobody_else(
    house: House, name: str, key: str
) -> None:
    async with house.client() as client:
        client.connect_with(name, key)
        (refused,) = await client.read_until_closed()
    assert refused.body[1] == ConnectCode.BAD_CREDENTIALS


async def test_an_operator_key_is_no_devices_and_a_devices_no_operators(house: House) -> None:
    async with house.client() as person:
        await person.connected("ann", "ann's")
        person.send(publish(b'{"s":1,"o":[1,2]}'))
        await person.read_until_closed()
    async with house.client() as device:
        await device.connected("heater", KEY)
        device.send(publish(b"OFF", topic=LEARN))
        await device.read_until_closed()
    assert (house.observed(), house.switched) == ([], [])


@pytest.mark.parametrize("who", ["ann", "root"])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_learning_is_switched_for_the_devices_agent(house: House, who: str, qos: int) -> None:
    async with house.client() as client:
        await client.connected(who, f"{who}'s")
        client.send(publish(b"OFF", topic=LEARN, qos=qos))
        if qos == 1:
            assert (await client.read()).type == PUBACK
        if qos == 2:
            assert (await client.read()).type == PUBREC
            client.send(b"\x62\x02\x00\x07")
            assert (await client.read()).type == PUBCOMP
        await become(lambda: house.switched == [("walker", False, f"user {who}")])


async def test_a_reset_ends_the_episode_as_truncated_and_the_device_is_told(house: House) -> None:
    async with house.client() as device, house.client() as client:
        await device.connected("heater", KEY)
        await device.subscribed(ACT, RESET)
        await step(device, 1)
        await client.connected("ann", "ann's")
        client.send(publish(b"", topic=RESET))
        assert (await client.read()).type == PUBACK
        assert (await device.read()).topic == RESET
        await step(device, 2)
    (ended,) = house.log.of_kind(Kind.EPISODE)
    assert (ended.reason, ended.truncated) == (EndedBy.RESET, True)
    first, second = house.log.of_kind(Kind.OBSERVATION)
    assert (first.first, second.first) == (True, True)


async def test_a_command_is_acknowledged_when_it_is_in_the_log(
    open_house: Callable[..., Any],
) -> None:
    house = people(await open_house(ManualLog()))
    async with house.client() as client:
        await client.connected("ann", "ann's")
        client.send(publish(b'{"r":0.5}', topic=REWARD))
        assert await client.answers_ping() == []
        house.log.commit()
        assert (await client.read()).type == PUBACK
    (reward,) = house.log.of_kind(Kind.REWARD)
    assert (reward.device, reward.agent, reward.reward) == ("heater", "walker", 0.5)


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (LEARN, b"perhaps"),
        (REWARD, b"{}"),
        (REWARD, b'{"r":"much"}'),
        (REWARD, b'{"r":1e39}'),
        (OVERRIDE, b"2"),
        (OVERRIDE, b"warm"),
    ],
)
async def test_a_command_that_is_none_does_nothing_and_its_sender_finds_it_in_the_log(
    house: House, topic: str, payload: bytes
) -> None:
    async with house.client() as client:
        await client.connected("ann", "ann's")
        client.send(publish(payload, topic=topic))
        assert (await client.read()).type == PUBACK
    assert (house.switched, house.log.of_kind(Kind.REWARD)) == ([], [])
    (refused,) = house.log.of_kind(Kind.REFUSED)
    assert (refused.agent, refused.device) == ("walker", "heater")
    assert msgspec.json.decode(refused.payload or "", type=Refusal).message.startswith("user ann: ")
    assert house.receiver.refused == 1


async def test_a_person_acts_for_a_device_once_it_is_in_the_log(house: House) -> None:
    async with house.client() as device, house.client() as client:
        await device.connected("heater", KEY)
        await device.subscribed(OVERRIDE)
        await client.connected("ann", "ann's")
        client.send(publish(b"1", topic=OVERRIDE))
        assert (await client.read()).type == PUBACK
        (override,) = house.registry.overrides.values()
        assert (override.by, override.action) == ("user ann", floats(1.0))
        assert (await device.read()).topic == OVERRIDE, "it is told as well, as of the others"
        client.send(publish(b"OFF", topic=OVERRIDE))
        assert (await client.read()).type == PUBACK
    assert house.registry.overrides == {}


async def test_who_resets_a_device_or_rewards_it_is_in_the_log(house: House) -> None:
    async with house.client() as device, house.client() as client:
        await device.connected("heater", KEY)
        device.send(publish(b'{"s":1,"o":[1,2]}'))
        assert (await device.read()).type == PUBACK
        await client.connected("ann", "ann's")
        for topic, payload in ((REWARD, b'{"r":0.5}'), (RESET, b""), (RESET, b"")):
            client.send(publish(payload, topic=topic))
            assert (await client.read()).type == PUBACK
    (reward,) = house.log.of_kind(Kind.REWARD)
    assert msgspec.json.decode(reward.payload or "", type=Rewarded).by == "user ann"
    (ended,) = house.log.of_kind(Kind.EPISODE)
    assert msgspec.json.decode(ended.payload or "", type=EpisodeEnded).by == "user ann"


@pytest.mark.parametrize("who", [("ann", "ann's"), ("heater", KEY)])
@pytest.mark.parametrize("qos", [1, 2])
async def test_a_reward_that_is_sent_again_on_the_next_connection_counts_once(
    open_house: Callable[..., Any], who: tuple[str, str], qos: int
) -> None:
    house = people(await open_house(ManualLog()))
    acknowledged = PUBACK if qos == 1 else PUBREC
    given: dict[str, Any] = {"topic": REWARD, "qos": qos, "packet_id": 9}
    async with house.client() as first, house.client() as second:
        await first.connected(*who, clean=False)
        first.send(publish(b'{"r":0.5}', **given))
        await first.answers_ping()
        await second.connected(*who, clean=False)
        second.send(publish(b'{"r":0.5}', duplicate=True, **given))
        assert await second.answers_ping() == [], "neither is in the log yet"
        house.log.commit()
        assert (await second.read()).type == acknowledged
    async with house.client() as third:
        await third.connected(*who, clean=True)
        third.send(publish(b'{"r":0.5}', duplicate=True, **given))
        assert (await third.read()).type == acknowledged, "it is in the log"
        third.send(publish(b'{"r":0.5}', **(given | {"packet_id": 10})))
        third.send(publish(b'{"r":0.5}', duplicate=True, **(given | {"packet_id": 11})))
        await third.answers_ping()
        house.log.commit()
    assert len(house.log.of_kind(Kind.REWARD)) == 3, "the others are new"


async def test_a_reset_that_is_sent_again_on_the_next_connection_ends_no_later_episode(
    house: House,
) -> None:
    async with house.client() as device, house.client() as first, house.client() as second:
        await device.connected("heater", KEY)
        for number, client in ((1, first), (2, second)):
            device.send(publish(b'{"s":%d,"o":[1,2]}' % number))
            assert (await device.read()).type == PUBACK
            await client.connected("ann", "ann's", clean=False)
            client.send(publish(b"", topic=RESET, packet_id=9, duplicate=number == 2))
            assert (await client.read()).type == PUBACK
    assert len(house.log.of_kind(Kind.EPISODE)) == 1


@pytest.mark.parametrize("leaf", ["cmd/learn", "cmd/reset", "cmd/override", "reward"])
async def test_a_command_for_a_device_that_was_forgotten_meanwhile_is_refused(
    house: House, leaf: str
) -> None:
    del house.registry.devices[DeviceId("heater")]  # after the gate had looked
    with pytest.raises(OperatorFault, match="forgotten"):
        await house.gate.commands.carry_out("user ann", DeviceId("heater"), leaf, b"ON")
    assert (house.switched, house.log.events) == ([], [])


@pytest.mark.parametrize(
    "topic",
    [
        "rl/v1/heater/act",
        "rl/v1/heater/state",
        "rl/v1/heater/cmd/other",
        "rl/v1/hub/status",
        "rl/v1/nobody/cmd/learn",
        "rl/v1/heater/../heater/cmd/learn",
        "$SYS/cmd/learn",
    ],
)
async def test_any_other_publish_ends_a_persons_connection(house: House, topic: str) -> None:
    async with house.client() as client:
        await client.connected("root", "root's")
        client.send(publish(b"ON", topic=topic))
        assert await client.read_until_closed() == []
    assert (house.switched, house.log.events) == ([], [])


async def test_another_owners_devices_are_out_of_reach(house: House) -> None:
    async with house.client() as bob, house.client() as device:
        await bob.connected("bob", "bob's")
        await bob.subscribed("#", "rl/v1/+/status")
        await device.connected("heater", KEY)
        device.send(publish(b"online", topic=STATUS, retain=True))
        assert (await device.read()).type == PUBACK
        assert {packet.topic for packet in await bob.answers_ping()} == {"rl/v1/hub/status"}
        bob.send(publish(b"OFF", topic=LEARN))
        assert await bob.read_until_closed() == []
    assert house.switched == []


async def test_status_and_will_are_retained_for_dashboards(house: House) -> None:
    async with house.client() as device:
        await device.connected("heater", KEY, will=(STATUS, b"offline"))
        device.send(publish(b"online", topic=STATUS, retain=True))
        assert (await device.read()).type == PUBACK
        async with house.client() as early:
            await early.connected("ann", "ann's")
            await early.subscribed("rl/v1/+/status")
            seen = [await early.read() for _ in range(2)]
            assert {packet.payload for packet in seen} == {b"online"}, "its own, and the hub's"
    async with house.client() as late:
        await become(lambda: house.broker.retained(STATUS) == (b"offline", 0))
        await late.connected("ann", "ann's")
        await late.subscribed("rl/v1/heater/#")
        kept = await late.read()
        assert (kept.topic, kept.payload, kept.flags & 1) == (STATUS, b"offline", 1)


ALERT, ALERTS = "rl/v1/agents/walker/alert", ("rl/v1/hub/alert/+", "rl/v1/agents/+/alert/#")
TOLD = ("rl/v1/hub/alert/disk", f"{ALERT}/falling", f"{ALERT}/silent/heater")


@pytest.mark.parametrize(
    ("who", "heard"), [("root", set(TOLD)), ("ann", set(TOLD[1:])), ("bob", set())]
)
async def test_an_alert_reaches_the_agents_owner_and_one_of_the_hub_admins_alone(
    house: House, who: str, heard: set[str]
) -> None:
    for topic in TOLD:
        house.gate.announce(topic, b"{}")
    async with house.client() as client:
        await client.connected(who, f"{who}'s")
        assert await client.subscribed(*ALERTS) == [1, 1]
        kept = [await client.read() for _ in heard]
        assert {packet.topic for packet in kept} == heard
        for topic in TOLD:
            house.gate.announce(topic, b"")
        over = [await client.read() for _ in heard]
        assert {(packet.topic, packet.payload) for packet in over} == {(t, b"") for t in heard}
        assert await client.answers_ping() == []
    assert [house.broker.retained(topic) for topic in TOLD] == [None] * 3


async def test_a_device_hears_no_alerts(house: House) -> None:
    async with house.client() as device:
        await device.connected("heater", KEY)
        assert await device.subscribed(*ALERTS) == [0x80] * 2
        assert await device.subscribed(*TOLD) == [0x80] * 3


async def test_a_revoked_operator_key_ends_the_connection_with_its_next_packet(
    house: House,
) -> None:
    async with house.client() as client:
        await client.connected("ann", "ann's")
        del house.registry.keys[fingerprint("ann's")]
        client.send(b"\xc0\x00")
        assert await client.read_until_closed() == []


async def test_a_person_who_would_not_be_let_in_any_more_hears_nothing_further(
    house: House,
) -> None:
    async with house.client() as ann, house.client() as bob:
        for client, name in ((ann, "ann"), (bob, "bob")):
            await client.connected(name, f"{name}'s")
            await client.subscribed("rl/v1/+/state")
        del house.registry.keys[fingerprint("ann's")]
        house.gate.recheck()
        assert await ann.read_until_closed() == []
        assert await bob.answers_ping() == []


async def test_people_may_not_take_all_memory(open_house: Callable[..., Any]) -> None:
    house = people(await open_house(people_max=1))
    async with house.client() as first, house.client() as second, house.client() as device:
        await first.connected("ann", "ann's")
        second.connect_with("bob", "bob's")
        (refused,) = await second.read_until_closed()
        assert refused.body[1] == ConnectCode.UNAVAILABLE
        await device.connected("heater", KEY)


async def test_a_client_that_is_known_comes_back_when_there_is_no_room_for_others(
    open_house: Callable[..., Any],
) -> None:
    house = people(await open_house(people_max=3, person_sessions_max=2))
    async with house.client() as first, house.client() as second, house.client() as third:
        await first.connected("ann", "ann's", clean=False)
        await second.connected("ann", "ann's", client_id="another")
        third.connect_with("ann", "ann's", client_id="a third")
        (refused,) = await third.read_until_closed()
        assert refused.body[1] == ConnectCode.UNAVAILABLE, "she has two"
    async with house.client() as bob, house.client() as root, house.client() as again:
        await bob.connected("bob", "bob's")
        await root.connected("root", "root's")
        assert (await again.connected("ann", "ann's", clean=False)).body[0] == 1, "it is resumed"


@pytest.mark.parametrize(
    "topic_filter",
    [
        "rl/v1/heater/act",
        "rl/v1/+/obs",
        "rl/v1/Heater/state",
        "rl/v1/heater",
        "rl/v1",
        "rl/v1/heater/state/+",
        "homeassistant/sensor/+/config",
        "rl/v1/hub/alert",
        "rl/v1/hub/+/disk/+",
        "rl/v1/agents/+/policy/#",
        "rl/v1/agents/walker/alert/silent/heater/+",
        "$SYS/#",
        "+",
    ],
)
async def test_a_subscription_by_which_nothing_can_come_is_refused(
    house: House, topic_filter: str
) -> None:
    async with house.client() as client:
        await client.connected("root", "root's")
        assert await client.subscribed(topic_filter) == [0x80]


@pytest.mark.parametrize(
    "topic_filter",
    [
        "#",
        "+/#",
        "rl/#",
        "rl/v1/+/+",
        "rl/+/http-3/cmd/+",
        "rl/v1/heater/#",
        "+/v1/+/status",
        "rl/v1/hub/#",
        "rl/v1/agents/walker/alert/falling",
        "rl/v1/agents/+/alert/silent/+",
    ],
)
async def test_a_subscription_by_which_something_may_come_is_granted(
    house: House, topic_filter: str
) -> None:
    async with house.client() as client:
        await client.connected("root", "root's")
        assert await client.subscribed(topic_filter) == [1]


async def test_a_persons_client_is_taken_over_by_its_next_connection(house: House) -> None:
    async with house.client() as old, house.client() as new:
        await old.connected("ann", "ann's", clean=False)
        assert await old.subscribed("rl/v1/heater/state") == [1]
        await new.connected("ann", "ann's", clean=False)
        assert await old.read_until_closed() == []
        house.gate.tell(DeviceId("heater"), "state", b"1", qos=1)
        assert [packet.type for packet in await new.answers_ping()] == [PUBLISH]
