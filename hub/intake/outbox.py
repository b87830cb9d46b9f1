"""What goes to one device over MQTT: its subscriptions, and packets it has not acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hub.intake import wire
from hub.topics import (
    DEVICE_PUBLISHES,
    HUB_PUBLISHES,
    OPERATOR_PUBLISHES,
    device_topic,
    matches,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PACKET_ID_FIRST: Final = 32_768
"""The gate's own ids; the broker's own count up from 1."""
IN_FLIGHT_MAX: Final = 16
"""Unacknowledged packets kept for re-sending; the oldest goes: an old action is worth nothing."""


def may_subscribe(base: str, device: str, topic_filter: str) -> bool:
    """Whether a device may have this filter: below its own id, and something is published there.

    The latter bounds what a device can make the hub remember.
    """
    if not topic_filter.startswith(device_topic(base, device, "")):
        return False
    leaves = (*HUB_PUBLISHES, *DEVICE_PUBLISHES, *OPERATOR_PUBLISHES)
    return any(matches(topic_filter, device_topic(base, device, leaf)) for leaf in leaves)


class Outbox:
    """Outlives the connection, unless that was made with a clean session."""

    def __init__(self, device: str, base: str, *, clean: bool) -> None:
        self._device = device
        self._base = base
        self.clean = clean
        """MQTT 3.1.1, 3.1.2.4: the next connection must not find it."""
        self._filters: dict[str, int] = {}
        self._granted: dict[str, int] = {}
        """Leaf to QoS, for the topics the device has subscribed to."""
        self._topics = {leaf: device_topic(base, device, leaf) for leaf in HUB_PUBLISHES}
        self._in_flight: dict[int, bytes] = {}
        self._packet_id = PACKET_ID_FIRST
        self._send: Callable[[bytes], None] | None = None

    def attach(self, send: Callable[[bytes], None]) -> None:
        """A connection is ready: re-send what was not acknowledged (MQTT 3.1.1, 4.4)."""
        self._send = send
        for packet in self._in_flight.values():
            send(bytes((packet[0] | 0x08,)) + packet[1:])

    def clear(self) -> None:
        """The broker had no session to resume, so there is none here either."""
        self._filters.clear()
        self._granted.clear()
        self._in_flight.clear()

    def detach(self, send: Callable[[bytes], None]) -> None:
        """The connection is gone; nothing is sent until the next one."""
        if self._send == send:
            self._send = None

    def publish(self, leaf: str, payload: bytes, qos: int) -> int | None:
        """Send to the device if it has subscribed; the QoS used, None when nothing was sent.

        QoS 2 is not sent here: its handshake is the broker's.
        """
        granted = self._granted.get(leaf)
        if granted is None or self._send is None:
            return None
        qos = min(qos, granted)
        if qos == 2:
            return qos
        packet_id = self._next_id() if qos else 0
        packet = wire.publish(self._topics[leaf], payload, qos=qos, packet_id=packet_id)
        if qos:
            self._in_flight[packet_id] = packet
            if len(self._in_flight) > IN_FLIGHT_MAX:
                del self._in_flight[next(iter(self._in_flight))]
        self._send(packet)
        return qos

    def topic(self, leaf: str) -> str:
        """The whole topic of one of the device's leaves."""
        return device_topic(self._base, self._device, leaf)

    def acknowledged(self, packet_id: int) -> bool:
        """Whether this PUBACK was for a packet kept here; otherwise it is the broker's."""
        return self._in_flight.pop(packet_id, None) is not None

    def subscribe(self, filters: list[tuple[str, int]]) -> None:
        """Take note of a SUBSCRIBE; the broker answers it, and refuses what is not the device's."""
        granted = {f: q for f, q in filters if may_subscribe(self._base, self._device, f)}
        self._filters.update(granted)
        self._grant()

    def unsubscribe(self, filters: list[str]) -> None:
        """Take note of an UNSUBSCRIBE."""
        for topic_filter in filters:
            self._filters.pop(topic_filter, None)
        self._grant()

    def _grant(self) -> None:
        """3.3.5: of overlapping subscriptions the highest QoS holds."""
        self._granted = {
            leaf: max(qos for f, qos in self._filters.items() if matches(f, topic))
            for leaf, topic in self._topics.items()
            if any(matches(f, topic) for f in self._filters)
        }

    def _next_id(self) -> int:
        packet_id = self._packet_id
        self._packet_id = PACKET_ID_FIRST if packet_id == wire.PACKET_ID_MAX else packet_id + 1
        return packet_id
