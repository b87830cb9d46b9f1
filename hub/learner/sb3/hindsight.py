"""Hindsight experience replay (Andrychowicz et al. 2017), by SB3's own HerReplayBuffer, unmodified.

HerReplayBuffer wants one episode after another, and devices step when they please. So the steps of
each device are held until its episode has ended, and become rows together, in the order in which
episodes ended. SB3 leaves unfinished episodes out of its samples too, so what is learnt is what
`learn()` learns, until the ring comes round: there SB3 lets an old episode go when a new one
begins, and here when the new one has ended.

Rule 1: an episode that goes on after an unknown action, a gap or a reboot is two; the first of them
    was truncated.
Rule 2: one that has not ended within `buffer_size - 1` transitions of all devices was truncated, so
    that no device that has left holds anything for ever. (A cut, below.)
Rule 3: an episode whose first rows were overwritten is never sampled again; none of it is put back.

What a version keeps: since when each device's episode lasts and which cuts there were, as both may
depend on what is no longer read again. All else a refill finds in the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct, field
from stable_baselines3 import HerReplayBuffer

from hub.learner.algorithms.goals import goal_width, read_reward
from hub.learner.interface import REPLAY_FIRST, REPLAY_FROM, REPLAY_ROW, executed
from hub.learner.sb3.rows import Rows
from hub.learner.sb3.spaces import Spaces
from hub.learner.versions.policy import as_bytes_tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

    from hub.learner.algorithms.goals import GoalName, Hindsight, Numbers, Truths
    from hub.learner.experience.fragments import Fragment
    from hub.learner.experience.transitions import Transition
    from hub.learner.versions.policy import Tensors
    from hub.spaces import Space

HELD: Final = "resume/held"
REPLAY_LAST: Final = "replay_last"
"""Of the oldest episode that can be sampled, seq of its last row; 0 where there is none."""
REPLAY_FULL: Final = "replay_full"
"""Whether the ring had come round: rows that are not put back count too."""


def replay_arguments(hindsight: Hindsight | None) -> dict[str, Any]:
    """What makes SB3's constructors take its buffer; nothing for a uniform one."""
    if hindsight is None:
        return {}
    kwargs = {
        "n_sampled_goal": hindsight.n_sampled_goal,
        "goal_selection_strategy": hindsight.goal_selection_strategy,
    }
    return {"replay_buffer_class": HerReplayBuffer, "replay_buffer_kwargs": kwargs}


def open_spaces(observations: Space, actions: Space, hindsight: Hindsight | None) -> Spaces:
    """The environment for SB3's constructors, with a reward where hindsight asks for it."""
    if hindsight is None:
        return Spaces(observations, actions)
    return GoalSpaces(observations, actions, hindsight.goal_reward)


class GoalSpaces(Spaces):
    """Spaces of a task with a goal; SB3's buffer asks it for the reward of other goals."""

    def __init__(self, observations: Space, actions: Space, goal_reward: str) -> None:
        super().__init__(observations, actions)
        self._reward = read_reward(goal_reward, goal_width(observations))

    def compute_reward(
        self, achieved: NDArray[Any], desired: NDArray[Any], infos: object
    ) -> NDArray[np.float64]:
        """The reward (batch,) for goals (batch, …).

        Raises:
            ValueError: it is no finite number; the trainer leaves that update out.
        """
        del infos
        goals = _Goals(achieved, desired)
        with np.errstate(all="ignore"):  # what comes of it is looked at
            rewards = np.broadcast_to(self._reward(goals), len(achieved)).astype(np.float64)
        if not np.isfinite(rewards).all():
            raise ValueError("goal_reward has no finite value for a goal that was reached")
        return rewards


