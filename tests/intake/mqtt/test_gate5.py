"""MQTT 5 at the gate: what is said by properties and reasons, to a client that says anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hub.errors import DeviceFault
from hub.intake.mqtt import wire, wire5
from hub.intake.mqtt.fields import packet_of, text_bytes
from hub.intake.mqtt.outbox5 import FILTERS_MAX
from hub.intake.mqtt.properties import NONE, Property
from hub.intake.mqtt.wire import PacketType
from hub.registry.access import fingerprint
from hub.words import AgentName, Code, DeviceId, Key, KeyId, Kind, User
from tests.intake.fakes import ManualLog, agent_spec
from tests.intake.house import ACT, ERR, KEY, OBS, WALKER, become
from tests.intake.mqtt.raw_client import CONNACK, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL
from tests.intake.mqtt.raw_client5 import (
    DISCONNECT,
    UNSUBACK,
    RawClient5,
    Said,
    connect,
    subscribe,
    unsubscribe,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.intake.mqtt.properties import Value
    from tests.intake.house import House

STATUS = "rl/v1/heater/status"
P = Property
LASTS = {P.SESSION_EXPIRY_S: 3600}


def client_of(house: House) -> RawClient5:
    return RawClient5(house.port)


def publish(
    payload: bytes = b'{"s":1,"o":[1,2]}',
    said: dict[Property, Value] | None = None,
    *,
    topic: str = OBS,
    qos: int = 1,
    packet_id: int = 7,
    **more: Any,
) -> bytes:
    return wire5.publish(topic, payload, said or NONE, qos=qos, packet_id=packet_id, **more)


async def step(client: RawClient5, number: int, said: Any = None, **more: Any) -> list[Said]:
    """Send an observation; PUBACK and action."""
    client.send(publish(b'{"s":%d,"o":[1,2]}' % number, said, **more))
    return [await client.hear(), await client.hear()]


# --- CONNECT -----------------------------------------------------------------------------------


async def test_a_device_is_told_what_the_gate_takes_and_is_answered(house: House) -> None:
    async with client_of(house) as client:
        accepted = await client.accepted("heater", KEY)
        assert accepted.properties == {
            P.RECEIVE_MAXIMUM: 64,
            P.MAXIMUM_PACKET_BYTES: 16_384 + 4,
            P.SUBSCRIPTION_IDS_AVAILABLE: 0,
            P.SHARED_AVAILABLE: 0,
        }
        assert await client.granted(ACT, ERR) == [1, 1]
        acknowledged, act = await step(client, 12)
        assert acknowledged.packet.body == b"\0\7"
        assert (act.topic, act.payload) == (ACT, b'{"s":12,"a":0,"pv":1}')
        assert act.properties == {P.MESSAGE_EXPIRY_S: 1}  # the deadline is 250 ms
    assert house.observed() == [("heater", 12)]


async def test_without_a_client_id_one_is_assigned_and_its_session_may_last(house: House) -> None:
    async with client_of(house) as client:
        wants = {P.REQUEST_RESPONSE_INFORMATION: 1, **LASTS}
        accepted = await client.accepted("heater", KEY, wants, client_id="", clean=False)
        assert accepted.properties[P.ASSIGNED_CLIENT_ID] == "heater"
        assert accepted.properties[P.RESPONSE_INFORMATION] == ACT


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (connect("heater", "a wrong key"), 0x86),
        (connect("heater", None), 0x86),
        (connect("heater", KEY, will=("rl/v1/cooler/status", b"x")), 0x87),
        (connect("heater", KEY, bytes.fromhex("06 21 0001 21 0001")), 0x82),
        (connect("heater", KEY, bytes.fromhex("03 23 0001")), 0x81),
        (connect("heater", KEY, bytes.fromhex("04 15 0001 61")), 0x8C),
        (connect("heater", KEY, bytes.fromhex("05 27 0000007f")), 0x95),
        (connect("ann", "ann's"), 0x84),  # the broker for people speaks 3.1.1
        (connect("ann", "a wrong key"), 0x86),
    ],
)
async def test_a_refused_connect_is_answered_by_its_reason_and_nothing_changes(
    house: House, packet: bytes, reason: int
) -> None:
    house.registry.users["ann"] = User("ann", "admin")
    house.registry.keys[fingerprint("ann's")] = Key(KeyId("ann"), None, user="ann")
    async with client_of(house) as client:
        client.send(packet)
        (refused,) = await client.hear_until_closed()
    assert (refused.type, refused.reason) == (CONNACK, reason)
    assert (house.log.events, dict(house.gate.outboxes)) == ([], {})


async def test_who_shows_a_right_key_is_told_why_it_is_refused_and_no_stranger_is(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    said = []
    for key in ("a wrong key", KEY, KEY):
        async with client_of(house) as client:
            client.send(connect("Led-9", key))
            (refused,) = await client.hear_until_closed()
            said.append(refused.why)
    why = "device id 'Led-9' must match [a-z0-9_-]{1,23}, not hub, agents, http-*"
    assert said == ["", why, why]
    printed = [one.getMessage() for one in caplog.records if "over MQTT" in one.getMessage()]
    assert len(printed) == 1, "once for each key"
    assert printed[0].endswith(why)


async def test_what_comes_before_a_connect_is_not_answered(house: House) -> None:
    async with client_of(house) as client:
        client.send(publish())
        assert await client.hear_until_closed() == []


# --- sessions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("said", [NONE, LASTS])
async def test_a_session_lasts_for_its_expiry_interval_whatever_its_start(
    house: House, clean: bool, said: Any
) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY, said, clean=clean)
        await client.granted(ACT)
    await become(lambda: house.gate.sockets == 0)
    async with client_of(house) as client:
        again = await client.accepted("heater", KEY, clean=False)
        assert again.session_present == (said == LASTS)
        (_, *acts) = await step_and_ping(client)
        assert len(acts) == again.session_present


async def step_and_ping(client: RawClient5) -> list[Said]:
    """What a step brings, before the answer to a ping."""
    client.send(publish())
    return [Said(packet) for packet in await client.answers_ping()]


async def test_a_clean_start_finds_nothing(house: House) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY, LASTS)
        await client.granted(ACT)
    async with client_of(house) as client:
        assert not (await client.accepted("heater", KEY, LASTS)).session_present
        assert len(await step_and_ping(client)) == 1


async def test_a_session_that_has_expired_is_forgotten(house: House) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY, LASTS)
        house.gate.outboxes[DeviceId("heater")].lasts_s = 0.01
    await become(lambda: not house.gate.outboxes)


async def test_a_session_is_not_forgotten_while_its_device_is_back(house: House) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY, LASTS)
    await become(lambda: house.gate.sockets == 0)
    outbox = house.gate.outboxes[DeviceId("heater")]
    waiting = outbox.forgetting
    assert waiting is not None
    async with client_of(house) as client:
        assert (await client.accepted("heater", KEY, LASTS, clean=False)).session_present
        assert waiting.cancelled()
        assert outbox.forgetting is None


@pytest.mark.parametrize("disconnect", ["e0 07 00 05 11 00000000", "e0 00"])
async def test_a_disconnect_may_end_the_session(house: House, disconnect: str) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY, LASTS)
        client.send(bytes.fromhex(disconnect))
        assert await client.hear_until_closed() == []
    await become(lambda: house.gate.sockets == 0)
    assert bool(house.gate.outboxes) == (disconnect == "e0 00")


async def test_a_session_that_was_to_end_cannot_be_kept_by_a_disconnect(house: House) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY)
        client.send(bytes.fromhex("e0 07 00 05 11 00000001"))
        (last,) = await client.hear_until_closed()
        assert (last.type, last.reason) == (DISCONNECT, 0x82)


async def test_a_session_is_not_resumed_in_the_other_version(house: House) -> None:
    async with house.client() as old:
        await old.connected("heater", KEY, clean=False)
        await old.subscribed(ACT)
    async with client_of(house) as new:
        assert not (await new.accepted("heater", KEY, LASTS, clean=False)).session_present
        await new.granted(ACT)
    async with house.client() as old:
        assert (await old.connected("heater", KEY, clean=False)).body == b"\0\0"


# --- how it ends -------------------------------------------------------------------------------


@pytest.mark.parametrize(("reason", "sent"), [("00", False), ("04", True), ("80", True)])
async def test_a_disconnect_says_whether_the_will_is_sent(
    house: House, reason: str, sent: bool
) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY, will=(STATUS, b"offline"))
        client.send(bytes.fromhex("e0 01" + reason))
        assert await client.hear_until_closed() == []
    await become(lambda: house.gate.sockets == 0)
    assert (house.broker.retained(STATUS) is not None) == sent


async def test_the_older_of_two_connections_is_told_that_it_was_taken_over(house: House) -> None:
    async with client_of(house) as old, client_of(house) as new:
        await old.accepted("heater", KEY, LASTS)
        await old.granted(ACT)
        assert (await new.accepted("heater", KEY, LASTS, clean=False)).session_present
        (last,) = await old.hear_until_closed()
        assert (last.type, last.reason) == (DISCONNECT, 0x8E)
        assert [said.type for said in await step(new, 1)] == [PUBACK, PUBLISH]


async def test_silence_ends_the_connection_by_its_reason(house: House) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY, keep_alive_s=1)
        house.connection().silent_s_max = 0.01
        (last,) = await client.hear_until_closed()
        assert (last.type, last.reason) == (DISCONNECT, 0x8D)


async def test_an_operator_ends_the_connection_by_their_reason(house: House) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY, LASTS)
        house.gate.disconnect(DeviceId("heater"))
        (last,) = await client.hear_until_closed()
        assert (last.type, last.reason) == (DISCONNECT, 0x98)
    assert not house.gate.outboxes
    async with client_of(house) as client:
        await client.accepted("heater", KEY)
        house.registry.keys.clear()
        house.gate.recheck()
        (last,) = await client.hear_until_closed()
        assert (last.reason, last.why) == (
            0x98,
            "device 'heater': its key was revoked, or it was moved",
        )


async def test_a_hub_that_stops_says_so(house: House) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY)
        await house.gate.stop()
        assert (await client.hear()).reason == 0x8B
    await house.gate.start("")  # for the fixture to stop


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (connect("heater", KEY), 0x82),  # a second one
        (b"\xf0\x00", 0x8C),  # AUTH
        (packet_of(0x30, text_bytes(OBS) + b"\x03\x21\x00\x01{}"), 0x81),  # not of a PUBLISH
        (packet_of(0x30, text_bytes(OBS) + b"\x04\x01\x00\x01\x00{}"), 0x82),  # twice
        (packet_of(0x30, text_bytes(OBS) + b"\x7f\x01\x00{}"), 0x81),  # reaches past the end
        (packet_of(0x30, b"\0\0\x03\x23\0\1{}"), 0x94),  # an alias
        (subscribe(ACT, properties=b"\x02\x0b\x01"), 0xA1),
        (packet_of(0x82, bytes(20_000)), 0x95),
        (b"\x62\x02\x00\x00", 0x81),  # packet id 0
        (publish(topic=OBS, qos=0, duplicate=True), 0x81),
    ],
)
async def test_a_breach_is_answered_by_a_disconnect_with_its_reason(
    house: House, packet: bytes, reason: int
) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY)
        await client.granted(ERR)
        client.send(packet)
        (last,) = await client.hear_until_closed()
        assert (last.type, last.reason) == (DISCONNECT, reason)
        assert last.why
    assert house.observed() == []


# --- SUBSCRIBE ---------------------------------------------------------------------------------


async def test_filters_are_granted_below_the_own_id_and_refused_elsewhere(house: House) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY)
        own = ["rl/v1/heater/#", "rl/v1/heater/mine/7", "rl/v1/heater/+/+"]
        assert await client.granted(*own, options=2) == [2, 2, 2]
        others = ["rl/v1/cooler/act", "#", "rl/v1/+/act", "rl/v1/heater", "rl/v1/heater2/#"]
        assert await client.granted(*others) == [0x87] * len(others)
        assert await client.granted("$share/g/rl/v1/heater/act") == [0x9E]
        client.send(unsubscribe("rl/v1/heater/#", "rl/v1/cooler/act"))
        done = await client.hear()
        assert (done.type, done.packet_id, done.codes) == (UNSUBACK, 1, [0x00, 0x11])
        assert await client.granted("rl/v1/hub/status") == [1]
        assert (await client.hear()).payload == b"online"


async def test_no_more_filters_are_kept_than_a_device_needs(house: House) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY)
        filters = [f"rl/v1/heater/{number}" for number in range(FILTERS_MAX + 1)]
        assert await client.granted(*filters) == [1] * FILTERS_MAX + [0x97]
        assert await client.granted(filters[0]) == [1]
        assert await client.granted("rl/v1/heater/" + "x" * 300) == [0x97]


@pytest.mark.parametrize(("options", "first", "second"), [(0x01, 1, 1), (0x11, 1, 0), (0x21, 0, 0)])
async def test_retained_messages_come_as_the_subscription_asks(
    house: House, options: int, first: int, second: int
) -> None:
    house.gate.tell(DeviceId("heater"), "state", b"{}", qos=0, retain=True)
    async with client_of(house) as client:
        await client.accepted("heater", KEY)
        for expected in (first, second):
            await client.granted("rl/v1/heater/state", options=options)
            heard = [Said(packet) for packet in await client.answers_ping()]
            assert len(heard) == expected
            assert all(said.packet.flags & 1 for said in heard)


@pytest.mark.parametrize(("options", "retained"), [(0x01, 0), (0x09, 1)])
async def test_a_new_message_is_marked_retained_for_those_who_ask(
    house: House, options: int, retained: int
) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY)
        await client.granted("rl/v1/heater/#", options=options)
        house.gate.tell(DeviceId("heater"), "state", b"{}", qos=0, retain=True)
        assert (await client.hear()).packet.flags == retained
        house.gate.tell(DeviceId("heater"), "cmd/learn", b"ON", qos=0)
        assert (await client.hear()).packet.flags == 0


@pytest.mark.parametrize(("options", "heard"), [(0x01, 1), (0x05, 0)])
async def test_without_local_a_device_does_not_hear_itself(
    house: House, options: int, heard: int
) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY)
        await client.granted("rl/v1/heater/#", options=options)
        client.send(publish(b"online", topic=STATUS, qos=0))
        assert len(await client.answers_ping()) == heard


# --- request and response ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "goes_to"),
    [
        ("rl/v1/heater/mine/7", "rl/v1/heater/mine/7"),
        ("rl/v1/heater/act", ACT),
        ("rl/v1/heater/yours/7", ACT),  # the device does not listen there
        ("rl/v1/cooler/act", ACT),  # another's
        ("rl/v1/heater", ACT),
    ],
)
async def test_an_action_goes_to_the_response_topic_with_its_correlation_data(
    house: House, topic: str, goes_to: str
) -> None:
    async with client_of(house) as client, client_of(house) as cooler:
        await cooler.accepted("cooler", KEY)
        await cooler.granted("rl/v1/cooler/#")
        await client.accepted("heater", KEY)
        await client.granted(ACT, "rl/v1/heater/mine/+")
        asks = {P.RESPONSE_TOPIC: topic, P.CORRELATION_DATA: b"\0\xff"}
        _, act = await step(client, 3, asks)
        assert (act.topic, act.payload) == (goes_to, b'{"s":3,"a":1,"pv":1}')
        assert act.properties == {P.CORRELATION_DATA: b"\0\xff", P.MESSAGE_EXPIRY_S: 1}
        assert await cooler.answers_ping() == []


async def test_a_repeat_is_answered_to_where_it_asks_for_it(house: House) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY)
        await client.granted("rl/v1/heater/#")
        for topic in ("rl/v1/heater/a", "rl/v1/heater/b"):
            _, act = await step(client, 3, {P.RESPONSE_TOPIC: topic})
            assert (act.topic, act.payload) == (topic, b'{"s":3,"a":1,"pv":1}')
    assert house.observed() == [("heater", 3)]


async def test_an_action_expires_by_its_deadline_if_there_is_one(house: House) -> None:
    for deadline_ms, expires_s in ((2500, 3), (None, None)):
        house.registry.agents[WALKER] = agent_spec(algorithm="external", deadline_ms=deadline_ms)
        async with client_of(house) as client:
            await client.accepted("heater", KEY)
            await client.granted(ACT)
            _, act = await step(client, 1)
            assert act.properties.get(P.MESSAGE_EXPIRY_S) == expires_s


# --- refused content ---------------------------------------------------------------------------

REFUSED = [
    (publish(b"nonsense"), 0x99, "payload: "),
    (publish(b'{"o":[1]}'), 0x99, "shape: "),
    (publish(b'{"o":["a","b"]}'), 0x99, "type: "),
    (publish(b'{"o":[1,999]}'), 0x99, "range: "),
    (publish(b'{"s":1,"o":[9,9]}'), 0x83, "step: "),
    (publish(bytes(20_000)), 0x97, "size: 20"),
    (publish(bytes(2000), topic=STATUS), 0x97, "size: "),
]
DENIED = [("rl/v1/cooler/obs", 0x87), (ACT, 0x87), ("obs", 0x90)]


@pytest.mark.parametrize(("packet", "reason", "why"), REFUSED)
@pytest.mark.parametrize("qos", [1, 2])
async def test_what_is_refused_is_acknowledged_with_the_reason_and_not_on_err(
    house: House, packet: bytes, reason: int, why: str, qos: int
) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY)
        await client.granted(ERR)
        client.send(publish(b'{"s":1,"o":[1,2]}', qos=0))
        client.send(bytes((packet[0] & ~0x06 | qos << 1,)) + packet[1:])
        refused = await client.hear()
        assert (refused.type, refused.packet_id) == (PUBACK if qos == 1 else PUBREC, 7)
        assert refused.reason == reason
        assert refused.why.startswith(why)
        assert await client.answers_ping() == []
        client.send(publish(b'{"s":2,"o":[1,2]}', qos=2))  # the id is free again
        assert (await client.hear()).reason == 0
    assert house.observed() == [("heater", 1), ("heater", 2)]


@pytest.mark.parametrize(("topic", "reason"), DENIED)
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_denied_topic_ends_the_connection_and_leaves_no_row(
    house: House, topic: str, reason: int, qos: int
) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY)
        rows = len(house.log.events)
        client.send(publish(qos=qos, topic=topic))
        (last,) = await client.hear_until_closed()
        assert (last.type, last.reason) == (DISCONNECT, reason)
        assert last.why.startswith("device 'heater' may not publish to")
        assert len(house.log.events) == rows


async def test_at_qos_0_err_says_what_is_refused(house: House) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY)
        await client.granted(ERR)
        client.send(publish(b"nonsense", qos=0))
        error = await client.hear()
        assert (error.topic, error.payload[:13]) == (ERR, b'{"e":"payload')


async def test_the_reason_comes_without_a_sentence_where_that_is_not_wanted(house: House) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY, {P.REQUEST_PROBLEM_INFORMATION: 0})
        client.send(publish(b"nonsense"))
        refused = await client.hear()
        assert (refused.reason, refused.properties) == (0x99, {})


async def test_the_reason_comes_without_a_sentence_where_that_does_not_fit(house: House) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY, {P.MAXIMUM_PACKET_BYTES: 128})
        client.send(publish(topic="rl/v1/cooler/" + "x" * 200))
        (last,) = await client.hear_until_closed()
        assert (last.reason, last.properties) == (0x87, {})


async def test_busy_is_said_at_once_and_the_publish_not_acknowledged_twice(
    open_house: Callable[..., Any],
) -> None:
    log = ManualLog()
    house = await open_house(log)
    async with client_of(house) as client:
        await client.accepted("heater", KEY)
        await client.granted(ACT)
        house.delivery.silent = True
        client.send(publish())
        await become(lambda: bool(house.delivery.begun))
        (begun,) = house.delivery.begun
        house.delivery.silent = False
        house.receiver.closing = True
        client.send(publish(b'{"s":2,"o":[1,2]}', packet_id=8))
        busy = await client.hear()
        assert (busy.packet_id, busy.reason, busy.why[:5]) == (8, 0x83, "busy:")
        house.receiver.closing = False
        begun.replies[0].refuse(DeviceFault(Code.BUSY, "no"), acknowledge=False)
        assert (await client.hear()).packet_id == 7
        house.delivery.begin(begun)
        log.commit()
        act = await client.hear()
        assert (act.type, act.topic) == (PUBLISH, ACT)
        assert await client.answers_ping() == []


# --- flow ---------------------------------------------------------------------------------------


async def test_no_more_is_on_its_way_than_the_receive_maximum(house: House) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY, {P.RECEIVE_MAXIMUM: 1})
        await client.granted(ACT)
        _, act = await step(client, 1)
        for number in (2, 3):
            client.send(publish(b'{"s":%d,"o":[1,2]}' % number))
            assert (await client.hear()).type == PUBACK
        assert await client.answers_ping() == []
        client.send(wire.puback(act.packet_id))
        assert (await client.hear()).payload == b'{"s":3,"a":1,"pv":1}'


async def test_an_answer_larger_than_the_client_takes_is_left_out(house: House) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY, {P.MAXIMUM_PACKET_BYTES: 128})
        await client.granted(ACT)
        client.send(publish(said={P.RESPONSE_TOPIC: ACT, P.CORRELATION_DATA: bytes(128)}))
        assert (await client.hear()).type == PUBACK
        assert await client.answers_ping() == []
        client.send(subscribe(*(["rl/v1/heater/act"] * 124)))
        (last,) = await client.hear_until_closed()
        assert (last.type, last.reason) == (DISCONNECT, 0x95)


async def test_qos_2_is_exact_in_both_directions(house: House) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY)
        await client.granted(ACT, options=2)
        for _ in range(2):
            client.send(publish(qos=2))
        heard = {said.type: said for said in [await client.hear() for _ in range(3)]}
        assert set(heard) == {PUBREC, PUBLISH}
        client.send(wire.pubrel(7))
        client.send(wire.pubrec(heard[PUBLISH].packet_id))
        assert [((said := await client.hear()).type, said.reason) for _ in range(2)] == [
            (PUBCOMP, 0),
            (PUBREL, 0),
        ]
        client.send(wire.pubcomp(heard[PUBLISH].packet_id))
        client.send(wire.pubrel(99))
        client.send(wire.pubrec(99))
        assert [((said := await client.hear()).type, said.reason) for _ in range(2)] == [
            (PUBCOMP, 0x92),
            (PUBREL, 0x92),
        ]
    assert house.observed() == [("heater", 1)]


async def test_a_qos_2_action_that_the_device_refuses_is_done_with(house: House) -> None:
    async with client_of(house) as client:
        await client.accepted("heater", KEY, {P.RECEIVE_MAXIMUM: 1})
        await client.granted(ACT, options=2)
        client.send(publish(qos=2))
        (act,) = [said for said in [await client.hear(), await client.hear()] if said.topic]
        client.send(wire5.acknowledgement(PacketType.PUBREC, act.packet_id, 0x97))
        client.send(wire.pubrel(7))
        assert (await client.hear()).type == PUBCOMP
        client.send(publish(b'{"s":2,"o":[1,2]}', qos=2, packet_id=8))
        assert {(await client.hear()).type for _ in range(2)} == {PUBREC, PUBLISH}


async def test_more_unreleased_than_the_receive_maximum_ends_the_connection(
    open_house: Callable[..., Any],
) -> None:
    house = await open_house(unacknowledged_max=2)
    async with client_of(house) as client:
        accepted = await client.accepted("heater", KEY)
        assert accepted.properties[P.RECEIVE_MAXIMUM] == 2
        for number in (1, 2, 3):
            payload = b'{"s":%d,"o":[1,2]}' % number
            client.send(publish(payload, qos=2, packet_id=number))
        *received, last = await client.hear_until_closed()
        assert [said.type for said in received] == [PUBREC, PUBREC]
        assert (last.type, last.reason) == (DISCONNECT, 0x93)


async def test_one_devices_version_is_nothing_to_another(house: House) -> None:
    house.registry.devices[DeviceId("cooler")] = AgentName("walker")
    async with client_of(house) as new, house.client() as old:
        await new.accepted("heater", KEY)
        await new.granted(ACT)
        await old.connected("cooler", KEY)
        await old.subscribed("rl/v1/cooler/act")
        old.send(wire.publish("rl/v1/cooler/obs", b'{"s":5,"o":[1,2]}', qos=1, packet_id=1))
        assert (await old.read()).type == PUBACK
        assert (await old.read()).json["s"] == 5
        assert (await step(new, 6))[1].payload == b'{"s":6,"a":0,"pv":1}'
    assert len(house.log.of_kind(Kind.OBSERVATION)) == 2
