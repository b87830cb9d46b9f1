"""The comparison with `learn()`: its statistics, its book, and a run of each kind, kept short."""

from __future__ import annotations

from statistics import NormalDist, mean, stdev
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from tests.learning.noninferiority import (
    ARRANGEMENTS,
    EVALUATIONS,
    LEARN,
    TASKS,
    Book,
    Run,
    floors,
    parameters_of,
    report,
    run,
)
from tests.learning.verdict import floor, student, verdict

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(2, 2.920), (4, 2.132), (9, 1.833), (29, 1.699), (49, 1.677)]
)
def test_students_quantile_is_that_of_the_tables(freedom: int, quantile: float) -> None:
    assert student(freedom) == pytest.approx(quantile, abs=0.012)


@pytest.mark.parametrize(("count", "deviations"), [(30, 3.064), (50, 2.862), (100, 2.684)])
def test_the_floor_is_that_of_the_tolerance_tables(count: int, deviations: float) -> None:
    areas = NormalDist(300.0, 60.0).samples(count, seed=1)
    below = (mean(areas) - floor(areas)) / stdev(areas)
    assert below == pytest.approx(deviations, rel=0.01)  # Natrella 1963, table A-7


def test_what_is_alike_is_no_worse_and_what_is_worse_is_not() -> None:
    learn = [300.0, 310.0, 290.0, 305.0, 295.0, 300.0]
    alike = verdict([(one, one + (-4, 4)[i % 2]) for i, one in enumerate(learn)], 20.0, 0.1)
    assert alike.difference == pytest.approx(0.0, abs=1e-9)
    assert alike.seeds == 6
    assert -0.1 < alike.bound < 0
    assert alike.seeds_wanted <= 6
    worse = verdict([(one, one - 60 + i) for i, one in enumerate(learn)], 20.0, 0.1)
    assert worse.bound < worse.difference < -0.1
    # Of a return that is below 0 a loss is a loss too.
    negative = verdict([(-300.0, -400.0), (-310.0, -405.0), (-290.0, -395.0)], -1230.0, 0.1)
    assert negative.difference < 0


def test_the_book_goes_on_where_it_was_stopped_and_ends_what_is_decided(tmp_path: Path) -> None:
    path = tmp_path / "learning.json"
    assert next(Book(path).wanting(["PPO"], 9)) == ("PPO", LEARN, 0)
    assert report(Book(path)) == "too few runs for a table"
    for seed in range(6):
        for arrangement in (LEARN, *ARRANGEMENTS):
            area = 200.0 + seed if arrangement != "8 devices" else 100.0 + 30 * seed
            learnt_with = parameters_of("PPO", arrangement)
            Book(path).add(Run("PPO", arrangement, seed, area, 1.0, learnt_with))
    Book(path).add(Run("DQN", LEARN, 0, 200.0, 1.0, "of other defaults"))
    book = Book(path)
    assert book.area("PPO", LEARN, 0) == 200.0
    assert book.area("DQN", LEARN, 0) is None
    assert {arrangement for _, arrangement, _ in book.wanting(["PPO"], 9)} == {LEARN, "8 devices"}
    assert min(seed for _, _, seed in book.wanting(["PPO"], 9)) == 6
    assert report(book).count("no worse") == 3
    assert floors(book) == "", "of six runs"


@pytest.mark.parametrize("arrangement", [LEARN, "4, some leave, some join"])
def test_a_run_is_a_curve_and_the_same_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrangement: str
) -> None:
    monkeypatch.setitem(TASKS, "PPO", replace(TASKS["PPO"], transitions=60 * EVALUATIONS))
    first = run("PPO", arrangement, 1, tmp_path / "a")
    again = run("PPO", arrangement, 1, tmp_path / "b")
    assert first.area == again.area
    assert 8 <= first.area <= 500
