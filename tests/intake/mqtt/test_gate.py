"""The gate on real sockets, with the real broker behind it and a client that says anything."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec import structs

from hub.intake.mqtt import wire
from hub.intake.mqtt.connection import SKIP_BYTES_MAX
from hub.intake.mqtt.takeovers import SILENT_S
from hub.intake.mqtt.wire import ConnectCode, PacketType
from hub.registry.access import fingerprint
from hub.registry.fold import spec_of
from hub.words import AgentName, DeviceId, Kind
from tests.intake.fakes import ManualLog, agent_spec, floats
from tests.intake.house import ACT, CFG, ERR, KEY, OBS, WALKER, become, publish, step
from tests.intake.mqtt.raw_client import (
    CONNACK,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    Packet,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.intake.house import House


# --- CONNECT -----------------------------------------------------------------------------------


async def test_a_device_connects_subscribes_and_is_answered(house: House) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY)
        assert await client.subscribed(ACT, ERR) == [1, 1]
        acknowledged, act = await step(client, 12)
        assert (acknowledged.type, acknowledged.packet_id) == (PUBACK, 7)
        assert (act.topic, act.json) == (ACT, {"s": 12, "a": 0, "pv": 1})
        assert act.flags == 0b0010  # QoS 1, not retained
    assert house.observed() == [("heater", 12)]


async def test_a_socket_that_says_nothing_is_closed(open_house: Callable[..., Any]) -> None:
    house = await open_house(connect_timeout_s=0.05)
    async with house.client() as silent, house.client() as slow:
        slow.send(b"\x10\x20\x00\x04MQ")
        assert await silent.read_until_closed() == []
        assert await slow.read_until_closed() == []
    await become(lambda: house.gate.sockets == 0)


@pytest.mark.parametrize("clean", [True, False])
async def test_a_wrong_key_leaves_the_devices_own_connection_alone(
    house: House, clean: bool
) -> None:
    async with house.client() as device, house.client() as thief:
        await device.connected("heater", KEY, clean=False)
        await device.subscribed(ACT)
        thief.connect_with("heater", "a wrong key", clean=clean)
        (refused,) = await thief.read_until_closed()
        assert (refused.type, refused.body) == (CONNACK, bytes((0, ConnectCode.BAD_CREDENTIALS)))
        assert [packet.type for packet in await step(device, 1)] == [PUBACK, PUBLISH]
        assert await device.answers_ping() == []


@pytest.mark.parametrize(
    ("device", "key"),
    [("heater", ""), ("hub", KEY), ("http-1", KEY), ("Heater", KEY), ("", KEY), ("taken", KEY)],
)
async def test_who_may_not_be_that_device_is_refused(house: House, device: str, key: str) -> None:
    house.registry.devices[DeviceId("taken")] = AgentName("runner")
    async with house.client() as client:
        client.connect_with(device, key)
        (refused,) = await client.read_until_closed()
    assert refused.body[1] == ConnectCode.BAD_CREDENTIALS
    assert house.log.events == []


async def test_a_connect_after_a_refused_one_is_not_looked_at(house: House) -> None:
    async with house.client() as client:
        client.connect_with("heater", "a wrong key")
        client.connect_with("heater", KEY)
        assert len(await client.read_until_closed()) == 1
    assert house.log.events == []


@pytest.mark.parametrize(
    "body",
    [
        b"\x00\x04MQTT\x06\x02\x00\x00\x00\x00\x00",  # one that does not exist
        b"\x00\x06MQIsdp\x03\x02\x00\x00\x00\x00",  # MQTT 3.1
    ],
)
async def test_another_protocol_is_answered_with_code_1(house: House, body: bytes) -> None:
    async with house.client() as client:
        client.send(bytes((0x10, len(body))) + body)
        (refused,) = await client.read_until_closed()
    assert refused == Packet(CONNACK, 0, bytes((0, ConnectCode.BAD_PROTOCOL)))


@pytest.mark.parametrize("topic", ["rl/v1/cooler/status", "rl/v1/heater/act", "rl/v1/hub/status"])
async def test_a_will_elsewhere_than_the_own_status_is_refused(house: House, topic: str) -> None:
    async with house.client() as client:
        client.connect_with("heater", KEY, will=(topic, b"offline"))
        (refused,) = await client.read_until_closed()
    assert refused.body[1] == ConnectCode.NOT_AUTHORIZED


async def test_a_large_connect_is_not_buffered(house: House) -> None:
    async with house.client() as client:
        client.send(b"\x10\xff\xff\x7f" + bytes(1000))
        assert await client.read_until_closed() == []


@pytest.mark.parametrize(
    "packet",
    [b"\xc0\x00", b"\x30\x05\x00\x01aXX", b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00", bytes(200)],
)
async def test_what_is_no_connect_closes_an_unknown_socket(house: House, packet: bytes) -> None:
    async with house.client() as client:
        client.send(packet)
        assert await client.read_until_closed() == []


async def test_a_second_connect_closes_the_connection(house: House) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY)
        client.connect_with("heater", KEY)
        assert await client.read_until_closed() == []


async def test_above_connections_max_a_socket_is_closed(open_house: Callable[..., Any]) -> None:
    house = await open_house(connections_max=1)
    async with house.client() as first, house.client() as second:
        await first.connected("heater", KEY)
        assert await second.read_until_closed() == []
        assert await first.answers_ping() == []


async def test_a_take_over_ends_the_old_connection_first_and_sends_its_will(house: House) -> None:
    async with house.client() as old, house.client() as new:
        await old.connected("heater", KEY, clean=False, will=("rl/v1/heater/status", b"offline"))
        await old.subscribed(ACT)
        await new.connected("heater", KEY, clean=False)
        assert house.gate.sockets == 1
        assert await old.read_until_closed() == []
        # It is not deaf: subscriptions were resumed, and acts come.
        assert [packet.type for packet in await step(new, 1)] == [PUBACK, PUBLISH]
        assert await new.subscribed("rl/v1/heater/status") == [1]
        assert (await new.read()).payload == b"offline"


async def test_a_take_over_of_what_was_silent_is_not_remembered_as_one_of_a_second_device(
    house: House,
) -> None:
    async with house.client() as first, house.client() as second, house.client() as third:
        await first.connected("heater", KEY)
        await second.connected("heater", KEY)
        (often,) = house.gate.takeovers.often(1, within_s=60.0)
        assert often[:2] == (WALKER, "heater")
        house.connection().heard_s -= 2 * SILENT_S
        await third.connected("heater", KEY)
        assert list(house.gate.takeovers.often(2, within_s=60.0)) == []


async def test_of_three_connections_the_newest_wins(house: House) -> None:
    async with house.client() as first, house.client() as second, house.client() as third:
        await first.connected("heater", KEY)
        second.connect_with("heater", KEY)
        await become(lambda: house.gate.sockets == 3)
        await third.connected("heater", KEY)
        await second.read_until_closed()
        assert await first.read_until_closed() == []
        assert await third.answers_ping() == []
    await become(lambda: house.gate.sockets == 0)


async def test_two_devices_do_not_take_each_other_over(house: House) -> None:
    async with house.client() as one, house.client() as other:
        await one.connected("heater", KEY)
        await other.connected("cooler", KEY)
        assert await one.answers_ping() == []
        assert await other.answers_ping() == []


# --- what a device may do ----------------------------------------------------------------------

DENIED = [
    "rl/v1/cooler/obs",
    "rl/v1/heater/act",
    "rl/v1/heater/cfg",
    "rl/v1/heater/err",
    "rl/v1/heater/state",
    "rl/v1/heater/cmd/reset",
    "rl/v1/heater/obs/xml",
    "rl/v1/heater/",
    "rl/v1/hub/status",
    "rl/v1/heater/../cooler/obs",
    "obs",
    "$SYS/obs",
]


@pytest.mark.parametrize("topic", DENIED)
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_denied_publish_closes_and_leaves_no_row(
    house: House, topic: str, qos: int
) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY)
        before = len(house.log.events)
        client.send(publish(b'{"o":[1,2]}', topic=topic, qos=qos))
        assert await client.read_until_closed() == []
    assert len(house.log.events) == before


async def test_a_packet_cannot_hide_in_a_ping(house: House) -> None:
    """amqtt does not read a PINGREQ's body: it would be a publish that nobody has checked."""
    hidden = publish(b"fallen", topic="rl/v1/cooler/act", qos=0)
    async with house.client() as cooler, house.client() as client:
        await cooler.connected("cooler", KEY)
        await cooler.subscribed("rl/v1/cooler/#")
        await client.connected("heater", KEY)
        client.send(bytes((0xC0, len(hidden))) + hidden)
        assert await client.read_until_closed() == []
        assert await cooler.answers_ping() == []


