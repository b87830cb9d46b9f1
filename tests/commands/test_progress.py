"""How far a rebuild is, and that Ctrl-C takes effect where nothing is half done."""

from __future__ import annotations

import signal

import pytest

from hub.commands.progress import Progress
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