class _Goals:
    """Goals as columns of float64, and what numpy does with them (`Goals`)."""

    def __init__(self, achieved: NDArray[Any], desired: NDArray[Any]) -> None:
        self._of: dict[GoalName, NDArray[np.float64]] = {
            "achieved": achieved.reshape(len(achieved), -1).astype(np.float64),
            "desired": desired.reshape(len(desired), -1).astype(np.float64),
        }

    def distance(self) -> Numbers:
        distance: Numbers = np.linalg.norm(self._of["achieved"] - self._of["desired"], axis=1)
        return distance

    def component(self, name: GoalName, index: int) -> Numbers:
        return self._of[name][:, index]

    def called(self, name: str, numbers: list[Numbers]) -> Numbers:
        if name == "abs":
            return np.abs(numbers[0])
        if name == "sqrt":
            return np.sqrt(numbers[0])
        least = np.minimum if name == "min" else np.maximum
        value = numbers[0]
        for number in numbers[1:]:
            value = least(value, number)
        return value

    def chosen(self, truth: Truths, one: Numbers, other: Numbers) -> Numbers:
        return np.where(truth, one, other)

    def negated(self, truth: Truths) -> Truths:
        return np.logical_not(truth)


class Cut(NamedTuple):
    """An episode that had lasted too long."""

    seq: int
    """Of the observation that was one transition too many, of whatever device."""
    device: str


class _Lasting(Struct):
    """What of the episodes that last can't be found in the log again."""

    count: int = 0
    """Transitions so far."""
    begun: dict[str, int] = field(default_factory=dict)
    """Of each device in mid-episode, the count at its first step; the oldest first."""
    cuts: list[Cut] = field(default_factory=list)
    """That a refill may come upon, the oldest first."""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Lasting).decode


