"""How replicas stand beside each other: who leads, who may advise, and what came of advice.

    standing = Standing(advises=True)
    standing.fold(transition)
    standing.leader(devices), standing.advisers(devices), standing.trust.arms(device)
    standing.judged()                     # episodes since it was asked last

A fold of transitions: all that others may ask of it afterwards is in its snapshot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from hub.advice.trust import NOBODY, Trust
from hub.facts import Advised
from hub.learner.experience.returns import Returns

if TYPE_CHECKING:
    from collections.abc import Collection

    from hub.advice.trust import Arms
    from hub.learner.experience.transitions import Transition

ADVISERS_MAX: Final = 8
"""Of a larger flock the best are asked: a bandit with 64 arms learns nothing in time."""


class Standing:
    """Of one flock.

    Args:
        advises: its replicas advise each other.
    """

    def __init__(self, *, advises: bool) -> None:
        self.trust = Trust()
        self._advises = advises
        self._returns = Returns()
        self._judged: list[tuple[str, Advised]] = []

    def fold(self, transition: Transition) -> None:
        """Take a transition in; where it ends an episode, judge the adviser by its return."""
        returned = self._returns.fold(transition)
        if returned is None or not self._advises:
            return
        device, told = transition.device, transition.advice
        adviser = None if told is None else told.adviser
        before = self.trust.arms(device)
        expected, unadvised = before.mean, before.of(NOBODY).mean
        self.trust.fold(device, adviser, returned)
        weight = self.trust.arms(device).of(adviser or NOBODY).weight
        seq = transition.seq_last
        self._judged.append((device, Advised(adviser, returned, expected, unadvised, weight, seq)))

    def judged(self) -> list[tuple[str, Advised]]:
        """Devices and their episodes since it was asked last."""
        judged, self._judged = self._judged, []
        return judged

    def leader(self, devices: Collection[str]) -> str | None:
        """Whose network is the best; before that is known, the first's; None without any."""
        best = self._returns.best(devices)
        return best if best is not None else next(iter(devices), None)

    def advisers(self, devices: Collection[str]) -> list[str]:
        """Whom others may ask, the best first; last, who has had too few episodes."""
        if not self._advises:
            return []
        means = {device: self._returns.mean(device) for device in devices}
        unknown = float("-inf")
        ranks = {device: unknown if mean is None else mean for device, mean in means.items()}
        return sorted(devices, key=ranks.__getitem__, reverse=True)[:ADVISERS_MAX]

    def trusted(self, devices: Collection[str]) -> dict[str, Arms]:
        """What each of them knows of its advisers."""
        return {device: self.trust.arms(device) for device in devices if self._advises}

    def snapshot(self) -> bytes:
        """All that it goes on from."""
        return msgspec.msgpack.encode((self._returns.snapshot(), self.trust.snapshot()))

    def go_on(self, before: Standing) -> None:
        """Be as the one before, with what it has still to say."""
        self.restore(before.snapshot())
        self._judged = before.judged()

    def restore(self, snapshot: bytes) -> None:
        """Go on as the one that made the snapshot would.

        Raises:
            msgspec.DecodeError: the bytes are no snapshot.
        """
        returns, trust = msgspec.msgpack.decode(snapshot, type=tuple[bytes, bytes])
        self._returns.restore(returns)
        self.trust.restore(trust)
