"""Networks side by side say what each says by itself."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest

from hub.learner.acting.layers import FEW, NARROW, PRODUCT, Stack
from hub.learner.acting.net import Net

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Linear = tuple[NDArray[np.float32], NDArray[np.float32]]

FEATURES: Final = 5
NO_SLOTS: Final = np.zeros(1, dtype=np.int64)
ROWS: Final = [1, FEW, FEW + 1, 64]


def network(chance: np.random.Generator, *widths: int) -> list[Linear]:
    """Its layers, from one width to the next."""

    def drawn(*shape: int) -> NDArray[np.float32]:
        return chance.normal(scale=0.5, size=shape).astype(np.float32)

    return [(drawn(n, m), drawn(m)) for n, m in pairwise(widths)]


def said(layers: list[Linear], x: NDArray[np.float32]) -> NDArray[np.float64]:
    """What it says by itself, (batch, numbers)."""
    y: NDArray[np.float64] = x.astype(np.float64)
    for i, (weight, bias) in enumerate(layers):
        y = np.asarray((np.tanh(y) if i else y) @ weight + bias)
    return y


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    "hidden", [[(8, 3), (6, 4)], [(NARROW,), (7,)], [(), ()]], ids=["narrow", "wide", "no"]
)
def test_two_networks_side_by_side_say_what_each_says_alone(
    rows: int, hidden: list[tuple[int, ...]], *, apart: bool
) -> None:
    chance = np.random.default_rng(1)
    networks = [
        network(chance, FEATURES, *widths, m) for widths, m in zip(hidden, (3, 1), strict=True)
    ]
    x = chance.normal(size=(rows, FEATURES * (1 + apart))).astype(np.float32)
    _, numbers = Stack(networks, "tanh", apart=apart).look(x, NO_SLOTS)
    inputs = [x[:, :FEATURES], x[:, -FEATURES:]]
    alone = [said(layers, one) for layers, one in zip(networks, inputs, strict=True)]
    together = numbers.T
    assert together == pytest.approx(np.concatenate(alone, axis=1), abs=1e-4)


def test_rows_of_several_products_are_what_they_are_in_one() -> None:
    chance = np.random.default_rng(3)
    networks = [network(chance, FEATURES, 64, 64, m) for m in (3, 1)]
    rows = 2 * PRODUCT // 64**2 + 1
    x = chance.normal(size=(rows, FEATURES)).astype(np.float32)
    _, numbers = Stack(networks, "tanh").look(x, NO_SLOTS)
    together = numbers.T
    alone = [said(layers, x) for layers in networks]
    assert together == pytest.approx(np.concatenate(alone, axis=1), abs=1e-4)


@pytest.mark.parametrize("rows", ROWS)
def test_a_critic_of_another_depth_says_its_value_too(rows: int) -> None:
    chance = np.random.default_rng(2)
    networks = {"a": network(chance, FEATURES, 8, 2), "v": network(chance, FEATURES, 8, 8, 1)}
    tensors = {
        f"{name}.{i}.{part}": tensor
        for name, layers in networks.items()
        for i, (weight, bias) in enumerate(layers)
        for part, tensor in (("weight", weight.T), ("bias", bias))
    }
    names = {name: [f"{name}.{i}" for i in range(len(layers))] for name, layers in networks.items()}
    x = chance.normal(size=(rows, FEATURES)).astype(np.float32)
    action, log_std, value, _ = Net(tensors, "tanh", names["a"], names["v"], None).look(x)
    assert action == pytest.approx(said(networks["a"], x), abs=1e-4)
    assert value == pytest.approx(said(networks["v"], x)[:, 0], abs=1e-4)
    assert log_std is None
