"""Spaces as devices declare them, and their values as flat float32 vectors and back.

The syntax is Shepherd's: an int is Discrete(n); `[shape, low, high]` is a Box (low and high numbers
or lists, and a dtype behind them, if need be); a dict of spaces is a Dict. Beside it stand three
that Shepherd has no word for:

    {"multi_discrete": [3, 4, 2]}    {"multi_binary": 5}    {"discrete": 3, "start": -1}

A dict of exactly these names is one of them, unless a value is a Box or a dict: then, as with any
other name, it is a Dict. Pure and without numpy: the hub checks every observation here and must
stay small.
"""

from __future__ import annotations

import json
import math
import struct
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct

from hub.errors import DeviceFault, OperatorFault
from hub.words import FLOAT_BYTES, Code, Floats

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

VALUES_MAX: Final = 1_000_000
"""Of one observation; more is taken for a mistake in the declaration."""
CHOICES_MAX: Final = 2**24
"""Of a Discrete space; float32 counts no further without leaving numbers out."""
UNBOUNDED_FROM: Final = 3.4e38
"""A bound as large as this is none."""
SHOWN_MAX: Final = 200
"""Characters of what a device sent, in a message about it."""
BOX_PARTS: Final = 3
"""Shape, low and high; a dtype may follow."""
BYTE_MAX: Final = 255
SENSORS_MAX: Final = 16
"""Values of a Box that is hardly an image."""


class Discrete(Struct, frozen=True, tag=True):
    """`n` choices, counted from `start`. One float."""

    n: int
    start: int = 0


class MultiDiscrete(Struct, frozen=True, tag=True):
    """Several choices at once: of each how many there are, counted from 0. One float each."""

    n: tuple[int, ...]


class MultiBinary(Struct, frozen=True, tag=True):
    """`n` switches, each 0 or 1. One float each."""

    n: int


class Box(Struct, frozen=True, tag=True):
    """An array of numbers. `low` and `high` are flat, one a value; infinite = unbounded.

    Where a declared bound is no float32 it is moved outwards to the next: a device that sends
    float32 can send the bound itself.
    """

    shape: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    dtype: Literal["float32", "uint8"] = "float32"


class Dict(Struct, frozen=True, tag=True):
    """Named spaces, flattened in the order of their names, as Gymnasium does."""

    spaces: dict[str, Leaf]


Choices = Discrete | MultiDiscrete | MultiBinary
"""Spaces of whole numbers."""
Leaf = Choices | Box
Space = Leaf | Dict
NAMED: Final = ({"multi_discrete"}, {"multi_binary"}, {"discrete", "start"})
"""Names that make a dict one of the spaces Shepherd has no word for."""


def parse(declared: Any) -> Space:
    """The space a declaration means.

    Raises:
        OperatorFault: it means none; the message says what was expected where.
    """
    if isinstance(declared, dict) and not _is_named(declared):
        if not declared:
            raise OperatorFault("a Dict space needs at least one named space")
        return Dict({str(k): _parse_leaf(v, f"{k}: ") for k, v in sorted(declared.items())})
    return _parse_leaf(declared, "")


def size(space: Space) -> int:
    """Floats in a value of the space."""
    if isinstance(space, Box):
        return math.prod(space.shape)
    if isinstance(space, Dict):
        return sum(size(part) for part in space.spaces.values())
    return len(choices(space))


def choices(space: Choices) -> tuple[int, ...]:
    """How many choices each of its numbers has."""
    if isinstance(space, Discrete):
        return (space.n,)
    return space.n if isinstance(space, MultiDiscrete) else (2,) * space.n


def first_choice(space: Choices) -> int:
    """The number that its first choice goes by."""
    return space.start if isinstance(space, Discrete) else 0


