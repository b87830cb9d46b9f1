"""Conditions over an observation: what they mean, and all that is refused."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub import spaces
from hub.errors import OperatorFault
from hub.expressions import DEPTH_MAX, LENGTH_MAX
from hub.over_observation import Undefined, read_condition, read_reward
from tests.intake.fakes import floats

THREE = spaces.parse([[3], -1000.0, 1000.0])
NAMED = spaces.parse({"temp": [[2], -100.0, 100.0], "mode": 3, "fan": [[1], 0.0, 1.0]})
PIECES = [
    "o", "[", "]", "(", ")", "0", "1", "2.5", "1e9", '"temp"', "<", ">", "==", "!=", "and", "or",
    "not", "+", "-", "*", "/", "**", "%", "//", "@", "abs", "min", "max", "eval", "o[0]", "o[2]",
    ",", ":", "=", ":=", ".", "__class__", "lambda", "if", "else", "for", "in", "is", "None",
    "True", "await", "yield", "'", '"', "\\", "\n", "\t", "#", "f''", "{", "}", "1j", "...", "~",
]  # fmt: skip


def holds(text: str, *numbers: float, space: spaces.Space = THREE) -> bool:
    return read_condition(text, space)(floats(*numbers))


@pytest.mark.parametrize(
    ("text", "true"),
    [
        ("o[0] > 80", True),
        ("o[0] > 81", False),
        ("o[0] >= 81 and o[1] <= -5", True),
        ("o[0] < 0 or o[2] == 0", True),
        ("not o[2] != 0", True),
        ("0 < o[0] < 100", True),
        ("0 < o[0] < 50 < o[1]", False),
        ("o[0] + o[1] * 2 == 71", True),
        ("(o[0] - 1) / 2 == 40", True),
        ("-o[1] == +5", True),
        ("abs(o[1]) == 5 and abs(-2) == 2", True),
        ("min(o[0], o[1], 3) == -5", True),
        ("max(o[0], o[1], 3) == 81", True),
        ("o[2] != 0 and 1 / o[2] > 3", False),
        ("o[2] == 0 or 1 / o[2] > 3", True),
        ("  o[0]>80  ", True),
        ("1e-3 < 1", True),
    ],
)
def test_a_condition_means_what_it_means_in_python(text: str, true: bool) -> None:
    assert holds(text, 81.0, -5.0, 0.0) is true


def test_parts_of_a_dict_space_go_by_their_names() -> None:
    # As it is flattened: fan, mode, temp.
    assert holds('o["fan"][0] == 1', 1, 2, 30, 40, space=NAMED)
    assert holds('o["mode"][0] == 2', 1, 2, 30, 40, space=NAMED)
    assert holds("o['temp'][0] == 30 and o['temp'][1] == 40", 1, 2, 30, 40, space=NAMED)


@pytest.mark.parametrize("text", ["1 / o[2] > 0", "o[0] / (o[1] - o[1]) < 1"])
def test_what_can_not_be_computed_is_never_quietly_false(text: str) -> None:
    with pytest.raises(Undefined):
        holds(text, 1.0, 1.0, 0.0)


def test_infinite_is_more_than_any_number_and_a_number_that_is_none_compares_with_nothing() -> None:
    assert holds("o[0] * 1e300 * 1e300 > 1e308", 1.0, 0.0, 0.0)
    with pytest.raises(Undefined):
        holds("o[0] * 1e300 * 1e300 - 1e300 * 1e300 < 0", 1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "can't be read"),
        ("   ", "can't be read"),
        ("o[0] >", "can't be read"),
        ("o[0] > 1; o[1] > 1", "can't be read"),
        ("o[0] > 1\nimport os", "can't be read"),
        ("x := 1", "can't be read"),
        ("o[0] > 1if 2 else 3", "can't be read"),
        ("'\\d' > 1", "can't be read"),
        ("\x00", "can't be read"),
        ("\ud800 > 1", "can't be read"),
        ("(" * 300, "can't be read"),
        ("o[0]", "neither true nor false"),
        ("True", "neither true nor false"),
        ("not 1", "neither true nor false"),
        ("o[0] and o[1] > 1", "neither true nor false"),
        ("__import__('os').system('true')", "neither true nor false"),
        ("(lambda: 1)()", "neither true nor false"),
        ("o[0] > 1 if o[1] > 1 else o[2] > 1", "neither true nor false"),
        ("[o[0] > 1]", "neither true nor false"),
        ("any(x > 1 for x in o)", "neither true nor false"),
        ("o > 1", "not allowed"),
        ("p[0] > 1", "not allowed"),
        ("o[-1] > 1", "not allowed"),
        ("o[0:1] > 1", "not allowed"),
        ("o[o[0]] > 1", "not allowed"),
        ("o[0][0] > 1", "not allowed"),
        ("o[0.0] > 1", "not allowed"),
        ("o.size > 1", "not allowed"),
        ("o.__class__ > 1", "not allowed"),
        ("abs.__self__ > 1", "not allowed"),
        ("eval('1') > 1", "not allowed"),
        ("pow(9, 9) > 1", "not allowed"),
        ("abs(*o) > 1", "not allowed"),
        ("min(o[0], key=abs) > 1", "not allowed"),
        ("min(o[0], 1, **o) > 1", "not allowed"),
        ("o[0] ** 9 > 1", "not allowed"),
        ("o[0] // 9 > 1", "not allowed"),
        ("o[0] % 9 > 1", "not allowed"),
        ("o[0] @ 9 > 1", "not allowed"),
        ("1 << 9 > 1", "not allowed"),
        ("~o[0] > 1", "not allowed"),
        ("o[0] in o", "not allowed"),
        ("o[0] is 1", "not allowed"),
        ("o[0] > True", "not allowed"),
        ("o[0] > None", "not allowed"),
        ("o[0] > '1'", "not allowed"),
        ("o[0] > 1j", "not allowed"),
        ("o[0] > ...", "not allowed"),
        ("f'{o}' > 1", "not allowed"),
        ("(o[0] > 1) > 0", "not allowed"),
        ("min(o[0]) > 1", "has 1 numbers"),
        ("abs(o[0], o[1]) > 1", "has 2 numbers"),
        ("abs() > 1", "has 0 numbers"),
        ("o[0] > 1e999", "too large"),
        ("o[0] > " + "9" * 400, "too large"),
        ("o[3] > 1", r"last value is \[2\]"),
        ("o[True] > 1", "not in the observation"),
        ("o['temp'][0] > 1", "there are: o"),
        ("-" * (DEPTH_MAX + 1) + "1 > 0", "deep"),
        ("not " * (DEPTH_MAX + 1) + "1 > 0", "deep"),
        ("1 > " + "0 + " * (DEPTH_MAX + 1) + "0", "deep"),
        ("1 > 0" + " " * LENGTH_MAX, "characters"),
    ],
)
def test_anything_else_is_refused_and_the_message_says_what(text: str, why: str) -> None:
    with pytest.raises(OperatorFault, match=why):
        read_condition(text, THREE)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("o[0] > 1", r'o\["fan"\]\[0\], o\["mode"\]\[0\], o\["temp"\]\[0\]'),
        ('o["heat"][0] > 1', r'o\["fan"\]\[0\]'),
        ('o["mode"] > 1', "not allowed"),
        ('o["mode"][1] > 1', r"last value is \[0\]"),
        ('o["temp"][2] > 1', r"last value is \[1\]"),
        ('o["temp"]["x"] > 1', "not allowed"),
    ],
)
def test_a_component_that_is_not_there_is_refused_with_those_that_are(text: str, why: str) -> None:
    with pytest.raises(OperatorFault, match=why):
        read_condition(text, NAMED)


def test_a_valid_message_says_what_may_be_written() -> None:
    with pytest.raises(OperatorFault, match="comparisons, and, or, not"):
        read_condition("eval('1')", THREE)


@given(st.text(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join))
def test_no_text_does_more_than_compare_numbers(text: str) -> None:
    """Whatever is written, it is refused as an operator's slip, or is true, false or undefined."""
    try:
        condition = read_condition(text, THREE)
    except OperatorFault:
        return
    with suppress(Undefined):
        assert condition(floats(1.0, -2.0, 0.0)) in (True, False)


