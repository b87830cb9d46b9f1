"""The weights by which a shared policy tells devices apart: a column of each first layer a device.

    identity = Identity(model, 64, direct=False)     # 64 slots, and slot zero
    identity.begin(slot)                             # a device was given its slot
    identity.average(devices)                        # an update was made

One policy for machines that are alike, or not quite: a column is all that it knows of a device.

Rule 1: slot zero is the mean of the columns in use, so a device without a slot is treated as the
    average one.
Rule 2: a column begins as it was drawn plus slot zero's: for the first devices as any weight does,
    for later ones with what the others have learnt in common.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from stable_baselines3.common.torch_layers import CombinedExtractor

from hub.learner.sb3.first_layers import EXTRACTOR, first_layers
from hub.learner.slots import NOBODY, OBSERVATION, numbered

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray
    from stable_baselines3.common.base_class import BaseAlgorithm

    from hub.learner.versions.policy import Tensors

WIDER: Final = 2.0
"""Columns are drawn so many times as wide as those of observations. Four devices on CartPole then
need 44 % of the steps of lone ones, and 52 % when one of them is wired in reverse; drawn like those
of observations 56 and 55 %, four times as wide 58 and 63 % (8 seeds each)."""
ALONE: Final = f"{EXTRACTOR}."
BESIDE: Final = f"{EXTRACTOR}.extractors.{OBSERVATION}."
"""Where SB3 has what looks at an image that is alone, and at one beside the slot."""


class Identity:
    """The columns of a model.

    Args:
        model: newly made, for observations with a slot behind them; its first weights change.
        count: slots, beside slot zero.
        direct: its networks have no hidden layers.
    """

    def __init__(self, model: BaseAlgorithm, count: int, *, direct: bool) -> None:
        modules = model.policy.modules()
        end = next(m.features_dim for m in modules if isinstance(m, CombinedExtractor))
        self._names = set(model.policy.state_dict())
        self._layers = list(first_layers(model.policy, direct=direct))
        self._places = np.arange(end - count - 1, end)
        self._columns = [layer.weight.detach()[:, end - count - 1 : end] for layer in self._layers]
        self._draw(orthogonal=getattr(model.policy, "ortho_init", False))

    def _draw(self, *, orthogonal: bool) -> None:
        """Have observations weigh what they would without slots, and slots `WIDER`.

        SB3's initial weights are the smaller, the more inputs there are, where they are not
        orthogonal (Saxe et al. 2014); an LSTM's are not.
        """
        for layer, columns in zip(self._layers, self._columns, strict=True):
            wide = layer.weight.shape[1]
            if not orthogonal and not layer.recurrent:
                scale = (wide / (wide - len(self._places))) ** 0.5
                layer.weight.detach().mul_(scale)
                layer.bias.detach().mul_(scale)
            columns.mul_(WIDER)
            columns[:, NOBODY] = 0.0

    def begin(self, slot: int) -> None:
        """A device has this slot from now on."""
        for columns in self._columns:
            columns[:, slot] += columns[:, NOBODY]

    def arrange(self, before: list[str], devices: list[str]) -> None:
        """Give the columns that devices had in one order of slots to those of another.

        Who has none begins. After a restart of the agent slots are given out anew, and a version
        of before can still be put in place.
        """
        slots = numbered(before)
        for columns in self._columns:
            drawn = columns.clone()
            drawn[:, 1 : len(before) + 1] = 0.0
            had = columns.clone()
            for slot, device in enumerate(devices, 1):
                own = slots.get(device)
                columns[:, slot] = drawn[:, slot] + had[:, NOBODY] if own is None else had[:, own]

    def average(self, devices: int) -> None:
        """Slots 1 to `devices` are in use."""
        for columns in self._columns if devices else ():
            columns[:, NOBODY] = columns[:, 1 : devices + 1].mean(dim=1)

    def disown(self) -> None:
        """The weights came from outside: who had a slot there is nobody here."""
        for columns in self._columns:
            columns[:, NOBODY + 1 :] = 0.0

    # --- policies that see no device ---------------------------------------------------------

    def widened(self, weights: Tensors) -> Tensors:
        """Weights of the same network without slots as this one's; of this one as they are."""
        wide = {}
        for name, tensor in weights.items():
            beside = name.replace(ALONE, BESIDE)
            wide[beside if beside in self._names else name] = tensor
        for layer in self._layers:
            given = wide.get(layer.name)
            start, width = self._places[0], layer.weight.shape[1] - len(self._places)
            if given is not None and given.shape[1:] == (width,):
                gap = np.zeros((len(given), len(self._places)), dtype=given.dtype)
                wide[layer.name] = np.hstack([given[:, :start], gap, given[:, start:]])
        return wide

    def narrowed(self, tensors: Tensors, shapes: dict[str, tuple[int, ...]]) -> Tensors:
        """A version's tensors as those of the same network without slots.

        To that, every device is slot zero.

        Args:
            tensors: of the version, whose optimizers are among them.
            shapes: of the narrow network's own, as far as it has them.
        """
        narrow = {name.replace(BESIDE, ALONE): tensor for name, tensor in tensors.items()}
        for layer in self._layers:
            bias = layer.name.replace("weight", "bias")
            if layer.name in narrow:  # targets that stand for another have no name of their own
                narrow[bias] = narrow[bias] + narrow[layer.name][:, self._places[NOBODY]]
        return {
            name: self._cut(tensor, shapes.get(name, tensor.shape))
            for name, tensor in narrow.items()
        }

    def _cut(self, tensor: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        return tensor if tensor.shape == shape else np.delete(tensor, self._places, axis=1)