def bounds(space: Leaf) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The least and the greatest value of each of its numbers."""
    if isinstance(space, Box):
        return space.low, space.high
    first = first_choice(space)
    counts = choices(space)
    return (float(first),) * len(counts), tuple(first + n - 1.0 for n in counts)


def flatten(space: Space, value: Any, *, what: str = "obs") -> Floats:
    """The value as float32 bytes, checked against the space.

    Raises:
        DeviceFault: `shape` (wrong count or nesting), `type` (not a number, unknown name)
            or `range` (outside the bounds, NaN or infinite).
    """
    flat: list[float] = []
    if isinstance(space, Dict):
        if not isinstance(value, dict):
            raise DeviceFault(
                Code.TYPE, f"{what} is not an object, agent expects {list(space.spaces)}"
            )
        if set(value) != set(space.spaces):
            names = f"{sorted(map(str, value))}"[:SHOWN_MAX]
            raise DeviceFault(Code.SHAPE, f"{what} has {names}, agent expects {list(space.spaces)}")
        for name, part in space.spaces.items():
            _flatten_leaf(part, value[name], f"{what}.{name}", flat)
    else:
        _flatten_leaf(space, value, what, flat)
    try:
        return Floats(struct.pack(f"<{len(flat)}f", *flat))
    except (OverflowError, struct.error):  # the latter for an int beyond float64 too
        raise DeviceFault(Code.RANGE, f"{what} holds a number beyond float32") from None


def check_floats(space: Space, values: Floats, *, what: str = "obs") -> Floats:
    """The same check for values that came as float32 bytes.

    Raises:
        DeviceFault: as `flatten`.
    """
    count = len(values) // FLOAT_BYTES
    if count != size(space) or len(values) % FLOAT_BYTES:
        raise DeviceFault(Code.SHAPE, f"{what} has {count} values, agent expects {size(space)}")
    flat = struct.unpack(f"<{count}f", values)
    parts = space.spaces.values() if isinstance(space, Dict) else (space,)
    start = 0
    for part in parts:
        end = start + size(part)
        if isinstance(part, Box):
            _check_bounds(part, flat[start:end], what)
        else:
            _check_choices(part, flat[start:end], what)
        start = end
    return values


def unflatten(space: Space, values: Floats) -> int | list[Any]:
    """An action as JSON has it: an int for Discrete, else a list, nested as the shape of a Box."""
    return nested(space, struct.unpack(f"<{len(values) // FLOAT_BYTES}f", values))


def nested(space: Space, flat: Sequence[float]) -> int | list[Any]:
    """The same for numbers."""
    if isinstance(space, Discrete):
        return int(flat[0])
    if isinstance(space, (MultiDiscrete, MultiBinary)):
        return [int(x) for x in flat]
    assert isinstance(space, Box), "an action is no Dict"
    numbers: list[Any] = [int(x) for x in flat] if space.dtype == "uint8" else list(flat)
    for width in reversed(space.shape[1:]):
        numbers = [numbers[i : i + width] for i in range(0, len(numbers), width)]
    return numbers


def as_json(space: Space, values: Floats) -> Any:
    """An observation as a device sends it; of a Dict space an object."""
    flat = struct.unpack(f"<{len(values) // FLOAT_BYTES}f", values)
    if not isinstance(space, Dict):
        return nested(space, flat)
    shown, start = {}, 0
    for name, part in space.spaces.items():
        shown[name] = nested(part, flat[start : start + size(part)])
        start += size(part)
    return shown


def neutral(space: Space) -> Floats:
    """The action nearest to doing nothing: zeros, kept within the bounds."""
    assert not isinstance(space, Dict), "an action is no Dict"
    zeros = (min(max(0.0, low), high) for low, high in zip(*bounds(space), strict=True))
    return Floats(struct.pack(f"<{size(space)}f", *zeros))


def doubts(declared: Any) -> list[str]:
    """What a declaration that is accepted may not mean as it stands, a sentence each."""
    parts = {"": declared}
    if isinstance(declared, dict) and not _is_named(declared):
        parts = {f"{name}: ": part for name, part in declared.items()}
    return [
        f"{where}{part} holds whole numbers, as an image does, and training cuts decimals off; "
        f"for a sensor write {json.dumps([*part, 'float32'])}"
        for where, part in parts.items()
        if isinstance(part, (list, tuple)) and len(part) == BOX_PARTS and _seems_a_sensor(part)
    ]


def _seems_a_sensor(declared: Sequence[Any]) -> bool:
    space = _parse_leaf(declared, "")
    return isinstance(space, Box) and space.dtype == "uint8" and size(space) <= SENSORS_MAX


def _is_named(declared: Any) -> bool:
    """Whether it is a space that Shepherd has no word for, not a Dict that uses its name."""
    return (
        isinstance(declared, dict)
        and declared.keys() in NAMED
        and not any(map(_is_container, declared.values()))
    )


def _is_container(value: Any) -> bool:
    """A dict, or a list that begins with one, as the shape of a Box is."""
    return isinstance(value, dict) or (
        isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], (list, tuple))
    )


def _parse_leaf(declared: Any, where: str) -> Leaf:
    if isinstance(declared, bool):
        raise OperatorFault(f"{where}{declared} is not a space; for two choices write 2")
    if isinstance(declared, int):
        return Discrete(_count(declared, f"{where}a Discrete space"))
    if _is_named(declared):
        return _parse_named(declared, where)
    if not isinstance(declared, (list, tuple)) or len(declared) not in (BOX_PARTS, BOX_PARTS + 1):
        raise OperatorFault(
            f"{where}{declared!r} is not a space; write an int (Discrete), "
            '[shape, low, high] (Box), {"multi_discrete": [3, 4]}, {"multi_binary": 5} or, of '
            "observations, an object of those (Dict)"
        )
    return _parse_box(declared, where)


def _parse_named(declared: dict[str, Any], where: str) -> Choices:
    """One of the spaces that Shepherd has no word for."""
    if "multi_binary" in declared:
        return MultiBinary(_count(declared["multi_binary"], f"{where}multi_binary", VALUES_MAX))
    if "discrete" in declared:
        n, start = _count(declared["discrete"], f"{where}discrete"), declared["start"]
        if type(start) is not int or abs(start) + n > CHOICES_MAX:
            raise OperatorFault(f"{where}start is a whole number near 0, not {start!r}")
        return Discrete(n, start)
    counts = declared["multi_discrete"]
    if not isinstance(counts, (list, tuple)) or not counts:
        raise OperatorFault(
            f"{where}multi_discrete is a list, of each number how many choices it has, "
            f"not {counts!r}"
        )
    counts = tuple(_count(n, f"{where}multi_discrete[{i}]") for i, n in enumerate(counts))
    if sum(counts) > CHOICES_MAX or len(counts) > VALUES_MAX:
        raise OperatorFault(
            f"{where}multi_discrete has {sum(counts)} choices in all; at most {CHOICES_MAX} are "
            f"taken, of {VALUES_MAX} numbers"
        )
    return MultiDiscrete(counts)


def _count(n: Any, what: str, most: int = CHOICES_MAX) -> int:
    if type(n) is not int:
        raise OperatorFault(f"{what} is a whole number, not {n!r}")
    if n < 1:
        raise OperatorFault(f"{what} needs at least 1 choice, not {n}")
    if n > most:
        raise OperatorFault(f"{what}: {n} choices; at most {most} are taken")
    return n


def _parse_box(declared: Sequence[Any], where: str) -> Box:
    shape, low, high, *dtypes = declared
    if not isinstance(shape, (list, tuple)) or not all(type(n) is int and n > 0 for n in shape):
        text = f"a shape is a list of positive ints, not {shape!r}"
        raise OperatorFault(f"{where}{text}; two values from 0 to 1 are [[2],0,1]")
    count = math.prod(shape)
    if count > VALUES_MAX:
        raise OperatorFault(
            f"{where}{count} values in one observation; at most {VALUES_MAX} are taken"
        )
    lows, highs = _bounds(low, count, f"{where}low"), _bounds(high, count, f"{where}high")
    if any(not a < b for a, b in zip(lows, highs, strict=True)):
        raise OperatorFault(f"{where}every low must be below its high, in {declared!r}")
    whole = isinstance(low, int) and isinstance(high, int)
    # Shepherd makes any int low a uint8 image; a sensor declared [[4], 0, 100] would lose its
    # decimals, so only an image's own bounds count as one here (docs/decisions/0003).
    dtype = "uint8" if whole and (low, high) == (0, 255) else "float32"
    for said in dtypes:
        if said not in ("float32", "uint8") or (said == "uint8" and not _are_bytes(lows + highs)):
            raise OperatorFault(
                f'{where}a dtype is "float32", or "uint8" with bounds from 0 to 255, not {said!r}'
            )
        dtype = said
    return Box(
        tuple(shape),
        tuple(min(bound, _nearest(bound)) for bound in lows),
        tuple(max(bound, _nearest(bound)) for bound in highs),
        "uint8" if dtype == "uint8" else "float32",
    )


def _are_bytes(numbers: tuple[float, ...]) -> bool:
    return all(number.is_integer() and 0 <= number <= BYTE_MAX for number in numbers)


def _bounds(bound: Any, count: int, where: str) -> tuple[float, ...]:
    numbers = _numbers(bound, where)
    if not isinstance(bound, (list, tuple)):
        return tuple(numbers) * count
    if len(numbers) != count:
        raise OperatorFault(f"{where} has {len(numbers)} numbers, the shape {count}")
    return tuple(numbers)


def _numbers(bound: Any, where: str) -> list[float]:
    if isinstance(bound, (list, tuple)):
        return [x for part in bound for x in _numbers(part, where)]
    if isinstance(bound, str) and bound.lower() in {"inf", "-inf", "+inf"}:
        return [float(bound)]
    if isinstance(bound, bool) or not isinstance(bound, (int, float)) or bound != bound:
        raise OperatorFault(f'{where} is {bound!r}; write a number, "inf", or a list of those')
    # ±3.4e38 is how a float32 Box writes "no bound": never scale by it.
    # An int may have more digits than any float.
    return [float(bound) if abs(bound) < UNBOUNDED_FROM else math.inf if bound > 0 else -math.inf]


def _nearest(bound: float) -> float:
    """The float32 nearest to a bound."""
    return float(struct.unpack("<f", struct.pack("<f", bound))[0])


def _flatten_leaf(space: Leaf, value: Any, what: str, flat: list[float]) -> None:
    if isinstance(space, Discrete):
        flat.append(_choice(value, space.start, space.n, what))
        return
    start, shape = len(flat), space.shape if isinstance(space, Box) else (size(space),)
    if len(shape) == 1 and isinstance(value, list) and len(value) == shape[0]:
        flat.extend(value)  # the common case; types are checked below, all at once
    else:
        _extend(value, shape, what, flat, size(space))
    if isinstance(space, Box):
        _check_bounds(space, flat[start:], what)
        return
    for i, n in enumerate(choices(space)):
        flat[start + i] = _choice(flat[start + i], 0, n, f"{what}[{i}]")


def _extend(value: Any, shape: tuple[int, ...], what: str, flat: list[float], total: int) -> None:
    if not shape or (total == 1 and not isinstance(value, list)):
        flat.append(value)
        return
    if not isinstance(value, list):
        raise DeviceFault(Code.TYPE, f"{what} is {shown(value)}, agent expects {total} values")
    if len(value) != shape[0]:
        raise DeviceFault(Code.SHAPE, f"{what} has {len(value)} values, agent expects {shape[0]}")
    for part in value:
        _extend(part, shape[1:], what, flat, math.prod(shape[1:]))


def _choice(value: Any, first: int, n: int, what: str) -> float:
    """One of `n` choices counted from `first`, as a device sent it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        boundless = isinstance(value, float) and not math.isfinite(value)
        wanted = f"from {first} to {first + n - 1}" if first else f"below {n}"
        message = f"{what} is {shown(value)}, agent expects an int {wanted}"
        raise DeviceFault(Code.RANGE if boundless else Code.TYPE, message)
    if not first <= value < first + n:
        message = f"{what} is {value}, agent expects {first} to {first + n - 1}"
        raise DeviceFault(Code.RANGE, message)
    return float(value)


