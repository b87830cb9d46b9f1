"""What a broken log still has is kept, also when the process that saves it is killed."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from hub.clock import SystemClock
from hub.errors import LogUnavailable
from hub.log.acknowledged import FILE_NAME as MARK
from hub.log.journal import FILE_NAME as JOURNAL
from hub.log.rotate import Draft
from hub.log.salvage import FILE_NAME, SALVAGING, SUSPECT
from hub.log.segments.manifest import FILE_NAME as MANIFEST
from hub.log.segments.manifest import FOLDER
from hub.log.store import DuckLog
from hub.settings import LogSettings
from hub.words import Floats
from tests.log.events import observation, steps
from tests.log.sealed import seal

ROOT: Final = Path(__file__).parents[2]
ROWS: Final = 30_000
KILLED_IN: Final = """
import os, sys
from pathlib import Path
from hub.clock import SystemClock
from hub.log import {module} as module
from hub.log.store import DuckLog
from hub.settings import LogSettings

calls, whole = 0, module.{name}

def killed(*arguments):
    global calls
    calls += 1
    if calls == {call}:
        os.kill(os.getpid(), 9)
    return whole(*arguments)

module.{name} = killed
DuckLog.open(Path(sys.argv[1]), LogSettings(), clock=SystemClock())
"""
"""Opens a log and is killed at a call of a function; not at all when there are fewer calls."""


def opened(folder: Path) -> DuckLog:
    return DuckLog.open(folder, LogSettings(), clock=SystemClock())


def killed_in(folder: Path, module: str, name: str, call: int) -> bool:
    """Whether there was such a call."""
    code = KILLED_IN.format(module=module, name=name, call=call)
    ended = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=False)
    assert ended.returncode in (0, -signal.SIGKILL)
    return ended.returncode != 0


def left_by_a_kill(folder: Path, batches: int, rows: int) -> None:
    """A log whose events stand in its write-ahead log alone."""
    code = (
        "import os, sys; from pathlib import Path; from tests.log.test_salvage import opened; "
        "from tests.log.events import steps; log = opened(Path(sys.argv[1])); "
        f"[(log.append(steps(1, {rows})[:{rows}]), log.settle()) for _ in range({batches})]; "
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True)
    (folder / JOURNAL).unlink()


def with_a_broken_block(folder: Path) -> str:
    """A log of `ROWS` events, some of which can't be read; the hub's id."""
    log = opened(folder)
    noise = os.urandom(256 * ROWS)  # so that observations fill blocks of their own
    log.append([observation(i, obs=Floats(noise[256 * i : 256 * (i + 1)])) for i in range(ROWS)])
    log.close()
    path = folder / FILE_NAME
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    (folder / SUSPECT).touch()
    return log.hub


def seqs(log: DuckLog) -> list[int]:
    return [event.seq for event in log.read(limit=ROWS)]


@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        ("salvage", "_longest_that_opens", 1),
        ("salvage", "_write_durably", 1),
        ("salvage", "_write_durably", 2),
        ("salvage", "DuckFile.opens", 3),
        ("salvage", "DuckFile.opens", 6),
    ],
)
def test_killed_while_it_looks_for_the_break_a_log_keeps_as_much(
    tmp_path: Path, module: str, name: str, call: int
) -> None:
    left_by_a_kill(tmp_path, 8, 5)
    wal = tmp_path / f"{FILE_NAME}.wal"
    data = bytearray(wal.read_bytes())
    data[len(data) * 13 // 16] ^= 0xFF
    wal.write_bytes(data)
    assert killed_in(tmp_path, module, name, call)
    log = opened(tmp_path)
    assert (log.last_seq, log.state.next_seq) == (30, 41)
    log.close()


@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        ("salvage", "_write_durably", 1),
        ("salvage", "_move_aside", 1),
        ("stock", "make_or_upgrade", 1),
        ("stock", "fill_from_broken", 1),
        ("stock", "_insert", 2),
        ("stock", "take", 1),
        ("salvage", "salvaged", 1),
    ],
)
def test_killed_while_it_reads_a_broken_file_out_a_log_keeps_as_much(
    tmp_path: Path, module: str, name: str, call: int
) -> None:
    with_a_broken_block(tmp_path)
    copy = tmp_path.with_name(f"{tmp_path.name}-undisturbed")
    subprocess.run(["cp", "-r", str(tmp_path), str(copy)], check=True)
    log = opened(copy)
    wanted = seqs(log)
    assert ROWS // 2 < len(wanted) < ROWS
    log.close()
    assert killed_in(tmp_path, module, name, call)
    log = opened(tmp_path)
    assert seqs(log) == wanted
    assert not (tmp_path / SALVAGING).exists()
    log.close()


@pytest.mark.parametrize("mark", ["", "{hub} 00000000000000010000\n"], ids=["empty", "old"])
def test_a_mark_that_lost_power_with_the_log_limits_nothing(tmp_path: Path, mark: str) -> None:
    hub = with_a_broken_block(tmp_path)
    (tmp_path / MARK).write_text(mark.format(hub=hub))
    log = opened(tmp_path)
    assert (log.hub, log.last_seq, log.state.next_seq) == (hub, ROWS, ROWS + 1)
    log.close()


def test_a_rotation_that_meets_a_full_disk_at_its_end_changes_nothing(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(steps(1, 5000))
    seal(log)
    log.append(steps(5001, 5010))
    draft = Draft.begin(log, 10_000, LogSettings())
    log.append(steps(5011, 8000))
    size = (tmp_path / "next.duckdb").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with pytest.raises(LogUnavailable):
            draft.finish(log)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    log.close()
    again = opened(tmp_path)
    assert (again.last_seq, again.begins, again.state.damage) == (16_000, 0, None)
    again.close()


@pytest.mark.parametrize("lines", [0, 1])
def test_a_manifest_that_lacks_what_is_sealed_is_said_and_shows_no_hole(
    tmp_path: Path, lines: int
) -> None:
    log = opened(tmp_path)
    log.append(steps(1, 100))
    seal(log)
    log.append(steps(101, 200))
    seal(log)
    log.append(steps(201, 210))
    Draft.begin(log, 400, LogSettings()).finish(log)
    log.close()
    manifest = tmp_path / FOLDER / MANIFEST
    kept = manifest.read_bytes().splitlines(keepends=True)[:lines]
    manifest.write_bytes(b"".join(kept))
    again = opened(tmp_path)
    assert "put it back from a backup" in str(again.state.damage)
    with pytest.raises(LogUnavailable, match="put it back from a backup"):
        again.read()
    assert len(again.read(after=400)) == 20
    again.close()
