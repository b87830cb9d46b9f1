"""What kills, disks and clocks do to the log, by seed; `--faults N` (`make soak-log`) does more.

Whatever happens: nothing that was called back is missing, nothing is there twice, and what is lost
of the rest is said.
"""

from __future__ import annotations

import asyncio
import os
import random  # noqa: TID251 - seeded
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hub.clock import SystemClock
from hub.log import recover, resume
from hub.log.journal import FILE_NAME as JOURNAL
from hub.log.link import LogLink
from hub.log.rotate import Draft
from hub.log.salvage import FILE_NAME
from hub.log.segments.history import History
from hub.log.segments.manifest import FOLDER
from hub.log.store import DuckLog
from hub.settings import LogSettings
from tests.log.events import NOW_US, floats, observation, steps, unnumbered
from tests.log.linked import WAIT_S
from tests.log.sealed import seal

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

    from hub.words import Event

SMALL = LogSettings(batch_rows_max=64, checkpoint_wal_mb=0.2, checkpoint_idle_s=0.05)
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> int:
    """How often each thing is done."""
    return int(request.config.getoption("--faults"))


# --- kill -9 -----------------------------------------------------------------------------------


@pytest.mark.timeout(1800)
async def test_killed_at_any_moment_the_log_loses_and_doubles_nothing(
    tmp_path: Path, faults: int
) -> None:
    """Kill at seeded moments: while it commits, checkpoints, opens, recovers, rotates, is read."""
    link = LogLink(tmp_path, SMALL, restart_s_first=0.01)
    opened = await link.open()
    writer = Writer(link)
    pump = asyncio.create_task(writer.run())
    for seed in range(faults):
        chance = random.Random(seed)
        asked = [asyncio.create_task(question) for question in _questions(link, chance)]
        await writer.until(len(writer.committed) + chance.randint(0, 40))
        for _ in range(chance.randint(0, 50)):
            await asyncio.sleep(0)
        if chance.random() < 0.2:
            await _seal(tmp_path, link, opened.hub)
        if (pid := link.pid) is not None:
            os.kill(pid, signal.SIGKILL)
        await asyncio.gather(*asked, return_exceptions=True)
    writer.stopping = True
    await pump
    await writer.until(writer.sent)
    await link.close()
    assert writer.committed == list(range(1, 2 * writer.sent, 2))
    log = _opened(tmp_path)
    assert log.state.damage is None
    found = log.read(limit=2 * writer.sent + 1)
    assert [event.seq for event in found] == list(range(1, 2 * writer.sent + 1))
    assert [event.step for event in found] == [step for step in range(writer.sent) for _ in "ab"]
    assert resume.recover(log) == recover.fold(found)
    log.close()


