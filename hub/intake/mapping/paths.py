"""Where a value stands in a document: JMESPath, the only door to it, with a quick lane.

    get = compile_path("BME280.Temperature")
    get({"BME280": {"Temperature": 21.4}})      # 21.4; None where there is nothing

Names and places alone (`a.b`, `"a-b"[0]`) take 0.2 µs instead of 4 and mean the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError, JMESPathTypeError

from hub.errors import DeviceFault, OperatorFault
from hub.words import Code

Get = Callable[[object], object]

PATH_MAX: Final = 500
"""Characters."""
_STEP: Final = re.compile(r'([A-Za-z_][A-Za-z0-9_]*|"[^"\\]+")|\[(-?[0-9]{1,9})\]')
_BY_LIBRARY: Final = (
    JMESPathError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What its functions raise over documents that they were not written for."""


def compile_path(path: str) -> Get:
    """What finds the value; None is found where there is none.

    Raises:
        OperatorFault: it is no JMESPath.
    """
    if len(path) > PATH_MAX:
        raise OperatorFault(f"path of {len(path)} characters; at most {PATH_MAX} are taken")
    steps = _steps(path)
    if steps is not None:
        return _walk(steps)
    try:
        search = jmespath.compile(path).search
    except (JMESPathError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:PATH_MAX]
        raise OperatorFault(f"path {path!r} is no JMESPath: {reason}") from error

    def get(document: object) -> object:
        try:
            found: object = search(document)
        except JMESPathTypeError as error:
            if error.current_value is None:  # `length(valves)`, where there are no valves
                return None
            raise _unfit(path, error) from error
        except _BY_LIBRARY as error:
            raise _unfit(path, error) from error
        return found

    return get


def _unfit(path: str, error: Exception) -> DeviceFault:
    reason = " ".join(str(error).split())[:PATH_MAX]
    return DeviceFault(Code.TYPE, f"{path} can't be looked up: {reason}")


def _steps(path: str) -> list[str | int] | None:
    """Names and places, None where there is more to the path than those."""
    if path == "@":
        return []
    steps: list[str | int] = []
    at = 0
    while at < len(path):
        dot = path[at] == "."
        found = _STEP.match(path, at + dot)
        # A dot stands before each name but the first, and before no place.
        if found is None or dot != bool(steps and found[1]):
            return None
        steps.append(_name(found[1]) if found[1] else int(found[2]))
        at = found.end()
    return steps or None


def _name(text: str) -> str:
    return str(msgspec.json.decode(text)) if text[0] == '"' else text


def _walk(steps: list[str | int]) -> Get:
    if len(steps) == 1 and isinstance(steps[0], str):
        (name,) = steps
        return lambda document: document.get(name) if isinstance(document, dict) else None

    def get(document: object) -> object:
        found = document
        for step in steps:
            if type(step) is str:
                if not isinstance(found, dict):
                    return None
                found = found.get(step)
            elif isinstance(found, list) and -len(found) <= step < len(found):  # type: ignore[operator]  # it is an int
                found = found[step]  # type: ignore[index]  # as above
            else:
                return None
        return found

    return get
