"""RecurrentPPO from the log: the states of its LSTMs are a fold of the observations.

The actor says with each action how many observations its state had seen (`memory`); the trainer
follows every device with the newest version's LSTMs and so has the state before each step.

Rule 1: where the two numbers differ, and not because a new actor's first answers came too late, the
    trainer does not know what the actor remembered; it leaves steps out until that begins anew.
Rule 2: an action of the version before is trained on with the state that the newest one would be
    in; its log-probability is as logged.
Rule 3: a fragment that begins in mid-episode is trained on from the state it began with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np
import torch
from sb3_contrib.common.recurrent.buffers import (
    RecurrentDictRolloutBuffer,
    RecurrentRolloutBuffer,
)
from sb3_contrib.common.recurrent.type_aliases import RNNStates

from hub.learner.versions.parts import GATHERED
from hub.learner.versions.policy import as_bytes_tensor
from hub.words import Floats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray
    from sb3_contrib.common.recurrent.type_aliases import (
        RecurrentDictRolloutBufferSamples,
        RecurrentRolloutBufferSamples,
    )
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
    from stable_baselines3.common.type_aliases import PyTorchObs
    from stable_baselines3.common.vec_env import VecNormalize

    from hub.learner.experience.fragments import Fragment
    from hub.learner.experience.transitions import Transition
    from hub.learner.versions.policy import Tensors

    Column = NDArray[np.float32]
    Rows = NDArray[np.int64]

FOLLOWED: Final = "resume/memory/devices"
UNHEARD_MAX: Final = 64
"""More late answers in a row than this, and the trainer waits for the next beginning."""
STATES: Final = "resume/memory/states"
"""float32 (devices, 4, width): hidden and cell for the action, hidden and cell for V(o)."""
AROUND: Final = GATHERED + "/seqs"
BEFORE: Final = GATHERED + "/before"
AFTER: Final = GATHERED + "/after"
"""Of the steps gathered, where a version comes in between: int64 (steps,), and as `STATES`."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[tuple[str, int, int, tuple[Floats, ...]]]).decode


class _Kept(NamedTuple):
    seq: int
    """Of the observation that comes next."""
    seen: int
    states: RNNStates
    unheard: tuple[Floats, ...] = ()
    """Observations since the actor last said what it remembers: it may have begun anew at each."""