@pytest.mark.parametrize(
    "topic_filter",
    [
        "#",
        "+/#",
        "$SYS/#",
        "rl/v1/#",
        "rl/v1/+/act",
        "rl/v1/hub/#",
        "rl/v1/cooler/act",
        "rl/v1/heaters/act",
        "rl/v1/heater",
        "rl/v1/heater/secret",
    ],
)
async def test_a_denied_subscription_is_answered_with_0x80(house: House, topic_filter: str) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY)
        assert await client.subscribed(topic_filter, ACT) == [0x80, 1]
        assert [packet.type for packet in await step(client, 1)] == [PUBACK, PUBLISH]
        assert await client.answers_ping() == []


@pytest.mark.parametrize(
    "topic_filter", [ACT, "rl/v1/heater/#", "rl/v1/heater/+", "rl/v1/heater/+/mp"]
)
async def test_what_is_below_the_own_id_may_be_subscribed_to(
    house: House, topic_filter: str
) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY)
        assert await client.subscribed(topic_filter) == [1]


async def test_a_subscription_ends_with_unsubscribe(house: House) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY)
        await client.subscribed(ACT)
        text = len(ACT).to_bytes(2, "big") + ACT.encode()
        client.send(bytes((0xA2, len(text) + 2)) + b"\x00\x02" + text)
        assert (await client.read()).type == 11
        client.send(publish(b'{"o":[1,2]}'))
        assert (await client.read()).type == PUBACK
        assert await client.answers_ping() == []


