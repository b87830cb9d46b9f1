"""One episode of an environment, seen from the device that stands in it."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np

from hub.simulate.exchange import Said

Environment = gymnasium.Env[Any, Any]
"""Spaces are known at run time only."""


class Episode:
    """Turns what the environment shows into words, and actions into its own.

    The last observation is sent too, with `d` (terminated) or `tr` (a time limit); its answer holds
    no action, and the next observation opens an episode (docs/device-maker.md, "Step").
    """

    def __init__(self, environment: Environment, *, seed: int | None) -> None:
        self._environment = environment
        self._observation, _ = environment.reset(seed=seed)
        self._reward: float | None = None
        self._terminated = False
        self._truncated = False
        self._executed: Any = None
        self._last_action: Any = None
        self.total_reward = 0.0

    @property
    def over(self) -> bool:
        """Whether what it says now is the last."""
        return self._terminated or self._truncated

    def say(self, step: int, boot: int, *, first: bool) -> Said:
        """What the device sees; `first` = of its boot."""
        return Said(
            s=step,
            o=_plain(self._observation),
            b=boot,
            r=self._reward,
            d=int(self._terminated),
            # A pole that falls on the last step has fallen: terminated wins over the time limit.
            tr=int(self._truncated and not self._terminated),
            f=int(first),
            x=self._executed,
        )

    def act(self, action: Any) -> None:
        """Carry an action out; without one, do the last again and say so in the next `x`."""
        self._executed = None
        if action is None:
            action = self._resting() if self._last_action is None else self._last_action
            self._executed = action
        self._last_action = action
        observation, reward, self._terminated, self._truncated, _ = self._environment.step(
            self._of_space(action)
        )
        self._observation = observation
        # What is no number is no reward, and the hub would warn of it each time.
        self._reward = float(reward) if math.isfinite(reward) else None
        self.total_reward += self._reward or 0.0

    def _of_space(self, action: Any) -> Any:
        space = self._environment.action_space
        if isinstance(space, gymnasium.spaces.Discrete):
            return int(action)
        return np.asarray(action, space.dtype).reshape(space.shape or ())

    def _resting(self) -> Any:
        space = self._environment.action_space
        if isinstance(space, gymnasium.spaces.Discrete):
            return int(space.start)
        if isinstance(space, gymnasium.spaces.Box):
            return np.clip(0.0, space.low, space.high).tolist()
        return np.zeros(space.shape or (), space.dtype).tolist()


def _plain(observation: Any) -> Any:
    """As JSON has it."""
    if isinstance(observation, dict):
        return {name: _plain(part) for name, part in observation.items()}
    return np.asarray(observation).tolist()
