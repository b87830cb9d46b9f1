"""Which device an observation is of, as one more input of a policy that all devices share.

    slots = Slots(64)
    slots.see("boiler-7")                        # 1: its slot, from its first observation on
    slots.seen("boiler-7", observation)          # the observation, and behind it the slot
    space = with_slot(parse(agent.observations), 64)     # what networks are made for

Slot zero stands for every device without one: it is new, or came when all slots were taken. It is
nobody's, and its weights are the mean of the others' (`sb3/identity.py`).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from hub.spaces import Dict, Discrete
from hub.words import Floats

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.spaces import Space

NAME: Final = "~device"
"""Of the slot among the parts of an observation, which stand in the order of their names."""
OBSERVATION: Final = "observation"
"""Of what the device sent, where that has no names."""
NOBODY: Final = 0
LOG_FACTORS: Final = "features_extractor.log_factors"
"""Name of a version's tensor (slots, features): by exp(QUICKER * it) what a device sends weighs."""
QUICKER: Final = 2.0
"""Factors are learnt so many times as fast as weights are."""
LOG_FACTORS_BOUND: Final = 20.0
"""Of QUICKER times a logarithm, to either side: a factor never overflows, whatever was learnt."""


def with_slot(space: Space, count: int) -> Space:
    """The space of observations with their device's slot behind them; itself without slots.

    Args:
        space: of what devices send.
        count: slots, beside slot zero.
    """
    if not count:
        return space
    parts = space.spaces if isinstance(space, Dict) else {OBSERVATION: space}
    last = max(parts)
    name = NAME if last < NAME else last + NAME  # behind the others, whatever they are called
    return Dict({**parts, name: Discrete(count + 1)})


class Slots:
    """Given out in the order in which devices are first seen, and never again.

    Args:
        count: of slots, beside slot zero.

    Attributes:
        devices: those that have one; the first has slot 1.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.devices: list[str] = []
        self._of: dict[str, int] = {}

    def see(self, device: str) -> int | None:
        """Give the device a slot; None when it has one, or none is left."""
        if device in self._of or len(self.devices) >= self.count:
            return None
        self.devices.append(device)
        self._of[device] = len(self.devices)
        return self._of[device]

    def go_on(self, devices: Iterable[str]) -> None:
        """Be as after these devices."""
        self.devices = list(devices)
        self._of = numbered(self.devices)

    def seen(self, device: str, observation: Floats) -> Floats:
        """float32 (n + 1,): the observation, and its device's slot behind it."""
        return Floats(observation + struct.pack("<f", self._of.get(device, NOBODY)))


def numbered(devices: Iterable[str]) -> dict[str, int]:
    """The slot of each device, of those that have one, in their order."""
    return {device: slot for slot, device in enumerate(devices, 1)}
