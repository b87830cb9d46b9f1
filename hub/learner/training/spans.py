"""Where in the log a trainer did what depends on the clock: runs of seqs, to do it again by.

behind = Spans()
behind.note(71, on=True)
behind.note(75, on=True)
behind.take()                    # [(71, 75)]
"""

from __future__ import annotations


class Spans:
    """Of one thing that was so, or was not, at each transition."""

    def __init__(self) -> None:
        self._runs: list[tuple[int, int]] = []
        self._was_on = False

    def note(self, seq: int, *, on: bool) -> None:
        """The next transition, and whether it was so there."""
        if on:
            first = self._runs.pop()[0] if self._was_on and self._runs else seq
            self._runs.append((first, seq))
        self._was_on = on

    def end(self) -> None:
        """What comes next begins a run of its own."""
        self._was_on = False

    def take(self) -> list[tuple[int, int]]:
        """The first and last seq of each run since it was asked last."""
        runs, self._runs = self._runs, []
        return runs
