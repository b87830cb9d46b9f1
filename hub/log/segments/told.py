"""How far a walk over the log's files has come; said by who walks, shown by who waits.

walk = Walk(told, "checked", of=sum(segment.bytes for segment in segments))
for segment in segments:
    check_whole(folder, segment)
    walk.did(segment.bytes)
"""

from __future__ import annotations

from typing import Protocol


class Told(Protocol):
    """Hears of a walk at its begin and after each file."""

    def __call__(self, what: str, done: int, of: int, /) -> None:
        """So many bytes, of how many, are `what`: checked, copied, written."""
        ...


class Walk:
    """Counts the bytes of files that are done."""

    def __init__(self, told: Told, what: str, *, of: int) -> None:
        self._told = told
        self._what = what
        self._done = 0
        self._of = of
        told(what, 0, of)

    def did(self, count: int) -> None:
        """One more file, of so many bytes, is done."""
        self._done += count
        self._told(self._what, self._done, self._of)


def nobody(_what: str, _done: int, _of: int, /) -> None:
    """Nobody waits."""