async def test_retained_messages_reach_their_subscribers_only(house: House) -> None:
    """At connect, and on a resumed session too, amqtt would push every filter's to everyone."""
    async with house.client() as heater, house.client() as cooler:
        await heater.connected("heater", KEY)
        await heater.subscribed("rl/v1/heater/#")
        retained = bytearray(wire.publish("rl/v1/heater/status", b"at home", qos=1, packet_id=2))
        retained[0] |= 1
        heater.send(bytes(retained))
        await heater.answers_ping()
        await cooler.connected("cooler", KEY, clean=False)
        assert await cooler.answers_ping() == []
        await cooler.subscribed("rl/v1/cooler/#", "rl/v1/hub/status")
        assert (await cooler.read()).topic == "rl/v1/hub/status"
        async with house.client() as again:
            resumed = await again.connected("cooler", KEY, clean=False)
            assert resumed.body[0] == 1
            topics = {packet.topic for packet in await again.answers_ping()}
            assert topics <= {"rl/v1/hub/status"}


async def test_an_observation_is_never_retained(house: House) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY)
        packet = bytearray(publish(b'{"o":[1,2]}'))
        packet[0] |= 1
        client.send(bytes(packet))
        assert (await client.read()).type == PUBACK
        await client.subscribed("rl/v1/heater/#")
        assert await client.answers_ping() == []


async def test_a_revoked_key_ends_the_connection_with_its_next_packet(house: House) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY)
        house.registry.keys.clear()
        client.send(publish(b'{"o":[1,2]}'))
        assert await client.read_until_closed() == []
    assert house.observed() == []


async def test_a_device_that_would_not_be_let_in_any_more_hears_nothing_further(
    house: House,
) -> None:
    async with house.client() as client, house.client() as other:
        await client.connected("heater", KEY, will=("rl/v1/heater/status", b"offline"))
        await client.subscribed(ERR)
        await other.connected("cooler", "runners")
        house.gate.recheck()
        assert await client.answers_ping() == []
        del house.registry.keys[fingerprint(KEY)]
        house.gate.recheck()
        (said,) = await client.read_until_closed()
        assert (said.topic, said.json["e"]) == (ERR, "auth")
        assert house.broker.retained("rl/v1/heater/status") == (b"offline", 0)
        assert await other.answers_ping() == []


async def test_a_moved_device_has_to_connect_with_its_new_agents_key(house: House) -> None:
    async with house.client() as client, house.client() as again:
        await client.connected("heater", KEY)
        house.registry.devices[DeviceId("heater")] = AgentName("runner")
        client.send(publish(b'{"o":[1,2]}'))
        assert await client.read_until_closed() == []
        await again.connected("heater", "runners")
        await again.subscribed(ACT)
        await step(again, 1)
    assert house.log.of_kind(Kind.OBSERVATION)[0].agent == "runner"


async def test_a_disconnected_device_connects_anew_without_what_was_kept(house: House) -> None:
    async with house.client() as client, house.client() as again:
        await client.connected("heater", KEY, clean=False)
        await client.subscribed(ACT)
        house.gate.disconnect(DeviceId("heater"))
        assert await client.read_until_closed() == []
        await become(lambda: not house.gate.connections)
        house.gate.disconnect(DeviceId("heater"))  # it has no connection: nothing happens
        resumed = await again.connected("heater", KEY, clean=False)
        assert resumed.body[0] == 0


