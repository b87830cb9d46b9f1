"""On-policy learning from actions that were drawn with advice, by SB3's own losses.

What a peer would have done stands behind the observation. The policy draws from the product of both
distributions, and its update is on the log-probability of that product with the advice as it was:
a policy gradient of what really acted (Plisnier et al. 2019). The ratio of the policy alone to what
acted, or of the policy alone to itself, was worse than no advice at all.

Without advice the rest is neutral: a peer that holds all actions for equally likely.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from stable_baselines3.common.torch_layers import CombinedExtractor

from hub.learner.messages import LOG_STD_BOUND
from hub.learner.slots import OBSERVATION
from hub.spaces import Box, Dict, MultiBinary, choices, size
from hub.words import FLOAT_BYTES, Floats

if TYPE_CHECKING:
    from stable_baselines3.common.distributions import Distribution

    from hub.spaces import Leaf, Space

    Observations = Any  # a dict of tensors; SB3 declares its methods for what is no dict

NAME: Final = "~advice"
"""Among the parts of an observation, which stand in the order of their names."""
NO_PRECISION: Final = 20.0
"""log(standard deviation) of a Gaussian that changes no product."""


def with_advice(space: Space, actions: Space) -> Dict:
    """The space of observations with what a peer would do behind them."""
    assert not isinstance(actions, Dict), "refused before"
    parts = space.spaces if isinstance(space, Dict) else {OBSERVATION: space}
    last = max(parts)
    width = len(neutral(actions)) // FLOAT_BYTES
    numbers = Box((width,), (-np.inf,) * width, (np.inf,) * width)
    return Dict({**parts, NAME if last < NAME else last + NAME: numbers})


def without_scale(space: Space) -> Space:
    """The same, with advice as something that has no scale to be learnt."""
    if not isinstance(space, Dict):
        return space
    parts = {
        name: MultiBinary(size(part)) if name.endswith(NAME) else part
        for name, part in space.spaces.items()
    }
    return Dict(parts)


def neutral(actions: Leaf) -> Floats:
    """Of nobody: float32, as `hub.learner.messages.Advice` has them."""
    if isinstance(actions, Box):
        m = size(actions)
        return Floats(np.repeat([0.0, NO_PRECISION], m).astype("<f4").tobytes())
    logits = size(actions) if isinstance(actions, MultiBinary) else sum(choices(actions))
    return Floats(bytes(FLOAT_BYTES * logits))


class Unadvised(CombinedExtractor):
    """Features of everything but the advice."""

    def __init__(self, observation_space: Any) -> None:  # noqa: ANN401 - Gymnasium's Dict
        seen = {n: part for n, part in observation_space.items() if not n.endswith(NAME)}
        super().__init__(type(observation_space)(seen))


class AdvisedPolicy(MultiInputActorCriticPolicy):
    """SB3's, whose distribution is multiplied with the advice."""

    _advice: torch.Tensor | None = None

    def evaluate_actions(
        self, obs: Observations, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Of the product: log-probabilities and entropies; and values."""
        self._advice = _advice_in(obs)
        return super().evaluate_actions(obs, actions)

    def get_distribution(self, obs: Observations) -> Distribution:
        """The product."""
        self._advice = _advice_in(obs)
        return super().get_distribution(obs)

    def _get_action_dist_from_latent(self, latent_pi: torch.Tensor) -> Distribution:
        advice, self._advice = self._advice, None
        if advice is None:
            return super()._get_action_dist_from_latent(latent_pi)
        ours = self.action_net(latent_pi)
        if not isinstance(self.action_dist, DiagGaussianDistribution):
            return self.action_dist.proba_distribution(action_logits=ours + advice)
        mean, log_std = advice.chunk(2, dim=1)
        log_std = log_std.clamp(-LOG_STD_BOUND, LOG_STD_BOUND)  # as the actor drew (`net.product`)
        own, others = torch.exp(-2.0 * self.log_std), torch.exp(-2.0 * log_std)
        precision = own + others
        mixed = (ours * own + mean * others) / precision
        return self.action_dist.proba_distribution(mixed, -0.5 * torch.log(precision))


def _advice_in(observations: Observations) -> torch.Tensor:
    advice: torch.Tensor = next(t for name, t in observations.items() if name.endswith(NAME))
    return advice.float()
