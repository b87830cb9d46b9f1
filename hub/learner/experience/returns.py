"""How well each device has been doing: a fold of its episodes' returns.

returns = Returns()
ended = returns.fold(transition)      # the return of the episode that it ended, most end none
returns.best(["boiler-1", "boiler-2"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.learner.experience.transitions import Transition

WEIGHT: Final = 0.1
"""Of the newest episode in the mean: about the last twenty count."""
EPISODES_MIN: Final = 5
"""Fewer say nothing of a device."""


class _Standing(Struct, array_like=True):
    """A device's episodes so far, and the one that it is in."""

    seq: int = 0
    """Of the observation that the episode has come to."""
    total: float = 0.0
    episodes: int = 0
    mean: float = 0.0


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(dict[str, _Standing]).decode


class Returns:
    """Undiscounted (Sutton & Barto 2018, eq. 3.7), of episodes as far as they are known."""

    def __init__(self) -> None:
        self._of: dict[str, _Standing] = {}

    def fold(self, transition: Transition) -> float | None:
        """The return of the episode that this transition ended; None when it ended none."""
        standing = self._of.setdefault(transition.device, _Standing())
        if standing.seq != transition.seq_first:
            standing.total = 0.0
        standing.seq = transition.seq_last
        standing.total += transition.reward
        if not (transition.terminated or transition.truncated):
            return None
        standing.episodes += 1
        weight = max(WEIGHT, 1.0 / standing.episodes)
        standing.mean += weight * (standing.total - standing.mean)
        return standing.total

    def mean(self, device: str) -> float | None:
        """Over its last episodes, the newest counting most; None before it has had enough."""
        standing = self._of.get(device)
        if standing is None or standing.episodes < EPISODES_MIN:
            return None
        return standing.mean

    def best(self, devices: Iterable[str]) -> str | None:
        """Which of them has the highest mean; None when none has had enough episodes."""
        means = [(mean, device) for device in devices if (mean := self.mean(device)) is not None]
        return max(means)[1] if means else None

    def snapshot(self) -> bytes:
        """All that later means depend on."""
        return _encode(self._of)

    def restore(self, snapshot: bytes) -> None:
        """Go on as the one that made the snapshot would.

        Raises:
            msgspec.DecodeError: the bytes are no snapshot.
        """
        self._of = _decode(snapshot)
