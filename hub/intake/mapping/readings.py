"""One number of a payload: found, read, converted, clipped; or a fault that says where."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from hub.errors import DeviceFault, OperatorFault
from hub.intake.mapping.units import conversion
from hub.spaces import shown
from hub.words import Code

if TYPE_CHECKING:
    from hub.intake.mapping.paths import Get
    from hub.mappings import Reading

Read = Callable[[object], "float | None"]
"""None = it is missing."""
Linear = tuple[float, float]
"""Factor and addend."""

FLOAT32_MAX: Final = 3.4028234663852886e38
SAME: Final[Linear] = (1.0, 0.0)
WORDS: Final = {"on": 1.0, "off": 0.0, "true": 1.0, "false": 0.0}
NOTHING: Final = frozenset({"", "nan", "null", "none", "unavailable", "unknown", "n/a"})
"""Words of devices that have no value now, in small letters."""
VALUES_MAX: Final = 1000
UNITS_KEPT: Final = 32
"""Different units that one device type may name, before they are looked up each time."""


def compile_reading(
    reading: Reading, where: str, get: Get, unit_of: Get | None, decimal: str
) -> Read:
    """What reads the number, in the reading's unit.

    Args:
        reading: as declared.
        where: its name, for messages.
        get: finds the value.
        unit_of: finds the unit that stands in the payload; None = none does.
        decimal: what numbers in text have for a point.

    Raises:
        OperatorFault: units that don't fit, bounds the wrong way round.
    """
    where = f"{where} ({reading.path})"
    linear = _declared(reading, where)
    low, high = reading.clip or (-FLOAT32_MAX, FLOAT32_MAX)
    number_of = _numbers(reading.values, where, decimal)
    factor, addend = linear
    by_unit = None if unit_of is None else _by_unit(reading, where, unit_of, linear)
    quick = None if reading.values else float
    """A type that is a number as it stands."""

    def read(document: object) -> float | None:
        value = get(document)
        number = value if type(value) is quick else number_of(value)
        if number is None or number != number:
            return None
        number = by_unit(number, document) if by_unit else number * factor + addend
        # NaN, where an infinite number met a factor of 0, is not within either.
        if not -FLOAT32_MAX <= number <= FLOAT32_MAX:
            raise DeviceFault(Code.RANGE, f"{where} is {number}, which is no float32")
        return low if number < low else high if number > high else number

    return read


def _declared(reading: Reading, where: str) -> Linear:
    """Unit, scale and offset as one factor and addend."""
    numbers = (reading.scale, reading.offset, *(reading.clip or ()), *reading.values.values())
    if not all(abs(number) <= FLOAT32_MAX for number in numbers):
        raise OperatorFault(f"{where}: scale, offset, clip and values are finite numbers")
    if isinstance(reading.missing, float) and not abs(reading.missing) <= FLOAT32_MAX:
        raise OperatorFault(f"{where}: missing is reject, hold or a finite number")
    if reading.clip is not None and not reading.clip[0] < reading.clip[1]:
        raise OperatorFault(f"{where}: clip is [least, greatest], not {list(reading.clip)}")
    if len(reading.values) > VALUES_MAX:
        raise OperatorFault(f"{where}: at most {VALUES_MAX} values are taken")
    if reading.unit is None:
        if reading.sent_in is not None or reading.unit_path is not None:
            raise OperatorFault(f"{where}: sent_in and unit_path need unit, what they become")
        return reading.scale, reading.offset
    try:
        of_unit = conversion(reading.sent_in or reading.unit, reading.unit)
    except OperatorFault as fault:
        raise OperatorFault(f"{where}: {fault}") from fault
    return _then_scaled(of_unit, reading)


def _then_scaled(linear: Linear, reading: Reading) -> Linear:
    factor, addend = linear
    return factor * reading.scale, addend * reading.scale + reading.offset


def _by_unit(
    reading: Reading, where: str, unit_of: Get, usual: Linear
) -> Callable[[float, object], float]:
    """What converts by the unit that stands in the payload itself."""
    target = reading.unit or ""
    known: dict[str, Linear] = {}

    def converted(number: float, document: object) -> float:
        unit = unit_of(document)
        if unit is None:
            return number * usual[0] + usual[1]
        if not isinstance(unit, str):
            raise DeviceFault(Code.TYPE, f"{where}: its unit is {shown(unit)}, not text")
        linear = known.get(unit)
        if linear is None:
            try:
                linear = _then_scaled(conversion(unit, target), reading)
            except OperatorFault as fault:
                raise DeviceFault(Code.TYPE, f"{where}: {fault}") from fault
            if len(known) < UNITS_KEPT:
                known[unit] = linear
        return number * linear[0] + linear[1]

    return converted


def _numbers(
    values: dict[str, float], where: str, decimal: str
) -> Callable[[object], float | None]:
    """What makes a number of a value; None where it says that there is none."""

    def of_table(value: object) -> float | None:
        found = values.get(_word(value))
        if found is None and not _is_nothing(value):
            known = ", ".join(values)[:VALUES_MAX]
            raise DeviceFault(Code.TYPE, f"{where} is {shown(value)}; values has {known}")
        return found

    def plain(value: object) -> float | None:
        if isinstance(value, int | float):  # a bool too
            return _float(value)
        if _is_nothing(value):
            return None
        number = _in_text(value, decimal) if isinstance(value, str) else None
        if number is None:
            raise DeviceFault(Code.TYPE, f"{where} is {shown(value)}, not a number")
        return number

    return of_table if values else plain


def _word(value: object) -> str:
    """As the table names it: `true`, `2`, `heating`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else shown(value)


def _is_nothing(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in NOTHING)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an int of more digits than any float
        return math.inf


def _in_text(text: str, decimal: str) -> float | None:
    text = text.strip().lower()
    if text in WORDS:
        return WORDS[text]
    if decimal != ".":
        text = text.replace(".", " ").replace(decimal, ".")  # a point is no decimal then
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        return None
