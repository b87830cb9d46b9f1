"""Running statistics of observations and rewards: SB3's VecNormalize, fed from the log.

    normal = open_normal(observations, actions, parameters)
    normal.gather(event, transition)       # each event of an agent that learns
    normal.freeze()                        # a version was made: so it sees, until the next one

Rule 1: statistics are a fold of the log; the log and the replay buffer hold what devices sent.
Rule 2: a version acts by the statistics in its own file, so its logged probabilities stay true.
Rule 3: on-policy, an update sees observations as the version that it starts from does. SB3 moves
    its statistics within a rollout; here a version would then act on another scale than its own.
Rule 4: off-policy, rows are scaled when they are sampled, by the newest statistics, as SB3 does.
    A reward is scaled on-policy as it comes, off-policy when it is sampled; also as SB3 does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from hub.errors import HubFault, OperatorFault
from hub.learner.algorithms.observed import is_measured
from hub.learner.sb3.advised import without_scale
from hub.learner.sb3.hindsight import open_spaces
from hub.learner.sb3.spaces import shaped
from hub.learner.versions.policy import as_bytes_tensor
from hub.learner.versions.scaling import EPSILON, MEAN, OBSERVATIONS, PREFIX, VARIANCE, Scale
from hub.spaces import Dict
from hub.words import Floats, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from stable_baselines3.common.running_mean_std import RunningMeanStd

    from hub.learner.algorithms.row import Parameters
    from hub.learner.experience.transitions import Transition
    from hub.learner.versions.policy import Tensors
    from hub.spaces import Space
    from hub.words import Event

COUNT: Final = OBSERVATIONS + "count"
REWARDS: Final = PREFIX + "reward/"
RETURNS: Final = PREFIX + "returns"
GAMMA: Final = 0.99
"""Of every algorithm that is not told another."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(dict[str, tuple[int, float]]).decode


def open_normal(observations: Space, actions: Space, parameters: Parameters) -> Normal | None:
    """Statistics of nothing yet; None where nothing is normalised."""
    if not parameters.norm_obs and not parameters.norm_reward:
        return None
    return Normal(observations, actions, parameters)


