"""Rewards and resets of a device that are known by their packets: what comes again counts once.

An observation has its step; these have nothing but who sent them, and the packet id and payload
they came with. MQTT marks what is sent again on a later connection (3.3.1.1), at QoS 1 and 2.

The packet stands in the event, so the newest are known after a restart of the hub too: a reset
while no later episode has ended, a reward until the device's next observation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.words import Packet

    Committed = Callable[[int], None]

KEPT_MAX: Final = 16
"""Packets known, and repeats of each that wait for the log."""


class Repeats:
    """The newest of one device's."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[Packet, list[Committed] | int] = {}
        """Who waits until it is durable; its seq once it is."""

    def repeats(self, packet: Packet, committed: Committed) -> bool:
        """Whether it was taken before; then it is answered like the first."""
        known = self._known.get(packet)
        if known is None:
            return False
        if isinstance(known, int):
            committed(known)
        else:
            known.append(committed)
            del known[:-KEPT_MAX]  # of connections that are gone: each needs its device back
        return True

    def take(self, packet: Packet, committed: Committed) -> Committed:
        """Remember a new one; what is given back is to be called with its seq."""
        waiting = [committed]
        self._remember(packet, waiting)

        def all_committed(seq: int) -> None:
            for each in waiting:
                each(seq)
            if self._known.get(packet) is waiting:
                self._known[packet] = seq

        return all_committed

    def restore(self, packet: Packet, seq: int) -> None:
        """The log has it."""
        self._remember(packet, seq)

    def _remember(self, packet: Packet, what: list[Committed] | int) -> None:
        self._known.pop(packet, None)
        self._known[packet] = what
        if len(self._known) > KEPT_MAX:
            del self._known[next(iter(self._known))]
