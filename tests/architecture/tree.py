"""The repository as files, for the tests that read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
MADE: Final = {"data", "build", "node_modules"}
"""Folders that `.gitignore` leaves out, beside the hidden ones."""


def files(*suffixes: str, below: str = ".") -> Iterator[Path]:
    """Every file of the tree that a person wrote, with one of the suffixes; all without any."""
    for path in sorted((ROOT / below).rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") and part != ".ci" for part in parts)
        made = hidden or parts[0] in MADE or not {"__pycache__", "vendor"}.isdisjoint(parts)
        made = made or "egg-info" in str(path)
        if path.is_file() and not made and (not suffixes or path.suffix in suffixes):
            yield path


def name(path: Path) -> str:
    """The path as a person would write it."""
    return path.relative_to(ROOT).as_posix()


def module(path: Path) -> str:
    """The dotted name that a Python file is imported by."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
