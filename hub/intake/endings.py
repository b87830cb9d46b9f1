"""The last episodes of a device, for those who watch, in a fifth of what tuples of them would take.

endings = Endings(Ended(…))     # there is none before the first
endings.add(Ended(…))
endings.last, list(endings)     # the newest; all that are kept, oldest first
"""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from hub.words import EndedBy

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT: Final = 32
"""Shown without asking the log."""
PACKED: Final = struct.Struct("<qdqqB")
"""An `Ended`, the reason by its place among them: 1,000 devices have 32,000 of these."""
REASONS: Final = tuple(EndedBy)


class Ended(NamedTuple):
    """An episode that is over."""

    number: int
    total_reward: float
    steps: int
    ended_us: int
    ended_by: EndedBy


class Endings:
    """Of one device: one at least, `KEPT` at most."""

    __slots__ = ("_packed",)

    def __init__(self, first: Ended) -> None:
        self._packed: deque[bytes] = deque(maxlen=KEPT)
        self.add(first)

    def add(self, ended: Ended) -> None:
        """One more is over."""
        self._packed.append(PACKED.pack(*ended[:-1], REASONS.index(ended.ended_by)))

    @property
    def last(self) -> Ended:
        """The newest."""
        return _unpacked(self._packed[-1])

    def __iter__(self) -> Iterator[Ended]:
        """Oldest first."""
        return map(_unpacked, self._packed)


def _unpacked(packed: bytes) -> Ended:
    number, total_reward, steps, ended_us, reason = PACKED.unpack(packed)
    return Ended(number, total_reward, steps, ended_us, REASONS[reason])