class Normal:
    """What the newest event made of the statistics, and what the newest version acts by."""

    def __init__(self, observations: Space, actions: Space, parameters: Parameters) -> None:
        gamma = parameters.arguments.get("gamma", GAMMA)
        assert isinstance(gamma, float), "the table says so"
        scaled = without_scale(observations)
        parts = scaled.spaces if isinstance(scaled, Dict) else None
        self.vec = VecNormalize(
            DummyVecEnv([lambda: open_spaces(observations, actions, parameters.hindsight)]),
            norm_obs=parameters.norm_obs,
            norm_reward=parameters.norm_reward,
            clip_obs=parameters.clip_obs,
            clip_reward=parameters.clip_reward,
            gamma=gamma,
            epsilon=EPSILON,
            norm_obs_keys=None if parts is None else [n for n in parts if is_measured(parts[n])],
        )
        """The environment that SB3's models are made with; their replay buffers ask it."""
        self._space = observations
        self._scaled = scaled
        self._returns: dict[str, tuple[int, float]] = {}
        """Of each device, seq of its newest observation and the discounted rewards up to it."""
        self.freeze()

    def gather(self, event: Event, transition: Transition | None) -> None:
        """Count the observation if it wants an action, and the reward if there is one.

        In SB3 the last observation of an episode is not counted either.
        """
        wants = event.kind is Kind.OBSERVATION and not event.terminated and not event.truncated
        if wants and self.vec.norm_obs and event.obs is not None:  # None = it is too large
            values: Any = shaped(self._space, event.obs)
            for name, statistics in self._statistics():
                statistics.update(values if name is None else values[name])
        if transition is not None:
            self._gather_reward(transition)

    def _gather_reward(self, transition: Transition) -> None:
        seq, before = self._returns.get(transition.device, (0, 0.0))
        self.vec.returns = np.array([before if seq == transition.seq_first else 0.0])
        self.vec._update_reward(np.array([transition.reward], dtype=np.float32))
        over = transition.terminated or transition.truncated
        after = 0.0 if over else float(self.vec.returns[0])
        self._returns[transition.device] = (transition.seq_last, after)

    def reward(self, reward: float) -> float:
        """The reward on the scale of the discounted rewards so far."""
        return float(self.vec.normalize_reward(np.array([reward], dtype=np.float32))[0])

    def seen(self, observation: Floats) -> Floats:
        """The observation as the newest version sees it."""
        if self.scale is None:
            return observation
        row = np.frombuffer(observation, dtype="<f4").reshape(1, -1)
        return Floats(self.scale(row).tobytes())

    def freeze(self) -> None:
        """From now on the newest version sees by the statistics as they are."""
        self._frozen = self.tensors()
        self.scale = self._scale()

    def fall_back(self) -> None:
        """Back to the statistics that the newest version acts by."""
        self._read(self._frozen)

    def tensors(self) -> Tensors:
        """The statistics, float64, as copies."""
        tensors: Tensors = {}
        if self.vec.norm_obs:
            told = [statistics for _, statistics in self._statistics()]
            tensors[MEAN] = _joined(one.mean for one in told)
            tensors[VARIANCE] = _joined(one.var for one in told)
            tensors[COUNT] = np.array(told[0].count)
        if self.vec.norm_reward:
            rewards = self.vec.ret_rms
            for name in ("mean", "var", "count"):
                tensors[REWARDS + name] = np.array(getattr(rewards, name), dtype=np.float64)
            tensors[RETURNS] = as_bytes_tensor(_encode(self._returns))
        return tensors

    def restore(self, tensors: Tensors) -> None:
        """Go on from a version's statistics, which are those it acts by."""
        self._read(tensors)
        self.freeze()

    def go_on(self, tensors: Tensors) -> None:
        """Go on from statistics that are newer than those which the version acts by."""
        self._read(tensors)

    def take_over(self, other: Normal) -> None:
        """Go on as the learner before, whose newest version goes on acting."""
        self._read(other.tensors())
        self._frozen, self.scale = other._frozen, other.scale

    def _read(self, tensors: Tensors) -> None:
        if self.vec.norm_obs and MEAN in tensors:
            start = 0
            for _, statistics in self._statistics():
                end = start + statistics.mean.size
                shape = statistics.mean.shape
                statistics.mean = tensors[MEAN][start:end].reshape(shape).copy()
                statistics.var = tensors[VARIANCE][start:end].reshape(shape).copy()
                statistics.count = float(tensors[COUNT])
                start = end
        if self.vec.norm_reward and REWARDS + "mean" in tensors:
            for name in ("mean", "var"):
                setattr(self.vec.ret_rms, name, np.float64(tensors[REWARDS + name]))
            self.vec.ret_rms.count = float(tensors[REWARDS + "count"])
            self._returns = _decode(tensors[RETURNS].tobytes()) if RETURNS in tensors else {}

    def _scale(self) -> Scale | None:
        if not self.vec.norm_obs:
            return None
        mean, variance = self._frozen[MEAN], self._frozen[VARIANCE]
        return Scale(self._scaled, mean, variance, clip=self.vec.clip_obs)

    def _statistics(self) -> list[tuple[str | None, RunningMeanStd]]:
        """By the names of a Dict, in their order; None for a space without names."""
        found: Any = self.vec.obs_rms
        if isinstance(found, dict):
            return [(name, found[name]) for name in sorted(found)]
        return [(None, found)]


def restore(normal: Normal | None, tensors: Tensors) -> None:
    """Go on from a version's statistics.

    Raises:
        HubFault: the version scales observations and this learner does not, or the reverse.
    """
    scales = normal is not None and normal.vec.norm_obs
    if scales != (MEAN in tensors):
        raise HubFault(
            "the snapshot is of another network: its observations were "
            + ("not scaled" if scales else "scaled")
        )
    if normal is not None:
        normal.restore(tensors)


def take_in(normal: Normal | None, given: Tensors, what: str) -> None:
    """Begin with statistics from outside; what they say of single devices is left out.

    Raises:
        OperatorFault: there are none, or not those that this learner needs.
    """
    if normal is None:
        return
    for name, wanted in normal.tensors().items():
        if name == RETURNS:
            continue
        found = given.get(name)
        if found is None and not name.startswith(OBSERVATIONS):
            continue  # rewards do not matter to how it acts
        if found is None:
            raise OperatorFault(
                f"{what} has no statistics of observations, which an agent with norm_obs needs: "
                "export it as .safetensors, or import it into an agent without norm_obs"
            )
        fits = found.dtype == wanted.dtype and found.shape == wanted.shape
        if not fits or not np.isfinite(found).all() or (name != MEAN and (found < 0).any()):
            raise OperatorFault(f"{what} has statistics {name} that do not fit the agent")
    normal.restore({name: tensor for name, tensor in given.items() if name != RETURNS})


def take_over(before: Normal | None, normal: Normal | None) -> None:
    """Let a learner go on with the statistics of the one before it, where both have some."""
    if before is not None and normal is not None:
        normal.take_over(before)


def _joined(parts: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate([np.ravel(part) for part in parts]).astype(np.float64)