# --- acknowledgements --------------------------------------------------------------------------


async def test_qos_1_is_acknowledged_after_the_commit_and_not_before(
    open_house: Callable[..., Any],
) -> None:
    house = await open_house(ManualLog())
    async with house.client() as client:
        await client.connected("heater", KEY)
        await client.subscribed(ACT)
        client.send(publish(b'{"s":1,"o":[1,2]}'))
        assert await client.answers_ping() == []
        house.log.commit()
        assert [(await client.read()).type for _ in range(2)] == [PUBACK, PUBLISH]


async def test_while_the_log_is_behind_nothing_is_read_and_then_nothing_is_missing(
    open_house: Callable[..., Any],
) -> None:
    house = await open_house(ManualLog())
    async with house.client() as client:
        await client.connected("heater", KEY)
        await client.subscribed(ACT)
        house.log.crowded = True
        client.send(publish(b'{"s":1,"o":[1,2]}') + publish(b'{"s":2,"o":[1,2]}', packet_id=8))
        await become(lambda: not house.connection().is_read)
        house.log.commit()
        assert house.observed() == []
        house.log.crowded = False
        house.gate.relieve()
        await become(lambda: len(house.log.pending) == 4)
        house.log.commit()
        packets = [await client.read() for _ in range(4)]
        assert [packet.type for packet in packets].count(PUBACK) == 2
        assert house.connection().is_read
    assert house.observed() == [("heater", 1), ("heater", 2)]


async def test_while_the_log_is_behind_nobody_is_let_in_and_then_everybody_is(
    open_house: Callable[..., Any],
) -> None:
    house = await open_house(ManualLog())
    house.log.crowded = True
    async with house.client() as client:
        client.connect_with("heater", KEY)
        await become(lambda: len(house.gate.held) == 1)
        assert house.log.pending == []
        house.log.crowded = False
        house.gate.relieve()
        assert (await client.read()).type == CONNACK


async def test_qos_0_is_answered_after_the_commit_at_qos_0(open_house: Callable[..., Any]) -> None:
    house = await open_house(ManualLog())
    async with house.client() as client:
        await client.connected("heater", KEY)
        await client.subscribed(ACT)
        client.send(publish(b'{"s":1,"o":[1,2]}', qos=0))
        assert await client.answers_ping() == []
        house.log.commit()
        act = await client.read()
        assert (act.type, act.flags) == (PUBLISH, 0)


async def test_qos_2_is_received_after_the_commit_and_not_before(
    open_house: Callable[..., Any],
) -> None:
    house = await open_house(ManualLog())
    async with house.client() as client:
        await client.connected("heater", KEY)
        await client.subscribed(ACT, qos=2)
        client.send(publish(b'{"s":1,"o":[1,2]}', qos=2))
        client.send(publish(b'{"s":1,"o":[1,2]}', qos=2, duplicate=True))
        assert await client.answers_ping() == []
        house.log.commit()
        received, act = [await client.read() for _ in range(2)]
        assert (received.type, act.type, act.flags) == (PUBREC, PUBLISH, 0b0100)
        client.send(publish(b'{"s":1,"o":[1,2]}', qos=2, duplicate=True))
        assert (await client.read()).type == PUBREC
        client.send(b"\x62\x02\x00\x07")
        assert (await client.read()).type == PUBCOMP
        # And the action's own handshake, which a device may answer once more.
        client.send(b"\x50\x02" + act.packet_id.to_bytes(2, "big"))
        assert (await client.read()).type == PUBREL
        client.send(b"\x70\x02" + act.packet_id.to_bytes(2, "big"))
        assert await client.answers_ping() == []
    assert house.observed() == [("heater", 1)]
    assert len(house.delivery.begun) == 1


async def test_a_release_before_its_time_ends_the_connection(
    open_house: Callable[..., Any],
) -> None:
    house = await open_house(ManualLog())
    async with house.client() as client:
        await client.connected("heater", KEY)
        client.send(publish(b'{"s":1,"o":[1,2]}', qos=2))
        client.send(b"\x62\x02\x00\x07")
        assert await client.read_until_closed() == []


