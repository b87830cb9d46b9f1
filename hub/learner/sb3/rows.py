"""Rows of Stable-Baselines3's replay buffers: made from transitions, put back from the log.

    rows = Rows(model, observations, actions)
    rows.take(transition)                       # the newest, as `learn()` stores it
    counts = rows.counts()                      # at a version: where they are to be read again

A version's file holds no rows. Random indices draw the same ones after a resume because each row
goes back to its own place in the ring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from hub.learner.interface import REPLAY_FIRST, REPLAY_FROM, REPLAY_ROW, executed
from hub.learner.sb3.spaces import indices, shaped
from hub.spaces import Box

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from stable_baselines3.common.buffers import ReplayBuffer
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

    from hub.learner.experience.transitions import Transition
    from hub.learner.versions.policy import Tensors
    from hub.spaces import Space
    from hub.words import Floats

COLUMNS: Final = (
    "observations",
    "next_observations",
    "actions",
    "rewards",
    "dones",
    "timeouts",
)
"""Of SB3's buffers, the arrays that hold a row each."""


class Rows:
    """A uniform replay buffer: every transition with a known action is a row as it comes.

    Attributes:
        buffer: SB3's own.
        started: int64, of each row the seq of its observation: where a refill must begin.
        ended: int64, of each row the seq of its next observation.
    """

    columns: ClassVar[tuple[str, ...]] = COLUMNS
    """All arrays of the buffer."""

    def __init__(self, model: OffPolicyAlgorithm, observations: Space, actions: Space) -> None:
        assert model.replay_buffer is not None, "made with the model"
        self.buffer: ReplayBuffer = model.replay_buffer
        self.started: NDArray[np.int64] = np.zeros(model.buffer_size, dtype=np.int64)
        self.ended: NDArray[np.int64] = np.zeros(model.buffer_size, dtype=np.int64)
        self._model = model
        self._observations = observations
        self._actions = actions

    def take(self, transition: Transition) -> bool:
        """Take a new transition in; False when its action is unknown."""
        return self.put_back(transition)

    def put_back(self, transition: Transition) -> bool:
        """Take one in that had been taken before a resume."""
        if executed(transition) is None:
            return False
        self._write(transition, truncated=transition.truncated)
        return True

    def is_enough(self, count: int) -> bool:
        """Whether so many transitions are here, and some of them can be sampled."""
        return self.buffer.size() >= count

    def counts(self) -> dict[str, int]:
        """Where the rows are to be read again, for a version's Card."""
        oldest = self.buffer.pos if self.buffer.full else 0
        rows = self.buffer.size()
        return {
            REPLAY_FROM: int(self.started[:rows].min()) if rows else 0,
            REPLAY_FIRST: int(self.ended[oldest]) if rows else 0,
            REPLAY_ROW: oldest,
        }

    def begin_at(self, counts: dict[str, int]) -> None:
        """Be empty; the first row that is put back goes to its own place."""
        self.buffer.pos = counts[REPLAY_ROW]

    def kept(self) -> Tensors:
        """What a version must keep of them: nothing, the log has it all."""
        return {}

    def take_back(self, tensors: Tensors) -> None:
        """Go on from what `kept` gave."""
        del tensors

    def inherit(self, before: Rows) -> None:
        """Take over another's newest rows, oldest first; none where one of both has episodes."""
        source, target = before.buffer, self.buffer
        target.pos, target.full = 0, False
        if type(before) is not type(self):
            return
        if source.buffer_size == target.buffer_size:
            # Rows keep their places, where a refill from the log will put them.
            for name in self.columns:
                setattr(target, name, getattr(source, name))
            target.pos, target.full = source.pos, source.full
            self.started, self.ended = before.started, before.ended
            return
        rows = (source.pos if source.full else 0) + np.arange(source.size())
        self._copy(before, rows[-target.buffer_size :] % source.buffer_size)

    def _copy(self, before: Rows, rows: NDArray[np.int64]) -> None:
        """Copy rows of another in their order; there is room for them."""
        target = self.buffer
        for kept, taken in zip(_columns(before.buffer), _columns(target), strict=True):
            taken[: len(rows)] = kept[rows]
        self.started[: len(rows)] = before.started[rows]
        self.ended[: len(rows)] = before.ended[rows]
        target.full = len(rows) == target.buffer_size
        target.pos = len(rows) % target.buffer_size

    def _write(self, transition: Transition, *, truncated: bool) -> None:
        """Make it a row. A truncation is flagged: SB3 bootstraps there (Pardo et al. 2018)."""
        self.started[self.buffer.pos] = transition.seq_first
        self.ended[self.buffer.pos] = transition.seq_last
        over = transition.terminated or truncated
        self.buffer.add(
            self._given(transition.observation),
            self._given(transition.next_observation),
            self._done(transition),
            np.array([transition.reward], dtype=np.float32),
            np.array([over]),
            [{"TimeLimit.truncated": over and not transition.terminated}],
        )

    def _given(self, observation: Floats) -> Any:
        """An array, or a dict of arrays, which SB3's annotations leave out."""
        return shaped(self._observations, observation)

    def _done(self, transition: Transition) -> NDArray[Any]:
        """What the device really did, as the buffer holds it: Box actions scaled to [-1, 1]."""
        values = executed(transition)
        assert values is not None, "it was looked at"
        action = np.frombuffer(values, dtype="<f4").reshape(1, -1)
        if not isinstance(self._actions, Box):
            return indices(self._actions, action)
        scaled: NDArray[Any] = self._model.policy.scale_action(action)
        return scaled.clip(-1.0, 1.0)


def _columns(buffer: ReplayBuffer) -> Iterator[NDArray[Any]]:
    """The arrays that hold a row each, in one order; a Dict space has one for each part."""
    for name in COLUMNS:
        column: Any = getattr(buffer, name)
        if isinstance(column, dict):
            yield from (part for _, part in sorted(column.items()))
        else:
            yield column
