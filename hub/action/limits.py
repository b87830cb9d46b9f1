"""What an operator declares as `safety`, read and checked: limits of components, and interlocks.

    limits = read_limits(spec)
    locks = read_locks(spec, limits)

All that is wrong is said when the agent is declared, with what would be right: on the step path
nothing of it can fail any more.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from hub import spaces
from hub.errors import DeviceFault, OperatorFault
from hub.over_observation import read_condition

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.registry.fold import Spec
    from hub.spaces import Space
    from hub.words import Floats, Interlock, PerComponent, Safety

INTERLOCKS_MAX: Final = 32
"""Of one agent: each is looked at for every action."""
NAME_MAX: Final = 80
"""Characters of a condition, in the reason that names it."""
WHOLE: Final = ("low", "high", "rate_max", "dwell_steps")
"""Rules that count in whole numbers where the actions do."""


class Limit(Struct, frozen=True, gc=False):
    """What one component of an action must keep to. `low` and `high` are float32 numbers."""

    low: float
    high: float
    rate_max: float
    dwell_s: float
    dwell_steps: float


class Lock(Struct, frozen=True, gc=False):
    """An interlock, ready to be asked."""

    holds: Callable[[Floats], bool]
    action: Floats
    name: str


def read_limits(safety: Safety, actions: Space) -> list[Limit]:
    """One for each component of an action.

    Raises:
        OperatorFault: a number makes no sense for this action space.
    """
    _check_numbers(safety)
    assert not isinstance(actions, spaces.Dict), "an action is no Dict"
    lows, highs = spaces.bounds(actions)
    whole = not isinstance(actions, spaces.Box) or actions.dtype == "uint8"
    columns = [
        _column(name, given, otherwise, whole=whole and name in WHOLE)
        for name, given, otherwise in (
            ("low", safety.low, lows),
            ("high", safety.high, highs),
            ("rate_max", safety.rate_max, (math.inf,) * len(lows)),
            ("dwell_s", safety.dwell_s, (0.0,) * len(lows)),
            ("dwell_steps", safety.dwell_steps, (0.0,) * len(lows)),
        )
    ]
    limits = [Limit(*numbers) for numbers in zip(*columns, strict=True)]
    return [
        _checked(limit, i, low, high)
        for i, (limit, low, high) in enumerate(zip(limits, lows, highs, strict=True))
    ]


def read_locks(spec: Spec, safety: Safety, limits: list[Limit]) -> list[Lock]:
    """The interlocks, in their order.

    Raises:
        OperatorFault: a condition or an action makes no sense for the agent's spaces.
    """
    if len(safety.interlocks) > INTERLOCKS_MAX:
        raise OperatorFault(f"safety.interlocks: at most {INTERLOCKS_MAX} are taken")
    return [
        _read_lock(interlock, f"safety.interlocks[{i}]", spec, limits)
        for i, interlock in enumerate(safety.interlocks)
    ]


def _check_numbers(safety: Safety) -> None:
    """Those that are of the whole agent."""
    for name, value, least in (
        ("versions_behind_max", safety.versions_behind_max, 0),
        ("clamps_max", safety.clamps_max, 1),
    ):
        if value is not None and value < least:
            raise OperatorFault(f"safety.{name} is a count from {least} on, not {value}")
    age_s = safety.policy_age_s_max
    if age_s is not None and not 0 < age_s < math.inf:
        raise OperatorFault(f"safety.policy_age_s_max is seconds above 0, not {age_s}")


def _column(
    name: str, given: PerComponent, otherwise: tuple[float, ...], *, whole: bool
) -> tuple[float, ...]:
    """One number for each component."""
    numbers = given if isinstance(given, list) else [given] * len(otherwise)
    if len(numbers) != len(otherwise):
        raise OperatorFault(
            f"safety.{name} has {len(numbers)} numbers, an action {len(otherwise)}; "
            "write one number for all, or one each (null = no rule)"
        )
    for number in numbers:
        if number is not None and not abs(number) < spaces.UNBOUNDED_FROM:
            raise OperatorFault(f"safety.{name} is a number or null (no rule), not {number}")
        if number is not None and whole and not number.is_integer():
            raise OperatorFault(f"safety.{name} is {number}, but these actions are whole numbers")
    return tuple(
        default if number is None else float(number)
        for number, default in zip(numbers, otherwise, strict=True)
    )


def _checked(limit: Limit, i: int, low: float, high: float) -> Limit:
    """The limit of component `i` with float32 bounds, inside those of the space."""
    if not low <= limit.low <= limit.high <= high:
        raise OperatorFault(
            f"safety.low and high of component {i} are {limit.low} and {limit.high}; they stand "
            f"within the action space, {low} to {high}, and low is not above high"
        )
    for name, number, above in (
        ("rate_max", limit.rate_max, True),
        ("dwell_s", limit.dwell_s, False),
        ("dwell_steps", limit.dwell_steps, False),
    ):
        if number < 0 or (above and number == 0):
            least = "above 0" if above else "0 or more"
            raise OperatorFault(f"safety.{name} of component {i} is {least}, not {number}")
    if not limit.dwell_steps.is_integer():
        raise OperatorFault(f"safety.dwell_steps counts actions, so {limit.dwell_steps} is none")
    inner = Limit(
        float32_within(limit.low, towards=math.inf),
        float32_within(limit.high, towards=-math.inf),
        limit.rate_max,
        limit.dwell_s,
        limit.dwell_steps,
    )
    if inner.low > inner.high:
        raise OperatorFault(
            f"safety: no float32 lies from {limit.low} to {limit.high} (component {i})"
        )
    return inner


def _read_lock(interlock: Interlock, where: str, spec: Spec, limits: list[Limit]) -> Lock:
    try:
        holds = read_condition(interlock.when, spec.observations)
    except OperatorFault as error:
        raise OperatorFault(f"{where}.when: {error}") from error
    try:
        action = spaces.flatten(spec.actions, interlock.action, what="action")
    except DeviceFault as fault:
        raise OperatorFault(f"{where}: {fault.message}") from fault
    numbers = struct.unpack(f"<{len(limits)}f", action)
    for i, (number, limit) in enumerate(zip(numbers, limits, strict=True)):
        if not limit.low <= number <= limit.high:
            raise OperatorFault(
                f"{where}.action[{i}] is {number}, outside safety's own bounds, "
                f"{limit.low} to {limit.high}"
            )
    return Lock(holds, action, f"interlock {' '.join(interlock.when.split())[:NAME_MAX]}")


def float32_within(number: float, *, towards: float) -> float:
    """The float32 nearest to a number, and not beyond it: on its side that is `towards`."""
    if not math.isfinite(number):
        return number
    nearest: float = struct.unpack("<f", struct.pack("<f", number))[0]
    beyond = nearest < number if towards > number else nearest > number
    if nearest == number or not beyond:
        return nearest
    (bits,) = struct.unpack("<i", struct.pack("<f", nearest))
    # The bits of a float32 count up away from 0 (IEEE 754, 3.4).
    away = (towards > nearest) == (nearest > 0)
    if nearest == 0:
        tiny: float = struct.unpack("<f", struct.pack("<i", 1))[0]
        return math.copysign(tiny, towards)
    stepped = struct.pack("<i", bits + (1 if away else -1))
    found: float = struct.unpack("<f", stepped)[0]
    return found
