"""What a check of the doctor found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is not as it should be."""

    check: str
    """Which check found it: `modes`, `disk`, …"""
    level: Literal["wrong", "note"]
    """`wrong` keeps the hub from working, or open to others; a `note` is worth knowing."""
    where: str
    says: str
    """What is so."""
    do: str
    """What to do about it."""
    mend: Callable[[], None] | None = None
    """Does it; None where only a person can."""
