"""The layers of Stable-Baselines3's networks that see observations, whatever the algorithm is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import torch
from torch.nn import LSTM, Hardtanh, Linear, Sequential

if TYPE_CHECKING:
    from collections.abc import Iterator

EXTRACTOR: Final = "features_extractor"
"""What makes features of images stands before these layers, and has some of its own."""


class FirstLayer(NamedTuple):
    """Of a network, or of its target."""

    name: str
    """Of the weight."""
    weight: torch.Tensor
    """(out, features), or behind the features the numbers of an action."""
    bias: torch.Tensor
    """(out,)."""
    recurrent: bool = False


def first_layers(policy: torch.nn.Module, *, direct: bool) -> Iterator[FirstLayer]:
    """All of a policy.

    Args:
        policy: of a model.
        direct: there are no hidden layers.
    """
    named = [(name, module) for name, module in policy.named_modules() if EXTRACTOR not in name]
    cells = [(name, module) for name, module in named if isinstance(module, LSTM)]
    for name, cell in cells:
        weight, bias = cell.all_weights[0][0], cell.all_weights[0][2]
        yield FirstLayer(f"{name}.weight_ih_l0", weight, bias, recurrent=True)
    if not cells:
        yield from _linear(named, direct=direct)


def _linear(named: list[tuple[str, torch.nn.Module]], *, direct: bool) -> Iterator[FirstLayer]:
    """At the head of a sequence, or with no sequence before."""
    inside: set[torch.nn.Module] = set()
    for name, module in named:
        if isinstance(module, Sequential):
            inside.update(module)
            behind_others = any(isinstance(part, Hardtanh) for part in module) and not direct
            if len(module) and isinstance(module[0], Linear) and not behind_others:
                yield FirstLayer(f"{name}.0.weight", module[0].weight, module[0].bias)
    for name, module in named:
        if direct and isinstance(module, Linear) and module not in inside:
            yield FirstLayer(f"{name}.weight", module.weight, module.bias)
