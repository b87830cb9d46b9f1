"""Torch modules, optimizers and a generator as tensors of a policy file, and back.

    tensors = kept({"actor": actor}, {"adam": adam}, generator)
    put_back(tensors, {"actor": actor}, {"adam": adam}, generator)

For learners from elsewhere: weights stand under `<module>.<weight>`, so that actors find their
layers, and what only training needs under `resume/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from hub.errors import HubFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.learner.versions.policy import Tensors

RESUME: Final = "resume/"
RANDOM: Final = RESUME + "random"


def kept(
    modules: Mapping[str, torch.nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    generator: torch.Generator,
) -> Tensors:
    """Copies of all their numbers."""
    tensors: Tensors = {RANDOM: generator.get_state().numpy().copy()}
    for module, network in modules.items():
        for name, weight in network.state_dict().items():
            tensors[f"{module}.{name}"] = weight.numpy().copy()
    for optimizer, adam in optimizers.items():
        for i, state in adam.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"{RESUME}{optimizer}/{i}/{name}"] = torch.as_tensor(value).numpy().copy()
    return tensors


def put_back(
    tensors: Tensors,
    modules: Mapping[str, torch.nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    generator: torch.Generator,
) -> None:
    """Put them to where `kept` took them.

    Raises:
        HubFault: the tensors are of other modules.
    """
    given = {name: torch.from_numpy(tensor.copy()) for name, tensor in tensors.items()}
    for module, network in modules.items():
        try:
            network.load_state_dict(_below(f"{module}.", given))
        except RuntimeError as error:
            raise HubFault(f"the snapshot is of another network: {error}") from error
    for optimizer, adam in optimizers.items():
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in _below(f"{RESUME}{optimizer}/", given).items():
            i, _, key = name.partition("/")
            state.setdefault(int(i), {})[key] = tensor
        adam.load_state_dict({"state": state, "param_groups": adam.state_dict()["param_groups"]})
    generator.set_state(given[RANDOM])


def _below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