class States:
    """The states before and after each step, of the learner's own model.

    Attributes of the model that change by it: `rollout_buffer`, which has to know where runs begin.
    """

    def __init__(self, model: OnPolicyAlgorithm, width: int) -> None:
        self._policy: Any = model.policy
        self._width = width
        self._kept: dict[str, _Kept] = {}
        self._around: dict[int, tuple[RNNStates, RNNStates]] = {}
        """Before and after each step gathered, by the seq of its observation."""
        plain = model.rollout_buffer
        kind = _DictBuffer if isinstance(plain, RecurrentDictRolloutBuffer) else _Buffer
        self._buffer = model.rollout_buffer = kind(
            plain.buffer_size,
            plain.observation_space,
            plain.action_space,
            (plain.buffer_size, 1, 1, width),
            plain.device,
            gamma=plain.gamma,
            gae_lambda=plain.gae_lambda,
        )

    def follow(self, transition: Transition, given: Callable[[Floats], PyTorchObs]) -> bool:
        """Go on to the state after the step; False when the actor's was another before it.

        Args:
            transition: the next in the log, whether it is learnt from or not.
            given: makes of an observation what the policy takes.
        """
        observation, memory = transition.observation, transition.memory
        kept = self._kept.pop(transition.device, None)
        if kept is None or kept.seq != transition.seq_first or memory == 0:
            kept = _Kept(transition.seq_first, 0, self._zeros())
        if memory is not None and kept.seen != memory <= len(kept.unheard):
            # The first answers of a new actor came too late to be sent: it began anew with them.
            states = self._zeros()
            for earlier in kept.unheard[-memory:]:
                states = self._advanced(given(earlier), states)
            kept = _Kept(kept.seq, memory, states)
        after = self._advanced(given(observation), kept.states)
        self._around[transition.seq_first] = kept.states, after
        if not (transition.terminated or transition.truncated):
            unheard = (*kept.unheard, observation)[-UNHEARD_MAX:] if memory is None else ()
            self._kept[transition.device] = _Kept(
                transition.seq_last, kept.seen + 1, after, unheard
            )
        return memory == kept.seen

    def before(self, step: Transition) -> RNNStates:
        """The state that the step's action was chosen from."""
        return self._around[step.seq_first][0]

    def value(self, step: Transition, observation: PyTorchObs) -> torch.Tensor:
        """V of the observation that followed the step."""
        after = self._around[step.seq_first][1]
        with torch.no_grad():
            values: torch.Tensor = self._policy.predict_values(
                observation, after.vf, torch.zeros(1)
            )
        return values

    def mark(self, fragments: list[Fragment]) -> None:
        """Say where a state was begun anew, and where another run begins; the advantages stand."""
        buffer = self._buffer
        steps = [(i, step) for fragment in fragments for i, step in enumerate(fragment)]
        buffer.episode_starts = _column([step.memory == 0 for _, step in steps])
        buffer.breaks = _column([i == 0 for i, _ in steps])
        self._around.clear()

    def kept(self) -> Tensors:
        """What the next transitions go on from."""
        followed = [(d, kept.seq, kept.seen, kept.unheard) for d, kept in self._kept.items()]
        tensors: Tensors = {
            FOLLOWED: as_bytes_tensor(_encode(followed)),
            STATES: self._stacked(kept.states for kept in self._kept.values()),
        }
        if self._around:
            tensors[AROUND] = np.array(list(self._around), dtype=np.int64)
            tensors[BEFORE] = self._stacked(before for before, _ in self._around.values())
            tensors[AFTER] = self._stacked(after for _, after in self._around.values())
        return tensors

    def take_back(self, tensors: Tensors) -> None:
        """Go on from there; with nothing when the states were of another width."""
        self._kept.clear()
        self._around.clear()
        if FOLLOWED not in tensors or tensors[STATES].shape[2] != self._width:
            return
        followed = _decode(tensors[FOLLOWED].tobytes())
        for (device, seq, seen, unheard), states in zip(followed, tensors[STATES], strict=True):
            self._kept[device] = _Kept(seq, seen, _unstacked(states), unheard)
        if AROUND in tensors:
            rows = zip(tensors[AROUND], tensors[BEFORE], tensors[AFTER], strict=True)
            self._around = {int(q): (_unstacked(b), _unstacked(a)) for q, b, a in rows}

    def _stacked(self, many: Iterable[RNNStates]) -> Column:
        """float32 (states, 4, width)."""
        rows = [
            np.concatenate([part.numpy().reshape(1, -1) for pair in states for part in pair])
            for states in many
        ]
        return np.stack(rows) if rows else np.empty((0, 4, self._width), dtype=np.float32)

    def _advanced(self, observation: PyTorchObs, states: RNNStates) -> RNNStates:
        """The states when the observation was seen, one at a time as in `learn()`."""
        policy, going_on = self._policy, torch.zeros(1)
        policy.set_training_mode(False)
        with torch.no_grad():
            features = policy.extract_features(observation)
            _, pi = policy._process_sequence(features, states.pi, going_on, policy.lstm_actor)
            _, vf = policy._process_sequence(features, states.vf, going_on, policy.lstm_critic)
        return RNNStates(pi, vf)

    def _zeros(self) -> RNNStates:
        return _states([torch.zeros(1, 1, self._width) for _ in range(4)])


class _Buffer(RecurrentRolloutBuffer):
    """A rollout buffer of sb3-contrib in which a column is made of several runs.

    `breaks`, (n_steps, 1), has 1 where a run begins: a sequence begins there too, from the state
    stored for that step. Without it the state of the run before would flow on.
    """

    breaks: Column

    def _get_samples(  # type: ignore[override]  # as the library's own
        self, batch_inds: Rows, env_change: Column, env: VecNormalize | None = None
    ) -> RecurrentRolloutBufferSamples:
        return super()._get_samples(batch_inds, np.maximum(env_change, self.breaks), env)


class _DictBuffer(RecurrentDictRolloutBuffer):
    """The same for a Dict of observations."""

    breaks: Column

    def _get_samples(  # type: ignore[override]  # as the library's own
        self, batch_inds: Rows, env_change: Column, env: VecNormalize | None = None
    ) -> RecurrentDictRolloutBufferSamples:
        return super()._get_samples(batch_inds, np.maximum(env_change, self.breaks), env)


def _states(parts: list[torch.Tensor]) -> RNNStates:
    hidden_pi, cell_pi, hidden_vf, cell_vf = parts
    return RNNStates((hidden_pi, cell_pi), (hidden_vf, cell_vf))


def _unstacked(states: Column) -> RNNStates:
    return _states([torch.from_numpy(part.copy()).reshape(1, 1, -1) for part in states])


def _column(flags: list[bool]) -> Column:
    return np.array(flags, dtype=np.float32).reshape(-1, 1)
