"""What an operator declares of safety: read, or refused with what would do."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from hub.errors import OperatorFault
from hub.words import Interlock, Safety


def read_safety(declared: object) -> Safety | None:
    """Safety rules as declared; what they mean for an agent's spaces is looked at later.

    Raises:
        OperatorFault: an unknown name, or a value of the wrong type.
    """
    if declared is None:
        return None
    if not isinstance(declared, dict):
        raise OperatorFault(f"safety is an object of rules or null, not {declared!r}")
    _refuse_unknown("safety", declared, Safety)
    interlocks = declared.get("interlocks")
    if isinstance(interlocks, list):
        for i, interlock in enumerate(interlocks):
            _refuse_unknown(f"safety.interlocks[{i}]", interlock, Interlock)
    try:
        return msgspec.convert(declared, Safety)
    except msgspec.ValidationError as error:
        raise OperatorFault(f"safety: {error}") from error


def _refuse_unknown(where: str, declared: object, known: type[Struct]) -> None:
    """The log's words take what later versions may add; an operator's typing slip is refused."""
    if not isinstance(declared, dict):
        raise OperatorFault(f"{where} is an object, not {declared!r}")
    unknown = sorted(set(declared) - set(known.__struct_fields__))
    if unknown:
        names = ", ".join(known.__struct_fields__)
        raise OperatorFault(f"{where} has no {', '.join(unknown)}; there are: {names}")
