"""Frozen lakes of Gymnasium, whose ice is still or slippery: small tasks with a known answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import gymnasium
import numpy as np
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv

from tests.learning.harness import agent_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hub.words import Agent

STATES: Final = 16
ACTIONS: Final = 4
STEPS_MAX: Final = 100
"""Of an episode; then it is truncated."""

gymnasium.register(
    "StillLake-v0", lambda **_: FrozenLakeEnv(is_slippery=False), max_episode_steps=STEPS_MAX
)
gymnasium.register(
    "SlipperyLake-v0", lambda **_: FrozenLakeEnv(is_slippery=True), max_episode_steps=STEPS_MAX
)


def lake(algorithm: str, *, seed: int, **parameters: str) -> Agent:
    """An agent of either lake."""
    return agent_of(algorithm, STATES, ACTIONS, seed=seed, **parameters)


def q_star(environment: str, gamma: float) -> NDArray[np.float64]:
    """Q*(s, a) by value iteration (Sutton & Barto 2018, eq. 4.10), (states, actions)."""
    model = cast("Any", gymnasium.make(environment).unwrapped).P
    q = np.zeros((STATES, ACTIONS))
    while True:
        before = q.copy()
        for s in range(STATES):
            for a in range(ACTIONS):
                q[s, a] = sum(
                    chance * (reward + (0.0 if over else gamma * before[s_next].max()))
                    for chance, s_next, reward, over in model[s][a]
                )
        if np.abs(q - before).max() < 1e-12:
            return q


def within(environment: str) -> list[int]:
    """Observations in which there is something to choose: neither holes nor the goal."""
    model = cast("Any", gymnasium.make(environment).unwrapped).P
    return [s for s in range(STATES) if not all(outcome[3] for outcome in model[s][0])]