def _check_choices(space: Choices, values: Sequence[float], what: str) -> None:
    first = first_choice(space)
    for i, (value, n) in enumerate(zip(values, choices(space), strict=True)):
        where = what if isinstance(space, Discrete) else f"{what}[{i}]"
        if not value.is_integer():  # nor are NaN and infinity
            code = Code.TYPE if math.isfinite(value) else Code.RANGE
            raise DeviceFault(code, f"{where} {value} is not a whole number")
        _choice(value, first, n, where)


def _check_bounds(space: Box, values: Iterable[Any], what: str) -> None:
    for i, (value, low, high) in enumerate(zip(values, space.low, space.high, strict=True)):
        if type(value) is not float and (
            type(value) is bool or not isinstance(value, (int, float))
        ):
            raise DeviceFault(Code.TYPE, f"{what}[{i}] is {shown(value)}, agent expects a number")
        # NaN fails both comparisons; an infinite value is no reading even where nothing bounds it.
        if not low <= value <= high or value in (math.inf, -math.inf):
            raise DeviceFault(Code.RANGE, f"{what}[{i}] is {value}, agent expects {low} to {high}")


def shown(value: Any) -> str:
    """What a device sent, in few words; never walks into it, for it may be nested without end."""
    if isinstance(value, (list, dict)):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    return "null" if value is None else f"{value!r:.40}"
