"""Flipping bits until they are as asked (Andrychowicz et al. 2017, section 3.1).

The reward says nothing until all are right, which chance alone never finds when they are many.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
from stable_baselines3.common.envs import BitFlippingEnv

from hub.words import Agent
from tests.learning.harness import agent_of

REWARD = "0 if distance == 0 else -1"


class Bits(BitFlippingEnv):
    """SB3's task with another goal for each episode; -1 a step until the goal is reached.

    Args:
        count: of bits, and of steps in an episode.
        continuous: the action has a number for each bit, which is flipped where it is positive.
        endless: reaching the goal does not end an episode.
    """

    def __init__(
        self, count: int, *, continuous: bool = False, endless: bool = False, **_: Any
    ) -> None:
        super().__init__(n_bits=count, continuous=continuous)
        self._endless = endless

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Anew."""
        super().reset(seed=seed, options=options)
        self.desired_goal = self._obs_space.sample()
        return self._get_obs(), {}

    def step(self, action: Any) -> Any:
        """Flip."""
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated and not self._endless, truncated, info


for _count in (6, 8):
    for _continuous in (False, True):
        gymnasium.register(
            f"Bits{_count}{'Continuous' if _continuous else ''}-v0",
            partial(Bits, _count, continuous=_continuous),
            order_enforce=False,
            disable_env_checker=True,
        )


def environment_of(agent: Agent) -> str:
    """The task's registered name."""
    count = agent.observations["desired_goal"]["multi_binary"]
    return f"Bits{count}{'' if isinstance(agent.actions, int) else 'Continuous'}-v0"


def bits(algorithm: str, count: int, *, seed: int, **parameters: str) -> Agent:
    """An agent of the task."""
    row: Any = {"multi_binary": count}
    observations = {"observation": row, "achieved_goal": row, "desired_goal": row}
    q_learner = algorithm in ("DQN", "QRDQN")
    actions = count if q_learner else [[count], -1, 1]
    hindsight = {"replay_buffer": "her", "goal_reward": REWARD}
    return agent_of(algorithm, observations, actions, seed=seed, **(hindsight | parameters))
