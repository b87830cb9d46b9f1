"""Batch normalisation folded into the linear layers behind it, for actors that know only those.

CrossQ (Bhatt et al. 2024) puts a batch renormalisation (Ioffe 2017) before each linear layer of its
actor. When it acts, that is y = g (x - m) / sqrt(v + e) + b with constants, so the layer behind it
can do both:  W y + c = (W g/s) x + (W (b - m g/s) + c),  s = sqrt(v + e).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hub.learner.versions.policy import Tensors

PREFIX: Final = "act/"
"""Of tensors that are made for acting from those that are learnt."""
SPREAD: Final = PREFIX + "spread"
BEHIND: Final = 3
"""In the sequence of hidden layers: normalisation, linear, activation, and so on."""
EPSILON: Final = 0.001
"""Of sb3-contrib's BatchRenorm."""


def names(depth: int) -> list[str]:
    """Of the linear layers that act, in the order they are applied."""
    return [f"{PREFIX}{i}" for i in range(depth + 1)]


def folded(tensors: Tensors, depth: int) -> Tensors:
    """The linear layers of a CrossQ actor with `depth` hidden layers, and that of its spread."""
    acting: Tensors = {}
    for i, name in enumerate(names(depth)):
        linear = "actor.mu" if i == depth else f"actor.latent_pi.{BEHIND * i + 1}"
        acting |= _layer(tensors, f"actor.latent_pi.{BEHIND * i}", linear, name)
    acting |= _layer(tensors, f"actor.latent_pi.{BEHIND * depth}", "actor.log_std", SPREAD)
    return acting


def _layer(tensors: Tensors, normal: str, linear: str, name: str) -> dict[str, NDArray[Any]]:
    std = np.sqrt(tensors[f"{normal}.ra_var"] + np.float32(EPSILON))
    gain = tensors[f"{normal}.scale"] / std
    shift = tensors[f"{normal}.bias"] - tensors[f"{normal}.ra_mean"] * gain
    weight = tensors[f"{linear}.weight"]
    return {
        f"{name}.weight": weight * gain,
        f"{name}.bias": tensors[f"{linear}.bias"] + weight @ shift,
    }
