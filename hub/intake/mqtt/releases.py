"""A client's QoS 2 publishes between PUBLISH and PUBREL, so that each is taken once (4.3.3).

PUBLISH ─▶ taken? ─▶ … on disk … ─▶ PUBREC ─▶ PUBREL ─▶ PUBCOMP
"""

from __future__ import annotations

from hub.intake.mqtt.reasons import Breach, Reason


class Releases:
    """The packet ids a client has still to release; bounded, for it may never do so."""

    __slots__ = ("_ids", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ids: dict[int, bool] = {}
        """Whether PUBREC was sent."""

    def is_new(self, packet_id: int) -> bool:
        """Whether a publish is not here yet; then it is.

        Raises:
            Breach: too many are unreleased. Reading can't pause here: the release comes later.
        """
        if packet_id in self._ids:
            return False
        self._ids[packet_id] = False
        if len(self._ids) > self._limit:
            text = f"over {self._limit} QoS 2 publishes unreleased"
            raise Breach(Reason.RECEIVE_MAXIMUM_EXCEEDED, text)
        return True

    def is_acknowledged(self, packet_id: int) -> bool:
        """Whether a publish that is here has had its PUBREC."""
        return self._ids.get(packet_id, False)

    def acknowledge(self, packet_id: int) -> None:
        """PUBREC is sent."""
        self._ids[packet_id] = True

    def forget(self, packet_id: int) -> None:
        """It was not taken: should it come again, it is new."""
        self._ids.pop(packet_id, None)

    def release(self, packet_id: int) -> bool:
        """PUBREL: whether the id was known; the answer is PUBCOMP, for one that was not as well.

        Raises:
            Breach: PUBREC was not sent yet.
        """
        acknowledged = self._ids.pop(packet_id, None)
        if acknowledged is False:
            raise Breach(Reason.PROTOCOL_ERROR, f"PUBREL {packet_id} before its PUBREC (4.3.3)")
        return acknowledged is not None

    def forget_unacknowledged(self) -> None:
        """The connection is gone: what had no PUBREC will be sent again, and is to be taken."""
        self._ids = {packet_id: True for packet_id, done in self._ids.items() if done}
