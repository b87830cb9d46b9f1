"""What real devices send, by the mappings that are shipped; and what nobody should send."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import DeviceFault
from hub.intake.mapping.formats import decoder
from hub.intake.mapping.read import convert_mapping
from hub.intake.mapping.senml import resolve
from hub.intake.mapping.sparkplug import read_payload
from hub.mappings import Format
from hub.words import Code
from tests.intake.mapping.mapped import PAYLOADS, SENT, of_field, shipped


@pytest.mark.parametrize(("name", "payload", "numbers", "reward"), SENT)
def test_payload_of_a_real_device_becomes_its_numbers(
    name: str, payload: str, numbers: list[float], reward: float | None
) -> None:
    mapped = shipped(name).read((PAYLOADS / payload).read_bytes(), None)
    assert mapped is not None
    assert mapped.numbers == pytest.approx(numbers)
    assert mapped.reward == reward
    assert not mapped.done


def test_sparkplug_data_names_metrics_by_the_aliases_of_the_birth_before() -> None:
    """Both payloads were written by another implementation of Sparkplug."""
    mapper = shipped("sparkplug")
    data = (PAYLOADS / "sparkplug_data.bin").read_bytes()
    born = mapper.read((PAYLOADS / "sparkplug_birth.bin").read_bytes(), None)
    assert born is not None
    mapped = mapper.read(data, born.memory)
    assert mapped is not None
    assert mapped.numbers == (22.25, 1.0, -4.0), "what it leaves out is held"
    with pytest.raises(DeviceFault, match="alias 1 was named by no BIRTH"):
        mapper.read(data, None)


def test_sparkplug_message_without_a_mapped_metric_is_no_observation() -> None:
    mapper = shipped("sparkplug")
    born = mapper.read((PAYLOADS / "sparkplug_birth.bin").read_bytes(), None)
    assert born is not None
    assert mapper.read(b"\x18\x05", born.memory) is None


@pytest.mark.parametrize(
    ("format_", "path", "payload", "expected"),
    [
        ("msgpack", "v[1]", msgspec.msgpack.encode({"v": [1, 2.5]}), 2.5),
        ("f32", "[1]", b"\x00\x00\x80?\x00\x00 @", 2.5),
        ("text", "@", b" 21.5\r\n", 21.5),
        ("text", "@", b"ON", 1),
        ("csv", "[-1]", b"1,2,3", 3),
        ("form", "obs[1]", b"obs=[1.5,2.5]&reward=1", 2.5),
        ("form", "t.v", b"json=%7B%22t%22%3A%7B%22v%22%3A3%7D%7D", 3),
    ],
)
def test_every_format_is_a_document_that_paths_look_into(
    format_: str, path: str, payload: bytes, expected: float
) -> None:
    mapped = of_field(format_, path).read(payload, None)
    assert mapped is not None
    assert mapped.numbers == (expected,)


@pytest.mark.parametrize(
    ("pack", "name", "value", "unit"),
    [
        ([{"bn": "a:", "bv": 20, "n": "t", "v": 1.5, "u": "Cel"}], "a:t", 21.5, "Cel"),
        ([{"bn": "a:", "bv": 20}, {"n": "t", "u": "Cel"}], "t", 20.0, "Cel"),
        ([{"bn": "a:", "bu": "V"}, {"n": "t", "v": 3}], "t", 3.0, "V"),
        ([{"n": "t", "v": 2, "t": -5}, {"n": "t", "v": 3, "t": -9}], "t", 2.0, None),
        ([{"n": "t", "v": 2, "t": -9}, {"n": "t", "v": 3, "t": -5}], "t", 3.0, None),
        ([{"bs": 10, "n": "e", "s": 2.5}], "e", 12.5, None),
        ([{"n": "d", "vb": True}], "d", True, None),
        ([{"bn": "whole", "vs": "ON"}], "whole", "ON", None),
    ],
)
def test_senml_base_fields_are_resolved(
    pack: list[Any], name: str, value: object, unit: str | None
) -> None:
    assert resolve(pack)[name] == {"v": value, "u": unit}


@given(
    base=st.fixed_dictionaries(
        {}, optional={"bn": st.sampled_from("ab"), "bv": st.floats(-9, 9), "bu": st.just("V")}
    ),
    records=st.lists(
        st.fixed_dictionaries(
            {"n": st.sampled_from("xy"), "v": st.floats(-9, 9)}, optional={"u": st.just("W")}
        ),
        max_size=4,
    ),
)
def test_senml_records_of_name_value_and_unit_are_read_as_those_that_say_more(
    base: dict[str, Any], records: list[dict[str, Any]]
) -> None:
    more = [{**record, "ut": 60} for record in records]
    assert resolve([base, *records]) == resolve([base, *more])


@pytest.mark.parametrize(
    ("format_", "payload", "says"),
    [
        ("json", b'{"v":', "not JSON"),
        ("json", b"[" * 100_000, "not JSON"),
        ("msgpack", b"\xc1", "not MessagePack"),
        ("f32", b"abc", "3 bytes are no float32"),
        ("text", b"\xff", "not UTF-8"),
        ("csv", b"1\n2", "one line"),
        ("senml", b'{"n":"t"}', "a SenML pack is a list"),
        ("senml", b"[1]", "record 0 is 1"),
        ("senml", b'[{"n":7,"v":1}]', "'n' is 7"),
        ("senml", b'[{"n":"t","v":"1"}]', "'v' is '1'"),
        ("senml", b'[{"bver":11,"n":"t","v":1}]', "version 11"),
        ("senml", b'[{"n":"t","v":1,"new_":1}]', "must be understood"),
        ("sparkplug", b"\x12\x7f", "reaches past the end"),
        ("sparkplug", b"\x12", "ends within a number"),
        ("sparkplug", b"\xff" * 11, "more than ten bytes"),
        ("sparkplug", b"\x13", "wire type 3"),
        ("sparkplug", b"\x12\x02\x08\x01", "field 1 of a metric has wire type 0"),
        ("sparkplug", b"\x12\x03\x0a\x01\xff", "not UTF-8"),
    ],
)
def test_payload_of_another_format_is_refused_with_the_reason(
    format_: str, payload: bytes, says: str
) -> None:
    with pytest.raises(DeviceFault, match=says) as refused:
        of_field(format_).read(payload, None)
    assert refused.value.code is Code.PAYLOAD


@given(payload=st.binary(max_size=64), format_=st.sampled_from(get_args(Format)))
def test_any_bytes_are_a_document_or_a_fault(format_: str, payload: bytes) -> None:
    mapper = of_field(format_)
    try:
        mapper.read(payload, None)
    except DeviceFault as fault:
        assert fault.message  # noqa: PT017 - that nothing else is raised is the point


@given(payload=st.binary(max_size=64))
def test_any_bytes_are_metrics_or_a_fault(payload: bytes) -> None:
    try:
        read_payload(payload)
    except DeviceFault as fault:
        assert fault.code is Code.PAYLOAD  # noqa: PT017 - as above


@given(numbers=st.lists(st.floats(width=32, allow_nan=False), max_size=8))
def test_csv_reads_what_csv_writes(numbers: list[float]) -> None:
    declared = {"format": "csv", "observations": [], "separator": ";"}
    decode = decoder(convert_mapping(declared))
    line = ";".join(map(repr, numbers)).encode()
    cells = decode(line)
    assert isinstance(cells, list)
    assert [float(cell) for cell in cells if cell] == numbers
