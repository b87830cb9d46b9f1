"""One room for a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.commands.control_room import ControlRoom

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def room(tmp_path: Path) -> Iterator[ControlRoom]:
    """Ready to be asked."""
    with ControlRoom(tmp_path / "data") as room:
        yield room