class Writer:
    """Appends pairs of events as fast as they are called back."""

    def __init__(self, link: LogLink) -> None:
        self.committed: list[int] = []
        self.sent = 0
        self.stopping = False
        self._link = link

    async def run(self) -> None:
        while not self.stopping:
            if self.sent - len(self.committed) < 200:
                self._link.append(self._pair(), self.committed.append)
                self.sent += 1
            await asyncio.sleep(0)

    async def until(self, committed: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while len(self.committed) < committed:  # noqa: ASYNC110 - a plain list
                await asyncio.sleep(0.001)

    def _pair(self) -> list[Event]:
        seen = observation(self.sent, payload='{"a":1}', obs=floats(*range(30)))
        return [seen, observation(self.sent, "b")]


def _questions(link: LogLink, chance: random.Random) -> list[Coroutine[Any, Any, object]]:
    questions: list[Coroutine[Any, Any, object]] = []
    if chance.random() < 0.3:
        questions.append(link.recover())
    if chance.random() < 0.3:
        questions.append(link.rotate(chance.randint(1, max(1, link.last_seq))))
    return questions


async def _seal(data: Path, link: LogLink, hub: str) -> None:
    """May fail: the log is killed beside it."""
    command = [sys.executable, "-m", "hub.log.segments.seal", "--data", str(data), "--hub", hub]
    process = await asyncio.create_subprocess_exec(
        *command, "--to", str(link.last_seq), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    await process.wait()


# --- a full disk -------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("keeps_mb", [16.0, 0.001], ids=["foreseen", "met"])
@pytest.mark.parametrize("wal_mb", [4.0, 1000.0], ids=["in-checkpoint", "on-append"])
async def test_a_full_disk_loses_nothing_and_freed_it_goes_on_unaided(
    small_disk: Path, keeps_mb: float, wal_mb: float
) -> None:
    settings = LogSettings(
        disk_free_mb_min=keeps_mb,
        checkpoint_wal_mb=wal_mb,
        checkpoint_idle_s=1000.0,
        restart_s_max=0.2,
        memory_mb=128,
    )
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(24 << 20))
    link = LogLink(small_disk, settings, restart_s_first=0.01)
    await link.open()
    seqs: list[int] = []
    noise = random.Random(1)
    sent = 0
    async with asyncio.timeout(WAIT_S):
        while link.stalled is None and link.available:
            obs = floats(*(noise.random() for _ in range(5000)))
            link.append([observation(sent, obs=obs)], seqs.append)
            sent += 1
            await asyncio.sleep(0.001)
    said = list(seqs)
    ballast.unlink()
    async with asyncio.timeout(WAIT_S):
        while len(seqs) < sent:  # noqa: ASYNC110 - a plain list
            await asyncio.sleep(0.01)
    await link.close()
    assert len(said) < sent
    assert seqs == list(range(1, sent + 1))
    log = _opened(small_disk)
    assert (log.last_seq, log.state.damage) == (sent, None)
    log.close()


# --- a bad disk --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a killed process leaves: 40 commits of ten rows, 200 sealed, all of it in the WAL."""
    return _left(tmp_path_factory, settled=True)


@pytest.fixture(scope="module")
def crashed_early(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, all of it in the journal."""
    return _left(tmp_path_factory, settled=False)


def _left(folders: pytest.TempPathFactory, *, settled: bool) -> Path:
    folder = folders.mktemp("crashed")
    log = _opened(folder)
    for first in range(0, 200, 5):
        log.append(steps(first, first + 4))
        if settled:
            log.settle()
    seal(log, 200)
    left = folders.mktemp("left")
    shutil.copytree(folder, left, dirs_exist_ok=True)
    log.close()
    if settled:
        (left / JOURNAL).unlink()
    return left


@pytest.mark.parametrize("damage", ["cut", "zeros", "flip"])
@pytest.mark.parametrize(
    ("fixture", "name"), [("crashed", f"{FILE_NAME}.wal"), ("crashed_early", JOURNAL)]
)
@pytest.mark.timeout(900)
def test_damage_anywhere_in_the_tail_keeps_what_came_before_and_is_said(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    fixture: str,
    name: str,
    damage: str,
    faults: int,
) -> None:
    crashed: Path = request.getfixturevalue(fixture)
    for seed in range(faults):
        chance = random.Random(seed)
        folder = tmp_path / str(seed)
        shutil.copytree(crashed, folder)
        wal = folder / name
        data = bytearray(wal.read_bytes())
        at = chance.randrange(len(data.rstrip(b"\0")))
        if damage == "cut":
            del data[at:]
        elif damage == "zeros":
            data[at:] = bytes(len(data) - at)
        else:
            data[at] ^= 1 << chance.randrange(8)
        wal.write_bytes(data)
        log = _opened(folder)
        found = log.read(limit=500)
        assert found == [event for event in found if event.seq <= 400], seed
        assert unnumbered(found) == steps(0, 199)[: len(found)], seed
        assert len(found) >= 200, f"{seed}: what is sealed is salvaged"
        assert log.state.next_seq == 401, seed
        assert (len(found) == 400) or log.state.damage is not None, seed
        assert log.append(steps(0, 0)) == 401
        log.close()
        again = _opened(folder)
        assert again.state.damage is None, seed
        assert [event.seq for event in again.read(limit=500)][-2:] == [401, 402]
        again.close()
        shutil.rmtree(folder)


# --- a bad clock -------------------------------------------------------------------------------


def test_clock_jumps_change_no_order(tmp_path: Path) -> None:
    log = _opened(tmp_path)
    jumps_h = [0, 1, -1, 24 * 365, -24 * 365, 0]
    events: list[Event] = []
    for step, hours in enumerate(jumps_h):
        events.append(msgspec.structs.replace(observation(step), ts=NOW_US + hours * HOUR_US))
        assert log.append(events[-1:]) == step + 1
    manifest = seal(log)
    assert len(manifest.retained) == 3, "a file for each of three days"
    history = History(tmp_path / FOLDER)
    history.refresh()
    assert history.page(1, 6, None, None).column("seq").to_pylist() == [1, 2, 3, 4, 5, 6]
    assert manifest.sealed_before(NOW_US, 2 * NOW_US) == 0, "a later event is among them"
    assert manifest.sealed_before(NOW_US + DAY_US, NOW_US + 2 * DAY_US) == 6, "in no future"
    Draft.begin(log, 6, LogSettings()).finish(log)
    assert unnumbered(log.read()) == events
    log.close()


def _opened(folder: Path) -> DuckLog:
    return DuckLog.open(folder, LogSettings(), clock=SystemClock())
