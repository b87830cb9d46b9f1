"""The scale of observations folded into the first linear layers of Stable-Baselines3's networks.

    W ((x - m) / s) + b  =  (W / s) x + (b - W (m / s))

So a policy in SB3's own file needs no VecNormalize beside it. The clip is no linear thing and is
lost: the two differ where an observation is further from its mean than `clip_obs` deviations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from hub.errors import OperatorFault
from hub.learner.algorithms.libraries import ALGORITHMS
from hub.learner.algorithms.observed import has_images, is_measured
from hub.learner.algorithms.parameters import read_parameters
from hub.learner.sb3.first_layers import first_layers
from hub.learner.versions.scaling import EPSILON, MEAN, VARIANCE
from hub.spaces import Dict, Discrete, MultiDiscrete, choices, parse, size

if TYPE_CHECKING:
    from hub.learner.versions.policy import Tensors
    from hub.spaces import Space
    from hub.words import Agent


def fold_scale(policy: torch.nn.Module, agent: Agent, statistics: Tensors) -> None:
    """Make the policy take observations as they come.

    Raises:
        OperatorFault: what first touches the observation is not linear.
    """
    if ALGORITHMS[agent.algorithm].normalised:
        raise OperatorFault(
            f"{agent.algorithm} has a batch normalisation where the scale of observations would "
            "have to go, and SB3's file has no other place; export it as .safetensors"
        )
    if has_images(parse(agent.observations)):
        raise OperatorFault(
            "behind a network that looks at images there is no place for the scale of the other "
            "observations in SB3's file; export it as .safetensors"
        )
    mean, deviation = _of_features(parse(agent.observations), statistics)
    with torch.no_grad():
        for layer in first_layers(policy, direct=not read_parameters(agent).net_arch):
            weight = layer.weight[:, : len(mean)]  # a critic's action stands behind it
            weight.div_(deviation)
            layer.bias.sub_(weight @ mean)


def _of_features(space: Space, statistics: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of each number the first layer sees; 0 and 1 of those not scaled."""
    means, deviations, start = [], [], 0
    for part in space.spaces.values() if isinstance(space, Dict) else (space,):
        end = start + size(part)
        if is_measured(part):
            means.append(statistics[MEAN][start:end])
            deviations.append(np.sqrt(statistics[VARIANCE][start:end] + EPSILON))
            start = end
            continue
        width = size(part)
        if isinstance(part, (Discrete, MultiDiscrete)):  # one-hot
            width = sum(choices(part))
        means.append(np.zeros(width))
        deviations.append(np.ones(width))
    joined = (np.concatenate(parts).astype(np.float32) for parts in (means, deviations))
    mean, deviation = (torch.from_numpy(part) for part in joined)
    return mean, deviation
