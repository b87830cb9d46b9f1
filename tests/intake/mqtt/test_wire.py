"""MQTT 3.1.1 packets: the standard's own examples, round trips, and nothing else let in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import Malformed
from hub.intake.mqtt import wire
from hub.intake.mqtt.wire import Connect, ConnectCode, Head, PacketType, Publish, Subscribe
from tests.intake.mqtt.mutations import mutations

# Texts that MQTT can carry: no NUL, no surrogates, at most 65535 bytes.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
topics = texts.filter(lambda text: text and "+" not in text and "#" not in text)
packet_ids = st.integers(1, 65_535)

EXAMPLE_CONNECT = bytes.fromhex(
    "0004 4d515454 04 ce 000a"  # 3.1.2: "MQTT", level 4, flags 1100 1110, keep alive 10
    "0004 64657631"  # client id dev1
    "0001 77 0002 6869"  # will topic w, message hi
    "0001 75 0001 70"  # user u, password p
)


@pytest.mark.parametrize(
    ("length", "encoded"),
    [  # table 2.4
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (16_383, "ff7f"),
        (16_384, "808001"),
        (2_097_151, "ffff7f"),
        (2_097_152, "80808001"),
        (268_435_455, "ffffff7f"),
    ],
)
def test_remaining_length_is_that_of_table_2_4(length: int, encoded: str) -> None:
    packet = b"\x30" + bytes.fromhex(encoded)
    assert wire.read_head(packet) == Head(PacketType.PUBLISH, 0, len(packet), length)
    for cut in range(len(packet)):
        assert wire.read_head(packet[:cut]) is None


def test_a_length_of_five_bytes_is_malformed() -> None:
    with pytest.raises(Malformed, match="four bytes"):
        wire.read_head(b"\x30\xff\xff\xff\xff\x01")


def test_the_example_connect_is_read() -> None:
    assert wire.read_connect(EXAMPLE_CONNECT) == Connect(
        client_id="dev1",
        clean_session=True,
        keep_alive_s=10,
        username="u",
        password=b"p",
        will_topic="w",
        will_payload=b"hi",
        will_qos=1,
    )


def test_the_example_publish_of_figure_3_11_is_read_and_built() -> None:
    body = bytes.fromhex("0003 612f62 000a")  # topic a/b, packet id 10
    assert wire.read_publish(0b0010, body) == Publish("a/b", b"", 1, False, False, 10)
    assert wire.publish("a/b", b"", qos=1, packet_id=10) == b"\x32\x07" + body


def test_the_example_subscribe_of_figure_3_23_is_read() -> None:
    body = bytes.fromhex("000a 0003 612f62 01 0003 632f64 02")
    assert wire.read_subscribe(body) == Subscribe(10, [("a/b", 1), ("c/d", 2)])


def test_the_example_unsubscribe_of_figure_3_30_is_read() -> None:
    unsubscribe = wire.read_unsubscribe(bytes.fromhex("000a 0003 612f62 0003 632f64"))
    assert (unsubscribe.packet_id, unsubscribe.filters) == (10, ["a/b", "c/d"])


def test_acknowledgements_are_the_standards_four_bytes() -> None:
    assert wire.puback(0x1234) == b"\x40\x02\x12\x34"
    assert wire.pubrec(0x1234) == b"\x50\x02\x12\x34"
    assert wire.pubcomp(0x1234) == b"\x70\x02\x12\x34"
    assert wire.connack(ConnectCode.ACCEPTED, session_present=True) == b"\x20\x02\x01\x00"
    assert wire.connack(ConnectCode.BAD_CREDENTIALS) == b"\x20\x02\x00\x04"


@given(
    st.builds(
        Connect,
        client_id=texts,
        clean_session=st.booleans(),
        keep_alive_s=st.integers(0, 65_535),
        username=texts,
        password=st.none() | st.binary(max_size=40),
        will_topic=texts,
        will_payload=st.binary(max_size=40),
        will_qos=st.integers(0, 2),
        will_retain=st.booleans(),
    )
)
def test_connect_comes_back_as_it_was_built(packet: Connect) -> None:
    built = wire.connect(packet)
    head = wire.read_head(built)
    assert head is not None
    assert head.type is PacketType.CONNECT
    assert wire.read_connect(built[head.body_at :]) == packet


@given(topics, st.binary(max_size=300), st.integers(0, 2), packet_ids, st.booleans())
def test_publish_comes_back_as_it_was_built(
    topic: str, payload: bytes, qos: int, packet_id: int, duplicate: bool
) -> None:
    built = wire.publish(topic, payload, qos=qos, packet_id=packet_id, duplicate=duplicate)
    head = wire.read_head(built)
    assert head is not None
    assert len(built) == head.body_at + head.length
    body = built[head.body_at :]
    expected = Publish(topic, payload, qos, duplicate, False, packet_id if qos else 0)
    assert wire.read_publish(head.flags, body) == expected
    large = wire.read_publish_head(head.flags, body)
    if large is not None:
        assert (large.topic, large.packet_id, large.payload) == (topic, expected.packet_id, b"")


@pytest.mark.parametrize("cut", range(5))
def test_the_head_of_a_large_publish_needs_topic_and_packet_id(cut: int) -> None:
    body = bytes.fromhex("0003 612f62 000a")
    assert wire.read_publish_head(0b0010, body[:cut]) is None


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (0x00, "reserved"),
        (0xF0, "reserved"),
        (0x36, "QoS 3"),
        (0x11, "CONNECT with flags"),
        (0x20, "CONNACK"),  # only a server sends it
        (0x90, "SUBACK"),
        (0xB0, "UNSUBACK"),
        (0xD0, "PINGRESP"),
        (0x60, "PUBREL with flags"),
        (0x80, "SUBSCRIBE with flags"),
        (0xA0, "UNSUBSCRIBE with flags"),
        (0xC1, "PINGREQ with flags"),
        (0xE8, "DISCONNECT with flags"),
    ],
)
def test_a_wrong_first_byte_is_malformed(first: int, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        wire.read_head(bytes((first, 0)))


@pytest.mark.parametrize("packet", ["c002", "e004", "4003", "5000", "6201", "7004"])
def test_a_type_of_fixed_length_has_no_other(packet: str) -> None:
    """What a PINGREQ has too much would be a packet of its own to whoever does not read it."""
    with pytest.raises(Malformed, match="bytes"):
        wire.read_head(bytes.fromhex(packet))


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("0006 4d514973 6470 03 02 003c 0000", wire.BadProtocol),  # MQTT 3.1
        ("0004 4d515454 05 02 003c 00 0000", wire.BadProtocol),  # MQTT 5
        ("0004 4d515454 04 03 003c 0000", Malformed),  # reserved flag
        ("0004 4d515454 04 1e 003c 0000 0000 0000", Malformed),  # will QoS 3
        ("0004 4d515454 04 22 003c 0000", Malformed),  # will retain without will
        ("0004 4d515454 04 0a 003c 0000", Malformed),  # will QoS without will
        ("0004 4d515454 04 42 003c 0000 0001 70", Malformed),  # password without user name
        ("0004 4d515454 04 02 003c", Malformed),  # no client id
        ("0004 4d515454 04 02 003c 0000 00", Malformed),  # a byte too many
        ("0004 4d515454 04 82 003c 0000 0002 c080", Malformed),  # overlong UTF-8
        ("0004 4d515454 04 82 003c 0000 0003 eda080", Malformed),  # a surrogate
        ("0004 4d515454 04 82 003c 0000 0001 00", Malformed),  # NUL
    ],
)
def test_a_connect_the_standard_does_not_allow_is_refused(
    body: str, error: type[Malformed]
) -> None:
    with pytest.raises(error):
        wire.read_connect(bytes.fromhex(body))


@pytest.mark.parametrize("body", ["", "00", "0000", "0001 23", "0001 2b", "0003 612f23", "0002 61"])
def test_a_topic_that_cannot_be_published_to_is_malformed(body: str) -> None:
    with pytest.raises(Malformed):
        wire.read_publish(0, bytes.fromhex(body))


def test_packet_id_0_is_malformed() -> None:
    with pytest.raises(Malformed, match="packet id 0"):
        wire.read_publish(0b0010, bytes.fromhex("0001 61 0000"))
    with pytest.raises(Malformed, match="packet id 0"):
        wire.read_subscribe(bytes.fromhex("0000 0001 61 00"))


@pytest.mark.parametrize(
    "topic_filter", ["", "#a", "a#", "a/#/b", "a+", "+a", "a/b+/c", "##", "a/++"]
)
def test_a_filter_that_4_7_1_does_not_allow_is_malformed(topic_filter: str) -> None:
    text = len(topic_filter).to_bytes(2, "big") + topic_filter.encode()
    with pytest.raises(Malformed):
        wire.read_subscribe(b"\x00\x01" + text + b"\x00")
    with pytest.raises(Malformed):
        wire.read_unsubscribe(b"\x00\x01" + text)


@pytest.mark.parametrize("topic_filter", ["a", "+", "#", "a/+/c", "a/#", "+/+/#", "/", "$SYS/#"])
def test_a_filter_that_4_7_1_allows_is_read(topic_filter: str) -> None:
    text = len(topic_filter).to_bytes(2, "big") + topic_filter.encode()
    assert wire.read_subscribe(b"\x00\x01" + text + b"\x02").filters == [(topic_filter, 2)]


@pytest.mark.parametrize("body", ["0001", "0001 0001 61 03", "0001 0001 61 81", "0001 0005 61 00"])
def test_a_subscribe_without_a_filter_or_with_a_wrong_qos_is_malformed(body: str) -> None:
    with pytest.raises(Malformed):
        wire.read_subscribe(bytes.fromhex(body))


def read_anything(packet: bytes) -> None:
    """As the gate would: the head, then the body by type. Raises Malformed and nothing else."""
    head = wire.read_head(packet)
    if head is None:
        return
    body = packet[head.body_at : head.body_at + head.length]
    match head.type:
        case PacketType.CONNECT:
            wire.read_connect(body)
        case PacketType.PUBLISH:
            wire.read_publish_head(head.flags, body)
            wire.read_publish(head.flags, body)
        case PacketType.SUBSCRIBE:
            wire.read_subscribe(body)
        case PacketType.UNSUBSCRIBE:
            wire.read_unsubscribe(body)
        case PacketType.PUBACK | PacketType.PUBREC | PacketType.PUBREL | PacketType.PUBCOMP:
            wire.read_packet_id(body)
        case _:
            pass


def survives(packet: bytes) -> None:
    try:
        read_anything(packet)
    except Malformed as error:
        assert str(error)  # noqa: PT017 - malformed or not, both are right; anything else is not


@given(st.binary(max_size=80))
def test_random_bytes_are_malformed_at_worst(packet: bytes) -> None:
    survives(packet)


VALID = [
    b"\x10" + bytes((len(EXAMPLE_CONNECT),)) + EXAMPLE_CONNECT,
    wire.publish("rl/v1/heater/obs", b'{"o":[1,2]}', qos=1, packet_id=7),
    bytes.fromhex("820e 000a 0003 612f62 01 0003 632f64 02"),
    bytes.fromhex("a20c 000a 0003 612f62 0003 632f64"),
    bytes.fromhex("6202 000a"),
]


@given(mutations(VALID))
def test_mutated_packets_are_malformed_at_worst(packet: bytes) -> None:
    survives(packet)
