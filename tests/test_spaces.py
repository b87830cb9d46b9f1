"""Spaces: round trips, Gymnasium's `flatten` as oracle, and every refusal."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from gymnasium import spaces as gym
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import DeviceFault, OperatorFault
from hub.spaces import (
    CHOICES_MAX,
    Box,
    Dict,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    Space,
    check_floats,
    doubts,
    flatten,
    neutral,
    parse,
    size,
    unflatten,
)
from hub.words import Code, Floats

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAIR = parse([[2], -1.0, 1.0])
IMAGE = parse([[2, 2], 0, 255])
GEARS = parse({"multi_discrete": [3, 4, 2]})
SWITCHES = parse({"multi_binary": 2})
SHIFTED = parse({"discrete": 3, "start": -1})
ROOM = parse({"temperature": [[1], -40.0, 60.0], "window": 2})


def floats(*values: float) -> Floats:
    return Floats(struct.pack(f"<{len(values)}f", *values))


def array(values: Floats) -> NDArray[np.float32]:
    return np.frombuffer(values, "<f4")


# --- declarations a device may make, and values of them -------------------------------------

shapes = st.lists(st.integers(1, 3), min_size=1, max_size=3)
bounds = st.floats(-1e6, 1e6, width=32)


@st.composite
def boxes(draw: st.DrawFn) -> list[Any]:
    low = draw(bounds | st.just(-math.inf))
    high = draw(bounds.filter(lambda bound: bound > low) | st.just(math.inf))
    return [draw(shapes), low, high]


discretes = st.integers(1, 1000)
several = st.one_of(
    st.fixed_dictionaries({"multi_discrete": st.lists(st.integers(1, 9), min_size=1, max_size=4)}),
    st.fixed_dictionaries({"multi_binary": st.integers(1, 5)}),
    st.fixed_dictionaries({"discrete": st.integers(1, 9), "start": st.integers(-9, 9)}),
)
dicts = st.dictionaries(st.text("abz", min_size=1, max_size=3), boxes(), min_size=1, max_size=4)


def as_gym(declared: Any) -> gym.Space[Any]:
    """What Gymnasium calls the space that the declaration means."""
    match declared:
        case int():
            return gym.Discrete(declared)
        case [shape, low, high]:
            return gym.Box(low, high, tuple(shape), np.float32)
        case {"multi_discrete": counts}:
            return gym.MultiDiscrete(counts)
        case {"multi_binary": n}:
            return gym.MultiBinary(n)
        case {"discrete": n, "start": start}:
            return gym.Discrete(n, start=start)
        case _:
            return gym.Dict({name: as_gym(part) for name, part in declared.items()})


def as_json(value: Any) -> Any:
    """The value as a device sends it."""
    if isinstance(value, dict):
        return {name: as_json(part) for name, part in value.items()}
    return value.tolist()


# --- values ---------------------------------------------------------------------------------


@given(boxes() | dicts, st.integers(0, 2**31))
def test_values_are_flattened_as_gymnasium_does(declared: Any, seed: int) -> None:
    oracle = as_gym(declared)
    oracle.seed(seed)
    value = oracle.sample()
    flat = flatten(parse(declared), as_json(value))
    assert array(flat).tolist() == np.asarray(gym.flatten(oracle, value)).tolist()


@given(boxes() | dicts | discretes | several)
def test_size_counts_the_floats(declared: Any) -> None:
    # One-hot, as Gymnasium flattens it, is the learner's affair: here a choice is one float.
    oracle, space = as_gym(declared), parse(declared)
    one_hot = isinstance(space, (Discrete, MultiDiscrete))
    assert size(space) == (np.size(oracle.sample()) if one_hot else gym.flatdim(oracle))


@given(boxes() | discretes | several, st.integers(0, 2**31))
def test_action_survives_the_way_to_bytes_and_back(declared: Any, seed: int) -> None:
    oracle, space = as_gym(declared), parse(declared)
    oracle.seed(seed)
    value = as_json(oracle.sample())
    assert unflatten(space, flatten(space, value)) == value


@given(boxes() | dicts | discretes | several, st.integers(0, 2**31))
def test_what_json_may_hold_float32_may_hold_too(declared: Any, seed: int) -> None:
    oracle, space = as_gym(declared), parse(declared)
    oracle.seed(seed)
    values = flatten(space, as_json(oracle.sample()))
    assert check_floats(space, values) == values


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_bound_itself_is_within_the_bounds_in_either_encoding(one: float, other: float) -> None:
    low, high = sorted((one, other))
    if low < high:
        space = parse([[2], low, high])
        values = flatten(space, [low, high])
        assert check_floats(space, values) == values


@given(boxes() | discretes | several)
def test_neutral_action_is_in_its_space(declared: Any) -> None:
    space = parse(declared)
    assert check_floats(space, neutral(space)) == neutral(space)


@pytest.mark.parametrize(
    ("space", "value", "flat"),
    [
        (Discrete(3), 2, [2.0]),
        (Discrete(3), 2.0, [2.0]),
        (PAIR, [0, -1], [0.0, -1.0]),
        (parse([[1], 0.0, 1.0]), 0.5, [0.5]),
        (parse([[2, 1], 0.0, 1.0]), [0.5, [0.25]], [0.5, 0.25]),
        (parse([[], 0.0, 1.0]), 0.5, [0.5]),
        (IMAGE, [[0, 1], [2, 255]], [0.0, 1.0, 2.0, 255.0]),
        (ROOM, {"window": 1, "temperature": [21.5]}, [21.5, 1.0]),
        (ROOM, {"window": 1, "temperature": 21.5}, [21.5, 1.0]),
        (SHIFTED, -1, [-1.0]),
        (GEARS, [2, 3.0, 0], [2.0, 3.0, 0.0]),
        (SWITCHES, [1, 0], [1.0, 0.0]),
        (parse({"multi_binary": 1}), 1, [1.0]),
        (
            parse({"gear": {"multi_discrete": [3, 4]}, "door": 2}),
            {"gear": [2, 3], "door": 1},
            [1.0, 2.0, 3.0],
        ),
    ],
)
def test_value_is_taken_as(space: Space, value: Any, flat: list[float]) -> None:
    assert array(flatten(space, value)).tolist() == flat


@pytest.mark.parametrize(
    ("space", "value", "code", "said"),
    [
        (PAIR, [0.0], Code.SHAPE, "obs has 1 values, agent expects 2"),
        (PAIR, [0.0, 0.0, 0.0], Code.SHAPE, "obs has 3 values, agent expects 2"),
        (PAIR, [], Code.SHAPE, "obs has 0 values"),
        (IMAGE, [[0, 1], [2]], Code.SHAPE, "obs has 1 values, agent expects 2"),
        (PAIR, 0.5, Code.TYPE, "obs is 0.5, agent expects 2 values"),
        (PAIR, "warm", Code.TYPE, "obs is 'warm'"),
        (PAIR, {"x": 1}, Code.TYPE, "obs is an object of 1"),
        (PAIR, [0.0, "warm"], Code.TYPE, r"obs\[1\] is 'warm', agent expects a number"),
        (PAIR, [0.0, None], Code.TYPE, r"obs\[1\] is null"),
        (PAIR, [True, 0.0], Code.TYPE, r"obs\[0\] is True"),
        (PAIR, [[0.0], 0.0], Code.TYPE, r"obs\[0\] is a list of 1"),
        (PAIR, [0.0, 1.5], Code.RANGE, r"obs\[1\] is 1.5, agent expects -1.0 to 1.0"),
        (PAIR, [math.nan, 0.0], Code.RANGE, r"obs\[0\] is nan"),
        (parse([[1], "-inf", "inf"]), [math.inf], Code.RANGE, r"obs\[0\] is inf"),
        (parse([[1], "-inf", "inf"]), [1e39], Code.RANGE, "beyond float32"),
        (parse([[1], "-inf", "inf"]), [10**400], Code.RANGE, "beyond float32"),
        (Discrete(3), 3, Code.RANGE, "obs is 3, agent expects 0 to 2"),
        (Discrete(3), -1, Code.RANGE, "obs is -1"),
        (Discrete(3), 1.5, Code.TYPE, "obs is 1.5, agent expects an int below 3"),
        (Discrete(3), math.nan, Code.RANGE, "obs is nan"),
        (Discrete(3), True, Code.TYPE, "obs is True"),
        (Discrete(3), [1], Code.TYPE, "obs is a list of 1"),
        (SHIFTED, 2, Code.RANGE, "obs is 2, agent expects -1 to 1"),
        (SHIFTED, 0.5, Code.TYPE, "obs is 0.5, agent expects an int from -1 to 1"),
        (GEARS, [0, 4, 0], Code.RANGE, r"obs\[1\] is 4, agent expects 0 to 3"),
        (GEARS, [0, -1, 0], Code.RANGE, r"obs\[1\] is -1"),
        (GEARS, [0, 1.5, 0], Code.TYPE, r"obs\[1\] is 1.5, agent expects an int below 4"),
        (GEARS, [0, True, 0], Code.TYPE, r"obs\[1\] is True"),
        (GEARS, [0, 0, math.nan], Code.RANGE, r"obs\[2\] is nan"),
        (GEARS, [0, 0], Code.SHAPE, "obs has 2 values, agent expects 3"),
        (GEARS, 1, Code.TYPE, "obs is 1, agent expects 3 values"),
        (SWITCHES, [0, 2], Code.RANGE, r"obs\[1\] is 2, agent expects 0 to 1"),
        (SWITCHES, [0, False], Code.TYPE, r"obs\[1\] is False"),
        (ROOM, [21.5, 1], Code.TYPE, "obs is not an object"),
        (ROOM, {"window": 1}, Code.SHAPE, r"obs has \['window'\]"),
        (ROOM, {"window": 1, "temperature": 21.5, "door": 0}, Code.SHAPE, "'door'"),
        (ROOM, {"window": 2, "temperature": 21.5}, Code.RANGE, "obs.window is 2"),
        (ROOM, {"window": 1, "temperature": 61}, Code.RANGE, r"obs.temperature\[0\] is 61"),
    ],
)
def test_value_is_refused(space: Space, value: Any, code: Code, said: str) -> None:
    with pytest.raises(DeviceFault, match=said) as refused:
        flatten(space, value)
    assert refused.value.code is code


@pytest.mark.parametrize(
    ("space", "values", "code"),
    [
        (PAIR, floats(0.0), Code.SHAPE),
        (PAIR, Floats(floats(0.0, 0.0) + b"\0"), Code.SHAPE),
        (PAIR, floats(0.0, 2.0), Code.RANGE),
        (PAIR, floats(0.0, math.nan), Code.RANGE),
        (parse([[1], "-inf", "inf"]), floats(math.inf), Code.RANGE),
        (Discrete(3), floats(1.5), Code.TYPE),
        (Discrete(3), floats(math.nan), Code.RANGE),
        (Discrete(3), floats(math.inf), Code.RANGE),
        (Discrete(3), floats(3.0), Code.RANGE),
        (SHIFTED, floats(2.0), Code.RANGE),
        (GEARS, floats(0.0, 4.0, 0.0), Code.RANGE),
        (GEARS, floats(0.0, 0.5, 0.0), Code.TYPE),
        (GEARS, floats(0.0, 0.0), Code.SHAPE),
        (SWITCHES, floats(0.0, 2.0), Code.RANGE),
        (SWITCHES, floats(0.0, math.nan), Code.RANGE),
        (ROOM, floats(61.0, 1.0), Code.RANGE),
        (ROOM, floats(21.5, 2.0), Code.RANGE),
    ],
)
def test_floats_are_refused(space: Space, values: Floats, code: Code) -> None:
    with pytest.raises(DeviceFault) as refused:
        check_floats(space, values)
    assert refused.value.code is code


def test_nesting_without_end_is_refused_like_any_other_value() -> None:
    value: Any = 0
    for _ in range(100_000):
        value = [value]
    for space in (PAIR, IMAGE, ROOM, GEARS, SWITCHES, Discrete(3)):
        with pytest.raises(DeviceFault):
            flatten(space, [value, value])
        with pytest.raises(DeviceFault):
            flatten(space, value)


def test_message_about_a_large_value_stays_small() -> None:
    names = {f"sensor-{i}": 0 for i in range(10_000)}
    for space, value in ((PAIR, "x" * 100_000), (ROOM, names), (Discrete(2), list(range(1000)))):
        with pytest.raises(DeviceFault) as refused:
            flatten(space, value)
        assert len(refused.value.message) < 400


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    )
)
def test_no_value_does_more_than_be_refused(value: Any) -> None:
    for space in (PAIR, IMAGE, ROOM, GEARS, SWITCHES, SHIFTED, Discrete(3)):
        try:
            values = flatten(space, value)
        except DeviceFault:
            continue
        assert check_floats(space, values) == values


# --- declarations ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "space"),
    [
        (2, Discrete(2)),
        ([[2], -1.0, 1.0], Box((2,), (-1.0, -1.0), (1.0, 1.0))),
        ([[2], 0, 100], Box((2,), (0.0, 0.0), (100.0, 100.0))),
        ([[1], 0, 255], Box((1,), (0.0,), (255.0,), "uint8")),
        ([[2], [0.0, -1.0], [1.0, 1.0]], Box((2,), (0.0, -1.0), (1.0, 1.0))),
        ([[1, 2], [[0.0, -1.0]], 1.0], Box((1, 2), (0.0, -1.0), (1.0, 1.0))),
        ([[2], "-inf", "inf"], Box((2,), (-math.inf,) * 2, (math.inf,) * 2)),
        ([[1], -3.4e38, 3.4028235e38], Box((1,), (-math.inf,), (math.inf,))),
        ([[1], ["-inf"], [1.0]], Box((1,), (-math.inf,), (1.0,))),
        ({"b": 2, "a": 3}, Dict({"a": Discrete(3), "b": Discrete(2)})),
        ([[1], 0, 255, "float32"], Box((1,), (0.0,), (255.0,))),
        ([[1], 0, 7, "uint8"], Box((1,), (0.0,), (7.0,), "uint8")),
        ({"multi_discrete": [3, 4, 2]}, MultiDiscrete((3, 4, 2))),
        ({"multi_binary": 5}, MultiBinary(5)),
        ({"discrete": 3, "start": -1}, Discrete(3, -1)),
        ({"a": {"multi_binary": 5}}, Dict({"a": MultiBinary(5)})),
    ],
)
def test_declaration_means(declared: Any, space: Space) -> None:
    assert parse(declared) == space


@pytest.mark.parametrize(
    "declared",
    [
        {"multi_binary": 5, "door": 2},
        {"multi_binary": [[2], 0.0, 1.0]},
        {"multi_discrete": [[2], 0.0, 1.0]},
        {"multi_discrete": {"multi_binary": 5}},
        {"discrete": 3},
        {"start": 3},
        {"discrete": 3, "start": [[2], 0.0, 1.0]},
        {"discrete": 3, "start": 1, "stop": 9},
        {"multi_binary": {"discrete": 5, "start": 0}},
    ],
)
def test_dict_that_only_uses_the_new_names_stays_a_dict(declared: dict[str, Any]) -> None:
    space = parse(declared)
    assert isinstance(space, Dict)
    assert list(space.spaces) == sorted(declared)


def test_box_of_bytes_that_seems_a_sensor_is_doubted() -> None:
    (doubt,) = doubts([[4], 0, 255])
    assert doubt.startswith("[[4], 0, 255] holds whole numbers")
    assert 'write [[4], 0, 255, "float32"]' in doubt
    (doubt,) = doubts({"picture": [[84, 84], 0, 255], "power": [[1], 0, 255], "door": 2})
    assert doubt.startswith("power: ")


@pytest.mark.parametrize(
    "declared",
    [
        2,
        {"multi_binary": 5},
        [[4], 0, 100],
        [[4], 0.0, 255.0],
        [[4], 0, 255, "float32"],
        [[4], 0, 255, "uint8"],
        [[784], 0, 255],
    ],
)
def test_what_is_said_plainly_is_not_doubted(declared: Any) -> None:
    assert doubts(declared) == []


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (0, "at least 1 choice"),
        (-3, "at least 1 choice"),
        (CHOICES_MAX + 1, "at most"),
        (True, "for two choices write 2"),
        (2.0, "is not a space"),
        ("2", "is not a space"),
        (None, "is not a space"),
        ([[2], 0.0], "is not a space"),
        ([2, 0.0, 1.0], r"positive ints, not 2; two values from 0 to 1 are \[\[2\],0,1\]"),
        ([[0], 0.0, 1.0], "a shape is a list of positive ints"),
        ([[2.0], 0.0, 1.0], "a shape is a list of positive ints"),
        ([[True], 0.0, 1.0], "a shape is a list of positive ints"),
        ([[1000, 1001], 0.0, 1.0], "at most 1000000 are taken"),
        ([[2], 1.0, 1.0], "every low must be below its high"),
        ([[2], [0.0, 2.0], 1.0], "every low must be below its high"),
        ([[2], [0.0], 1.0], "low has 1 numbers, the shape 2"),
        ([[2], 0.0, [1.0, 1.0, 1.0]], "high has 3 numbers, the shape 2"),
        ([[2], math.nan, 1.0], "low is nan"),
        ([[2], "warm", 1.0], "low is 'warm'"),
        ([[2], None, 1.0], "low is None"),
        ([[2], True, 2.0], "low is True"),
        ([[2], 0, 300, "uint8"], 'a dtype is "float32", or "uint8" with bounds from 0 to 255'),
        ([[2], -1, 1, "uint8"], "a dtype is"),
        ([[2], 0, 1, "int8"], "a dtype is"),
        ([[2], 0, 1, []], "a dtype is"),
        ([[2], 0, 1, "float32", 1], "is not a space"),
        ({"multi_discrete": []}, "multi_discrete is a list"),
        ({"multi_discrete": 3}, "multi_discrete is a list"),
        ({"multi_discrete": [3, 0]}, r"multi_discrete\[1\] needs at least 1 choice, not 0"),
        ({"multi_discrete": [3, 1.5]}, r"multi_discrete\[1\] is a whole number, not 1.5"),
        ({"multi_discrete": [CHOICES_MAX, 1]}, "choices in all; at most"),
        ({"multi_binary": 0}, "multi_binary needs at least 1 choice"),
        ({"multi_binary": True}, "multi_binary is a whole number, not True"),
        ({"multi_binary": 1_000_001}, "at most 1000000 are taken"),
        ({"discrete": 3, "start": 0.5}, "start is a whole number near 0, not 0.5"),
        ({"discrete": 3, "start": CHOICES_MAX}, "start is a whole number near 0"),
        ({"discrete": 0, "start": 1}, "discrete needs at least 1 choice"),
        ({"a": {"multi_binary": 0}}, "a: multi_binary needs"),
        ({}, "at least one named space"),
        ({"a": {"b": 2}}, "a: .* is not a space"),
        ({"a": 0}, "a: a Discrete space"),
    ],
)
def test_declaration_is_refused(declared: Any, said: str) -> None:
    with pytest.raises(OperatorFault, match=said):
        parse(declared)


@given(boxes() | dicts | discretes | several)
def test_space_survives_being_stored(declared: Any) -> None:
    space = parse(declared)
    # Infinity is no JSON; what is stored is msgpack.
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(space), type=Space) == space


@given(st.integers(1, CHOICES_MAX))
def test_every_choice_survives_float32(n: int) -> None:
    space = parse(n)
    assert unflatten(space, flatten(space, n - 1)) == n - 1


def test_a_bound_of_more_digits_than_any_float_is_no_bound() -> None:
    assert parse([[1], -(10**400), 10**400]) == parse([[1], "-inf", "inf"])
