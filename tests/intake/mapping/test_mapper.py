"""A field's way: path, type, unit, scale, clip, and what is done where it is missing."""

from __future__ import annotations

import struct
from typing import Any

import jmespath
import jsonschema
import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hub import schemas
from hub.errors import DeviceFault, OperatorFault
from hub.intake.mapping.mapper import Mapper
from hub.intake.mapping.paths import compile_path
from hub.intake.mapping.read import convert_mapping, read_mapping
from hub.intake.mapping.units import UNITS, conversion
from hub.words import Code
from tests.architecture.tree import ROOT
from tests.intake.mapping.mapped import number, of_field, shipped

SHIPPED = sorted((ROOT / "deploy/mappings").glob("*.toml"))
KEYS = st.sampled_from(["v", "w", "a-b"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
PATHS = st.lists(
    KEYS.map(lambda key: key if key.isalpha() else f'"{key}"')
    | st.integers(-3, 3).map(lambda place: f"[{place}]"),
    min_size=1,
    max_size=4,
).map(lambda steps: ".".join(steps).replace(".[", "["))

MAPPERS = [
    *(shipped(path.stem) for path in SHIPPED),
    of_field(path="sum(v[*].w)"),
    of_field(path="max_by(@, &v).w"),
    of_field(path="to_number(v) || w[0:2] | [0]"),
    of_field(values={"a": 1}, missing=0),
    of_field(unit_path="w", unit="Cel"),
]


@pytest.mark.parametrize(
    ("value", "field", "expected"),
    [
        (21.5, {}, 21.5),
        ("21.5", {}, 21.5),
        ("ON", {}, 1),
        ("off", {}, 0),
        (True, {}, 1),
        ("heating", {"values": {"idle": 0, "heating": 2}}, 2),
        (2, {"values": {"2": 7}}, 7),
        (2.0, {"values": {"2": 7}}, 7),
        (False, {"values": {"true": 5, "false": 6}}, 6),
        (212, {"sent_in": "degF", "unit": "Cel"}, 100),
        (212, {"sent_in": "F", "unit": "C"}, 100),
        (45, {"sent_in": "%RH", "unit": "/"}, 0.45),
        (1013, {"sent_in": "hPa", "unit": "kPa"}, 101.3),
        (10, {"scale": 2, "offset": -5}, 15),
        (50, {"sent_in": "degF", "unit": "Cel", "scale": 2, "offset": 1}, 21),
        (500, {"clip": [-10, 10]}, 10),
        (-500, {"clip": [-10, 10]}, -10),
        (None, {"missing": 3}, 3),
        ("unavailable", {"missing": 3}, 3),
        ("NaN", {"missing": 3}, 3),
        ("", {"missing": 3, "values": {"a": 1}}, 3),
    ],
)
def test_value_becomes_the_number_that_is_meant(
    value: object, field: dict[str, Any], expected: float
) -> None:
    assert number(value, **field) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "field", "code", "says"),
    [
        ([1], {}, Code.TYPE, r"v \(v\) is a list of 1, not a number"),
        ("warm", {}, Code.TYPE, "'warm', not a number"),
        ("1_0", {}, Code.TYPE, "not a number"),
        ("cool", {"values": {"idle": 0, "heat": 2}}, Code.TYPE, "values has idle, heat"),
        (None, {}, Code.SHAPE, r"v \(v\) is missing$"),
        (None, {"missing": "hold"}, Code.SHAPE, "nothing came before to hold"),
        (10**400, {}, Code.RANGE, "no float32"),
        ("inf", {}, Code.RANGE, "no float32"),
        (1e39, {}, Code.RANGE, "no float32"),
    ],
)
def test_value_that_means_nothing_is_refused_at_its_path(
    value: object, field: dict[str, Any], code: Code, says: str
) -> None:
    with pytest.raises(DeviceFault, match=says) as refused:
        number(value, **field) if field.get("missing") != "hold" else _of_two(value, field)
    assert refused.value.code is code


