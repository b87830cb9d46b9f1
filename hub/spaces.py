"""Spaces as devices declare them, and their values as flat float32 vectors and back.

The syntax is Shepherd's: an int is Discrete(n); `[shape, low, high]` is a Box (low and high numbers
or lists; an int low makes it uint8, as there); a dict of spaces is a Dict. Pure and without numpy:
the hub checks every observation here and must stay small.
"""

from __future__ import annotations

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


class Discrete(Struct, frozen=True, tag=True):
    """`n` choices, counted from 0. One float."""

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

    spaces: dict[str, Discrete | Box]


Space = Discrete | Box | Dict


def parse(declared: Any) -> Space:
    """The space a declaration means.

    Raises:
        OperatorFault: it means none; the message says what was expected where.
    """
    if isinstance(declared, dict):
        if not declared:
            raise OperatorFault("a Dict space needs at least one named space")
        return Dict({str(k): _parse_leaf(v, f"{k}: ") for k, v in sorted(declared.items())})
    return _parse_leaf(declared, "")


def size(space: Space) -> int:
    """Floats in a value of the space."""
    if isinstance(space, Discrete):
        return 1
    if isinstance(space, Box):
        return math.prod(space.shape)
    return sum(size(part) for part in space.spaces.values())


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
        if isinstance(part, Discrete):
            if not flat[start].is_integer():  # nor are NaN and infinity
                code = Code.TYPE if math.isfinite(flat[start]) else Code.RANGE
                raise DeviceFault(code, f"{what} {flat[start]} is not a whole number")
            _check_discrete(part, int(flat[start]), what)
        else:
            _check_bounds(part, flat[start:end], what)
        start = end
    return values


def unflatten(space: Space, values: Floats) -> int | list[Any]:
    """An action as JSON has it: an int for Discrete, a list nested as its shape for a Box."""
    return nested(space, struct.unpack(f"<{len(values) // FLOAT_BYTES}f", values))


def nested(space: Space, flat: Sequence[float]) -> int | list[Any]:
    """The same for numbers: an int for Discrete, a list nested as its shape for a Box."""
    if isinstance(space, Discrete):
        return int(flat[0])
    assert isinstance(space, Box), "actions are Discrete or Box"
    numbers: list[Any] = [int(x) for x in flat] if space.dtype == "uint8" else list(flat)
    for width in reversed(space.shape[1:]):
        numbers = [numbers[i : i + width] for i in range(0, len(numbers), width)]
    return numbers


def neutral(space: Space) -> Floats:
    """The action nearest to doing nothing: choice 0, or zeros kept within the bounds."""
    if isinstance(space, Discrete):
        return Floats(struct.pack("<f", 0.0))
    assert isinstance(space, Box), "actions are Discrete or Box"
    zeros = (min(max(0.0, low), high) for low, high in zip(space.low, space.high, strict=True))
    return Floats(struct.pack(f"<{size(space)}f", *zeros))


