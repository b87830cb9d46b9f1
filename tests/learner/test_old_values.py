"""What an older version said a state was worth is not learnt from, but what the newest says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest

from hub.learner.slots import NOBODY
from hub.words import Floats
from tests.learner.test_choose import agent_of, observed, opened
from tests.learner.test_fragments import step
from tests.learner.test_slots import shared

if TYPE_CHECKING:
    from hub.words import Agent

LOGGED: Final = 7.0
"""No critic says so of anything here."""
NEWEST: Final = 4
STEPS: Final = 16


def valued(learner: Any, observations: list[Floats]) -> list[float]:
    """By the network as it is now."""
    critic = learner.model.policy.predict_values
    return [critic(learner._given(one)).item() for one in observations]


@pytest.mark.parametrize("sharing", ["none", "shared"])
@pytest.mark.parametrize("algorithm", ["PPO", "A2C"])
@pytest.mark.parametrize(("sent", "scaled"), [("box", False), ("box", True), ("dict", False)])
def test_rows_of_the_version_before_are_valued_anew_and_the_others_are_as_logged(
    algorithm: str, sharing: str, sent: str, *, scaled: bool
) -> None:
    options = {"n_steps": str(STEPS), "norm_obs": str(scaled).lower()}
    agent = agent_of(algorithm, sent, "choices", **options)
    agent = shared(agent) if sharing == "shared" else agent
    learner: Any = opened(agent)[0]
    if scaled:
        for _, statistics in learner.normal._statistics():
            statistics.mean += 0.5
            statistics.var *= 4.0
        learner.normal.freeze()
    seen = [observation for observation in seen_by(agent) for _ in range(2)][: STEPS + 1]
    expected = [value if i % 3 else LOGGED for i, value in enumerate(valued(learner, seen[:STEPS]))]
    update = None
    for i in range(STEPS):
        update = learner.learn(
            step(
                i,
                observation=seen[i],
                next_observation=seen[i + 1],
                policy=NEWEST - 1 if i % 3 else NEWEST,
                value=LOGGED,
            ),
            version=NEWEST,
            behind=False,
        )
    assert update is not None
    buffer = learner.model.rollout_buffer
    assert buffer.values.ravel() == pytest.approx(expected, abs=1e-5)
    assert buffer.values.ravel()[0] == LOGGED
    assert buffer.returns.ravel() == pytest.approx(buffer.advantages.ravel() + expected, abs=1e-4)


def seen_by(agent: Agent) -> list[Floats]:
    """Observations, behind them a slot where there are some."""
    slot = np.float32(NOBODY).tobytes() if agent.sharing == "shared" else b""
    return [Floats(one + slot) for one in observed(agent.observations)]