def _of_two(value: object, field: dict[str, Any]) -> None:
    """Of one alone that may be held nothing is there, and it is no observation."""
    fields = [{"name": "v", "path": "v"} | field, {"name": "w", "path": "w"}]
    mapper = Mapper("two", 1, convert_mapping({"format": "json", "observations": fields}))
    mapper.read(msgspec.json.encode({"v": value, "w": 1}), None)


@pytest.mark.parametrize(
    ("unit", "expected"), [("°F", 21.5), ("F", 21.5), ("C", 70.7), (None, 70.7), ("K", -202.45)]
)
def test_unit_that_the_device_names_counts(unit: str | None, expected: float) -> None:
    mapper = of_field(path="t", unit_path="u", unit="Cel")
    mapped = mapper.read(msgspec.json.encode({"t": 70.7, "u": unit}), None)
    assert mapped is not None
    assert mapped.numbers[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("unit", "says"), [("bar", "'bar' is a pressure"), ("x", "not known"), (7, "is 7, not text")]
)
def test_unit_that_does_not_fit_is_refused(unit: object, says: str) -> None:
    mapper = of_field(path="t", unit_path="u", unit="Cel")
    with pytest.raises(DeviceFault, match=says):
        mapper.read(msgspec.json.encode({"t": 70.7, "u": unit}), None)


def test_a_function_over_nothing_finds_nothing_and_missing_says_what_then() -> None:
    sent = b'{"id":"shed-1","t":{"value":70,"unit":"\xc2\xb0F"}%s}'
    with pytest.raises(DeviceFault, match=r"open_valves .* is missing") as refused:
        shipped("nested").read(sent % b"", None)
    assert refused.value.code is Code.SHAPE
    with pytest.raises(DeviceFault, match="can't be looked up") as unfit:
        of_field(path="length(v)").read(b'{"v":5}', None)
    assert unfit.value.code is Code.TYPE
    assert number(None, path="length(v)", missing=3) == 3


def test_what_is_missing_is_held_from_the_payload_before() -> None:
    mapper = shipped("tasmota")
    first = mapper.read(b'{"BME280":{"Temperature":20,"Humidity":40},"POWER":"ON"}', None)
    assert first is not None
    second = mapper.read(b'{"BME280":{"Temperature":21}}', first.memory)
    assert second is not None
    assert second.numbers == (21.0, 40.0, 1.0)


def test_another_version_of_the_mapping_holds_nothing_of_the_one_before() -> None:
    one, other = (Mapper("m", version, of_field(missing="hold").mapping) for version in (1, 2))
    first = one.read(b'{"v":7}', None)
    assert first is not None
    assert one.read(b"{}", first.memory) is None, "nothing of it is there"
    assert other.read(b"{}", first.memory) is None
    assert first.memory.held == (7.0,)


def test_reward_and_end_of_an_episode_are_read_beside_the_numbers() -> None:
    mapper = shipped("form")
    assert mapper.read(b"t=70&watts=1&cost=2&stop=ON", None) is not None
    ended = mapper.read(b"t=70&watts=1&stop=true", None)
    assert ended is not None
    assert (ended.reward, ended.done) == (None, True)


def test_the_log_is_given_the_raw_payload_and_the_version_of_the_mapping() -> None:
    mapper = of_field()
    payload = '{"v":1,"name":"Küche"}'.encode()
    mapped = mapper.read(payload, None)
    assert mapped is not None
    message = mapper.message(payload, mapped)
    assert struct.unpack("<f", message.o) == (1.0,)
    assert message.i == {"mapping": "one", "version": 1, "raw": payload.decode()}
    assert mapper.message(b"\xff\x00", mapped).i == {
        "mapping": "one",
        "version": 1,
        "raw64": "/wA=",
    }


@given(document=DOCUMENTS, path=PATHS)
def test_quick_paths_find_what_jmespath_finds(document: object, path: str) -> None:
    get = compile_path(path)
    assert get.__closure__ is not None
    assert "search" not in get.__code__.co_freevars, "it is the quick lane"
    assert get(document) == jmespath.search(path, document)


