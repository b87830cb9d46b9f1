"""The weights by which a shared policy tells devices apart: a column of each first layer a device.

    identity = Identity(model, 64, direct=False, wider=2.0)   # 64 slots, and slot zero
    identity.begin(slot)                             # a device was given its slot
    identity.average(devices)                        # an update was made

One policy for machines that are alike, or not quite: a column is all that it knows of a device, and
on-policy the factors of what it sends, which are kept with it (`factors.py`).

Rule 1: slot zero is the mean of the columns in use, so a device without a slot is treated as the
    average one.
Rule 2: a column begins as it was drawn plus slot zero's: for the first devices as any weight does,
    for later ones with what the others have learnt in common.
Rule 3: a device that is alone begins without: its column is zero and its factors stay 1, so it
    learns as it would without slots. (Columns are drawn wide: of 100 lone heaters of the README 9
    learnt to leave the room cold, without slots none, and by this rule 1.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from hub.learner.sb3.factors import log_factors, with_factors, without_factors
from hub.learner.sb3.first_layers import EXTRACTOR, first_layers
from hub.learner.sb3.snapshot import moments_of
from hub.learner.slots import NOBODY, OBSERVATION, numbered

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray
    from stable_baselines3.common.base_class import BaseAlgorithm

    from hub.learner.versions.policy import Tensors

WIDER: Final = {"on_policy": 2.0, "off_policy": 0.5}
"""Columns are drawn so many times as wide as those of observations, by the algorithm's family. Four
devices of PPO on CartPole then needed 44 % of the steps of lone ones, and 52 % when one of them is
wired in reverse; drawn like those of observations 56 and 55 %, four times as wide 58 and 63 % (8
seeds each, before there were factors). A Q-network has no entropy to begin with: four devices of
DQN learn half as fast with columns as wide as that, and as fast as without any with narrow ones
(5 seeds)."""
FIRST: Final = 1
"""Slot of the device that was seen first."""
ALONE: Final = f"{EXTRACTOR}."
BESIDE: Final = f"{EXTRACTOR}.extractors.{OBSERVATION}."
"""Where SB3 has what looks at an image that is alone, and at one beside the slot."""


class Identity:
    """The columns of a model.

    Args:
        model: newly made, for observations with a slot behind them; its first weights change.
        count: slots, beside slot zero.
        direct: its networks have no hidden layers.
        wider: than the weights of observations, as `WIDER` has it.
    """

    def __init__(self, model: BaseAlgorithm, count: int, *, direct: bool, wider: float) -> None:
        end = _features(model)
        self._layers = list(first_layers(model.policy, direct=direct))
        self._count = count
        self._columns = [layer.weight.detach()[:, end - count - 1 : end] for layer in self._layers]
        self._draw(wider, orthogonal=getattr(model.policy, "ortho_init", False))
        factors = log_factors(model)
        if factors is not None:  # a column a device too, drawn as zeros
            self._columns.append(factors.detach().T)
            factors.register_hook(self._held)  # type: ignore[no-untyped-call]  # torch has no types there
        self.alone = False
        """There is one device, or none: nobody is told apart, and no factor is learnt."""
        self._aside: list[torch.Tensor] = []
        """The first device's columns as they were drawn, until an update or a second one."""

    def _draw(self, wider: float, *, orthogonal: bool) -> None:
        """Have observations weigh what they would without slots, and slots `wider`.

        SB3 draws weights the smaller, the more inputs there are: uniform ones by their root, and
        orthogonal ones (Saxe et al. 2014) where these are more than the outputs. An LSTM's are not.
        """
        for layer, columns in zip(self._layers, self._columns, strict=True):
            out, wide = layer.weight.shape
            narrow = wide - self._count - 1
            scale = (wide / narrow) ** 0.5
            if orthogonal:
                scale *= (min(out, narrow) / min(out, wide)) ** 0.5
            if not layer.recurrent:
                layer.weight.detach().mul_(scale)
                layer.bias.detach().mul_(scale)
            columns.mul_(wider)
            columns[:, NOBODY] = 0.0

    def begin(self, slot: int) -> None:
        """A device has this slot from now on."""
        for columns in self._columns:
            columns[:, slot] += columns[:, NOBODY]
        if slot == FIRST:
            self._aside = [columns[:, FIRST].clone() for columns in self._columns]
            for columns in self._columns:
                columns[:, FIRST] = columns[:, NOBODY]
        elif self._aside:
            for columns, drawn in zip(self._columns, self._aside, strict=True):
                columns[:, FIRST] = drawn
            self._aside = []

    def arrange(self, before: list[str], devices: list[str]) -> None:
        """Give the columns that devices had in one order of slots to those of another.

        Who has none begins. After a restart of the agent slots are given out anew, and a version
        of before can still be put in place.
        """
        slots = numbered(before)
        for columns in self._columns:
            had = columns.clone()
            columns[:, 1 : len(before) + 1] = 0.0
            drawn = columns.clone()
            for slot, device in enumerate(devices, 1):
                own = slots.get(device)
                columns[:, slot] = had[:, NOBODY if own is None else own]
                if own is None and len(devices) > 1:
                    columns[:, slot] += drawn[:, slot]

    def average(self, devices: int) -> None:
        """Slots 1 to `devices` are in use."""
        self._aside = []
        for columns in self._columns if devices else ():
            columns[:, NOBODY] = columns[:, 1 : devices + 1].mean(dim=1)

    def _held(self, gradient: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(gradient) if self.alone else gradient

    def disown(self) -> None:
        """The weights came from outside: who had a slot there is nobody here."""
        for columns in self._columns:
            columns[:, NOBODY + 1 :] = 0.0


def refitted(
    tensors: Tensors, model: BaseAlgorithm, *, direct: bool, had: int, has: int
) -> Tensors:
    """Tensors of the same network with another number of slots, as this model's.

    Every device is then what slot zero was.

    Args:
        tensors: of a version, or weights alone.
        model: they are for.
        direct: its networks have no hidden layers.
        had: slots of the other network; 0 = it saw no device.
        has: slots of the model.
    """
    if had == has:
        return with_factors(tensors, model)
    tensors = without_factors(tensors, model, direct=direct)
    named = set(model.policy.state_dict())
    given, wanted = (ALONE, BESIDE) if has else (BESIDE, ALONE)
    fitted = {}
    for name, tensor in tensors.items():
        other = name.replace(given, wanted)
        fitted[other if other in named else name] = tensor
    start = _features(model) - _width(has)
    for layer in first_layers(model.policy, direct=direct) if had else ():
        if layer.name in fitted:
            bias = layer.name.replace("weight", "bias")
            fitted[bias] = fitted[bias] + fitted[layer.name][:, start + NOBODY]
    fitted = with_factors(fitted, model)
    for name, ours in [*model.policy.state_dict().items(), *moments_of(model)]:
        theirs = fitted.get(name, np.empty(0))
        for axis, (width, other) in enumerate(zip(ours.shape, theirs.shape, strict=False)):
            if width - other == _width(has) - _width(had) and theirs.ndim == ours.ndim:
                fitted[name] = _slots_changed(theirs, start, axis, had=had, has=has)
    return fitted


def _slots_changed(
    tensor: NDArray[Any], start: int, axis: int, *, had: int, has: int
) -> NDArray[Any]:
    """Without what belongs to `had` slots, and with zeros for those of `has`."""
    tensor = np.delete(tensor, np.arange(start, start + _width(had)), axis=axis)
    before, behind = np.split(tensor, [start], axis=axis)
    shape = list(tensor.shape)
    shape[axis] = _width(has)
    return np.concatenate([before, np.zeros(shape, dtype=tensor.dtype), behind], axis=axis)


def _width(slots: int) -> int:
    """Inputs that stand for slots: one more, for slot zero; none where there are none."""
    return slots + 1 if slots else 0


def _features(model: BaseAlgorithm) -> int:
    """Numbers before the first layers, those of slots among them."""
    modules = model.policy.modules()
    found: int = next(m.features_dim for m in modules if isinstance(m, BaseFeaturesExtractor))
    return found
