"""Log-probabilities and entropies of choices by their logits, as one node of autograd in numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]


def categorical(logits: torch.Tensor, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies, (batch,) each.

    As of `torch.distributions.Categorical`, whose twenty kernels and their gradients take longer.

    Args:
        logits: (batch, choices).
        actions: what was chosen, counted from 0, (batch,).

    Raises:
        ValueError: a logit is NaN, as torch's own says.
    """
    both: tuple[torch.Tensor, torch.Tensor] = _Categorical.apply(logits, actions)  # type: ignore[no-untyped-call]  # torch's has no types
    return both


class _Categorical(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch declares it so
        logits: torch.Tensor,
        actions: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        said: Matrix = logits.detach().numpy()
        logs = said - said.max(axis=1, keepdims=True)
        logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
        if np.isnan(logs).any():
            raise ValueError("of logits that are no numbers nothing can be drawn")
        chances = np.exp(logs)
        entropies = -(chances * logs).sum(axis=1)
        chosen = np.arange(len(logs)), actions.long().numpy()
        ctx.kept = logs, chances, entropies, chosen
        return torch.from_numpy(logs[chosen]), torch.from_numpy(entropies)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401 - as above
        of_logprobs: torch.Tensor,
        of_entropies: torch.Tensor,
    ) -> tuple[torch.Tensor, None]:
        logs, chances, entropies, chosen = ctx.kept
        by_logprob, by_entropy = of_logprobs.numpy(), of_entropies.numpy()
        gradient = (logs + entropies[:, None]) * -by_entropy[:, None]
        gradient -= by_logprob[:, None]
        gradient *= chances
        gradient[chosen] += by_logprob
        return torch.from_numpy(gradient), None