@given(document=DOCUMENTS, mapper=st.sampled_from(MAPPERS))
def test_any_json_is_an_observation_or_a_fault(mapper: Mapper, document: object) -> None:
    payload = msgspec.json.encode(document)
    try:
        mapped = mapper.read(payload, None)
    except DeviceFault as fault:
        assert fault.message  # noqa: PT017 - that nothing else is raised is the point
        return
    if mapped is not None:
        assert len(mapper.message(payload, mapped).o) == 4 * len(mapper.fields)


@given(value=st.floats(allow_nan=False), low=st.floats(-1e6, 1e6), width=st.floats(0.1, 1e6))
def test_clipped_is_within_and_what_was_within_is_untouched(
    value: float, low: float, width: float
) -> None:
    high = low + width
    assume(abs(value) <= 3e38)
    clipped = number(value, clip=[low, high])
    assert low <= clipped <= high
    assert clipped == value or not low <= value <= high
    assert number(clipped, clip=[low, high]) == clipped


@given(value=st.floats(-1e6, 1e6), pair=st.data())
def test_unit_and_back_is_the_same(value: float, pair: st.DataObject) -> None:
    source = pair.draw(st.sampled_from(sorted(UNITS)))
    kin = [name for name, unit in UNITS.items() if unit[0] == UNITS[source][0]]
    target = pair.draw(st.sampled_from(kin))
    (there, added), (back, taken) = conversion(source, target), conversion(target, source)
    # Kelvins between two others cost digits near zero.
    assert (value * there + added) * back + taken == pytest.approx(value, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"observations": []}, "1 to 1000"),
        ({"observations": [{"name": "a b", "path": "a"}]}, "a name is letters"),
        ({"observations": [{"name": "if", "path": "a"}]}, "Python's own words"),
        ({"observations": [{"name": "min", "path": "a"}]}, "none of abs"),
        ({"observations": [{"name": "a", "path": "x"}] * 2}, "stands there twice"),
        ({"observations": [{"name": "a", "path": "[?"}]}, "a: path .* is no JMESPath"),
        ({"observations": [{"name": "a", "path": ""}]}, "is no JMESPath"),
        ({"observations": [{"name": "a", "path": "x", "unit": "Grad"}]}, "'Grad' is not known"),
        ({"observations": [{"name": "a", "path": "x", "sent_in": "W"}]}, "need unit"),
        ({"observations": [{"name": "a", "path": "x", "clip": [2, 1]}]}, "least, greatest"),
        ({"observations": [{"name": "a", "path": "x", "scale": 1e300}]}, "finite numbers"),
        ({"observations": [{"name": "a", "path": "x", "missing": "skip"}]}, "missing"),
        ({"observations": [{"name": "a", "pfad": "x"}]}, r"observations\[0\] has no pfad"),
        ({"observations": [7]}, r"observations\[0\] is a table"),
        ({"observation": []}, "a mapping has no observation"),
        ({"reward": {"path": "r", "missing": "hold"}}, "reward: missing is a number"),
        ({"format": "xml"}, "xml"),
        ({"format": "csv", "separator": "."}, "separator is one character"),
        ({"format": "senml", "done": {"path": "d", "unit_path": "u"}}, "leave unit_path out"),
    ],
)
def test_mapping_that_can_not_be_is_refused_with_what_would_do(
    change: dict[str, Any], says: str
) -> None:
    declared = {"format": "json", "observations": [{"name": "a", "path": "x"}]} | change
    with pytest.raises(OperatorFault, match=says):
        Mapper("m", 1, convert_mapping(declared))


@pytest.mark.parametrize("text", ["", "= 1", '{"format":', "[" * 5000, "x" * 70_000])
def test_text_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(OperatorFault):
        read_mapping(text)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_mappings_fit_the_schema(path: Any) -> None:
    declared = msgspec.json.decode(msgspec.json.encode(read_mapping(path.read_text())))
    jsonschema.validate(declared, msgspec.json.decode(schemas.schema("mapping")))
