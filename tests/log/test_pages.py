"""Pages grow and shrink with their rows."""

from __future__ import annotations

import pytest

from hub.log.pages import ROWS_FIRST, ROWS_MAX, PageSize


@pytest.mark.parametrize(
    ("row_bytes", "rows"), [(160, 13_107), (113_000, 18), (1 << 22, 16), (0, ROWS_MAX)]
)
def test_pages_become_as_large_as_was_wanted(row_bytes: int, rows: int) -> None:
    size = PageSize(2 << 20)
    for _ in range(5):
        size.learn(size.rows, size.rows * row_bytes)
    assert size.rows == rows


def test_a_page_of_large_rows_makes_the_next_one_small() -> None:
    size = PageSize(2 << 20, rows=ROWS_MAX)
    size.learn(ROWS_MAX, ROWS_MAX * 113_000)
    assert size.rows < ROWS_FIRST
