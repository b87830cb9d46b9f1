"""QoS 2 publishes between PUBLISH and PUBREL: the broker's, or thrown away (MQTT 3.1.1, 4.3.3)."""

from __future__ import annotations

from hub.errors import Malformed


class Releases:
    """The packet ids a device has still to release; bounded, for it may never do so."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._with_broker: set[int] = set()
        self._unread: set[int] = set()
        """Thrown away for their size: the broker knows nothing of them."""

    def hand_on(self, packet_id: int) -> None:
        """A publish goes to the broker.

        Raises:
            Malformed: too many are unreleased. Reading can't pause here: the release comes later.
        """
        self._with_broker.add(packet_id)
        self._check(self._with_broker)

    def throw_away(self, packet_id: int) -> None:
        """A publish goes nowhere; its release is answered by the gate.

        Raises:
            Malformed: too many are unreleased.
        """
        self._unread.add(packet_id)
        self._check(self._unread)

    def released(self, packet_id: int) -> bool:
        """Whether the gate must answer this release; otherwise it is the broker's."""
        self._with_broker.discard(packet_id)
        ours = packet_id in self._unread
        self._unread.discard(packet_id)
        return ours

    def _check(self, ids: set[int]) -> None:
        if len(ids) > self._limit:
            raise Malformed(f"over {self._limit} QoS 2 publishes unreleased")
