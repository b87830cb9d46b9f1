"""The hub has its segments read now and then, by a process of its own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from hub.alerts.segments import Segments
from tests.log.events import steps
from tests.log.segments.made import flip_a_bit, sealed

if TYPE_CHECKING:
    from pathlib import Path

READ_S_MAX = 60.0


def break_one(data: Path) -> None:
    flip_a_bit(next(data.rglob("*.parquet")))


async def test_a_segment_that_has_changed_is_found_soon_where_one_was_suspected(
    tmp_path: Path,
) -> None:
    sealed(tmp_path, steps(1, 10))
    break_one(tmp_path)
    segments = Segments(tmp_path, verify_s=3600)
    reading = asyncio.create_task(segments.run(lambda: True))
    async with asyncio.timeout(READ_S_MAX):
        while segments.problems is None:  # noqa: ASYNC110 - the look of somebody else's timer
            await asyncio.sleep(0.01)
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading
    (problem,) = segments.problems
    assert "events 1 to" in problem


async def test_segments_that_are_never_read_are_taken_to_be_well(tmp_path: Path) -> None:
    segments = Segments(tmp_path, verify_s=0)
    await segments.run(lambda: True)
    assert segments.problems == []
