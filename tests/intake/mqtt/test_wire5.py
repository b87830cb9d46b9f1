"""MQTT 5 packets: round trips, and what the standard refuses, each for its reason."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import Malformed
from hub.intake.mqtt import properties, wire5
from hub.intake.mqtt.fields import Reader, packet_of, text_bytes
from hub.intake.mqtt.properties import WILL, Form, Property, properties_bytes, read_properties
from hub.intake.mqtt.reasons import Reason, reason_of
from hub.intake.mqtt.wire import PacketType
from tests.intake.mqtt import raw_client5
from tests.intake.mqtt.mutations import mutations

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
topics = texts.filter(lambda text: text and "+" not in text and "#" not in text)
packet_ids = st.integers(1, 65_535)
VALUES: dict[Form, st.SearchStrategy[Any]] = {
    Form.FLAG: st.integers(0, 1),
    Form.U16: st.integers(0, 0xFFFF),
    Form.COUNT: st.integers(1, 0xFFFF),
    Form.U32: st.integers(0, 0xFFFF_FFFF),
    Form.SIZE: st.integers(1, 0xFFFF_FFFF),
    Form.VARINT: st.integers(1, 0x0FFF_FFFF),
    Form.TEXT: texts,
    Form.BLOB: st.binary(max_size=20),
    Form.PAIR: st.lists(st.tuples(texts, texts), min_size=1, max_size=3),
}
PLACES = (WILL, *PacketType)
RULES = properties._RULES.values()


def properties_of(place: int) -> st.SearchStrategy[dict[Property, properties.Value]]:
    """Any that may stand there."""
    optional = {rule.property: VALUES[rule.form] for rule in RULES if place in rule.places}
    return st.fixed_dictionaries({}, optional=optional)


@given(st.sampled_from(PLACES), st.data())
def test_properties_come_back_as_they_were_written(place: int, data: st.DataObject) -> None:
    said = data.draw(properties_of(place))
    reader = Reader(properties_bytes(said) + b"rest")
    assert read_properties(reader, place) == said
    assert reader.take(4) == b"rest"


@pytest.mark.parametrize("place", PLACES)
def test_a_property_stands_where_table_2_4_has_it_and_nowhere_else(place: int) -> None:
    samples: dict[Form, properties.Value] = {
        Form.TEXT: "a",
        Form.BLOB: b"a",
        Form.PAIR: [("a", "b")],
    }
    for rule in RULES:
        reader = Reader(properties_bytes({rule.property: samples.get(rule.form, 1)}))
        if place in rule.places:
            assert set(read_properties(reader, place)) == {rule.property}
        else:
            assert refusal(lambda reader=reader: read_properties(reader, place)) == 0x81


def refusal(read: object, *given: object) -> int:
    """The reason for which it is refused."""
    assert callable(read)
    with pytest.raises(Malformed) as error:
        read(*given)
    return reason_of(error.value)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("06 21 0001 21 0001", 0x82),  # twice
        ("03 21 0000", 0x82),  # a receive maximum of 0
        ("05 27 00000000", 0x82),  # a packet size of 0
        ("02 17 02", 0x82),  # neither 0 nor 1
        ("03 23 0001", 0x81),  # of a PUBLISH
        ("02 7f 00", 0x81),  # of nothing
        ("03 a100 01", 0x81),  # an id of more bytes than it needs
        ("05 21 0001", 0x81),  # reaches past the end
        ("02 21 00", 0x81),  # is cut off
        ("8000", 0x81),  # a length of more bytes than it needs
        ("ffffffff01", 0x81),  # a length of five bytes
        ("06 26 0001 00 0000", 0x81),  # NUL
        ("06 26 0001 ff 0000", 0x81),  # no UTF-8
        ("04 26 0001 61", 0x81),  # a pair of one
        ("", 0x81),
    ],
)
def test_properties_that_the_standard_does_not_allow_are_refused(written: str, reason: int) -> None:
    reader = Reader(bytes.fromhex(written))
    assert refusal(read_properties, reader, PacketType.CONNECT) == reason


def test_user_properties_may_repeat_and_stay_in_order() -> None:
    pairs = [("b", "1"), ("a", "2"), ("b", "1")]
    reader = Reader(properties_bytes({Property.USER_PROPERTY: pairs}))
    assert read_properties(reader, PacketType.PUBLISH) == {Property.USER_PROPERTY: pairs}


PUBLISHED = frozenset(rule.property for rule in RULES if PacketType.PUBLISH in rule.places)
SENT = PUBLISHED - {Property.TOPIC_ALIAS, Property.SUBSCRIPTION_ID, Property.RESPONSE_TOPIC}


@given(
    topics,
    st.binary(max_size=300),
    st.integers(0, 2),
    packet_ids,
    st.booleans(),
    properties_of(PacketType.PUBLISH),
    st.none() | topics,
)
def test_publish_comes_back_as_it_was_built(
    topic: str,
    payload: bytes,
    qos: int,
    packet_id: int,
    again: bool,
    said: dict[Property, properties.Value],
    response_topic: str | None,
) -> None:
    said = {which: value for which, value in said.items() if which in SENT}
    if response_topic is not None:
        said[Property.RESPONSE_TOPIC] = response_topic
    duplicate = again and qos > 0
    built = wire5.publish(
        topic, payload, said, qos=qos, packet_id=packet_id, duplicate=duplicate, retain=again
    )
    head = wire5.read_head(built)
    assert head is not None
    assert len(built) == head.body_at + head.length
    body = built[head.body_at :]
    assert wire5.read_publish(head.flags, body) == wire5.Publish(
        topic,
        payload,
        qos,
        duplicate,
        again,
        packet_id if qos else 0,
        response_topic,
        said.get(Property.CORRELATION_DATA),  # type: ignore[arg-type]  # bytes or None
    )
    large = wire5.read_publish_head(head.flags, body)
    if large is not None:
        expected = topic, packet_id if qos else 0, b""
        assert (large.topic, large.packet_id, large.payload) == expected


def body_of(packet: bytes) -> bytes:
    head = wire5.read_head(packet)
    assert head is not None
    return packet[head.body_at :]


@given(
    texts,
    st.booleans(),
    st.integers(0, 65_535),
    st.none() | st.tuples(texts, st.binary(max_size=20)),
    texts,
    st.none() | texts,
    properties_of(PacketType.CONNECT),
)
def test_connect_is_read_as_it_was_built(
    client_id: str,
    clean: bool,
    keep_alive_s: int,
    will: tuple[str, bytes] | None,
    user: str,
    key: str | None,
    said: dict[Property, properties.Value],
) -> None:
    said.pop(Property.AUTHENTICATION_METHOD, None)
    said.pop(Property.AUTHENTICATION_DATA, None)
    options = {"clean": clean, "keep_alive_s": keep_alive_s, "will": will}
    built = raw_client5.connect(user, key, properties_bytes(said), client_id=client_id, **options)  # type: ignore[arg-type]  # each of its own type
    connect = wire5.read_connect(body_of(built))
    assert (connect.client_id, connect.clean_session) == (client_id, clean)
    assert (connect.username, connect.password) == (user, key.encode() if key is not None else None)
    assert (connect.will_topic, connect.will_payload) == (will or (None, b""))
    assert connect.keep_alive_s == keep_alive_s
    assert connect.receive_max == said.get(Property.RECEIVE_MAXIMUM, 65_535)
    assert connect.packet_bytes_max == said.get(Property.MAXIMUM_PACKET_BYTES, math.inf)
    assert connect.lacks_client_id is False
    expiry_s = said.get(Property.SESSION_EXPIRY_S, 0)
    assert connect.lasts_s == (math.inf if expiry_s == 0xFFFF_FFFF else expiry_s)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("03 003c 00 0000", 0x81),  # reserved flag
        ("1e 003c 00 0000", 0x81),  # will QoS 3
        ("22 003c 00 0000", 0x81),  # will retain without a will
        ("02 003c 00", 0x81),  # no client id
        ("02 003c 00 0000 00", 0x81),  # a byte too many
        ("02 003c 00 0001 00", 0x81),  # NUL in the client id
        ("02 003c 00 0001 ff", 0x81),  # no UTF-8
        ("06 003c 00 0000 03 21 0001 0000 0000", 0x81),  # a property that is no will's
        ("06 003c 00 0000 04 08 0001 2b 0000 0000", 0x82),  # a response topic with a wildcard
        ("02 003c 04 15 0001 61 0000", 0x8C),  # a way to authenticate
        ("02 003c 04 16 0001 61 0000", 0x82),  # its data without it
    ],
)
def test_a_connect_the_standard_does_not_allow_is_refused(body: str, reason: int) -> None:
    assert refusal(wire5.read_connect, wire5.PROTOCOL + bytes.fromhex(body)) == reason


def test_a_password_without_a_user_name_is_read() -> None:
    """3.1.2.9: which 3.1.1 did not allow."""
    body = wire5.PROTOCOL + bytes.fromhex("42 0000 00 0000 0001 70")
    assert wire5.read_connect(body).password == b"p"


@pytest.mark.parametrize(
    ("flags", "body", "reason"),
    [
        (0, "0001 23 00", 0x90),  # wildcards
        (0, "0003 612f2b 00", 0x90),
        (0, "0000 00", 0x82),  # no topic
        (0, "0000 03 23 0001", 0x94),  # an alias instead
        (0, "0001 61 03 23 0001", 0x94),
        (0, "0001 61 02 0b 01", 0x82),  # a subscription id
        (0, "0001 61 03 08 0000", 0x82),  # an empty response topic
        (0, "0001 61", 0x81),  # no properties' length
        (2, "0001 61 0000 00", 0x81),  # packet id 0
        (8, "0001 61 00", 0x81),  # DUP at QoS 0
    ],
)
def test_a_publish_the_standard_does_not_allow_is_refused(
    flags: int, body: str, reason: int
) -> None:
    assert refusal(wire5.read_publish, flags, bytes.fromhex(body)) == reason


@pytest.mark.parametrize(
    ("options", "reason"), [(0x41, 0x81), (0x81, 0x81), (0x03, 0x82), (0x31, 0x82)]
)
def test_subscription_options_that_do_not_exist_are_refused(options: int, reason: int) -> None:
    packet = raw_client5.subscribe("a", options=options)
    assert refusal(wire5.read_subscribe, body_of(packet)) == reason


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (raw_client5.subscribe(), 0x82),
        (raw_client5.subscribe("a#"), 0x81),
        (raw_client5.subscribe("$share/g/a", options=5), 0x82),
        (raw_client5.subscribe("a", properties=b"\x02\x0b\x01"), 0xA1),
    ],
)
def test_a_subscribe_the_standard_does_not_allow_is_refused(packet: bytes, reason: int) -> None:
    assert refusal(wire5.read_subscribe, body_of(packet)) == reason


def test_subscribe_and_unsubscribe_are_read() -> None:
    subscribe = wire5.read_subscribe(body_of(raw_client5.subscribe("a/+", "b", options=0x2D)))
    assert (subscribe.packet_id, subscribe.filters) == (1, [("a/+", 0x2D), ("b", 0x2D)])
    unsubscribe = wire5.read_unsubscribe(body_of(raw_client5.unsubscribe("a/+", "b")))
    assert (unsubscribe.packet_id, unsubscribe.filters) == (1, ["a/+", "b"])
    assert refusal(wire5.read_unsubscribe, body_of(raw_client5.unsubscribe())) == 0x82


ACKNOWLEDGEMENTS = (PacketType.PUBACK, PacketType.PUBREC, PacketType.PUBREL, PacketType.PUBCOMP)


@given(st.sampled_from(ACKNOWLEDGEMENTS), packet_ids, st.booleans(), st.none() | texts)
def test_acknowledgements_come_back_as_they_were_built(
    kind: PacketType, packet_id: int, done: bool, why: str | None
) -> None:
    failed = 0x97 if kind in ACKNOWLEDGEMENTS[:2] else 0x92
    reason = 0 if done else failed
    said = {} if why is None else {Property.REASON_STRING: why}
    built = wire5.acknowledgement(kind, packet_id, reason, said)
    assert wire5.read_acknowledgement(kind, body_of(built)) == (packet_id, reason)
    if done and why is None:
        assert len(built) == 4


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        (PacketType.PUBACK, "0000", 0x81),  # packet id 0
        (PacketType.PUBACK, "00", 0x81),
        (PacketType.PUBACK, "0001 02", 0x82),  # no such reason
        (PacketType.PUBREL, "0001 97", 0x82),  # not of this packet
        (PacketType.PUBREC, "0001 00 00 00", 0x81),  # a byte too many
        (PacketType.PUBCOMP, "0001 00 03 21 0001", 0x81),  # not its property
    ],
)
def test_an_acknowledgement_the_standard_does_not_allow_is_refused(
    kind: PacketType, body: str, reason: int
) -> None:
    assert refusal(wire5.read_acknowledgement, kind, bytes.fromhex(body)) == reason


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", wire5.Disconnect(0, None)),
        ("04", wire5.Disconnect(4, None)),
        ("00 05 11 00000007", wire5.Disconnect(0, 7.0)),
        ("00 05 11 ffffffff", wire5.Disconnect(0, math.inf)),
        ("98 00", wire5.Disconnect(0x98, None)),
    ],
)
def test_a_disconnect_is_read(body: str, expected: wire5.Disconnect) -> None:
    assert wire5.read_disconnect(bytes.fromhex(body)) == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("8e", 0x82),  # only a server says it
        ("01", 0x82),
        ("00 04 1c 0001 61", 0x82),  # a reference to another server
        ("00 05 11 000000", 0x81),
        ("00 00 00", 0x81),
    ],
)
def test_a_disconnect_no_client_may_send_is_refused(body: str, reason: int) -> None:
    assert refusal(wire5.read_disconnect, bytes.fromhex(body)) == reason


def test_what_the_hub_says_is_written_as_the_standard_has_it() -> None:
    said = {Property.RECEIVE_MAXIMUM: 64, Property.SHARED_AVAILABLE: 0}
    assert wire5.connack(0, said, session_present=True).hex() == "2008010005210040" + "2a00"
    assert wire5.connack(Reason.UNSUPPORTED_PROTOCOL_VERSION).hex() == "2003008400"
    assert wire5.suback(7, [1, 0x87]).hex() == "9005000700" + "0187"
    assert wire5.unsuback(7, [0, 0x11]).hex() == "b005000700" + "0011"
    assert wire5.disconnect(0x8E).hex() == "e0018e"
    assert wire5.disconnect(0x81, {Property.REASON_STRING: "no"}).hex() == "e007" + "81051f00026e6f"


@pytest.mark.parametrize("first", [0xF1, 0x61, 0xC1, 0x36, 0x20, 0x00])
def test_a_wrong_first_byte_is_malformed(first: int) -> None:
    with pytest.raises(Malformed):
        wire5.read_head(bytes((first, 0)))


def test_a_length_of_more_bytes_than_it_needs_is_malformed() -> None:
    with pytest.raises(Malformed, match="more bytes"):
        wire5.read_head(b"\x30\x84\x00")


def read_anything(packet: bytes) -> None:
    """As the gate would. Raises Malformed and nothing else."""
    head = wire5.read_head(packet)
    if head is None:
        return
    body = packet[head.body_at : head.body_at + head.length]
    match head.type:
        case PacketType.CONNECT:
            wire5.read_connect(wire5.PROTOCOL + body[len(wire5.PROTOCOL) :])
        case PacketType.PUBLISH:
            wire5.read_publish_head(head.flags, body)
            wire5.read_publish(head.flags, body)
        case PacketType.SUBSCRIBE:
            wire5.read_subscribe(body)
        case PacketType.UNSUBSCRIBE:
            wire5.read_unsubscribe(body)
        case PacketType.DISCONNECT:
            wire5.read_disconnect(body)
        case PacketType.PINGREQ | PacketType.AUTH:
            pass
        case _:
            wire5.read_acknowledgement(head.type, body)


def survives(packet: bytes) -> None:
    try:
        read_anything(packet)
    except Malformed as error:
        assert str(error)  # noqa: PT017 - malformed or not, both are right; anything else is not


@given(st.sampled_from([0x10, 0x30, 0x32, 0x40, 0x50, 0x62, 0x82, 0xA2, 0xE0]), st.binary())
def test_random_bytes_are_malformed_at_worst(first: int, body: bytes) -> None:
    survives(packet_of(first, body))


VALID = [
    raw_client5.connect("heater", "k", bytes.fromhex("05 11 00000007"), will=("rl", b"x")),
    wire5.publish("a/b", b"{}", {Property.RESPONSE_TOPIC: "a/c"}, qos=1, packet_id=7),
    raw_client5.subscribe("a/+", "b"),
    raw_client5.unsubscribe("a/+", "b"),
    wire5.acknowledgement(PacketType.PUBREC, 7, 0x97, {Property.REASON_STRING: "no"}),
    bytes.fromhex("e0 07 00 05 11 00000007"),
    packet_of(0x30, text_bytes("a") + b"\x07\x26\0\1a\0\1b{}"),
]


@given(mutations(VALID))
def test_mutated_packets_are_malformed_at_worst(packet: bytes) -> None:
    survives(packet)
