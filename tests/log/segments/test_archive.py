"""What is due is sealed, given up and dropped by itself; nothing goes that somebody needs."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest

from hub.errors import HubFault
from hub.log.segments import drop
from hub.log.segments.archive import Archive
from hub.log.segments.lock import locked
from hub.log.segments.manifest import FILE_NAME, FOLDER, Dropped, Manifest
from hub.log.segments.verify import verify
from hub.settings import LogSettings
from tests.log.events import NOW_US, agent_made, steps
from tests.log.segments.made import DAY_US, HUB_ID, FakeLog, ManualClock, sealed, table_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from hub.facts import Sealed
    from hub.words import Event

WAIT_S = 20.0
MEBIBYTE = 1 << 20


def day(number: int) -> list[Event]:
    """Four events of an agent and one of none, made so many days after the first."""
    of_none = msgspec.structs.replace(agent_made(), agent="")
    ts = NOW_US + number * DAY_US
    return [msgspec.structs.replace(event, ts=ts) for event in (*steps(1, 2), of_none)]


class Hub:
    """What the archive sees of it: a log, a position, and what it was asked."""

    def __init__(self, data: Path, settings: LogSettings) -> None:
        self.data = data
        self.clock = ManualClock()
        self.last, self.appended, self.looked = 0, 0, 0
        self.facts: list[Sealed] = []
        self.asked: list[int] = []
        self.reader: int | None = None
        self.down = False
        self.archive = Archive(
            data,
            settings,
            self.clock,
            position=self._position,
            hub_id=lambda: HUB_ID,
            log_fact=self._log_fact,
            rotate=self._rotate,
            check_s=0.001,
        )

    def _position(self) -> tuple[int, int]:
        self.looked += 1
        return self.last, self.appended

    def _log_fact(self, fact: Sealed) -> None:
        self.facts.append(fact)
        self.last += 1

    async def _rotate(self, upto: int) -> tuple[int, int | None]:
        if self.down:
            raise HubFault("the log process is down")
        self.asked.append(upto)
        return upto, self.reader

    def append(self, rows: int, *, size: int = 100) -> None:
        self.last += rows
        self.appended += size

    @property
    def manifest(self) -> Manifest:
        return Manifest.read(self.data / FOLDER)


@asynccontextmanager
async def running(hub: Hub) -> AsyncIterator[None]:
    """The archive's task, beside the test."""
    task = asyncio.create_task(hub.archive.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    """Wait on the loop until the condition holds."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - conditions are plain properties
            await asyncio.sleep(0.001)


async def some_rounds(hub: Hub) -> None:
    """Until the archive has looked again, and done what it then does."""
    looked = hub.looked
    await until(lambda: hub.looked >= looked + 3)


async def test_so_many_bytes_are_sealed(tmp_path: Path) -> None:
    hub = Hub(tmp_path, LogSettings(seal_mb=1))
    with FakeLog(tmp_path, table_of(steps(1, 50))):
        async with running(hub):
            hub.append(20, size=MEBIBYTE - 1)
            await some_rounds(hub)
            assert hub.facts == []
            hub.append(1, size=1)
            await until(lambda: len(hub.facts) == 1)
            hub.append(10, size=MEBIBYTE - 1)
            await some_rounds(hub)
            assert hub.manifest.seq_last == 21
    (fact,) = hub.facts
    line = (tmp_path / FOLDER / FILE_NAME).read_bytes().splitlines()[0]
    assert (fact.seq_first, fact.seq_last, fact.rows, fact.files) == (1, 21, 21, 1)
    assert fact.sha256 == hashlib.sha256(line).hexdigest()


async def test_what_is_old_is_sealed_and_an_idle_hub_makes_no_more_files(tmp_path: Path) -> None:
    hub = Hub(tmp_path, LogSettings(seal_s=3600))
    with FakeLog(tmp_path, table_of(steps(1, 50))):
        async with running(hub):
            hub.append(20)
            await some_rounds(hub)
            hub.clock.go_on(3599)
            await some_rounds(hub)
            assert hub.facts == []
            hub.clock.go_on(1)
            await until(lambda: len(hub.facts) == 1)
            hub.clock.go_on(7200)  # only the fact of that seal is new
            await some_rounds(hub)
            hub.append(1)
            await some_rounds(hub)
            assert len(hub.facts) == 1
            hub.clock.go_on(3600)
            await until(lambda: len(hub.facts) == 2)
    assert hub.manifest.seq_last == 22


async def test_the_age_counts_over_a_restart(tmp_path: Path) -> None:
    sealed(tmp_path, steps(1, 50), to=10)
    hub = Hub(tmp_path, LogSettings(seal_s=3600))
    hub.last = 20
    hub.clock.go_on(3601)
    with FakeLog(tmp_path, table_of(steps(1, 50))):
        async with running(hub):
            await until(lambda: hub.manifest.seq_last == 20)


async def test_a_person_may_ask_for_it(tmp_path: Path) -> None:
    hub = Hub(tmp_path, LogSettings())
    with FakeLog(tmp_path, table_of(steps(1, 50))):
        async with running(hub):
            assert await hub.archive.seal_now() is None
            hub.append(20)
            made = await asyncio.gather(hub.archive.seal_now(), hub.archive.seal_now())
    assert [seal.seq_last for seal in made if seal is not None] == [20, 21]
    assert [seal.seq_last for seal in hub.manifest.seals] == [20, 21]


async def test_what_fails_is_said_and_tried_again(tmp_path: Path) -> None:
    hub = Hub(tmp_path, LogSettings(seal_mb=1))
    hub.append(20, size=MEBIBYTE)
    async with running(hub):
        await until(lambda: hub.archive.failed is not None)
        assert "no log process listens" in (hub.archive.failed or "")
        with pytest.raises(HubFault, match="sealing up to event 20 failed"):
            await hub.archive.seal_now()
        with FakeLog(tmp_path, table_of(steps(1, 50))):
            assert (await hub.archive.seal_now()) is not None
    assert hub.manifest.seq_last == 20


async def test_the_sealer_ends_with_the_archive(tmp_path: Path) -> None:
    """A log that lets the sealer wait: the archive is cancelled in the middle of it."""
    hub = Hub(tmp_path, LogSettings())
    hub.append(20)
    with FakeLog(tmp_path, table_of(steps(1, 50)), page_rows=0):  # pages without end
        task = asyncio.create_task(hub.archive.seal_now())
        await until(lambda: (tmp_path / FOLDER / ".lock").exists())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with locked(tmp_path / FOLDER):
            pass


# --- rotate and drop --------------------------------------------------------------------------


def three_days(data: Path) -> None:
    """Each sealed on its own: events 1..5, 6..10, 11..15."""
    log = [event for number in range(3) for event in day(number)]
    for to in (5, 10, 15):
        sealed(data, log, to=to)


async def test_the_hot_file_keeps_so_many_days(tmp_path: Path) -> None:
    three_days(tmp_path)
    hub = Hub(tmp_path, LogSettings(hot_days=1))
    hub.last = 15
    hub.clock.go_on(2 * 86_400)
    async with running(hub):
        await until(lambda: hub.asked == [5])
        await some_rounds(hub)
        assert hub.asked == [5]
        hub.clock.go_on(86_400)
        await until(lambda: hub.asked == [5, 10])


async def test_a_log_that_is_down_is_asked_again(tmp_path: Path) -> None:
    three_days(tmp_path)
    hub = Hub(tmp_path, LogSettings(hot_days=0))
    hub.last, hub.down = 15, True
    hub.clock.go_on(3 * 86_400)
    async with running(hub):
        await until(lambda: hub.archive.failed == "the log process is down")
    hub.down = False
    async with running(hub):
        await until(lambda: hub.asked == [15])
        await until(lambda: hub.archive.failed is None)


@pytest.mark.parametrize(("reader", "kept"), [(None, [11]), (7, [6, 11]), (3, [1, 6, 11])])
async def test_whole_days_are_dropped_when_everybody_has_passed_them(
    tmp_path: Path, reader: int | None, kept: list[int]
) -> None:
    three_days(tmp_path)
    hub = Hub(tmp_path, LogSettings(hot_days=0, retain_days=1))
    hub.last, hub.reader = 15, reader
    hub.clock.go_on(3 * 86_400)  # today is the fourth day
    async with running(hub):
        await until(lambda: hub.asked == [15])
        await some_rounds(hub)
    assert firsts(tmp_path, "walker") == kept
    assert firsts(tmp_path, "_hub") == [5, 10, 15]
    dropped = [entry for entry in hub.manifest.entries if isinstance(entry, Dropped)]
    assert sum(len(entry.paths) for entry in dropped) == 3 - len(kept)
    assert verify(tmp_path).problems == []


async def test_what_a_killed_drop_left_goes_when_the_hub_starts_again(tmp_path: Path) -> None:
    three_days(tmp_path)
    (path, *_) = (tmp_path / FOLDER).rglob("agent=walker/*/*.parquet")
    walker = path.read_bytes()
    gone = [s for s in Manifest.read(tmp_path / FOLDER).retained if path.match(f"*{s.path}")]
    drop.drop(tmp_path / FOLDER, gone, NOW_US)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(walker)
    hub = Hub(tmp_path, LogSettings(hot_days=0, retain_days=1000))
    hub.last = 15
    async with running(hub):
        await until(lambda: not path.exists())


def firsts(data: Path, agent: str) -> list[int]:
    """First seqs of the agent's files; each day that is there has one."""
    folders = data.rglob(f"agent={agent}/day=*")
    return sorted(int(min(folder.iterdir()).name.partition("-")[0]) for folder in folders)


async def test_by_default_nothing_is_dropped(tmp_path: Path) -> None:
    three_days(tmp_path)
    hub = Hub(tmp_path, LogSettings(hot_days=0))
    hub.last = 15
    hub.clock.go_on(1000 * 86_400)
    async with running(hub):
        await until(lambda: hub.asked == [15])
        await some_rounds(hub)
    assert len(hub.manifest.retained) == 6
    assert all((tmp_path / FOLDER / s.path).exists() for s in hub.manifest.retained)


def test_the_hub_loads_neither_pyarrow_nor_duckdb_with_it() -> None:
    code = "import sys, hub.log.segments.archive; print({'pyarrow', 'duckdb'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
