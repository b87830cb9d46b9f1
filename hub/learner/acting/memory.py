"""What a recurrent policy remembers of each device, in the actor: two LSTM states.

    memory = Memory(tensors, ["lstm_actor", "lstm_critic"], before)
    x, seen = memory.remember(questions, x)

Rule 1: a state goes on from one observation to the next one of the same boot; `first`, a gap (the
    last observation of an episode is none that is asked about) and a restart begin it anew.
Rule 2: how many observations a state had seen goes out with the action, so that the log says where
    it was begun anew. The state itself is not logged: it is 1 KB and more a step, and a trainer
    that knows this number computes it from the observations.

Numpy does it: the two LSTMs of width 64 add 45 µs to an action, those of 256 110 µs; in torch they
would add 170 and 450.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from hub.learner.columns import Questions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from hub.learner.columns import Question
    from hub.learner.versions.policy import Tensors

    Matrix = NDArray[np.float32]

DEVICES_MAX: Final = 4096
"""Remembered at once; the one that was silent for longest is forgotten first."""
HIDDEN, CELL = 0, 1


class _Kept(NamedTuple):
    boot: int
    step: int
    seen: int
    state: Matrix
    """(2 LSTMs, hidden and cell, width), after the step."""


class Memory:
    """The LSTMs of one version, and the states of all devices."""

    def __init__(
        self, tensors: Tensors, names: Sequence[str], before: Memory | None = None
    ) -> None:
        self._cells = [_Cell(tensors, name) for name in names]
        self.width = self._cells[0].width
        self._kept: dict[str, _Kept] = {}
        if before is not None and before.width == self.width:
            self._kept = before._kept

    def forget(self) -> None:
        """Begin anew with every device."""
        self._kept.clear()

    def remember(self, questions: Questions, x: Matrix) -> tuple[Matrix, list[int]]:
        """What the layers behind see, and how much each state had seen before.

        Args:
            questions: of different devices.
            x: float32 (batch, features).
        """
        seen: list[int] = []
        states = np.zeros((len(self._cells), 2, len(x), self.width), dtype=np.float32)
        for i, question in enumerate(questions):
            kept = self._kept.pop(question.device, None)
            if kept is not None and _follows(kept, question):
                seen.append(kept.seen)
                states[:, :, i] = kept.state
            else:
                seen.append(0)
        for cell, state in zip(self._cells, states, strict=True):
            state[HIDDEN], state[CELL] = cell.step(x, state[HIDDEN], state[CELL])
        for i, (question, before) in enumerate(zip(questions, seen, strict=True)):
            state = states[:, :, i].copy()
            self._kept[question.device] = _Kept(question.boot, question.step, before + 1, state)
        while len(self._kept) > DEVICES_MAX:
            del self._kept[next(iter(self._kept))]
        return np.concatenate(states[:, HIDDEN], axis=1), seen


class _Cell:
    """One LSTM of one layer (Hochreiter & Schmidhuber 1997; gates in torch's order)."""

    def __init__(self, tensors: Tensors, name: str) -> None:
        self._input = np.ascontiguousarray(tensors[f"{name}.weight_ih_l0"].T)
        self._recurrent = np.ascontiguousarray(tensors[f"{name}.weight_hh_l0"].T)
        self._bias = tensors[f"{name}.bias_ih_l0"] + tensors[f"{name}.bias_hh_l0"]
        self.width = len(self._recurrent)

    def step(self, x: Matrix, hidden: Matrix, cell: Matrix) -> tuple[Matrix, Matrix]:
        gates = x @ self._input + hidden @ self._recurrent + self._bias
        i, f, g, o = np.split(gates, 4, axis=1)
        cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
        return _sigmoid(o) * np.tanh(cell), cell


def each_device_once(questions: Questions) -> Iterator[Questions]:
    """The questions in order, parted before a device's second: it builds on its first."""
    if len(set(questions.devices)) == len(questions):
        yield questions
        return
    run: dict[str, Question] = {}
    for question in questions:
        if question.device in run:
            yield Questions.of(list(run.values()))
            run.clear()
        run[question.device] = question
    yield Questions.of(list(run.values()))


def _follows(kept: _Kept, question: Question) -> bool:
    return not question.first and (kept.boot, kept.step + 1) == (question.boot, question.step)


def _sigmoid(x: Matrix) -> Matrix:
    return np.asarray(np.float32(0.5) * (np.tanh(np.float32(0.5) * x) + np.float32(1.0)))
