"""Both networks of a shared policy as one node of autograd, in numpy.

    model = PPO(TrunkPolicy, ..., policy_kwargs={"features_extractor_class": Factored})

Of a gradient step of small networks, torch spends most on what is around its kernels: some hundred
of them forward and back for actor, critic and the distribution, of two hundred in all, and tanh
alone takes it eight times as long as numpy. Here the networks are one node, and the distribution of
a choice another. Names, shapes and losses are SB3's, and so is what is learnt, to rounding.

Behind the features stand the slots' one-hot numbers (`factors.py`). Their columns are not
multiplied but gathered, and back summed for each slot.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch
from stable_baselines3.common.distributions import (
    CategoricalDistribution,
    DiagGaussianDistribution,
    StateDependentNoiseDistribution,
)
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from torch.autograd.function import once_differentiable

from hub.learner.activations import ACTIVATIONS, SLOPES
from hub.learner.features import factors_of
from hub.learner.sb3.categorical import categorical
from hub.learner.slots import LOG_FACTORS_BOUND, QUICKER

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]
    Network = list[tuple[Matrix, Matrix]]
    """Weight, (out, in), and bias, (out,), of each layer."""
    Observations = Any  # a dict of tensors; SB3 declares its methods for what is no dict


class TrunkPolicy(MultiInputActorCriticPolicy):
    """SB3's, for observations that are numbers, and behind them the device's slot."""

    def evaluate_actions(
        self, obs: Observations, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Values, (batch, 1); log-probabilities, and entropies where they are known, (batch,)."""
        drawn = self.action_dist
        if isinstance(drawn, StateDependentNoiseDistribution):  # sees the last hidden layer as well
            return super().evaluate_actions(obs, actions)
        said, values = self._look(obs)
        if isinstance(drawn, CategoricalDistribution):
            return values, *categorical(said, actions)
        if isinstance(drawn, DiagGaussianDistribution):
            drawn.proba_distribution(said, self.log_std)
        else:
            drawn.proba_distribution(action_logits=said)
        return values, drawn.log_prob(actions), drawn.entropy()

    def _look(self, obs: Observations) -> tuple[torch.Tensor, torch.Tensor]:
        """What actor and critic say, (batch, out) each."""
        *parts, slots = [part.numpy() for part in obs.values()]
        numbers = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
        seen = _Batch(
            numbers.astype(np.float32, copy=False),
            slots.astype(np.int64).ravel(),
            IN_NUMPY[self.activation_fn],
        )
        factors = self.features_extractor.log_factors
        both: tuple[torch.Tensor, torch.Tensor] = _Trunk.apply(seen, factors, *self._weights)  # type: ignore[no-untyped-call]  # torch's has no types
        return both

    @cached_property
    def _weights(self) -> list[torch.nn.Parameter]:
        """Of the actor's layers, then of the critic's: as many. To list them takes 50 us."""
        actor, critic = self.mlp_extractor.policy_net, self.mlp_extractor.value_net
        networks = (actor, self.action_net, critic, self.value_net)
        return [parameter for network in networks for parameter in network.parameters()]


class _Batch(NamedTuple):
    numbers: Matrix
    """(batch, features)."""
    slots: NDArray[np.int64]
    """(batch,)."""
    activation: str
    """Between layers, by its name."""


class _Trunk(torch.autograd.Function):
    """What actor and critic say: (batch, out) each."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch declares it so
        seen: _Batch,
        log_factors: torch.Tensor,
        *weights: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """By SB3's parameters, in its order."""
        table = log_factors.detach().numpy()
        x = seen.numbers * factors_of(table)[seen.slots]
        given = [weight.detach().numpy() for weight in weights]
        half = len(given) // 2
        networks = [_layers(given[:half]), _layers(given[half:])]
        said = [_forward(seen, x, network) for network in networks]
        free = np.abs(QUICKER * table) <= LOG_FACTORS_BOUND
        ctx.kept = seen, x, free, networks, said
        return tuple(torch.from_numpy(layers[-1]) for layers in said)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401 - as above
        """Of what `forward` was given."""
        seen, x, free, networks, said = ctx.kept
        by_slot = _by_slot(seen.slots, len(free))
        behind = np.zeros_like(x)
        own: list[Matrix] = []
        for network, layers, gradient in zip(networks, said, gradients, strict=True):
            weights, before = _backward(seen, x, network, layers, by_slot, gradient.numpy())
            own += weights
            behind += before
        behind *= x
        factors = by_slot(behind)
        factors *= free  # one beyond its bound is not pushed on
        factors *= QUICKER
        return None, *(torch.from_numpy(one) for one in (factors, *own))


def _layers(weights: list[Matrix]) -> Network:
    return list(zip(weights[::2], weights[1::2], strict=True))


def _forward(seen: _Batch, x: Matrix, network: Network) -> list[Matrix]:
    """What each layer gives, (batch, out)."""
    (weight, bias), *others = network
    features, activate = x.shape[1], ACTIVATIONS[seen.activation]
    y = x @ weight[:, :features].T
    y += (weight[:, features:].T + bias)[seen.slots]
    layers = [y]
    for weight, bias in others:
        activate(y, out=y)
        y = y @ weight.T
        y += bias
        layers.append(y)
    return layers


def _backward(
    seen: _Batch,
    x: Matrix,
    network: Network,
    layers: list[Matrix],
    by_slot: Callable[[Matrix], Matrix],
    gradient: Matrix,
) -> tuple[list[Matrix], Matrix]:
    """The gradients of a network's weights and biases, in their order, and that of `x`."""
    own: list[Matrix] = []
    slope = SLOPES[seen.activation]
    for (weight, _), y in zip(network[:0:-1], layers[-2::-1], strict=True):
        own[:0] = gradient.T @ y, gradient.sum(axis=0)
        gradient = gradient @ weight
        gradient *= slope(y)
    weight = np.concatenate([gradient.T @ x, by_slot(gradient).T], axis=1)
    own[:0] = weight, gradient.sum(axis=0)
    return own, gradient @ network[0][0][:, : x.shape[1]]


def _by_slot(slots: NDArray[np.int64], count: int) -> Callable[[Matrix], Matrix]:
    """Sums rows, (batch, n), by their slots: (count, n). As a product, with those that occur."""
    present, at = np.unique(slots, return_inverse=True)
    hot = (np.arange(len(present))[:, None] == at).astype(np.float32)

    def summed(rows: Matrix) -> Matrix:
        sums = np.zeros((count, rows.shape[1]), dtype=np.float32)
        sums[present] = hot @ rows
        return sums

    return summed


IN_NUMPY: Final = {
    torch.nn.Tanh: "tanh",
    torch.nn.ReLU: "relu",
    torch.nn.ELU: "elu",
    torch.nn.LeakyReLU: "leaky_relu",
}
"""The names of torch's activations in `activations.py`."""
