"""Conditions over an observation, as an operator writes them: `o[0] > 80 and not o[1] == 0`.

    condition = read_condition("o[0] / o[1] > 0.5", space)
    condition(observation.values)           # True or False; raises Undefined

    truth   = truth "and" truth | truth "or" truth | "not" truth | number (< <= > >= == !=) number
    number  = 80 | o[0] | o["name"][0] | + - * / | abs(number) | min(number, …) | max(number, …)

Rule 1: nothing else is taken, so what is written here can read numbers and compare them, no more.
Rule 2: Python's own parser reads the text; nothing is ever evaluated, imported or called by name.
Rule 3: length and depth are bounded, so is the time a condition takes.
Rule 4: what can't be computed (a division by 0) is Undefined, never quietly false.
"""

from __future__ import annotations

import ast
import math
import operator
import struct
import warnings
from typing import TYPE_CHECKING, Final

from hub.errors import OperatorFault
from hub.spaces import Dict, Space, size
from hub.words import FLOAT_BYTES, Floats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Number = Callable[[Floats], float]
    Truth = Callable[[Floats], bool]

LENGTH_MAX: Final = 500
"""Characters of one condition."""
DEPTH_MAX: Final = 32
"""Of what stands within what."""
VALID: Final = (
    'write numbers, o[0] (or o["name"][0] for a Dict space), + - * /, abs, min, max, '
    "comparisons, and, or, not"
)
SHOWN_MAX: Final = 60
"""Characters of a refused piece in the message about it."""


class Undefined(ArithmeticError):
    """The condition has no value for this observation."""


def read_condition(text: str, space: Space) -> Truth:
    """The condition, ready to be asked about float32 observations of the space.

    Raises:
        OperatorFault: it is no condition over this space; the message says which part and why.
    """
    if len(text) > LENGTH_MAX:
        raise OperatorFault(f"{len(text)} characters; a condition has at most {LENGTH_MAX}")
    return _Reader(text, space).truth(_parsed(text).body, DEPTH_MAX)


def _parsed(text: str) -> ast.Expression:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # `1if`, '\d': not for the hub's own messages
            return ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError, SystemError, Warning) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise OperatorFault(f"{text[:SHOWN_MAX]!r} can't be read ({reason}); {VALID}") from error


class _Reader:
    """Turns the syntax tree into functions, from the leaves up."""

    def __init__(self, text: str, space: Space) -> None:
        self._text = text
        self._places = _places(space)

    def truth(self, node: ast.expr, depth: int) -> Truth:
        """What is true or false."""
        _look(depth)
        match node:
            case ast.BoolOp(op=ast.And(), values=parts):
                return _all([self.truth(part, depth - 1) for part in parts])
            case ast.BoolOp(op=ast.Or(), values=parts):
                return _any([self.truth(part, depth - 1) for part in parts])
            case ast.UnaryOp(op=ast.Not(), operand=part):
                return _not(self.truth(part, depth - 1))
            case ast.Compare(left=left, ops=ops, comparators=others):
                compare = [COMPARISONS.get(type(op)) for op in ops]
                if None in compare:
                    raise self._refusal(node)
                numbers = [self.number(part, depth - 1) for part in (left, *others)]
                return _chain([found for found in compare if found], numbers)
        raise self._refusal(node, "is neither true nor false; compare it with a number")

    def number(self, node: ast.expr, depth: int) -> Number:
        """What is a number."""
        _look(depth)
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return _constant(self._finite(node, value))
            case ast.Subscript():
                return _component(self._place(node))
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=part):
                return _signed(self.number(part, depth - 1), minus=isinstance(sign, ast.USub))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                one, other = self.number(left, depth - 1), self.number(right, depth - 1)
                return _combined(ARITHMETIC[type(op)], one, other)
            case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]) if name in CALLS:
                function, fewest, most = CALLS[name]
                if not fewest <= len(parts) <= most:
                    raise self._refusal(node, f"has {len(parts)} numbers in it")
                return _called(function, [self.number(part, depth - 1) for part in parts])
        raise self._refusal(node)

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
                raise self._refusal(node)
        if name not in self._places:
            there = ", ".join(f'o["{known}"][0]' for known in self._places if known is not None)
            why = f"is not in the observation; there are: {there or 'o[0]'}"
            raise self._refusal(node, why[:LENGTH_MAX])
        start, count = self._places[name]
        if isinstance(index, bool) or not 0 <= index < count:
            raise self._refusal(
                node, f"is not in the observation, whose last value is [{count - 1}]"
            )
        return start + index

    def _finite(self, node: ast.expr, value: float) -> float:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._refusal(node, "is too large")
        return number

    def _refusal(self, node: ast.expr, why: str = "is not allowed") -> OperatorFault:
        piece = ast.get_source_segment(self._text.strip(), node) or "this"
        return OperatorFault(f"{piece[:SHOWN_MAX]!r} {why}; {VALID}")


def _look(depth: int) -> None:
    if depth <= 0:
        raise OperatorFault(f"a condition is at most {DEPTH_MAX} deep; write it flatter")


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


# --- the functions a condition is made of ----------------------------------------------------

COMPARISONS: Final[dict[type[ast.cmpop], Callable[[float, float], bool]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
ARITHMETIC: Final[dict[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
CALLS: Final[dict[str, tuple[Callable[[Iterable[float]], float], int, int]]] = {
    "abs": (lambda numbers: abs(next(iter(numbers))), 1, 1),
    "min": (min, 2, LENGTH_MAX),
    "max": (max, 2, LENGTH_MAX),
}
"""What it does, and how many numbers it takes at least and at most."""


def _constant(value: float) -> Number:
    return lambda _: value


def _component(place: int) -> Number:
    read, offset = struct.Struct("<f").unpack_from, place * FLOAT_BYTES
    return lambda values: float(read(values, offset)[0])


def _signed(number: Number, *, minus: bool) -> Number:
    return (lambda values: -number(values)) if minus else number


def _combined(combine: Callable[[float, float], float], one: Number, other: Number) -> Number:
    def number(values: Floats) -> float:
        try:
            result = combine(one(values), other(values))
        except ZeroDivisionError as error:
            raise Undefined("a division by 0") from error
        if math.isnan(result):
            raise Undefined("a number that is none")
        return result

    return number


def _called(function: Callable[[Iterable[float]], float], numbers: list[Number]) -> Number:
    return lambda values: function([number(values) for number in numbers])


def _chain(comparisons: list[Callable[[float, float], bool]], numbers: list[Number]) -> Truth:
    """`a < b < c`, as Python means it; each number is computed once, and only if it is needed."""

    def truth(values: Floats) -> bool:
        left = numbers[0](values)
        for compare, number in zip(comparisons, numbers[1:], strict=True):
            right = number(values)
            if not compare(left, right):
                return False
            left = right
        return True

    return truth


def _all(parts: list[Truth]) -> Truth:
    return lambda values: all(part(values) for part in parts)


def _any(parts: list[Truth]) -> Truth:
    return lambda values: any(part(values) for part in parts)


def _not(part: Truth) -> Truth:
    return lambda values: not part(values)
