"""Conditions and rewards over an observation, as an operator writes them: `o[0] > 80`.

    condition = read_condition("o[0] / o[1] > 0.5 and not o[1] == 3", space)
    condition(observation.values)           # True or False; raises Undefined
    reward = read_reward("-abs(temp - 21) - (0.1 if heat > 0 else 0)", space, ("temp", "heat"))
    reward(observation.values)              # a float; raises Undefined

A number is also `o[0]`, or `o["name"][0]` of a Dict space; of a reward also a name that a mapping
gives a number, or one number or another by a condition. All else is in `hub/expressions.py`.

Rule 1: what is written here can read numbers and compare them, no more; nothing is evaluated.
Rule 2: what can't be computed (a division by 0) is Undefined, never quietly false.
"""

from __future__ import annotations

import ast
import math
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from hub.expressions import LENGTH_MAX, Combine, Reader
from hub.spaces import Dict, Space, size
from hub.words import FLOAT_BYTES, Floats

Number = Callable[[Floats], float]
Truth = Callable[[Floats], bool]


class Undefined(ArithmeticError):
    """The condition has no value for this observation."""


def read_condition(text: str, space: Space) -> Truth:
    """The condition, ready to be asked about float32 observations of the space.

    Raises:
        OperatorFault: it is no condition over this space; the message says which part and why.
    """
    reader = _Conditions(text, space)
    return reader.truth(reader.body)


def read_reward(text: str, space: Space, names: Sequence[str]) -> Number:
    """The reward, ready to be computed of float32 observations of the space.

    Args:
        text: as written.
        space: of the observations.
        names: what its numbers are called, in order; empty = nothing.

    Raises:
        OperatorFault: it is no reward over this space; the message says which part and why.
    """
    reader = _Rewards(text, space, names)
    return reader.number(reader.body)


class _Conditions(Reader[Number, Truth]):
    """Makes functions of the values."""

    what = "a condition"
    valid = (
        'write numbers, o[0] (or o["name"][0] for a Dict space), + - * /, abs, min, max, '
        "comparisons, and, or, not"
    )

    def __init__(self, text: str, space: Space) -> None:
        super().__init__(text)
        self._places = _places(space)

    def place(self, node: ast.expr, depth: int) -> Number:
        """`o[0]` or `o["name"][0]`."""
        del depth
        if not isinstance(node, ast.Subscript):
            raise self.refusal(node)
        return _component(self._place(node))

    def constant(self, value: float) -> Number:
        """Whatever the observation."""
        return lambda _: value

    def signed(self, number: Number, *, minus: bool) -> Number:
        """With a sign before it."""
        return (lambda values: -number(values)) if minus else number

    def combined(self, combine: Combine, one: Number, other: Number) -> Number:
        """Undefined where there is no result."""

        def number(values: Floats) -> float:
            try:
                result: float = combine(one(values), other(values))
            except ZeroDivisionError as error:
                raise Undefined("a division by 0") from error
            if math.isnan(result):
                raise Undefined("a number that is none")
            return result

        return number

    def called(self, name: str, numbers: list[Number]) -> Number:
        """By one of CALLS."""
        function = CALLS[name]
        return lambda values: function([number(values) for number in numbers])

    def chained(self, comparisons: list[Combine], numbers: list[Number]) -> Truth:
        """Each number is computed once, and only if it is needed."""

        def truth(values: Floats) -> bool:
            left = numbers[0](values)
            for compare, number in zip(comparisons, numbers[1:], strict=True):
                right = number(values)
                if not compare(left, right):
                    return False
                left = right
            return True

        return truth

    def all_of(self, parts: list[Truth]) -> Truth:
        """Asked in order, up to the first that is false."""
        return lambda values: all(part(values) for part in parts)

    def any_of(self, parts: list[Truth]) -> Truth:
        """Asked in order, up to the first that is true."""
        return lambda values: any(part(values) for part in parts)

    def negated(self, part: Truth) -> Truth:
        """The other of the two."""
        return lambda values: not part(values)

    def _place(self, node: ast.Subscript) -> int:
        """Where in the observation `o[0]` or `o["name"][0]` stands."""
        match node:
            case ast.Subscript(value=ast.Name(id="o"), slice=ast.Constant(value=int() as index)):
                name = None
            case ast.Subscript(
                value=ast.Subscript(
                    value=ast.Name(id="o"), slice=ast.Constant(value=str() as name)
                ),
                slice=ast.Constant(value=int() as index),
            ):
                pass
            case _:
                raise self.refusal(node)
        if name not in self._places:
            there = ", ".join(f'o["{known}"][0]' for known in self._places if known is not None)
            why = f"is not in the observation; there are: {there or 'o[0]'}"
            raise self.refusal(node, why[:LENGTH_MAX])
        start, count = self._places[name]
        if isinstance(index, bool) or not 0 <= index < count:
            raise self.refusal(
                node, f"is not in the observation, whose last value is [{count - 1}]"
            )
        return start + index


class _Rewards(_Conditions):
    """The same, with names, and one number or another."""

    what = "a reward"
    valid = (
        "write a number: numbers, o[0] or a name of the agent's mappings, + - * /, abs, min, max, "
        "1 if o[0] < 2 else 0; comparisons, and, or, not stand between its if and else"
    )

    def __init__(self, text: str, space: Space, names: Sequence[str]) -> None:
        super().__init__(text, space)
        self._names = {name: place for place, name in enumerate(names)}

    def place(self, node: ast.expr, depth: int) -> Number:
        """`temp`, `1 if temp > 20 else 0`, or as in conditions."""
        match node:
            case ast.Name(id=name) if name in self._names:
                return _component(self._names[name])
            case ast.Name():
                there = ", ".join(self._names) or "none"
                raise self.refusal(node, f"is not known; names there are: {there}"[:LENGTH_MAX])
            case ast.IfExp(test=test, body=body, orelse=other):
                return _either(
                    self.truth(test, depth - 1),
                    self.number(body, depth - 1),
                    self.number(other, depth - 1),
                )
        return super().place(node, depth)


def _either(truth: Truth, one: Number, other: Number) -> Number:
    return lambda values: one(values) if truth(values) else other(values)


def _places(space: Space) -> dict[str | None, tuple[int, int]]:
    """Of each named part, or of the whole (None), its first value and how many there are."""
    if not isinstance(space, Dict):
        return {None: (0, size(space))}
    places: dict[str | None, tuple[int, int]] = {}
    start = 0
    for name, part in space.spaces.items():
        places[name] = (start, size(part))
        start += size(part)
    return places


CALLS: Final[dict[str, Callable[[Iterable[float]], float]]] = {
    "abs": lambda numbers: abs(next(iter(numbers))),
    "min": min,
    "max": max,
}


def _component(place: int) -> Number:
    read, offset = struct.Struct("<f").unpack_from, place * FLOAT_BYTES
    return lambda values: float(read(values, offset)[0])
