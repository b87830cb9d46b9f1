"""Whether a device's rewards are what its peers' would have been: a fold of transitions.

    rewards = Rewards(choices=2)
    rewards.fold(transition)
    told = rewards.judge("boiler-4", muted=())     # Relation(0.03, peers=0.97), or None

Of each device a few sums are kept, from which its rewards can be fitted to what was seen and done
(least squares). A device is held against a fit of all its peers' rewards but its own, and its peers
against fits without it and without themselves. `relation` is the correlation of a device's rewards
with what they would have been by the fit; where its peers' do not vary, the cosine of both.

Rule 1: there is evidence only where peers bear each other out, and where the device has been where
    their rewards differ. Otherwise nothing is said: rewards may depend on what is not seen.
Rule 2: the last reward of an episode does not count. Success and failure end episodes alike, and a
    device that does nothing but fail would seem to lie.
Rule 3: with fewer than two peers it can't be known who is right.
"""

from __future__ import annotations

from statistics import median_low
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from hub.learner.experience.transitions import Transition

    Vector = NDArray[np.float64]

FADES: Final = 0.999
"""Weight of a transition for each of its device's after it: about the last thousand count."""
WEIGHT_MIN: Final = 150.0
"""Of transitions, faded, before anything is said of a device."""
PARTS_MAX: Final = 6
"""Longer observations and actions are cut into so many runs, of which the means are taken."""
PEERS_MAX: Final = 8
"""Of more, those seen most are asked."""
PEERS_MIN: Final = 2
STRONG: Final = 0.7
"""Relation of peers among each other, without which there is no evidence."""
SPREAD_MIN: Final = 0.25
"""How far what is expected of a device must vary, of how far it varies for its peers."""
FLAT: Final = 1e-9
"""A variance below this share of the mean square is rounding."""
RIDGE: Final = 1e-6
REWARD_MAX: Final = 1e30
"""Beyond it squares would leave what numbers can hold."""


class Relation(NamedTuple):
    """What a device's rewards have to do with those that peers had for the like."""

    own: float
    """-1 to 1."""
    peers: float
    """Median of its peers', among each other."""


class _Sums(Struct, array_like=True):
    """Of one device, faded."""

    count: int = 0
    """Transitions in all."""
    x_x: bytes = b""
    """float64 (k, k)."""
    x_r: bytes = b""
    """float64 (k,)."""
    r_r: float = 0.0


class _Fit(NamedTuple):
    """A fit, and how rewards stood to it."""

    cosine: float
    correlation: float
    square: float
    """Mean of the squares of what was expected."""
    variance: float
    """Of the same."""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(dict[str, _Sums]).decode


