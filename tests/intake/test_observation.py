"""Every form an observation may have (docs/device-maker.md), and every refusal with its code."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import DeviceFault
from hub.intake.observation import STEP_MAX, check, decode, from_document
from hub.words import Code, Message
from tests.intake.fakes import agent_spec, floats

EXAMPLES = Path(__file__).parents[2] / "schemas" / "examples"
PAIR = agent_spec()
FIVE = agent_spec(observations=6, actions=2)
CLIMATE = agent_spec(observations={"temperature": [[1], -40.0, 80.0], "mode": 3})
PICTURE = agent_spec(observations=[[2, 2], 0, 255])
ARM = agent_spec(actions=[[2], -1.0, 1.0])


def shown(message: Message) -> dict[str, Any]:
    """The fields that are not their default."""
    fields = msgspec.structs.asdict(message)
    plain = msgspec.structs.asdict(Message(o=None))
    return {name: value for name, value in fields.items() if value != plain.get(name)}


def f32(
    flags: int, step: int, reward: float, *values: float, version: int = 1, n: int | None = None
) -> bytes:
    count = len(values) if n is None else n
    head = struct.pack("<BBHf", version << 4 | flags, count, step, reward)
    return head + struct.pack(f"<{len(values)}f", *values)


@pytest.mark.parametrize(
    ("payload", "fields"),
    [
        ('{"o":[1,2]}', {"o": [1, 2]}),
        ('{"obs":[1,2]}', {"o": [1, 2]}),
        ("[1,2]", {"o": [1, 2]}),
        ("5", {"o": 5}),
        ("21.5", {"o": 21.5}),
        ('{"o":5}', {"o": 5}),
        ('{"o":{"a":1}}', {"o": {"a": 1}}),
        (
            '{"s":12,"o":[21.5,40],"r":-0.5,"d":1,"tr":1,"x":1,"b":7,"f":1,"i":{"a":"b"}}',
            {"s": 12, "o": [21.5, 40], "r": -0.5, "d": True, "tr": True, "x": 1, "b": 7, "f": True}
            | {"i": {"a": "b"}},
        ),
        (
            '{"step":12,"obs":[1],"reward":2,"done":true,"truncated":true,"executed":[0.5],'
            '"boot":7,"info":{"mask":[1]},"first":true}',
            {"s": 12, "o": [1], "r": 2.0, "d": True, "tr": True, "x": [0.5], "b": 7, "f": True}
            | {"i": {"mask": [1]}},
        ),
        ('{"o":[1,2],"d":0,"tr":0,"i":{},"f":0,"r":0}', {"o": [1, 2], "r": 0.0, "i": {}}),
        ('{"o":[1,2],"r":null,"d":null,"s":null,"x":null,"i":null}', {"o": [1, 2]}),
        ('{"o":[1,2],"whatever":1}', {"o": [1, 2], "unknown": ("whatever",)}),
        (' {"o":[1]} ', {"o": [1]}),
    ],
)
def test_each_form_of_json_is_the_message_it_means(payload: str, fields: dict[str, Any]) -> None:
    assert shown(decode("json", payload.encode())) == fields


@pytest.mark.parametrize("long", ["step", "reward", "done", "truncated", "executed", "boot"])
def test_long_and_short_names_may_be_mixed(long: str) -> None:
    """A long name beside a short one must not be left out unseen."""
    message = decode("json", f'{{"o":[1,2],"{long}":1}}'.encode())
    assert len(shown(message)) == 2


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("observation-*.json")), ids=lambda path: path.stem
)
def test_golden_payloads_are_read(path: Path) -> None:
    document = json.loads(path.read_text())
    message = decode("json", path.read_bytes())
    values = document
    if isinstance(document, dict):
        values = document.get("o", document.get("obs"))
        assert message.s == document.get("s", document.get("step"))
    assert message.o == values
    assert shown(decode("mp", msgspec.msgpack.encode(document))) == shown(message)


@pytest.mark.parametrize(
    ("payload", "code", "step"),
    [
        (b"", Code.PAYLOAD, None),
        (b"hello", Code.PAYLOAD, None),
        (b"\xff\xfe", Code.PAYLOAD, None),
        (b'{"s":6,"o":[NaN,1]}', Code.PAYLOAD, None),
        (b'{"\xb5":6,"o":[1,2]}', Code.PAYLOAD, None),
        (b'{"s":6,"o":[Infinity,1]}', Code.PAYLOAD, None),
        (b'{"s":6,"o":[1,2],"r":NaN}', Code.PAYLOAD, None),
        (b'{"s":6,"o":[1,2],"r":1e999}', Code.PAYLOAD, None),
        (b'{"s":6,"o":[1,2]', Code.PAYLOAD, None),
        (b'{"s":6,"o":[1,2]}x', Code.PAYLOAD, None),
        (b'"a text"', Code.PAYLOAD, None),
        (b"true", Code.PAYLOAD, None),
        (b"null", Code.PAYLOAD, None),
        (b"{}", Code.PAYLOAD, None),
        (b'{"s":6}', Code.PAYLOAD, 6),
        (b'{"step":6,"x":1}', Code.PAYLOAD, 6),
        (b'{"s":6,"o":[1,2],"d":2}', Code.TYPE, 6),
        (b'{"s":6,"o":[1,2],"r":[1]}', Code.TYPE, 6),
        (b'{"s":6,"o":[1,2],"b":-1}', Code.TYPE, 6),
        (b'{"s":6,"o":[1,2],"b":4294967296}', Code.TYPE, 6),
        (b'{"s":6,"o":[1,2],"i":[1]}', Code.TYPE, 6),
        (b'{"s":-1,"o":[1,2]}', Code.TYPE, None),
        (b'{"s":1.5,"o":[1,2]}', Code.TYPE, None),
        (b'{"s":true,"o":[1,2]}', Code.TYPE, None),
        (b'{"s":9223372036854775808,"o":[1,2]}', Code.TYPE, None),
        (b'{"s":1267650600228229401496703205376,"o":[1,2],"d":"?"}', Code.TYPE, None),
        (b'{"o":' + b"[" * 5000 + b"]" * 5000 + b"}", Code.PAYLOAD, None),
    ],
)
def test_what_is_no_message_is_refused_with_its_code_and_step(
    payload: bytes, code: Code, step: int | None
) -> None:
    with pytest.raises(DeviceFault) as caught:
        decode("json", payload)
    assert (caught.value.code, caught.value.step) == (code, step)


def test_what_is_not_json_is_quoted_where_it_begins() -> None:
    with pytest.raises(DeviceFault) as caught:
        decode("json", b"temp=21.5\x00\xff" + b"x" * 5000)
    assert str(caught.value).endswith("; it begins 'temp=21.5\\x00\\ufffdxxxxx'")


def test_a_nan_literal_is_refused_with_the_reason() -> None:
    with pytest.raises(DeviceFault, match="NaN is not JSON: leave a reward out"):
        decode("json", b'{"o":[NaN]}')
    with pytest.raises(DeviceFault) as other:
        decode("json", b'{"o":[1],"i":"banana"')
    assert "NaN" not in str(other.value)


def test_the_largest_step_and_boot_are_taken() -> None:
    message = decode("json", b'{"o":1,"s":%d,"b":%d}' % (STEP_MAX, 2**32 - 1))
    assert (message.s, message.b) == (STEP_MAX, 2**32 - 1)


def test_f32_is_read_as_its_bytes_say() -> None:
    message = decode("f32", f32(0b1111, 65_535, -0.5, 21.5, 40.0))
    expected = {"o": floats(21.5, 40.0), "s": 65_535, "r": -0.5, "d": True, "tr": True, "f": True}
    assert shown(message) == expected


def test_f32_reward_counts_only_where_it_is_said_to_be_valid() -> None:
    assert decode("f32", f32(0, 3, 9.0, 1.0, 2.0)).r is None
    assert decode("f32", f32(4, 3, 9.0, 1.0, 2.0)).r == 9.0


@pytest.mark.parametrize(
    ("payload", "step"),
    [
        (b"", None),
        (f32(0, 3, 0.0)[:-1], None),
        (f32(0, 3, 0.0, 1.0, 2.0)[:-1], 3),
        (f32(0, 3, 0.0, 1.0, 2.0) + b"\0", 3),
        (f32(0, 3, 0.0, 1.0, n=2), 3),
        (f32(0, 3, 0.0, 1.0, 2.0, version=2), 3),
        (f32(0, 3, 0.0, 1.0, 2.0, version=0), 3),
    ],
)
def test_f32_of_another_length_or_version_is_refused(payload: bytes, step: int | None) -> None:
    with pytest.raises(DeviceFault) as caught:
        decode("f32", payload)
    assert (caught.value.code, caught.value.step) == (Code.PAYLOAD, step)


@pytest.mark.parametrize(
    ("document", "fields"),
    [
        ({"o": [1.5, 2]}, {"o": [1.5, 2]}),
        ({"obs": [1], "reward": 2}, {"o": [1], "r": 2.0}),
        ([1, 2.5], {"o": [1, 2.5]}),
        (3, {"o": 3}),
    ],
)
def test_messagepack_has_the_same_forms(document: Any, fields: dict[str, Any]) -> None:
    assert shown(decode("mp", msgspec.msgpack.encode(document))) == fields


@pytest.mark.parametrize(
    "payload", [b"", b"\xc1", b"\xa1\xff", b"\x91" * 3000, b"\xd6\xff\0\0\0\0"]
)
def test_what_is_no_messagepack_is_refused(payload: bytes) -> None:
    with pytest.raises(DeviceFault) as caught:
        decode("mp", payload)
    assert caught.value.code is Code.PAYLOAD


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("encoding", ["mp", "f32"])
def test_a_value_that_is_not_finite_is_out_of_range(number: float, encoding: str) -> None:
    packed = msgspec.msgpack.encode({"s": 3, "o": [1.0, number]})
    payload = f32(0, 3, 0.0, 1.0, number) if encoding == "f32" else packed
    with pytest.raises(DeviceFault) as caught:
        check(PAIR, decode(encoding, payload))
    assert (caught.value.code, caught.value.step) == (Code.RANGE, 3)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e39])
def test_a_reward_that_is_no_float32_counts_as_missing(number: float) -> None:
    """1e39 is finite, but what learns counts in float32; sums of such would end as infinity."""
    message = decode("mp", msgspec.msgpack.encode({"o": [1.0, 2.0], "r": number}))
    observation = check(PAIR, message)
    assert observation.reward is None
    assert observation.missing_value


def test_an_f32_reward_of_nan_counts_as_missing() -> None:
    observation = check(PAIR, decode("f32", f32(4, 3, math.nan, 1.0, 2.0)))
    assert (observation.reward, observation.missing_value) == (None, True)


@pytest.mark.parametrize(
    ("spec", "o", "values"),
    [
        (PAIR, [1, 2.5], floats(1.0, 2.5)),
        (FIVE, 5, floats(5.0)),
        (FIVE, 5.0, floats(5.0)),
        (CLIMATE, {"temperature": [21.5], "mode": 2}, floats(2.0, 21.5)),
        (CLIMATE, {"mode": 2, "temperature": 21.5}, floats(2.0, 21.5)),
        (PICTURE, [[0, 1], [2, 255]], floats(0, 1, 2, 255)),
    ],
)
def test_values_are_flattened_as_the_space_says(spec: Any, o: Any, values: bytes) -> None:
    assert check(spec, Message(o=o)).values == values


@pytest.mark.parametrize(
    ("spec", "message", "code"),
    [
        (PAIR, Message(o=[1, 2, 3], s=9), Code.SHAPE),
        (PAIR, Message(o=[], s=9), Code.SHAPE),
        (PAIR, Message(o=floats(1.0), s=9), Code.SHAPE),
        (PAIR, Message(o="text", s=9), Code.TYPE),
        (PAIR, Message(o=None, s=9), Code.TYPE),
        (PAIR, Message(o=[1, "2"], s=9), Code.TYPE),
        (PAIR, Message(o=[1, True], s=9), Code.TYPE),
        (PAIR, Message(o=[[1], [2]], s=9), Code.TYPE),
        (PAIR, Message(o=[1, 101], s=9), Code.RANGE),
        (PAIR, Message(o=[1, 10**400], s=9), Code.RANGE),
        (FIVE, Message(o=6, s=9), Code.RANGE),
        (FIVE, Message(o=-1, s=9), Code.RANGE),
        (FIVE, Message(o=1.5, s=9), Code.TYPE),
        (CLIMATE, Message(o=[1, 2], s=9), Code.TYPE),
        (CLIMATE, Message(o={"mode": 1}, s=9), Code.SHAPE),
        (CLIMATE, Message(o={"mode": 1, "temperature": 90}, s=9), Code.RANGE),
        (PAIR, Message(o=[1, 2], s=9, x=2), Code.RANGE),
        (PAIR, Message(o=[1, 2], s=9, x="up"), Code.TYPE),
        (ARM, Message(o=[1, 2], s=9, x=[0.5]), Code.SHAPE),
        (ARM, Message(o=[1, 2], s=9, x=[0.5, 1.5]), Code.RANGE),
    ],
)
def test_what_the_agent_cannot_use_is_refused_with_its_code_and_step(
    spec: Any, message: Message, code: Code
) -> None:
    with pytest.raises(DeviceFault) as caught:
        check(spec, message)
    assert (caught.value.code, caught.value.step) == (code, 9)


def test_an_executed_action_is_kept_flat() -> None:
    assert check(PAIR, Message(o=[1, 2], x=1)).executed == floats(1.0)
    assert check(ARM, Message(o=[1, 2], x=[0.5, -1])).executed == floats(0.5, -1.0)


def test_info_is_kept_as_json() -> None:
    assert check(PAIR, Message(o=[1, 2], i={"mask": [1, 0]})).info == '{"mask":[1,0]}'
    assert check(PAIR, Message(o=[1, 2], i={})).info is None


@pytest.mark.parametrize(
    "info",
    [
        msgspec.msgpack.Ext(5, b"x"),
        {(1,): 2},
        {"deep": "er"},
    ],
    ids=["extension", "array as key", "nested without end"],
)
def test_info_that_json_cannot_hold_is_refused(info: Any) -> None:
    if info == {"deep": "er"}:
        for _ in range(2_000):
            info = [info]
    with pytest.raises(DeviceFault) as caught:
        check(PAIR, Message(o=[1, 2], s=9, i={"a": info}))
    assert (caught.value.code, caught.value.step) == (Code.TYPE, 9)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
names = st.sampled_from(["o", "s", "r", "d", "tr", "x", "b", "f", "i", "obs", "step", "reward"])


@given(st.dictionaries(names, json_values) | json_values)
def test_any_document_is_a_message_or_a_fault_of_the_device(document: Any) -> None:
    try:
        observation = check(PAIR, from_document(document))
    except DeviceFault as fault:
        assert fault.step is None or 0 <= fault.step <= STEP_MAX  # noqa: PT017
    else:
        assert len(observation.values) == 8


@given(st.sampled_from(["json", "mp", "f32"]), st.binary(max_size=60))
def test_any_bytes_are_a_message_or_a_fault_of_the_device(encoding: str, payload: bytes) -> None:
    try:
        check(PAIR, decode(encoding, payload))
    except DeviceFault as fault:
        assert fault.step is None or 0 <= fault.step <= STEP_MAX  # noqa: PT017


@given(st.data())
def test_mutated_messagepack_is_a_message_or_a_fault_of_the_device(data: st.DataObject) -> None:
    document = {"o": [1.0, 2.0], "s": 5, "r": 0.5, "i": {"a": {"b": [1, "c"]}}, "x": 1}
    payload = bytearray(msgspec.msgpack.encode(document))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(payload) - 1))
        payload[at] = data.draw(st.integers(0, 255))
    try:
        check(PAIR, decode("mp", bytes(payload)))
    except DeviceFault as fault:
        assert fault.step is None or 0 <= fault.step <= STEP_MAX  # noqa: PT017
