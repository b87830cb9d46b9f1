"""A mapping as an operator wrote it, TOML or JSON: read, or refused with what would do."""

from __future__ import annotations

import tomllib
from typing import Any, Final

import msgspec
from msgspec import Struct

from hub.errors import OperatorFault
from hub.mappings import Command, Field, Mapping, Reading, Status

TEXT_MAX: Final = 64 * 1024
"""Characters of a mapping."""
PARTS: Final[dict[str, type[Struct]]] = {
    "observations": Field,
    "reward": Reading,
    "done": Reading,
    "action": Command,
    "status": Status,
}


def read_mapping(text: str) -> Mapping:
    """The mapping a text means.

    Raises:
        OperatorFault: it is neither TOML nor JSON, has an unknown name, or a value of a wrong type.
    """
    if len(text) > TEXT_MAX:
        raise OperatorFault(f"a mapping of {len(text)} characters; at most {TEXT_MAX} are taken")
    return convert_mapping(_document(text))


def convert_mapping(document: Any) -> Mapping:
    """The same of a document.

    Raises:
        OperatorFault: as `read_mapping`.
    """
    _refuse_unknown("a mapping", document, Mapping)
    for name, part in PARTS.items():
        declared = document.get(name)
        if isinstance(declared, list):
            for i, one in enumerate(declared):
                _refuse_unknown(f"{name}[{i}]", one, part)
        elif declared is not None:
            _refuse_unknown(name, declared, part)
    try:
        return msgspec.convert(document, Mapping)
    except msgspec.ValidationError as error:
        raise OperatorFault(f"mapping: {error}") from error


def _document(text: str) -> Any:
    try:
        if text.lstrip()[:1] == "{":
            return msgspec.json.decode(text)
        return tomllib.loads(text)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise OperatorFault(f"a mapping is TOML, or a JSON object: {error}") from error


def _refuse_unknown(where: str, declared: object, known: type[Struct]) -> None:
    """The log's words take what later versions may add; an operator's typing slip is refused."""
    if not isinstance(declared, dict):
        raise OperatorFault(f"{where} is a table of names and values, not {declared!r:.60}")
    unknown = sorted(map(str, set(declared) - set(known.__struct_fields__)))
    if unknown:
        names = ", ".join(known.__struct_fields__)
        raise OperatorFault(f"{where} has no {', '.join(unknown)!s:.200}; there are: {names}")
