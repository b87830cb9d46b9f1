"""A replay memory for learners from elsewhere: a ring of transitions that the log can fill again.

    memory = Replay(rows=20_000, width=4)
    memory.add(transition, o, a, o_next)
    memory.o[memory.drawn(256, generator)]

A version's file holds none of it. Its counts say from which seq the rows are to be read again, and
at which place of the ring, so that the same random numbers draw the same rows as before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hub.learner.interface import REPLAY_FIRST, REPLAY_FROM, REPLAY_ROW

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hub.learner.experience.transitions import Transition


class Replay:
    """The newest `rows` transitions of all devices; actions are whole numbers from 0.

    Attributes:
        o: float32 (rows, width), features of the observation.
        a: int64 (rows,).
        r: float32 (rows,).
        o_next: float32 (rows, width).
        goes_on: float32 (rows,), 0 where the episode was terminated, else 1: a truncated one would
            have gone on (Pardo et al. 2018).
    """

    def __init__(self, rows: int, width: int) -> None:
        self.o: NDArray[np.float32] = np.zeros((rows, width), dtype=np.float32)
        self.a: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)
        self.r: NDArray[np.float32] = np.zeros(rows, dtype=np.float32)
        self.o_next: NDArray[np.float32] = np.zeros((rows, width), dtype=np.float32)
        self.goes_on: NDArray[np.float32] = np.zeros(rows, dtype=np.float32)
        self._started: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)
        self._ended: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)
        self._at = 0
        self._full = False

    def __len__(self) -> int:
        return len(self.a) if self._full else self._at

    def add(
        self,
        transition: Transition,
        o: NDArray[np.float32],
        a: int,
        o_next: NDArray[np.float32],
    ) -> None:
        """Put a transition in the place of the oldest."""
        at = self._at
        self.o[at], self.a[at], self.o_next[at] = o, a, o_next
        self.r[at] = transition.reward
        self.goes_on[at] = not transition.terminated
        self._started[at], self._ended[at] = transition.seq_first, transition.seq_last
        self._at = (at + 1) % len(self.a)
        self._full = self._full or self._at == 0

    def counts(self) -> dict[str, int]:
        """Where to fill it from again; for a learner's own counts."""
        oldest = self._at if self._full else 0
        if not len(self):
            return {REPLAY_FROM: 0, REPLAY_FIRST: 0, REPLAY_ROW: 0}
        return {
            # Of several devices, the oldest row may not be the one that began first.
            REPLAY_FROM: int(self._started[: len(self)].min()),
            REPLAY_FIRST: int(self._ended[oldest]),
            REPLAY_ROW: oldest,
        }

    def begin_at(self, counts: dict[str, int]) -> None:
        """Be empty, and take the first row in at its own place."""
        self._at = counts[REPLAY_ROW]

    def inherit(self, before: Replay) -> None:
        """Take over the rows of another memory, the newest where not all have room."""
        oldest = before._at if before._full else 0
        rows = (oldest + np.arange(len(before))) % len(before.a)
        if len(self.a) == len(before.a):  # they keep their places
            for ours, theirs in zip(self._columns(), before._columns(), strict=True):
                ours[:] = theirs
            self._at, self._full = before._at, before._full
            return
        rows = rows[-len(self.a) :]
        for ours, theirs in zip(self._columns(), before._columns(), strict=True):
            ours[: len(rows)] = theirs[rows]
        self._at, self._full = len(rows) % len(self.a), len(rows) == len(self.a)

    def _columns(self) -> tuple[NDArray[np.float32] | NDArray[np.int64], ...]:
        floats = (self.o, self.r, self.o_next, self.goes_on)
        return (*floats, self.a, self._started, self._ended)
