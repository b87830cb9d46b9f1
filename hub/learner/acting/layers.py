"""Linear layers in numpy, of one network or of several side by side.

Actor and critic see the same and are as deep as each other. So a layer of both is one product, one
sum and one activation: for few observations calls are what costs, and not what they compute.

The zeros between networks keep them apart while numbers are finite. Observations are, and not huge
(`largest.py`); where weights take a unit of relu, elu or leaky_relu beyond float32, its row is NaN
in all networks, not in one: looking for such rows would cost every other one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hub.learner.activations import ACTIVATIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hub.learner.algorithms.row import Activation

    Matrix = NDArray[np.float32]
    SlotNumbers = NDArray[np.int64] | int
    """Of each row, or of all."""
    Linear = tuple[Matrix, Matrix]
    """Weight, (in, out), and bias, (out,)."""

FEW: Final = 16
NARROW: Final = 128
"""So many rows are multiplied by the zeros between networks as well, in one call instead of two,
where all are no wider together. More would take longer: a batch of 256 by a third."""

PRODUCT: Final = 1_000_000
"""Multiplications of numbers in a product that OpenBLAS makes at once (AVX-512). For a larger one
it copies both matrices into another order before, which takes a tenth of 256 rows by 64 by 64."""
MANY: Final = 128
"""So many rows at least are one product: fewer, of wide layers, would take longer."""


class Stack:
    """Networks of the same depth."""

    def __init__(
        self,
        networks: Sequence[Sequence[Linear]],
        activation: Activation,
        *,
        slots: int = 0,
        apart: bool = False,
    ) -> None:
        """Each network is its layers.

        Args:
            networks: one or more.
            activation: after each layer but the last.
            slots: as many last rows of the first weights are of slots; 0 = none are.
            apart: each network sees columns of its own; else all see the same.
        """
        self._activate = ACTIVATIONS[activation]
        if slots:
            networks = [[_with_slots(*first, slots), *others] for first, *others in networks]
        self._slotted = slots > 0
        *hidden, last = zip(*networks, strict=True)
        self._hidden = [_Layer(one, apart=apart or depth > 0) for depth, one in enumerate(hidden)]
        joined = _joined([weight for weight, _ in last], apart=apart or bool(hidden))
        self._last = np.ascontiguousarray(joined.T)
        self._last_bias = np.concatenate([bias for _, bias in last])[:, None]

    def look(self, x: Matrix, slots: SlotNumbers) -> tuple[Matrix, Matrix]:
        """What the last layers see and say: (batch, all their inputs) and (all numbers, batch).

        Args:
            x: (batch, features).
            slots: where networks have some.
        """
        slotted = self._slotted
        for layer in self._hidden:
            x = layer.product(x)
            x += rows_of(layer.bias, slots) if slotted else layer.bias
            self._activate(x, out=x)
            slotted = False  # the layers behind the first one see no slot
        # A row for each number: numpy is slow on rows of two.
        y = self._last.dot(x.T)
        y += self._last_bias
        return x, y


class _Layer:
    """One layer of each network.

    Attributes:
        bias: (1, out) of all, or (slots, out). Numpy adds a row of (out,) in twice the time.
    """

    def __init__(self, parts: Sequence[Linear], *, apart: bool) -> None:
        weights = [weight for weight, _ in parts]
        self.bias = np.concatenate([np.atleast_2d(bias) for _, bias in parts], axis=1)
        self._weight: Matrix | None = None
        """(in, out) of all; None = there would be too many zeros in it."""
        self._blocks = _blocks(weights) if apart and len(parts) > 1 else []
        """Where there are some zeros: what lies between them."""
        if not self._blocks or self.bias.shape[1] <= NARROW:
            self._weight = _joined(weights, apart=apart)

    def product(self, x: Matrix) -> Matrix:
        """(batch, out), without the bias."""
        y: Matrix
        if self._weight is not None and (len(x) <= FEW or not self._blocks):
            y = x.dot(self._weight)  # the same bits as `x @ weight`, and half of its overhead
            return y
        y = np.empty((len(x), self.bias.shape[1]), dtype=np.float32)
        for seen, said, weight in self._blocks:
            for rows in _parts(len(x), weight.size):
                np.matmul(x[rows, seen], weight, out=y[rows, said])
        return y


def rows_of(table: Matrix, slots: SlotNumbers) -> Matrix:
    """Those of the slots, (batch, n); of one for all (1, n), in a third of the time."""
    return table[slots : slots + 1] if isinstance(slots, int) else table.take(slots, axis=0)


def _parts(rows: int, size: int) -> list[slice]:
    """Of so many rows, those that are multiplied at once by a weight of this size."""
    at_once = PRODUCT // size
    if at_once < MANY:
        return [slice(rows)]
    return [slice(start, start + at_once) for start in range(0, rows, at_once)]


def _joined(weights: Sequence[Matrix], *, apart: bool) -> Matrix:
    """The weight of a layer of all; with zeros between those that are apart."""
    if not apart:
        return np.concatenate(weights, axis=1)
    joined = np.zeros(np.sum([weight.shape for weight in weights], axis=0), dtype=np.float32)
    for seen, said, weight in _blocks(weights):
        joined[seen, said] = weight
    return joined


def _blocks(weights: Sequence[Matrix]) -> list[tuple[slice, slice, Matrix]]:
    """Rows and columns of each weight in `_joined`, and the weight."""
    ends = np.cumsum([weight.shape for weight in weights], axis=0)
    return [
        (slice(row - weight.shape[0], row), slice(column - weight.shape[1], column), weight)
        for (row, column), weight in zip(ends.tolist(), weights, strict=True)
    ]


def _with_slots(weight: Matrix, bias: Matrix, count: int) -> Linear:
    """The layer of what devices send, and its bias with each slot, (slots, out): a row is a sum."""
    return weight[:-count], weight[-count:] + bias
