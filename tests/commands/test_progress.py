"""How far a command is, and that Ctrl-C takes effect where nothing of a rebuild is half done."""

from __future__ import annotations

import io
import signal

import pytest
from rich.console import Console

from hub.commands.progress import Meter, Progress
from tests.intake.fakes import ManualClock


def folded(reached: list[int], interrupts: dict[int, int]) -> None:
    """Nine events, with so many Ctrl-C while each of them is folded."""
    with Progress(9, ManualClock()) as progress:
        for seq in range(1, 10):
            progress.at(seq)
            for _ in range(interrupts.get(seq, 0)):
                signal.raise_signal(signal.SIGINT)
            reached.append(seq)


def test_it_says_once_a_second_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    clock = ManualClock()
    with Progress(100, clock) as progress:
        for seq in range(1, 22):
            progress.at(seq)
            clock.seconds += 0.25
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[0] == "rebuild: 5 of 100 events, up to seq 5, 5 events/s, 19 s left"


def test_events_of_other_agents_between_its_own_take_no_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = ManualClock()
    seqs = [1, 2, 3, 4, 1_000_000, 1_000_001, 1_000_002, 1_000_003]
    with Progress(len(seqs), clock) as progress:
        for seq in seqs:
            progress.at(seq)
            clock.seconds += 0.5
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "rebuild: 5 of 8 events, up to seq 1000000, 2 events/s, 1 s left"


@pytest.mark.parametrize("at", [1, 9])
def test_ctrl_c_waits_for_the_end_of_an_event_and_is_never_lost(at: int) -> None:
    reached: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        folded(reached, {at: 1})
    assert reached[-1] == at


def test_a_second_ctrl_c_is_not_put_off() -> None:
    reached: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        folded(reached, {2: 2})
    assert reached == [1]


def test_afterwards_ctrl_c_is_as_it_was() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Progress(9, ManualClock()):
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_files_are_counted_in_megabytes_of_each_kind_of_work(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = ManualClock()
    with Meter("restore", clock) as meter:
        for what in ("checked", "copied"):
            for done in range(4):
                meter.bytes(what, done * 20_000_000, 80_000_000)
                clock.seconds += 0.6
    assert capsys.readouterr().err.splitlines() == [
        "restore: 40.0 of 80.0 MB checked, 33.3 MB/s, 1 s left",
        "restore: 40.0 of 80.0 MB copied, 33.3 MB/s, 1 s left",
    ]


def test_what_is_quick_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Meter("verify", ManualClock()) as meter:
        meter.bytes("checked", 0, 0)
        meter.bytes("checked", 10, 10)
    assert capsys.readouterr() == ("", "")


def test_in_a_terminal_there_is_a_bar_which_is_gone_in_the_end() -> None:
    clock, screen = ManualClock(), io.StringIO()
    with Meter("export", clock, Console(file=screen, force_terminal=True, width=100)) as meter:
        meter.bytes("written", 0, 10_000_000)
        clock.seconds += 0.5
        meter.bytes("written", 5_000_000, 10_000_000)
        shown = screen.getvalue()
    assert "━" in shown
    assert "5.0 of 10.0 MB written, 10.0 MB/s, 0 s left" in shown
    assert screen.getvalue().rstrip("\x1b[?25h").endswith("\x1b[2K")
