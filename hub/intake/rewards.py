"""Rewards of a device that are known by their packets: one that is sent again counts once.

An observation has its step; a reward has nothing but who sent it, and the packet id and payload it
came with. MQTT marks what is sent again on a later connection (3.3.1.1), at QoS 1 and 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.step import Reply

    RewardPacket = tuple[str, int, int]
    """Who sent it, empty for the device itself; packet id; hash of the payload."""

KEPT_MAX: Final = 16
"""Rewards known by their packets, and repeats of each that wait for the log."""


class Rewards:
    """The newest of one device's."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[RewardPacket, list[Reply] | int] = {}
        """Who waits until it is durable; its seq once it is."""

    def repeats(self, packet: RewardPacket, reply: Reply) -> bool:
        """Whether it was taken before; then it is answered like the first."""
        known = self._known.get(packet)
        if known is None:
            return False
        if isinstance(known, int):
            reply.durable(known)
        else:
            known.append(reply)
            del known[:-KEPT_MAX]  # of connections that are gone: each needs its device back
        return True

    def take(self, packet: RewardPacket, reply: Reply) -> Callable[[int], None]:
        """Remember a new one; what is given back is to be called with its seq."""
        waiting = [reply]
        self._known.pop(packet, None)
        self._known[packet] = waiting
        if len(self._known) > KEPT_MAX:
            del self._known[next(iter(self._known))]

        def committed(seq: int) -> None:
            for each in waiting:
                each.durable(seq)
            if self._known.get(packet) is waiting:
                self._known[packet] = seq

        return committed