async def test_what_was_not_received_is_taken_anew_on_the_next_connection(
    open_house: Callable[..., Any],
) -> None:
    house = await open_house(ManualLog())
    async with house.client() as client:
        await client.connected("heater", KEY, clean=False)
        client.send(publish(b'{"s":1,"o":[1,2]}', qos=2))
        await client.answers_ping()
    async with house.client() as client:
        assert (await client.connected("heater", KEY, clean=False)).body == b"\1\0"
        house.log.commit()
        client.send(publish(b'{"s":1,"o":[1,2]}', qos=2, duplicate=True))
        assert (await client.read()).type == PUBREC
    async with house.client() as client:
        await client.connected("heater", KEY, clean=False)
        client.send(b"\x62\x02\x00\x07")
        assert (await client.read()).type == PUBCOMP
    assert house.observed() == [("heater", 1)]


async def test_a_device_called_like_a_topic_level_uses_qos_2_too(house: House) -> None:
    async with house.client() as client:
        await client.connected("v1", KEY)
        client.send(publish(b'{"s":1,"o":[1,2]}', topic="rl/v1/v1/obs", qos=2))
        assert (await client.read()).type == PUBREC
        client.send(b"\x62\x02\x00\x07")
        assert (await client.read()).type == PUBCOMP
    assert house.observed() == [("v1", 1)]


async def test_too_many_unreleased_qos_2_publishes_end_the_connection(
    open_house: Callable[..., Any],
) -> None:
    house = await open_house(unacknowledged_max=4)
    async with house.client() as client:
        await client.connected("heater", KEY)
        for packet_id in range(1, 10):
            client.send(publish(b'{"o":[1,2]}', qos=2, packet_id=packet_id))
        await client.read_until_closed()
    assert len(house.observed()) == 4


async def test_an_acknowledgement_goes_to_the_connection_its_publish_came_on(
    open_house: Callable[..., Any],
) -> None:
    """On the next connection the same packet id may already stand for another message."""
    house = await open_house(ManualLog())
    async with house.client() as old, house.client() as new:
        await old.connected("heater", KEY, clean=False)
        old.send(publish(b'{"s":1,"o":[1,2]}'))
        await old.answers_ping()
        await new.connected("heater", KEY, clean=False)
        house.log.commit()
        assert await new.answers_ping() == []


async def test_reading_pauses_while_too_much_is_not_durable(
    open_house: Callable[..., Any],
) -> None:
    house = await open_house(ManualLog(), unacknowledged_max=4)
    async with house.client() as client, house.client() as other:
        await client.connected("heater", KEY)
        for number in range(20):
            client.send(publish(b'{"s":%d,"o":[1,2]}' % number, packet_id=number + 1))
        await become(lambda: len(house.delivery.begun) >= 4)
        await other.connected("cooler", KEY)
        await other.answers_ping()
        assert len(house.delivery.begun) == 4
        acknowledged = 0
        while acknowledged < 20:
            house.log.commit()
            acknowledged += (await client.read()).type == PUBACK
    assert [number for _, number in house.observed()] == list(range(20))


async def test_a_device_that_does_not_read_is_cut_off(open_house: Callable[..., Any]) -> None:
    house = await open_house(write_bytes_max=1024)
    async with house.client() as deaf, house.client() as other:
        await deaf.connected("heater", KEY)
        await other.connected("cooler", KEY)
        connection = house.connection()
        for _ in range(1000):
            connection.send(wire.publish(ACT, bytes(60_000)))
            await asyncio.sleep(0)
            if DeviceId("heater") not in house.gate.connections:
                break
        await become(lambda: DeviceId("heater") not in house.gate.connections)
        assert await other.answers_ping() == []


@pytest.mark.parametrize("how", ["closed", "malformed", "disconnect"])
async def test_who_does_not_read_does_not_keep_a_closed_connection_open(
    open_house: Callable[..., Any], how: str
) -> None:
    house = await open_house(write_bytes_max=100_000_000)
    async with house.client() as deaf, house.client() as other:
        await deaf.connected("heater", KEY, will=("rl/v1/heater/status", b"offline"))
        await other.connected("cooler", KEY)
        connection = house.connection()
        connection.send(wire.publish(ACT, bytes(20_000_000)))
        await other.answers_ping()
        if how == "closed":
            connection.close()
        else:
            deaf.send(b"\xe0\x00" if how == "disconnect" else b"\x00\x00")
        await become(lambda: DeviceId("heater") not in house.gate.connections)
        assert house.gate.sockets == 1
        kept = house.broker.retained("rl/v1/heater/status")
        assert kept == (None if how == "disconnect" else (b"offline", 0))


