"""How much each number of a device weighs in a shared policy: a factor of its own for each feature.

    model = PPO("MultiInputPolicy", ..., policy_kwargs={"features_extractor_class": Factored})
    log_factors(model)                # (slots, features), of the policy's extractor; None without
    with_factors(tensors, model)      # of a network that had none: all are 1

What the first layers see is x * exp(QUICKER * log_factor), by the device's slot. A column of
weights (`identity.py`) can only shift what a unit sees; machines that differ in length, mass or
speed want the same reaction to more or less of the same. Both together are a linear modulation of
features (Perez et al. 2018), learnt for each device as any weight is.

Rule 1: factors begin as 1, so a policy begins as it would without.
Rule 2: slot zero's are the (geometric) mean of those in use, as its column is.
Rule 3: a factor is bounded (`LOG_FACTORS_BOUND`). An infinite one, of finite weights, would be a
    version, and every update after it be dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from stable_baselines3.common.torch_layers import CombinedExtractor

from hub.learner.features import factors_of
from hub.learner.sb3.first_layers import first_layers
from hub.learner.slots import LOG_FACTORS, LOG_FACTORS_BOUND, NOBODY, QUICKER

if TYPE_CHECKING:
    import gymnasium
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.type_aliases import TensorDict

    from hub.learner.versions.policy import Tensors

OPTIMIZER: Final = "resume/policy.optimizer/"
"""Of tensors that an optimizer keeps, by the number of their parameter (`snapshot.py`)."""


class Factored(CombinedExtractor):
    """SB3's features of an object, the slot's one-hot numbers behind the others'."""

    def __init__(self, observation_space: gymnasium.spaces.Dict) -> None:
        super().__init__(observation_space)
        slots: Any = list(observation_space.spaces.values())[-1]
        self._seen = self.features_dim - int(slots.n)
        self.log_factors = torch.nn.Parameter(torch.zeros(int(slots.n), self._seen))

    def forward(self, observations: TensorDict) -> torch.Tensor:
        """(batch, features) with the factors of each row's slot."""
        features: torch.Tensor = super().forward(observations)
        seen, slots = features[:, : self._seen], features[:, self._seen :]
        exponents = QUICKER * (slots @ self.log_factors)
        factors = torch.exp(exponents.clamp(-LOG_FACTORS_BOUND, LOG_FACTORS_BOUND))
        return torch.cat([seen * factors, slots], dim=1)


def log_factors(model: BaseAlgorithm) -> torch.nn.Parameter | None:
    """Of a model, (slots, features); None where it has none."""
    modules = model.policy.modules()
    found = next((module for module in modules if isinstance(module, Factored)), None)
    return None if found is None else found.log_factors


def with_factors(tensors: Tensors, model: BaseAlgorithm) -> Tensors:
    """Tensors of a network without factors, as those of a model with them; others as they are."""
    factors = log_factors(model)
    if factors is None or LOG_FACTORS in tensors:
        return tensors
    moved = _moved(tensors, _place(model), by=1)
    return moved | {LOG_FACTORS: np.zeros(factors.shape, dtype=np.float32)}


def without_factors(tensors: Tensors, model: BaseAlgorithm, *, direct: bool) -> Tensors:
    """The same network for slot zero alone, its factors in the weights that they stood before.

    Raises:
        ValueError: factors of another network.
    """
    if LOG_FACTORS not in tensors:
        return tensors
    slots, features = tensors[LOG_FACTORS].shape
    factors = factors_of(tensors[LOG_FACTORS])[NOBODY]
    place = _place(model)
    left = {
        name: tensor
        for name, tensor in tensors.items()
        if name != LOG_FACTORS and not name.startswith(f"{OPTIMIZER}{place}/")
    }
    left = _moved(left, place, by=-1)
    for layer in first_layers(model.policy, direct=direct):
        if layer.name in left:
            weight = left[layer.name].copy()
            if weight.shape[1] != features + slots:
                raise ValueError(f"{features} factors of {slots} slots before {weight.shape[1]}")
            weight[:, :features] *= factors
            left[layer.name] = weight
    return left


def _place(model: BaseAlgorithm) -> int:
    """The factors' number among parameters: the policy's own come first, then its extractor's."""
    return sum("." not in name for name, _ in model.policy.named_parameters())


def _moved(tensors: Tensors, place: int, *, by: int) -> Tensors:
    """What the optimizer keeps of the parameters from `place` on, numbered anew."""
    moved = {}
    for name, tensor in tensors.items():
        number, _, kept = name.removeprefix(OPTIMIZER).partition("/")
        if name.startswith(OPTIMIZER) and int(number) >= place:
            name = f"{OPTIMIZER}{int(number) + by}/{kept}"
        moved[name] = tensor
    return moved
