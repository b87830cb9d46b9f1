"""CartPole-v1 behind the bench's hand-built packets: what a device costs is the environment's."""

from __future__ import annotations

import secrets
from typing import Any, Final

import gymnasium
import msgspec
from msgspec import Struct

from tests.bench.talk import native_body

EPISODES: Final = 20
"""Of all devices, in a mean return."""


class _Act(Struct):
    """Of an answer, the action; None after an episode's end."""

    a: int | None = None


_answer = msgspec.json.Decoder(_Act)


class Cart:
    """One device, to be a `Says`.

    Args:
        seed: of its environment.
        returns: where those of its episodes go.

    Attributes:
        steps: transitions.
    """

    def __init__(self, seed: int, returns: list[float]) -> None:
        self.steps = 0
        self.returns = returns
        self._boot = secrets.randbits(32)
        self._env: gymnasium.Env[Any, Any] = gymnasium.make("CartPole-v1")
        self._seed: int | None = seed
        self._over = True
        self._total = 0.0

    def says(self, answer: bytes) -> bytes:
        """Carry the answer out; what is seen then."""
        if self._over:
            seen, _ = self._env.reset(seed=self._seed)
            self._seed, self._over, self._total = None, False, 0.0
            return native_body(self._boot, seen.tolist(), None, done=False)
        action = _answer.decode(answer).a
        assert action is not None, "an action in mid-episode"
        seen, reward, terminated, truncated, _ = self._env.step(action)
        self.steps += 1
        self._total += float(reward)
        self._over = terminated or truncated
        if self._over:
            self.returns.append(self._total)
        return native_body(
            self._boot, seen.tolist(), float(reward), done=terminated, truncated=truncated
        )