async def test_unacknowledged_actions_are_sent_again_on_a_resumed_session(house: House) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY, clean=False)
        await client.subscribed(ACT)
        _, act = await step(client, 1)
        _, other = await step(client, 2, packet_id=8)
        client.send(b"\x40\x02" + act.packet_id.to_bytes(2, "big"))
        await client.answers_ping()
    async with house.client() as client:
        accepted = await client.connected("heater", KEY, clean=False)
        assert accepted.body[0] == 1
        again = await client.read()
        assert again.flags == other.flags | 0b1000
        assert again.body == other.body
        assert await client.answers_ping() == []


@pytest.mark.parametrize("first_clean", [True, False])
async def test_a_clean_session_knows_nothing_of_the_one_before(
    house: House, first_clean: bool
) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY, clean=first_clean)
        await client.subscribed(ACT)
        await step(client, 1)
    await become(lambda: house.gate.sockets == 0)
    async with house.client() as client:
        accepted = await client.connected("heater", KEY, clean=not first_clean)
        assert accepted.body[0] == 0
        client.send(publish(b'{"s":2,"o":[1,2]}'))
        assert (await client.read()).type == PUBACK
        assert await client.answers_ping() == []


async def test_a_dup_of_an_unnumbered_observation_is_logged_once(house: House) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY, clean=False)
        await client.subscribed(ACT)
        client.send(publish(b'{"o":[1,2]}'))
        first = [await client.read(), await client.read()]
    async with house.client() as client:
        await client.connected("heater", KEY, clean=False)
        resent = await client.read()
        assert resent.payload == first[1].payload
        client.send(publish(b'{"o":[1,2]}', duplicate=True))
        again = [await client.read(), await client.read()]
        assert [packet.type for packet in again] == [PUBACK, PUBLISH]
        assert again[1].payload == first[1].payload
    assert house.observed() == [("heater", 0)]


# --- limits ------------------------------------------------------------------------------------


async def test_a_packet_comes_in_any_pieces(house: House) -> None:
    packet = publish(b'{"s":1,"o":[1,2]}')
    async with house.client() as client:
        await client.connected("heater", KEY)
        for byte in packet:
            client.send(bytes((byte,)))
            await asyncio.sleep(0)
        client.send(packet + packet[:9])
        assert [(await client.read()).type for _ in range(2)] == [PUBACK, PUBACK]
        client.send(packet[9:])
        assert (await client.read()).type == PUBACK
    assert house.observed() == [("heater", 1)]


@pytest.mark.parametrize("length", [16_385, 300_000, 10_000_000])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_packet_over_the_limit_is_skipped_and_answered_with_size(
    house: House, length: int, qos: int
) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY)
        await client.subscribed(ACT, ERR)
        client.send(publish(b" " * length, qos=qos) + publish(b'{"s":1,"o":[1,2]}', packet_id=8))
        await client.drain()
        packets = [await client.read() for _ in range(3 + (qos > 0))]
        kinds = [(packet.type, packet.packet_id) for packet in packets if packet.type != PUBLISH]
        assert kinds == [((PUBACK, 7) if qos == 1 else (PUBREC, 7))] * (qos > 0) + [(PUBACK, 8)]
        sent = [packet for packet in packets if packet.type == PUBLISH]
        assert [packet.topic for packet in sent] == [ERR, ACT]
        assert sent[0].json["e"] == "size"
        if qos == 2:
            client.send(b"\x62\x02\x00\x07")
            assert (await client.read()).type == PUBCOMP
        assert await client.answers_ping() == []
    (refused,) = house.log.of_kind(Kind.REFUSED)
    assert refused.reason == "size"


async def test_a_packet_too_large_to_skip_ends_the_connection(house: House) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY)
        head = publish(b" " * (SKIP_BYTES_MAX + 1))[:1000]
        client.send(head)
        assert await client.read_until_closed() == []


async def test_a_large_packet_to_a_denied_topic_ends_the_connection(house: House) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY)
        client.send(publish(b" " * 20_000, topic="rl/v1/cooler/obs"))
        assert await client.read_until_closed() == []
    assert house.log.of_kind(Kind.REFUSED) == []


async def test_the_limit_grows_with_the_agents_space(house: House) -> None:
    house.registry.agents[AgentName("walker")] = agent_spec([[4000], -1.0, 1.0])
    values = b",".join([b"-0.1234567890123456789"] * 4000)
    async with house.client() as client:
        await client.connected("heater", KEY)
        client.send(publish(b'{"o":[' + values + b"]}"))
        assert (await client.read()).type == PUBACK
    assert len(house.observed()) == 1


