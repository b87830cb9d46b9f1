"""What a soak makes of its looks."""

from __future__ import annotations

import math

from tests.bench.soak import Process, Soaked, held, text

HOURS = [number / 60 for number in range(8 * 60)]


def looks(*, mb_per_h: float, files: int) -> Process:
    """Of a process that settles in the first quarter, and breathes."""
    rss_mb = [100 + min(hour, 2) * 50 + mb_per_h * hour + math.sin(hour * 9) for hour in HOURS]
    return Process(1, HOURS, rss_mb, [20 + files * (hour > 4) for hour in HOURS])


def test_a_process_that_settles_and_breathes_has_not_grown() -> None:
    flat = held("log", looks(mb_per_h=0.0, files=1))
    assert not flat.grew
    assert abs(flat.growth_mb_per_h) < 0.1
    assert (flat.files_first, flat.files_last) == (20, 21)


def test_a_process_that_takes_more_and_more_has_grown() -> None:
    assert held("log", looks(mb_per_h=1.2, files=0)).grew
    assert held("log", looks(mb_per_h=0.0, files=9)).grew


def test_figures_say_what_they_are_of() -> None:
    flat = held("trainer-soak", looks(mb_per_h=0.5, files=0))
    said = text(Soaked("2026-01-01", 2, 1000, 8.0, 8.0, 480_000, 1000.0, [], [flat]))
    assert "480000 steps" in said
    assert "| trainer-soak |" in said
    assert "+0.5" in said