def _parse_leaf(declared: Any, where: str) -> Discrete | Box:
    if isinstance(declared, bool):
        raise OperatorFault(f"{where}{declared} is not a space; for two choices write 2")
    if isinstance(declared, int):
        if declared < 1:
            raise OperatorFault(f"{where}a Discrete space needs at least 1 choice, not {declared}")
        if declared > CHOICES_MAX:
            raise OperatorFault(f"{where}{declared} choices; at most {CHOICES_MAX} are taken")
        return Discrete(declared)
    if not isinstance(declared, (list, tuple)) or len(declared) != 3:
        raise OperatorFault(
            f"{where}{declared!r} is not a space; write an int (Discrete), "
            "[shape, low, high] (Box) or an object of those (Dict)"
        )
    shape, low, high = declared
    if not isinstance(shape, (list, tuple)) or not all(type(n) is int and n > 0 for n in shape):
        raise OperatorFault(f"{where}a shape is a list of positive ints, not {shape!r}")
    count = math.prod(shape)
    if count > VALUES_MAX:
        raise OperatorFault(
            f"{where}{count} values in one observation; at most {VALUES_MAX} are taken"
        )
    whole = isinstance(low, int) and isinstance(high, int)
    # Shepherd makes any int low a uint8 image; a sensor declared [[4], 0, 100] would lose its
    # decimals, so only an image's own bounds count as one here (docs/decisions/0003).
    dtype: Literal["float32", "uint8"] = "uint8" if whole and (low, high) == (0, 255) else "float32"
    lows, highs = _bounds(low, count, f"{where}low"), _bounds(high, count, f"{where}high")
    if any(not a < b for a, b in zip(lows, highs, strict=True)):
        raise OperatorFault(f"{where}every low must be below its high, in {declared!r}")
    return Box(
        tuple(shape),
        tuple(min(bound, _nearest(bound)) for bound in lows),
        tuple(max(bound, _nearest(bound)) for bound in highs),
        dtype,
    )


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
    if isinstance(bound, bool) or not isinstance(bound, (int, float)) or math.isnan(bound):
        raise OperatorFault(f'{where} is {bound!r}; write a number, "inf", or a list of those')
    # ±3.4e38 is how a float32 Box writes "no bound": never scale by it.
    return [float(bound) if abs(bound) < UNBOUNDED_FROM else math.copysign(math.inf, bound)]


def _nearest(bound: float) -> float:
    """The float32 nearest to a bound."""
    return float(struct.unpack("<f", struct.pack("<f", bound))[0])


def _flatten_leaf(space: Discrete | Box, value: Any, what: str, flat: list[float]) -> None:
    if isinstance(space, Discrete):
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            boundless = isinstance(value, float) and not math.isfinite(value)
            message = f"{what} is {_shown(value)}, agent expects an int below {space.n}"
            raise DeviceFault(Code.RANGE if boundless else Code.TYPE, message)
        _check_discrete(space, value, what)
        flat.append(float(value))
        return
    start = len(flat)
    if len(space.shape) == 1 and isinstance(value, list) and len(value) == space.shape[0]:
        flat.extend(value)  # the common case; types are checked below, all at once
    else:
        _extend(value, space.shape, what, flat, size(space))
    _check_bounds(space, flat[start:], what)


def _extend(value: Any, shape: tuple[int, ...], what: str, flat: list[float], total: int) -> None:
    if not shape or (total == 1 and not isinstance(value, list)):
        flat.append(value)
        return
    if not isinstance(value, list):
        raise DeviceFault(Code.TYPE, f"{what} is {_shown(value)}, agent expects {total} values")
    if len(value) != shape[0]:
        raise DeviceFault(Code.SHAPE, f"{what} has {len(value)} values, agent expects {shape[0]}")
    for part in value:
        _extend(part, shape[1:], what, flat, math.prod(shape[1:]))


def _check_discrete(space: Discrete, value: int, what: str) -> None:
    if not 0 <= value < space.n:
        raise DeviceFault(Code.RANGE, f"{what} is {value}, agent expects 0 to {space.n - 1}")


def _check_bounds(space: Box, values: Iterable[Any], what: str) -> None:
    for i, (value, low, high) in enumerate(zip(values, space.low, space.high, strict=True)):
        if type(value) is not float and (
            type(value) is bool or not isinstance(value, (int, float))
        ):
            raise DeviceFault(Code.TYPE, f"{what}[{i}] is {_shown(value)}, agent expects a number")
        # NaN fails both comparisons; an infinite value is no reading even where nothing bounds it.
        if not low <= value <= high or value in (math.inf, -math.inf):
            raise DeviceFault(Code.RANGE, f"{what}[{i}] is {value}, agent expects {low} to {high}")


def _shown(value: Any) -> str:
    """What a device sent, in few words; never walks into it, for it may be nested without end."""
    if isinstance(value, (list, dict)):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    return f"{value!r:.40}"
