"""An action in the device's own words: `ON`, `{"brightness": 120}`.

payload_of = compile_command(Command(values=["OFF", "ON"]), Discrete(2))
payload_of(1)       # b"ON"
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hub.errors import OperatorFault
from hub.spaces import Discrete, size

if TYPE_CHECKING:
    from hub.mappings import Command
    from hub.spaces import Space

Say = Callable[["int | list[Any]"], bytes]

DECIMALS_MAX: Final = 15
DIGITS: Final = 7
"""That a float32 has."""
_SLOT: Final = re.compile(r"\{([0-9]{1,6})\}")

Number = int | float


def compile_command(command: Command, actions: Space) -> Say:
    """What makes a payload of an action of the space.

    Raises:
        OperatorFault: the command can't tell all of the space's actions.
    """
    if command.decimals is not None and not 0 <= command.decimals <= DECIMALS_MAX:
        raise OperatorFault(f"action: decimals are 0 to {DECIMALS_MAX}, not {command.decimals}")
    if (command.values is None) == (command.payload is None):
        raise OperatorFault("action: write either values or payload")
    if command.values is not None:
        return _chosen(command.values, actions)
    count = size(actions)
    slots = set(_slots(command.payload))
    if not slots:
        raise OperatorFault('action: payload has no place for the action; write "{0}" in it')
    if max(slots) >= count:
        raise OperatorFault(f"action: payload has {{{max(slots)}}}, the action {count} numbers")

    def say(action: int | list[Any]) -> bytes:
        numbers = [_rounded(number, command.decimals) for number in _flat(action)]
        return _encoded(_filled(command.payload, numbers, command.decimals, top=True))

    return say


def _chosen(values: list[Any], actions: Space) -> Say:
    if not isinstance(actions, Discrete):
        raise OperatorFault("action: values are for an agent of one choice; write payload")
    if len(values) != actions.n:
        raise OperatorFault(f"action: {len(values)} values, the agent has {actions.n} choices")
    payloads = [_encoded(value) for value in values]

    def say(action: int | list[Any]) -> bytes:
        assert isinstance(action, int), "an action of a Discrete space"
        return payloads[action - actions.start]

    return say


def _slots(payload: object) -> list[int]:
    if isinstance(payload, str):
        return [int(place) for place in _SLOT.findall(payload)]
    if isinstance(payload, dict):
        return [place for part in payload.values() for place in _slots(part)]
    if isinstance(payload, list):
        return [place for part in payload for place in _slots(part)]
    return []


def _filled(payload: object, numbers: list[Number], decimals: int | None, *, top: bool) -> object:
    """With the numbers in their places; a place that is a text of its own becomes a number."""
    if isinstance(payload, dict):
        return {k: _filled(v, numbers, decimals, top=False) for k, v in payload.items()}
    if isinstance(payload, list):
        return [_filled(part, numbers, decimals, top=False) for part in payload]
    if not isinstance(payload, str):
        return payload
    alone = None if top else _SLOT.fullmatch(payload)
    if alone is not None:
        return numbers[int(alone[1])]
    return _SLOT.sub(lambda found: _written(numbers[int(found[1])], decimals), payload)


def _rounded(number: Number, decimals: int | None) -> Number:
    if isinstance(number, int) or decimals == 0:
        return round(number)
    return float(f"{number:.{DIGITS}g}") if decimals is None else round(number, decimals)


def _written(number: Number, decimals: int | None) -> str:
    if isinstance(number, int):
        return str(number)
    return f"{number:.{DIGITS}g}" if decimals is None else f"{number:.{decimals}f}"


def _flat(action: object) -> list[Number]:
    if isinstance(action, list):
        return [number for part in action for number in _flat(part)]
    assert isinstance(action, int | float), "an action is numbers"
    return [action]


def _encoded(value: object) -> bytes:
    return value.encode() if isinstance(value, str) else msgspec.json.encode(value)
