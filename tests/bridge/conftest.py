"""The bridge in this process, for one test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bridge.rooms import Rooms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def rooms() -> AsyncIterator[Rooms]:
    """Rooms with an empty log."""
    async with Rooms() as rooms:
        yield rooms