async def test_silence_for_one_and_a_half_keep_alives_ends_the_connection(house: House) -> None:
    loop = asyncio.get_running_loop()
    async with house.client() as client:
        await client.connected("heater", KEY, keep_alive_s=1)
        began = loop.time()
        assert await client.read_until_closed() == []
        assert 1.4 < loop.time() - began < 3.0


# --- content -----------------------------------------------------------------------------------


async def test_refused_content_is_acknowledged_and_said(house: House) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY)
        await client.subscribed(ERR)
        client.send(publish(b'{"s":12,"o":[1,2,3]}'))
        assert (await client.read()).type == PUBACK
        expected = {"e": "shape", "s": 12, "m": "obs has 3 values, agent expects 2"}
        assert (await client.read()).json == expected


async def test_busy_is_said_and_not_acknowledged(house: House) -> None:
    house.receiver.closing = True
    async with house.client() as client:
        await client.connected("heater", KEY)
        await client.subscribed(ERR)
        client.send(publish(b'{"s":12,"o":[1,2]}'))
        err = await client.read()
        assert (err.json["e"], err.json["s"]) == ("busy", 12)
        assert await client.answers_ping() == []


async def test_hello_is_answered_with_what_the_device_needs_to_know(house: House) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY)
        await client.subscribed(CFG)
        client.send(publish(b'{"v":1,"dt":"thermostat","b":7}', topic="rl/v1/heater/hello"))
        packets = [await client.read(), await client.read()]
        (cfg,) = (packet for packet in packets if packet.type == PUBLISH)
        now_s = house.clock.now_us() // 1_000_000
        assert cfg.json == {"ok": 1, "n": 2, "a": 2, "t": 60_000, "ts": now_s}
        client.send(publish(b'{"s":41,"o":[1,2]}'))
        await client.read()
        client.send(publish(b'{"b":7}', topic="rl/v1/heater/hello"))
        packets = [await client.read(), await client.read()]
        assert next(packet.json["g"] for packet in packets if packet.type == PUBLISH) == 41


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"{", "payload"),
        (b"\xff", "payload"),
        (b'{"b":-1}', "type"),
        (b'{"b":4294967296}', "type"),
        (b'{"b":1267650600228229401496703205376}', "type"),
        (b'{"enc":"xml"}', "type"),
        (b"[]", "type"),
    ],
)
async def test_a_hello_that_is_none_is_refused(house: House, payload: bytes, code: str) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY)
        await client.subscribed(ERR)
        client.send(publish(payload, topic="rl/v1/heater/hello"))
        assert (await client.read()).type == PUBACK
        assert (await client.read()).json["e"] == code
        assert await client.answers_ping() == []


async def test_an_empty_hello_is_one(house: House) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY)
        await client.subscribed(CFG)
        client.send(publish(b"", topic="rl/v1/heater/hello", qos=0))
        assert (await client.read()).json["ok"] == 1


async def test_a_persons_reward_is_acknowledged_and_counted(house: House) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY)
        client.send(publish(b'{"s":0,"o":[1,2]}'))
        client.send(publish(b'{"r":0.5}', topic="rl/v1/heater/reward", packet_id=8))
        client.send(publish(b'{"s":1,"o":[1,2],"r":1}', packet_id=9))
        assert [(await client.read()).packet_id for _ in range(3)] == [7, 8, 9]
    assert [event.reward for event in house.log.of_kind(Kind.OBSERVATION)] == [None, 1.5]


async def test_an_answer_comes_in_the_encoding_of_its_observation(house: House) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY)
        await client.subscribed("rl/v1/heater/#")
        mp = msgspec.msgpack.encode({"s": 1, "o": [1.0, 2.0]})
        client.send(publish(mp, topic=f"{OBS}/mp", qos=0))
        act = await client.read()
        assert act.topic == f"{ACT}/mp"
        assert msgspec.msgpack.decode(act.payload) == {"s": 1, "a": 1, "pv": 1}
        f32 = struct.pack("<BBHf", 0x10, 2, 2, 0.0) + floats(1.0, 2.0)
        client.send(publish(f32, topic=f"{OBS}/f32", qos=0))
        act = await client.read()
        assert (act.topic, act.payload) == (f"{ACT}/f32", struct.pack("<BBHH", 0x10, 1, 2, 0))
        last = struct.pack("<BBHf", 0x11, 2, 3, 0.0) + floats(1.0, 2.0)
        client.send(publish(last, topic=f"{OBS}/f32", qos=0))
        assert (await client.read()).payload == struct.pack("<BBH", 0x1F, 0, 3)