NUMBERS = st.recursive(
    st.sampled_from(["o[0]", "o[1]", "o[2]", "2", "0.5", "0"]),
    lambda part: st.one_of(
        st.tuples(part, st.sampled_from("+-*/"), part).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(st.sampled_from(["min", "max"]), part, part).map(
            lambda t: f"{t[0]}({t[1]}, {t[2]})"
        ),
        part.map(lambda p: f"abs({p})"),
        part.map(lambda p: f"(-{p})"),
    ),
    max_leaves=6,
)
TRUTHS = st.recursive(
    st.tuples(NUMBERS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), NUMBERS).map(" ".join),
    lambda part: st.one_of(
        st.tuples(part, st.sampled_from(["and", "or"]), part).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        part.map(lambda p: f"(not ({p}))"),
    ),
    max_leaves=4,
)
SMALL = st.floats(-1000, 1000, width=32)


@given(TRUTHS.filter(lambda text: len(text) <= LENGTH_MAX), SMALL, SMALL, SMALL)
def test_every_condition_agrees_with_python(text: str, a: float, b: float, c: float) -> None:
    values = struct.unpack("<3f", floats(a, b, c))
    names: dict[str, Any] = {"__builtins__": {}, "o": values, "abs": abs, "min": min, "max": max}
    condition = read_condition(text, THREE)
    try:
        expected = eval(text, names)  # a test's own text, for comparison
    except ZeroDivisionError:
        with pytest.raises(Undefined):
            condition(floats(a, b, c))
        return
    try:
        assert condition(floats(a, b, c)) is expected
    except Undefined:
        assert "/" in text or "*" in text  # a NaN on the way


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        ("-abs(temp - 21) - 0.1 * heat", -2.1),
        ("1 if temp < 20 else -1", 1.0),
        ("o[0] + fan", 20.0),
        ("0 if heat else 1", None),
        ("(2 if heat > 0 and temp < 30 else 0) * 3", 6.0),
        ("7", 7.0),
    ],
)
def test_a_reward_is_over_names_and_places(text: str, reward: float | None) -> None:
    names = ("temp", "heat", "fan")
    if reward is None:
        with pytest.raises(OperatorFault, match="neither true nor false"):
            read_reward(text, THREE, names)
        return
    assert read_reward(text, THREE, names)(floats(19, 1, 1)) == pytest.approx(reward)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("temperature", "names there are: temp, heat"),
        ("o[3]", "whose last value is"),
        ("temp > 20", "write a number"),
        ("temp ** 2", "write a number"),
        ("__import__('os')", "write a number"),
        ("temp if temp else 0", "compare it with a number"),
        ("1 if temp > 0 else " * 20 + "-(" * 20 + "temp" + ")" * 20, "deep"),
    ],
)
def test_what_is_no_reward_is_refused_with_what_would_be(text: str, says: str) -> None:
    with pytest.raises(OperatorFault, match=says):
        read_reward(text, THREE, ("temp", "heat"))


def test_a_reward_that_can_not_be_computed_is_undefined() -> None:
    with pytest.raises(Undefined):
        read_reward("1 / temp", THREE, ("temp",))(floats(0, 1, 1))
