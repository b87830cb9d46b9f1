"""Expressions that an operator writes, `o[0] > 80`, read without running any of them.

    truth   = truth "and" truth | truth "or" truth | "not" truth | number (< <= > >= == !=) number
    number  = 80 | place | + - * / | abs(number) | min(number, …) | max(number, …)

What a place is, and what becomes of each piece, is for those who derive from `Reader`: conditions
and rewards over an observation (`over_observation.py`), rewards of a goal
(`learner/algorithms/goals.py`).

Rule 1: nothing else is taken, so what is written here can read numbers and compare them, no more.
Rule 2: Python's own parser reads the text; nothing is ever evaluated, imported or called by name.
Rule 3: length and depth are bounded, so is the time an expression takes.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Final, Generic, TypeVar

from hub.errors import OperatorFault

Combine = Callable[[Any, Any], Any]
"""Of two floats, or of two arrays of them."""
Number = TypeVar("Number")
Truth = TypeVar("Truth")

LENGTH_MAX: Final = 500
"""Characters of one expression."""
DEPTH_MAX: Final = 32
"""Of what stands within what."""
SHOWN_MAX: Final = 60
"""Characters of a refused piece in the message about it."""
COMPARISONS: Final[dict[type[ast.cmpop], Combine]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
ARITHMETIC: Final[dict[type[ast.operator], Combine]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class Reader(ABC, Generic[Number, Truth]):
    """Turns a text's syntax tree into something else, from the leaves up.

    Raises:
        OperatorFault: it is no such expression; the message says which part and why.
    """

    what: ClassVar[str]
    """What is read, with its article: "a condition"."""
    valid: ClassVar[str]
    """What may be written, for those who wrote something else."""
    calls: ClassVar[dict[str, tuple[int, int]]] = {
        "abs": (1, 1),
        "min": (2, LENGTH_MAX),
        "max": (2, LENGTH_MAX),
    }
    """How many numbers each takes at least and at most."""

    def __init__(self, text: str) -> None:
        if len(text) > LENGTH_MAX:
            raise OperatorFault(f"{len(text)} characters; {self.what} has at most {LENGTH_MAX}")
        self._text = text.strip()
        self.body = self._parsed().body

    def truth(self, node: ast.expr, depth: int = DEPTH_MAX) -> Truth:
        """What is true or false."""
        self._look(depth)
        match node:
            case ast.BoolOp(op=ast.And(), values=parts):
                return self.all_of([self.truth(part, depth - 1) for part in parts])
            case ast.BoolOp(op=ast.Or(), values=parts):
                return self.any_of([self.truth(part, depth - 1) for part in parts])
            case ast.UnaryOp(op=ast.Not(), operand=part):
                return self.negated(self.truth(part, depth - 1))
            case ast.Compare(left=left, ops=ops, comparators=others):
                compare = [COMPARISONS.get(type(op)) for op in ops]
                if None in compare:
                    raise self.refusal(node)
                numbers = [self.number(part, depth - 1) for part in (left, *others)]
                return self.chained([found for found in compare if found], numbers)
        raise self.refusal(node, "is neither true nor false; compare it with a number")

    def number(self, node: ast.expr, depth: int = DEPTH_MAX) -> Number:
        """What is a number."""
        self._look(depth)
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return self.constant(self._finite(node, value))
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=part):
                number = self.number(part, depth - 1)
                return self.signed(number, minus=isinstance(sign, ast.USub))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                one, other = self.number(left, depth - 1), self.number(right, depth - 1)
                return self.combined(ARITHMETIC[type(op)], one, other)
            case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]) if name in self.calls:
                fewest, most = self.calls[name]
                if not fewest <= len(parts) <= most:
                    raise self.refusal(node, f"has {len(parts)} numbers in it")
                return self.called(name, [self.number(part, depth - 1) for part in parts])
        return self.place(node, depth)

    def refusal(self, node: ast.expr, why: str = "is not allowed") -> OperatorFault:
        """Why this piece can't be taken."""
        piece = ast.get_source_segment(self._text, node) or "this"
        return OperatorFault(f"{piece[:SHOWN_MAX]!r} {why}; {self.valid}")

    # --- what becomes of each piece ---------------------------------------------------------

    @abstractmethod
    def place(self, node: ast.expr, depth: int) -> Number:
        """A number that is none of the above: a component of what the expression is about."""

    @abstractmethod
    def constant(self, value: float) -> Number:
        """A finite number as it was written."""

    @abstractmethod
    def signed(self, number: Number, *, minus: bool) -> Number:
        """With a sign before it."""

    @abstractmethod
    def combined(self, combine: Combine, one: Number, other: Number) -> Number:
        """By one of `ARITHMETIC`."""

    @abstractmethod
    def called(self, name: str, numbers: list[Number]) -> Number:
        """By one of `calls`."""

    @abstractmethod
    def chained(self, comparisons: list[Combine], numbers: list[Number]) -> Truth:
        """`a < b < c`, as Python means it."""

    @abstractmethod
    def all_of(self, parts: list[Truth]) -> Truth:
        """`and`."""

    @abstractmethod
    def any_of(self, parts: list[Truth]) -> Truth:
        """`or`."""

    @abstractmethod
    def negated(self, part: Truth) -> Truth:
        """`not`."""

    # --- what is refused before -------------------------------------------------------------

    def _parsed(self) -> ast.Expression:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # `1if`, '\d': not for the hub's own messages
                return ast.parse(self._text, mode="eval")
        except (
            SyntaxError,
            ValueError,
            RecursionError,
            MemoryError,
            SystemError,
            Warning,
        ) as error:
            reason = error.msg if isinstance(error, SyntaxError) else str(error)
            shown = f"{self._text[:SHOWN_MAX]!r} can't be read ({reason})"
            raise OperatorFault(f"{shown}; {self.valid}") from error

    def _finite(self, node: ast.expr, value: float) -> float:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.refusal(node, "is too large")
        return number

    def _look(self, depth: int) -> None:
        if depth <= 0:
            raise OperatorFault(f"{self.what} is at most {DEPTH_MAX} deep; write it flatter")


def check_defined(text: str) -> None:
    """Refuse what has no value whatever it is about: `1/0`, `o[0] / (2 - 2)`.

    For what is declared now: one that the log has was declared, and is Undefined each time.

    Args:
        text: an expression that a `Reader` has taken.

    Raises:
        OperatorFault: with the piece that never has one.
    """
    body = ast.parse(text.strip(), mode="eval").body
    try:
        _always(body)
    except _Never as never:
        piece = ast.get_source_segment(text.strip(), never.node) or "this"
        raise OperatorFault(f"{piece[:SHOWN_MAX]!r} never has a value: {never}") from never


class _Never(Exception):
    def __init__(self, why: str, node: ast.expr) -> None:
        super().__init__(why)
        self.node = node


def _always(node: ast.expr) -> float | None:
    """The number that this is always; None = it is none, or not always the same.

    Raises:
        _Never: it is one never.
    """
    parts = [_always(part) for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)]
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.UnaryOp(op=ast.USub()):
            return None if parts[0] is None else -parts[0]
        case ast.UnaryOp(op=ast.UAdd()):
            return parts[0]
        case ast.BinOp(op=op):
            one, other = parts
            if isinstance(op, ast.Div) and other == 0:
                raise _Never("it is a division by 0", node)
            if one is None or other is None:
                return None
            result: float = ARITHMETIC[type(op)](one, other)
            if not math.isfinite(result):
                raise _Never("it is too large", node)
            return result
    return None
