"""Replicas that advise each other lend critics to each other: what they hold states to be worth.

    lender = borrow(model, peers)         # before `train`; its buffer is full

What a state is worth to a peer helps where what it would do does not: machines that are wired
differently, or have learnt something else so far, come to the same returns. So an update begins
with the critic that foretells the replica's own returns best, its own or a peer's, and trains it
on. A critic goes from replica to replica that way, and has learnt from all of them.

Rule 1: only returns of the replica's own data decide, so who is paid at random soon lends to
    nobody.
Rule 2: nothing else of it is touched: not what it would do, not the optimizer's moments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm


def borrow(model: OnPolicyAlgorithm, peers: Iterable[tuple[str, OnPolicyAlgorithm]]) -> str | None:
    """Have the critic that foretells the rollout's returns best: whose it was, None = one's own.

    Args:
        model: its rollout buffer holds observations and returns.
        peers: by name, models of the same networks, without features that are learnt.
    """
    buffer: Any = model.rollout_buffer  # SB3 declares observations of an object for no buffer
    seen = {name: torch.as_tensor(values[:, 0]) for name, values in buffer.observations.items()}
    returns = torch.as_tensor(buffer.returns)
    best, least = None, _error(_values(model, seen), returns)
    for name, peer in peers:
        values = _values(peer, seen)
        error = _error(values, returns)
        if error < least:
            best, least = (name, peer, values), error
    if best is None:
        return None
    lender, peer, values = best
    for ours, theirs in zip(_critic(model), _critic(peer), strict=True):
        ours.load_state_dict(theirs.state_dict())
    # What `clip_range_vf` holds an update near to is what the critic says that it begins with.
    buffer.values[:] = values.numpy()
    return lender


def _values(model: OnPolicyAlgorithm, seen: Any) -> torch.Tensor:  # noqa: ANN401 - a dict of tensors
    """(rollout, 1)."""
    with torch.no_grad():
        return model.policy.predict_values(seen)


def _error(values: torch.Tensor, returns: torch.Tensor) -> float:
    """Mean square; of a critic that overflows infinite, so that it is never the least."""
    error = torch.nn.functional.mse_loss(values, returns).item()
    return error if error < float("inf") else float("inf")


def _critic(model: OnPolicyAlgorithm) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Hidden layers and head."""
    return model.policy.mlp_extractor.value_net, model.policy.value_net
