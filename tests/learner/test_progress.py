"""What an update says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hub.learner.sb3.snapshot import gradient_steps
from tests.learner.test_choose import agent_of, flat, observed, opened
from tests.learner.test_fragments import step

if TYPE_CHECKING:
    from hub.learner.interface import Update

STEPS: Final = 20


def test_an_update_of_the_critics_alone_says_nothing_of_the_actor_and_counts_as_a_step() -> None:
    learning = {"learning_starts": "4", "batch_size": "4", "publish_every": "1"}
    agent = agent_of("TD3", "box", "box", train_freq="1", gradient_steps="1", **learning)
    learner: Any = opened(agent)[0]
    seen = observed(agent.observations)
    action = flat(np.full(2, 0.5))
    updates: list[Update] = []
    for i in range(STEPS):
        update = learner.learn(
            step(i, observation=seen[i], action=action, next_observation=seen[i + 1]),
            version=1,
            behind=False,
        )
        updates += [] if update is None else [update]
    assert len(updates) == STEPS - 4
    assert all("critic_loss" in update.metrics for update in updates)
    # Every second step moves the actor (Fujimoto et al. 2018).
    moved = ["actor_loss" in update.metrics for update in updates]
    assert moved == [False, True] * (len(updates) // 2)
    assert gradient_steps(learner.model) == len(updates)