class Rewards:
    """Of one agent's devices.

    Args:
        choices: of a discrete action that few can be chosen from; 0 = it is taken as numbers.
    """

    def __init__(self, choices: int = 0) -> None:
        self._choices = choices if 0 < choices <= PARTS_MAX else 0
        self._of: dict[str, tuple[int, Vector, Vector, float]] = {}

    def fold(self, transition: Transition) -> int:
        """Take a transition in; how many its device has had."""
        done = transition.executed or transition.action
        known = self._of.get(transition.device)
        if done is None or transition.terminated or transition.truncated:
            return 0
        x = self._x(np.frombuffer(transition.observation, "<f4"), np.frombuffer(done, "<f4"))
        r = min(max(transition.reward, -REWARD_MAX), REWARD_MAX)
        if known is None or len(known[2]) != len(x):
            known = 0, np.zeros((len(x), len(x))), np.zeros(len(x)), 0.0
        count, x_x, x_r, r_r = known
        x_x *= FADES
        x_x += np.multiply.outer(x, x)
        x_r *= FADES
        x_r += r * x
        self._of[transition.device] = count + 1, x_x, x_r, FADES * r_r + r * r
        return count + 1

    def judge(self, device: str, muted: Collection[str]) -> Relation | None:
        """How its rewards relate to its peers'; None where there is no evidence.

        Args:
            device: that was seen.
            muted: devices that are nobody's peers.
        """
        peers = self._peers(device, muted)
        if len(peers) < PEERS_MIN or not self._is_known(device):
            return None
        x_x: Vector = np.sum([self._of[peer][1] for peer in peers], axis=0)
        x_r: Vector = np.sum([self._of[peer][2] for peer in peers], axis=0)
        own = self._fit(device, x_x, x_r)
        others = [
            self._fit(peer, x_x - self._of[peer][1], x_r - self._of[peer][2]) for peer in peers
        ]
        for name, spread in (("correlation", "variance"), ("cosine", "square")):
            among = median_low([getattr(other, name) for other in others])
            varies = median_low([getattr(other, spread) for other in others])
            if among >= STRONG and getattr(own, spread) >= SPREAD_MIN * varies:
                return Relation(round(getattr(own, name), 6), round(among, 6))
        return None

    def snapshot(self) -> bytes:
        """All that later judgements depend on."""
        return _encode(
            {
                device: _Sums(count, x_x.tobytes(), x_r.tobytes(), r_r)
                for device, (count, x_x, x_r, r_r) in self._of.items()
            }
        )

    def restore(self, snapshot: bytes) -> None:
        """Go on as the one that made the snapshot would.

        Raises:
            msgspec.DecodeError: the bytes are no snapshot.
        """
        self._of = {}
        for device, sums in _decode(snapshot).items():
            x_r = np.frombuffer(sums.x_r).copy()
            x_x = np.frombuffer(sums.x_x).copy().reshape(len(x_r), len(x_r))
            self._of[device] = sums.count, x_x, x_r, sums.r_r

    def _is_known(self, device: str) -> bool:
        known = self._of.get(device)
        return known is not None and known[1][0, 0] >= WEIGHT_MIN

    def _peers(self, device: str, muted: Collection[str]) -> list[str]:
        width = len(self._of[device][2]) if device in self._of else 0
        known = [
            peer
            for peer in self._of
            if peer != device
            and peer not in muted
            and self._is_known(peer)
            and len(self._of[peer][2]) == width
        ]
        return sorted(known, key=lambda peer: (-self._of[peer][0], peer))[:PEERS_MAX]

    def _x(self, observation: NDArray[np.float32], action: NDArray[np.float32]) -> Vector:
        """What rewards are fitted to, float64 (k,): 1, both compressed, and their squares."""
        seen = _parts(observation)
        if self._choices:
            done = np.zeros(self._choices)
            done[int(action[0]) % self._choices] = 1.0
        else:
            done = _parts(action)
            done = np.concatenate([done, done * done])
        return np.concatenate([[1.0], seen, seen * seen, done])

    def _fit(self, device: str, x_x: Vector, x_r: Vector) -> _Fit:
        """Of a device's rewards, to a fit of others'."""
        weights = _solve(x_x, x_r)
        _, own, rewards, r_r = self._of[device]
        # CRUCIAL: as Python's own numbers. What is found goes into events, and numpy's don't.
        n, mean_r = float(own[0, 0]), float(rewards[0] / own[0, 0])
        mean = float(weights @ own[0]) / n
        square = max(float(weights @ own @ weights) / n, 0.0)
        product = float(weights @ rewards) / n
        variance, variance_r = square - mean**2, r_r / n - mean_r**2
        return _Fit(
            _ratio(product, square, r_r / n),
            0.0
            if variance <= FLAT * square or variance_r <= FLAT * (r_r / n)
            else _ratio(product - mean * mean_r, variance, variance_r),
            square,
            variance if variance > FLAT * square else 0.0,
        )


def _solve(x_x: Vector, x_r: Vector) -> Vector:
    """Least squares by their sums; a little is added to each square, lest any two are alike."""
    scale = np.sqrt(np.diag(x_x))
    scale = np.where(scale > 0.0, scale, 1.0)
    scaled = x_x / np.multiply.outer(scale, scale) + RIDGE * np.eye(len(x_r))
    solved: Vector = np.linalg.solve(scaled, x_r / scale) / scale
    return solved


def _ratio(product: float, square: float, other: float) -> float:
    below = (square * other) ** 0.5
    return min(max(product / below, -1.0), 1.0) if below > 0.0 else 0.0


def _parts(values: NDArray[np.float32]) -> Vector:
    """Few numbers of many, each compressed so that none outweighs all others."""
    many = values.astype(np.float64)
    if len(many) > PARTS_MAX:
        many = np.array([part.mean() for part in np.array_split(many, PARTS_MAX)])
    return np.arcsinh(many)
