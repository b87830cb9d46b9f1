"""Whom each replica takes advice from: a bandit over its peers and nobody, one choice an episode.

    trust = Trust()
    trust.fold("boiler-1", "boiler-2", 31.0)        # an episode with its advice, and the return
    arms = trust.arms("boiler-1")
    adviser = choose(arms, ["boiler-2", "boiler-3"], normals)

Thompson sampling (Thompson 1933): each arm's mean return is drawn from what is known of it, and the
highest is taken. All that is known fades with every episode, because everybody is learning.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Sequence

NOBODY: Final = ""
"""The arm of an episode without advice."""
FADES: Final = 0.95
"""Weight of an episode for each one after it: about the last twenty count."""
ARMS_MAX: Final = 256
"""Of one replica; beyond, what is known least of is forgotten. Guests come and go for years."""
PRIOR: Final = 1.0
"""Episodes that the mean of all arms is worth to each of them."""


class Arm(Struct, array_like=True):
    """What is known of one choice."""

    weight: float = 0.0
    """Episodes, faded."""
    total: float = 0.0
    """Their returns, faded alike."""

    @property
    def mean(self) -> float | None:
        """None before its first episode."""
        return self.total / self.weight if self.weight else None


class Arms(Struct, array_like=True):
    """What is known of all choices of one replica."""

    by: dict[str, Arm] = field(default_factory=dict)
    weight: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    """Over all of them: episodes, returns, and their squares, faded."""

    @property
    def mean(self) -> float:
        """0 before the first episode."""
        return self.total / self.weight if self.weight else 0.0

    def of(self, adviser: str) -> Arm:
        """What is known of one choice."""
        return self.by.get(adviser, Arm())

    @property
    def deviation(self) -> float:
        """Of a return; 1 where all were alike, so that anybody may be drawn."""
        variance = self.squares / self.weight - self.mean**2 if self.weight else 0.0
        return math.sqrt(variance) if variance > 0.0 else 1.0


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(dict[str, Arms]).decode


class Trust:
    """Of all replicas: a fold of their episodes."""

    def __init__(self) -> None:
        self._of: dict[str, Arms] = {}

    def fold(self, device: str, adviser: str | None, returned: float) -> None:
        """Take an episode in.

        Args:
            device: that acted.
            adviser: whose advice it took; None = nobody's.
            returned: the episode's return.
        """
        arms = self._of.setdefault(device, Arms())
        for arm in arms.by.values():
            arm.weight *= FADES
            arm.total *= FADES
        arms.weight, arms.total = FADES * arms.weight + 1.0, FADES * arms.total + returned
        arms.squares = FADES * arms.squares + returned**2
        arm = arms.by.setdefault(adviser or NOBODY, Arm())
        arm.weight += 1.0
        arm.total += returned
        if len(arms.by) > ARMS_MAX:
            del arms.by[min(arms.by, key=lambda name: arms.by[name].weight)]

    def arms(self, device: str) -> Arms:
        """What a device knows of its choices; of a new one nothing."""
        return self._of.get(device, Arms())

    def snapshot(self) -> bytes:
        """All that later choices depend on."""
        return _encode(self._of)

    def restore(self, snapshot: bytes) -> None:
        """Go on as the one that made the snapshot would.

        Raises:
            msgspec.DecodeError: the bytes are no snapshot.
        """
        self._of = _decode(snapshot)


def choose(arms: Arms, peers: Sequence[str], normals: Sequence[float]) -> str | None:
    """Whose advice to take for an episode; None = nobody's.

    Args:
        arms: what the replica knows.
        peers: who could advise.
        normals: a standard normal number for nobody, and one for each peer.
    """
    best, best_drawn = NOBODY, float("-inf")
    for name, normal in zip((NOBODY, *peers), normals, strict=True):
        arm = arms.of(name)
        weight = arm.weight + PRIOR
        mean = (arm.total + PRIOR * arms.mean) / weight
        drawn = mean + normal * arms.deviation / weight**0.5
        if name == NOBODY or drawn > best_drawn:
            best, best_drawn = name, drawn
    return best or None
