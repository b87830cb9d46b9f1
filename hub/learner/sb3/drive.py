"""Stable-Baselines3, unmodified, driven from transitions instead of by its own `learn()`.

`learn()` steps an environment and waits for it. Here devices step when they please, so the loop is
turned inside out: each transition comes in, and SB3's own pieces do the rest, in `learn()`'s order.
With one device and the same seed the weights are those of `learn()`, bit for bit (tests/learning).

    learner = drive(agent, read_parameters(agent))
    update = learner.learn(transition, version=7, behind=False)     # None: it completed none
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hub.learner.algorithms.parameters import algorithm_of
from hub.learner.sb3.model import open_model, seen_by
from hub.learner.sb3.normalise import open_normal
from hub.learner.sb3.off_policy import OffPolicy
from hub.learner.sb3.on_policy import OnPolicy
from hub.learner.sb3.randomness import Randomness

if TYPE_CHECKING:
    from hub.learner.algorithms.row import Parameters
    from hub.words import Agent


def drive(agent: Agent, parameters: Parameters) -> OnPolicy | OffPolicy:
    """A learner as the agent declares it, its weights drawn from the agent's seed."""
    torch.set_num_threads(1)
    torch.set_deterministic_debug_mode("error")
    random = Randomness()
    random.hold()
    spaces = seen_by(agent, parameters)
    normal = open_normal(spaces.observations, spaces.actions, parameters)
    model = open_model(agent, parameters, spaces, normal)
    if algorithm_of(agent).family == "on_policy":
        return OnPolicy(spaces, model, parameters, normal, random)
    return OffPolicy(spaces, model, parameters, normal, random)