class Episodes(Rows):
    """Rows of episodes that have ended; the steps of the others are held."""

    buffer: HerReplayBuffer
    columns = (*Rows.columns, "ep_start", "ep_length", "_current_ep_start")

    def __init__(self, model: OffPolicyAlgorithm, observations: Space, actions: Space) -> None:
        super().__init__(model, observations, actions)
        self._held: dict[str, Fragment] = {}
        self._lasting = _Lasting()
        self._cuts_ahead: list[Cut] = []
        self._awaited = 0

    def take(self, transition: Transition) -> bool:
        """Hold the step, or add the episode that it ended."""
        self._settle()
        device = transition.device
        if executed(transition) is None:
            self._end(device)
            self._lasting.begun.pop(device, None)
            return False
        self._lasting.count += 1
        self._cut(transition.seq_last)
        before = self._held.get(device)
        self._hold(transition)
        after = self._held.get(device)
        if after is not before or after is None:
            self._lasting.begun.pop(device, None)
        if after is not None:
            self._lasting.begun.setdefault(device, self._lasting.count)
        return True

    def put_back(self, transition: Transition) -> bool:
        """The same, with the cuts of then."""
        while self._cuts_ahead and self._cuts_ahead[0].seq <= transition.seq_last:
            self._end(self._cuts_ahead.pop(0).device)
        if executed(transition) is None:
            self._end(transition.device)
            return False
        self._hold(transition)
        return True

    def is_enough(self, count: int) -> bool:
        """Steps that are held count, as they do in SB3's buffer."""
        held = sum(map(len, self._held.values()))
        return self.buffer.size() + held >= count and bool(self.buffer.ep_length.any())

    def counts(self) -> dict[str, int]:
        """Of the episodes that can be sampled, and those that are held."""
        self._settle()
        held = [step for fragment in self._held.values() for step in fragment]
        rows = self._sampled()
        started = [int(self.started[rows].min())] if len(rows) else []
        ended = [int(self.ended[rows].min())] if len(rows) else []
        first = int(rows[0]) if len(rows) else self.buffer.pos
        length = int(self.buffer.ep_length[first, 0])
        last = (first + length - 1) % self.buffer.buffer_size
        return {
            REPLAY_FROM: min([*started, *(step.seq_first for step in held)], default=0),
            REPLAY_FIRST: min([*ended, *(step.seq_last for step in held)], default=0),
            REPLAY_ROW: first,
            REPLAY_LAST: int(self.ended[last]) if length else 0,
            REPLAY_FULL: int(self.buffer.full),
        }

    def begin_at(self, counts: dict[str, int]) -> None:
        """Be empty; episodes that ended before the oldest that is wanted are passed over."""
        super().begin_at(counts)
        self.buffer._current_ep_start[:] = self.buffer.pos
        self.buffer.full = bool(counts.get(REPLAY_FULL, 0))
        self._awaited = counts.get(REPLAY_LAST, 0)
        self._cuts_ahead = list(self._lasting.cuts)

    def kept(self) -> Tensors:
        """Since when episodes last, and the cuts that a refill will come upon."""
        first = self.counts()[REPLAY_FIRST]
        self._lasting.cuts = [cut for cut in self._lasting.cuts if cut.seq >= first]
        return {HELD: as_bytes_tensor(_encode(self._lasting))}

    def take_back(self, tensors: Tensors) -> None:
        """Go on from what `kept` gave; of a uniform buffer, from nothing."""
        if HELD in tensors:
            self._lasting = _decode(tensors[HELD].tobytes())

    def inherit(self, before: Rows) -> None:
        """With the episodes; the strategy and the reward are of the new parameters."""
        self._held, self._lasting = {}, _Lasting()
        self._cuts_ahead, self._awaited = [], 0
        self.buffer._current_ep_start[:] = 0
        if isinstance(before, Episodes):
            before._settle()
            self._held, self._lasting = before._held, before._lasting
        super().inherit(before)

    def _copy(self, before: Rows, rows: NDArray[np.int64]) -> None:
        """Whole episodes, one after another; of one that is too long, its end."""
        assert isinstance(before, Episodes), "inherit has looked"
        source, room = before.buffer, self.buffer.buffer_size - 1
        rows = before._sampled()
        left = source.ep_length[rows, 0] - (rows - source.ep_start[rows, 0]) % source.buffer_size
        for row in rows[left <= room][-2 * room :]:  # what comes before is overwritten
            self.started[self.buffer.pos] = before.started[row]
            self.ended[self.buffer.pos] = before.ended[row]
            self.buffer.add(
                {name: part[row] for name, part in source.observations.items()},
                {name: part[row] for name, part in source.next_observations.items()},
                source.actions[row],
                source.rewards[row],
                source.dones[row],
                [{"TimeLimit.truncated": bool(source.timeouts[row, 0])}],
            )

    def _cut(self, seq: int) -> None:
        """End what has lasted too long, before the step that comes now."""
        longest = self.buffer.buffer_size - 1
        lasting = self._lasting
        while lasting.begun:
            device, begun = next(iter(lasting.begun.items()))
            if lasting.count - begun < longest:
                return
            del lasting.begun[device]
            lasting.cuts.append(Cut(seq, device))
            self._end(device)

    def _hold(self, transition: Transition) -> None:
        fragment = self._held.get(transition.device)
        if fragment is not None and fragment[-1].seq_last != transition.seq_first:
            self._end(transition.device)
        self._held.setdefault(transition.device, []).append(transition)
        if transition.terminated or transition.truncated:
            self._end(transition.device)

    def _end(self, device: str) -> None:
        """Make rows of what is held of the device, if anything is."""
        fragment = self._held.pop(device, None)
        if fragment is None or self._awaited not in (0, fragment[-1].seq_last):
            return
        self._awaited = 0
        for step in fragment[1 - self.buffer.buffer_size :]:  # the buffer may be smaller now
            self._write(step, truncated=step.truncated or step is fragment[-1])

    def _settle(self) -> None:
        """All was put back: cuts that no transition came after are made now."""
        for cut in self._cuts_ahead:
            self._end(cut.device)
        self._cuts_ahead = []
        self._awaited = 0

    def _sampled(self) -> NDArray[np.int64]:
        """Rows that can be sampled, the oldest first; an overwritten episode's have no length."""
        places = (self.buffer.pos + np.arange(self.buffer.buffer_size)) % self.buffer.buffer_size
        sampled: NDArray[np.int64] = places[self.buffer.ep_length[places, 0] > 0]
        return sampled
