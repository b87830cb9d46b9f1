"""`sheepfold demo` as a person runs it: a real hub, real devices, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from hub.demo.demo import OVER, Result, outcome_of, run
from hub.simulate.progress import Progress
from hub.simulate.standing import Standing

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN_TIMEOUT_S = 150
SOLVED_TIMEOUT_S = 300
STOP_TIMEOUT_S = 60
SOME_STEPS = r"[1-9]\d* steps"


@pytest.mark.acceptance
@pytest.mark.timeout(RUN_TIMEOUT_S)
def test_a_short_demo_says_that_it_did_not_solve_and_that_all_is_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_code = run(seconds=8, devices=4, data=tmp_path, as_json=True)
    result, said = capsys.readouterr()
    ended = msgspec.json.decode(result, type=Result)
    assert (ended.solved, ended.held, ended.data) == (False, True, str(tmp_path))
    assert ended.says in said
    assert exit_code == (0 if ended.short else 1)
    assert "not solved in 8 s: the last 20 episodes returned" in said
    assert "without a gap" in said
    found = re.search(r"check passed: ([\d,]+) of ([\d,]+) acknowledged steps", said)
    assert found
    assert found[1] == found[2] != "0"
    assert (tmp_path / "curve.png").exists()
    assert (tmp_path / "curve.svg").exists()
    for device in ("cart-1", "cart-2", "cart-3", "cart-4"):
        assert re.search(rf"{device}\W+\d", said.split("$ sheepfold sql")[1]), device
    assert not list(_processes_naming(str(tmp_path)))


def test_a_time_too_short_is_no_failure_if_something_was_learnt() -> None:
    standing = Standing(["cart-1"], now=0.0)
    standing.add(Progress("cart-1", 900, 0, [459.0] * 20, [], None), now=60.0)
    outcome = outcome_of(standing, OVER, took_s=60.0, seconds=60.0)
    assert not outcome.short
    assert outcome.text.endswith("nothing was learnt yet")
    standing.add(Progress("cart-1", 901, 0, [], [], 3), now=60.0)
    outcome = outcome_of(standing, OVER, took_s=60.0, seconds=60.0)
    assert outcome.short
    assert outcome.text.startswith("not solved in 60 s: the last 20 episodes returned 459.0")
    assert "make demo DEMO_SECONDS=120" in outcome.text
    assert not outcome_of(standing, "interrupted", took_s=60.0, seconds=60.0).short


def test_a_folder_with_an_earlier_demo_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "devices").mkdir()
    assert run(data=tmp_path) == 1
    assert "holds an earlier demo" in capsys.readouterr().out


@pytest.mark.acceptance
@pytest.mark.timeout(RUN_TIMEOUT_S)
def test_ctrl_c_ends_the_demo_with_its_summary_and_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hub", "demo", "--seconds", "100", "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        said = _read_until(demo, SOME_STEPS)
        demo.send_signal(signal.SIGINT)
        said += demo.communicate(timeout=STOP_TIMEOUT_S)[0]
    assert demo.returncode == 1
    assert "not solved: interrupted" in said
    assert "check passed" in said
    assert not list(_processes_naming(str(tmp_path)))


@pytest.mark.acceptance
@pytest.mark.timeout(RUN_TIMEOUT_S)
def test_a_terminated_demo_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hub", "demo", "--seconds", "100", "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        _read_until(demo, SOME_STEPS)
        demo.terminate()
        demo.communicate(timeout=STOP_TIMEOUT_S)
    assert demo.returncode == 128 + signal.SIGTERM
    assert not list(_processes_naming(str(tmp_path)))


@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.timeout(SOLVED_TIMEOUT_S)
def test_the_devices_solve_cartpole_within_the_time_of_the_demo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data=tmp_path) == 0
    assert "\nsolved: the last 20 episodes returned" in capsys.readouterr().out


def _read_until(demo: subprocess.Popen[str], pattern: str) -> str:
    assert demo.stdout is not None
    said = ""
    for line in demo.stdout:
        said += line
        if re.search(pattern, line):
            return said
    raise AssertionError(f"{pattern!r} never came: {said}")


def _processes_naming(text: str) -> Iterator[int]:
    """Pids of other processes with this text in their command line."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue  # it has just ended
        if text.encode() in command:
            yield int(entry.name)