async def test_f32_carries_several_choices_as_that_many_floats(house: House) -> None:
    spec = agent_spec(actions={"multi_discrete": [3, 4, 2]})
    house.registry.agents[AgentName("walker")] = spec
    async with house.client() as client:
        await client.connected("heater", KEY)
        await client.subscribed("rl/v1/heater/#")
        f32 = struct.pack("<BBHf", 0x10, 2, 3, 0.0) + floats(1.0, 2.0)
        client.send(publish(f32, topic=f"{OBS}/f32", qos=0))
        act = await client.read()
        wanted = struct.pack("<BBH", 0x11, 3, 3) + floats(1.0, 1.0, 1.0)
        assert (act.topic, act.payload) == (f"{ACT}/f32", wanted)


@pytest.mark.parametrize("actions", [70_000, {"discrete": 3, "start": -1}])
async def test_f32_is_refused_where_its_action_would_not_fit(house: House, actions: Any) -> None:
    house.registry.agents[AgentName("walker")] = agent_spec(actions=actions)
    async with house.client() as client:
        await client.connected("heater", KEY)
        await client.subscribed(ERR)
        f32 = struct.pack("<BBHf", 0x10, 2, 2, 0.0) + floats(1.0, 2.0)
        client.send(publish(f32, topic=f"{OBS}/f32", qos=0))
        assert (await client.read()).json["e"] == "type"


async def test_one_devices_nonsense_does_not_touch_another(house: House) -> None:
    nonsense = [b"\xf0\x00", b"\x30\x02\x00", bytes(5000), publish(b"x" * 50_000)[:60], b"\x36\x00"]
    async with house.client() as good:
        await good.connected("cooler", KEY)
        for bad_bytes in nonsense:
            async with house.client() as bad:
                await bad.connected("heater", KEY)
                bad.send(bad_bytes)
                await good.answers_ping()
        good.send(publish(b'{"s":1,"o":[1,2]}', topic="rl/v1/cooler/obs"))
        assert (await good.read()).type == PUBACK


def test_every_packet_a_client_may_send_has_its_flags() -> None:
    assert set(wire.FLAGS) | {PacketType.PUBLISH} == {
        PacketType(kind) for kind in (1, 3, 4, 5, 6, 7, 8, 10, 12, 14)
    }


async def test_over_its_quota_a_device_is_told_and_read_more_slowly(
    open_house: Callable[..., Any],
) -> None:
    house: House = await open_house()
    limited = structs.replace(house.registry.agents[WALKER].agent, messages_per_s=2.0)
    house.registry.agents[WALKER] = spec_of(limited)
    async with house.client() as client:
        await client.connected("heater", KEY)
        await client.subscribed(ACT, ERR)
        client.send(b"".join(publish(b'{"s":%d,"o":[1,2]}' % i) for i in range(6)))
        seen = [await client.read() for _ in range(10)]
        (error,) = [packet for packet in seen if packet.type == PUBLISH and packet.topic == ERR]
        assert error.json["e"] == "rate"
        assert len(house.observed()) == 4
        assert not house.connection().is_read
        house.clock.seconds += 1.0
        # What waited is read on, and the device is as good as any.
        assert [(await client.read()).type for _ in range(2)] == [PUBACK, PUBLISH]
    assert house.quotas.refused == 1


async def test_rewards_that_cant_be_read_are_none_and_slow_their_sender_down(
    open_house: Callable[..., Any],
) -> None:
    house: House = await open_house()
    limited = structs.replace(house.registry.agents[WALKER].agent, messages_per_s=2.0)
    house.registry.agents[WALKER] = spec_of(limited)
    async with house.client() as client:
        await client.connected("heater", KEY)
        await client.subscribed(ERR)
        wrong = [
            publish(b'{"r":"much"}', topic="rl/v1/heater/reward", packet_id=i) for i in range(1, 7)
        ]
        client.send(b"".join(wrong))
        seen = [await client.read() for _ in range(10)]
        told = [packet.json["e"] for packet in seen if packet.type == PUBLISH]
        assert told == ["type", "type", "type", "type", "rate"]
        assert not house.connection().is_read
    assert house.log.of_kind(Kind.REWARD) == []


async def test_of_a_clean_session_nothing_is_kept_when_its_connection_ends(house: House) -> None:
    async with house.client() as clean, house.client() as lasting:
        await clean.connected("heater", KEY)
        await clean.subscribed(ACT)
        await lasting.connected("cooler", KEY, clean=False)
    await become(lambda: house.gate.sockets == 0)
    assert set(house.gate.outboxes) == {"cooler"}
