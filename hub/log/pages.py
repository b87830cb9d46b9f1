"""How many seqs the next page should span, when rows may be 40 bytes or an image."""

from __future__ import annotations

from typing import Final

ROWS_FIRST: Final = 1024
"""Of an image of 28,224 floats these are 110 MB, of 4 floats 40 KB: the next page knows better."""
ROWS_MIN: Final = 16
ROWS_MAX: Final = 131_072
GROWTH: Final = 8
"""From one page to the next: rows may suddenly become larger again."""


class PageSize:
    """Learns from each page how many seqs the next one may span.

    Args:
        bytes_wanted: of a page, about.

    Attributes:
        rows: of the next page.
    """

    def __init__(self, bytes_wanted: int, rows: int = ROWS_FIRST) -> None:
        self.rows = rows
        self._bytes_wanted = bytes_wanted

    def learn(self, rows: int, size: int) -> None:
        """A page of so many seqs had so many bytes; fewer where few of them were wanted."""
        fitting = self._bytes_wanted * rows // max(size, 1)
        self.rows = max(ROWS_MIN, min(fitting, self.rows * GROWTH, ROWS_MAX))
