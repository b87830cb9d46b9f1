"""What the log's process holds in memory, while its file grows."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from hub.clock import SystemClock
from hub.log.filing import MEBIBYTE, SHED_BYTES, Filing
from hub.log.store import DuckLog
from hub.settings import LogSettings
from hub.words import Floats
from tests.log.events import observation

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from hub.words import Event

SETTINGS = LogSettings(checkpoint_wal_mb=1, checkpoint_idle_s=1e6)
ROW_BYTES = 2048
"""Of noise, which cannot be compressed."""
PIECE = 512
READ_S_MAX = 5.0


class Begun:
    """What a Filing has begun."""

    def __init__(self) -> None:
        self._tasks = set[asyncio.Task[None]]()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(asyncio.create_task(work))

    async def ended(self) -> None:
        await asyncio.gather(*self._tasks)


def kept_bytes(log: DuckLog) -> int:
    """Of the file's blocks in memory."""
    ((kept,),) = log.file.run(
        "SELECT memory_usage_bytes FROM duckdb_memory() WHERE tag = 'BASE_TABLE'"
    )
    return int(kept)


def noisy() -> list[Event]:
    return [
        observation(step, obs=Floats(os.urandom(ROW_BYTES)))
        for step in range(8 * SHED_BYTES // ROW_BYTES)
    ]


def test_what_the_file_takes_in_memory_is_given_back_when_it_has_grown(tmp_path: Path) -> None:
    async def grow() -> None:
        log = DuckLog.open(tmp_path, SETTINGS, clock=SystemClock())
        begun = Begun()
        with ThreadPoolExecutor(1) as reading:
            filing = Filing(log, SETTINGS, reading, start=begun.start, held=lambda: False)
            events = noisy()
            for at in range(0, len(events), PIECE):
                log.append(events[at : at + PIECE])
                filing.committed()
                await begun.ended()
            assert log.file_bytes > 6 * SHED_BYTES
            assert kept_bytes(log) < 5 * SHED_BYTES
            (limit,) = log.file.run("SELECT current_setting('memory_limit')")[0]
            assert limit == "488.2 MiB", f"{SETTINGS.memory_mb} MB are allowed again"
            assert len(log.read(limit=len(events))) == len(events)
            filing.close()
        log.close()

    asyncio.run(grow())


def test_the_size_of_a_file_that_is_being_replaced_is_not_asked_for(tmp_path: Path) -> None:
    async def settle() -> None:
        log = DuckLog.open(tmp_path, SETTINGS, clock=SystemClock())
        begun = Begun()
        with ThreadPoolExecutor(1) as reading:
            filing = Filing(log, SETTINGS, reading, start=begun.start, held=lambda: True)
            log.append(noisy()[: 3 * PIECE])
            assert log.much_is_new
            aside = log.file.path.rename(tmp_path / "aside")
            filing.committed()
            await begun.ended()
            aside.rename(log.file.path)
            filing.close()
        log.close()

    asyncio.run(settle())


def test_a_log_that_is_not_told_to_keeps_what_its_file_takes(tmp_path: Path) -> None:
    log = DuckLog.open(tmp_path, SETTINGS, clock=SystemClock())
    log.append(noisy())
    log.checkpoint()
    assert kept_bytes(log) > 6 * SHED_BYTES
    log.shed()
    assert kept_bytes(log) <= 4 * MEBIBYTE
    log.close()


def test_who_reads_does_not_wait_for_what_is_written_to_the_file(tmp_path: Path) -> None:
    log = DuckLog.open(tmp_path, SETTINGS, clock=SystemClock())
    log.append([observation(1)])
    log.settle()
    with ThreadPoolExecutor(1) as reading:
        with log.filing:
            shed, page = reading.submit(log.shed), reading.submit(log.read)
            assert len(page.result(READ_S_MAX)) == 1
            assert not shed.result()
        assert reading.submit(log.shed).result()
    log.close()
