"""Q-learning with a table (Watkins 1989; Sutton & Barto 2018, section 6.5): the reference learner.

    Q(S, A) <- Q(S, A) + alpha [ R + gamma max_a Q(S', a) - Q(S, A) ]              (eq. 6.8)

What it learns of a small task is known beforehand, so other learners and all that lies between a
device and its learner are judged by it. A row of the table is one observation: several numbers make
one of mixed radix; those of a Box are cut into `bins` of equal width first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hub.learner.algorithms.reference import cells
from hub.learner.algorithms.row import Fall
from hub.learner.interface import Acting, Choices, Plain, Update, executed
from hub.spaces import Box, Discrete, parse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hub.learner.algorithms.row import Argument, Parameters
    from hub.learner.experience.transitions import Transition
    from hub.learner.versions.policy import Card, Tensors
    from hub.spaces import Space
    from hub.words import Agent, Floats

TABLE = "q"
CELLS = "cells"
"""How many values of each number the table tells apart, as the actor must know it too."""


class Tabular(Plain):
    """One step of eq. 6.8 for each transition, in the order of the log."""

    def __init__(self, agent: Agent, parameters: Parameters) -> None:
        self._observations, actions = parse(agent.observations), parse(agent.actions)
        assert isinstance(actions, Discrete), "the row takes no other"
        self._first_action = actions.start
        self._parameters = parameters
        bins = parameters.arguments["bins"]
        assert isinstance(bins, int), "the row says so"
        self._cells = np.array(cells(self._observations, bins))
        self.q: NDArray[np.float32] = np.zeros((self._cells.prod(), actions.n), dtype=np.float32)
        self.gradient_steps = 0
        """Steps of eq. 6.8 so far."""
        self._taken = self._first = 0

    def learn(self, transition: Transition, *, version: int, behind: bool) -> Update | None:
        """Eq. 6.8; a version every `publish_every` transitions."""
        del version, behind  # whoever chose the action; and it takes no time worth skipping
        action = executed(transition)
        if action is None:
            return None
        self._first = self._first or transition.seq_last
        self._taken += 1
        error = self._step(transition, action)
        if self._taken < self._parameters.publish_every:
            return None
        metrics = {"td_error": error}
        update = Update(self._taken, 0, self._first, transition.seq_last, metrics)
        self._taken = self._first = 0
        return update

    def _step(self, transition: Transition, action: Floats) -> float:
        """The temporal-difference error."""
        s, s_next = self._row(transition.observation), self._row(transition.next_observation)
        a = int(np.frombuffer(action, dtype="<f4")[0]) - self._first_action
        # A truncated episode would have gone on: its last value counts (Pardo et al. 2018).
        v_next = 0.0 if transition.terminated else float(self.q[s_next].max())
        gamma = self._number("gamma")
        error = transition.reward + gamma * v_next - float(self.q[s, a])
        self.q[s, a] += self._number("learning_rate") * error
        self.gradient_steps += 1
        return error

    def acting(self) -> Acting:
        """Epsilon-greedily; epsilon falls in a straight line, as DQN's does."""
        start, end = self._number("exploration_initial_eps"), self._number("exploration_final_eps")
        falling = self._number("exploration_fraction") * self._parameters.total_timesteps
        progress = min(1.0, self.gradient_steps / falling) if falling else 1.0
        return Acting("own", exploration=start + progress * (end - start))

    def tensors(self) -> Tensors:
        """The table."""
        return {TABLE: self.q.copy(), CELLS: self._cells.copy()}

    def restore(self, tensors: Tensors) -> None:
        """The table."""
        self.q = tensors[TABLE].copy()

    def counts(self) -> dict[str, int]:
        """Steps so far: schedules depend on them."""
        since = {"since_taken": self._taken, "since_first": self._first}
        return {"steps": self.gradient_steps} | since

    def count_on(self, counts: dict[str, int]) -> None:
        """Go on from there."""
        self.gradient_steps = counts["steps"]
        self._taken, self._first = counts.get("since_taken", 0), counts.get("since_first", 0)

    def settle(self) -> None:
        """Explore as at the end of the schedule."""
        self.gradient_steps = max(self.gradient_steps, self._parameters.total_timesteps)

    def _row(self, observation: Floats) -> int:
        values = np.frombuffer(observation, dtype="<f4").reshape(1, -1)
        return int(rows(self._observations, self._cells, values)[0])

    def _number(self, name: str) -> float:
        """A parameter as it is now."""
        value: Argument = self._parameters.arguments[name]
        if isinstance(value, Fall):
            progress = min(1.0, self.gradient_steps / self._parameters.total_timesteps)
            return value.start + progress * (value.end - value.start)
        assert isinstance(value, float), "the row says so"
        return value


class Greedy:
    """The table in the actor's process."""

    uniforms = 2

    def __init__(self, card: Card, tensors: Tensors) -> None:
        self._observations = parse(card.observations)
        self._q: NDArray[np.float32] = tensors[TABLE]
        self._cells: NDArray[np.int64] = tensors[CELLS]
        self._epsilon = card.exploration

    def choose(
        self, observations: NDArray[np.float32], uniforms: NDArray[np.float64] | None
    ) -> Choices:
        """The best action, or, with probability epsilon, any (Sutton & Barto 2018, section 2.2)."""
        q = self._q[rows(self._observations, self._cells, observations)]
        best, values, count = q.argmax(axis=1), q.max(axis=1), q.shape[1]
        if uniforms is None:
            return Choices(_column(best), None, values)
        anything = np.minimum((uniforms[:, 1] * count).astype(np.int64), count - 1)
        chosen = np.where(uniforms[:, 0] < self._epsilon, anything, best)
        share = self._epsilon / count
        probabilities = np.where(chosen == best, 1.0 - self._epsilon + share, share)
        return Choices(_column(chosen), np.log(probabilities).astype(np.float32), values)


def rows(
    space: Space, cells_of: NDArray[np.int64], observations: NDArray[np.float32]
) -> NDArray[np.int64]:
    """The table's row of each observation, (batch, n) to (batch,)."""
    if isinstance(space, Box):
        low, high = np.array(space.low), np.array(space.high)
        scaled = (observations - low) / (high - low) * cells_of
        values = np.clip(np.floor(scaled), 0, cells_of - 1).astype(np.int64)
    else:
        values = observations.astype(np.int64)
        values -= space.start if isinstance(space, Discrete) else 0
    radix: NDArray[Any] = np.append(np.cumprod(cells_of[:0:-1])[::-1], 1)
    return np.asarray(values @ radix)


def _column(chosen: NDArray[np.int64]) -> NDArray[np.float32]:
    return chosen.astype(np.float32).reshape(-1, 1)
