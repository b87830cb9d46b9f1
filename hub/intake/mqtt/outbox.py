"""What goes to one device over MQTT: its subscriptions, and packets it has not acknowledged.

Rule 1: a message goes out at the QoS it was sent with or the one granted, whichever is lower.
Rule 2: what was not acknowledged is sent again on the next connection, in order, marked so.
Rule 3: while the device is away only the newest message of each topic waits for it, and of what it
    does not acknowledge only the newest: an old action is worth nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from hub.intake.mqtt import wire
from hub.intake.mqtt.releases import Releases
from hub.topics import DEVICE_HEARS, device_topic, hub_status, matches

if TYPE_CHECKING:
    from asyncio import TimerHandle
    from collections.abc import Callable

IN_FLIGHT_MAX: Final = 16
"""Unacknowledged packets kept for re-sending."""
DUPLICATE: Final = 0x08
HUB_STATUS: Final = "hub/status"
"""Stands among a device's leaves for the topic that is for all."""
COMMANDS_MAX: Final = 4
"""Topics outside the hub's tree on which a legacy device is told actions."""
ELSEWHERE_MAX: Final = 16
ELSEWHERE_LETTERS_MAX: Final = 256
"""Filters of a legacy device outside the hub's tree: it chooses them, and the hub remembers."""
RETAINED: Final[tuple[str, ...]] = ("status", "state", HUB_STATUS)
"""Leaves of which the last message is kept for those who subscribe later."""


def may_subscribe(base: str, device: str, topic_filter: str) -> bool:
    """Whether a device may have this filter: it takes in something that is for this device alone.

    This bounds what a device can make the hub remember, too.
    """
    if topic_filter == hub_status(base):
        return True
    if not topic_filter.startswith(device_topic(base, device, "")):
        return False
    return any(matches(topic_filter, device_topic(base, device, leaf)) for leaf in DEVICE_HEARS)


class Limits(NamedTuple):
    """What a client says it can take."""

    packets: int
    """Not acknowledged yet, at once."""
    packet_bytes: float


NO_LIMITS: Final = Limits(wire.PACKET_ID_MAX, math.inf)


class Outbox:
    """Outlives the connection for as long as that wanted it to."""

    __slots__ = (
        "_base",
        "_commands",
        "_device",
        "_filters",
        "_granted",
        "_in_flight",
        "_mailbox",
        "_packet_id",
        "_released",
        "_send",
        "elsewhere",
        "forgetting",
        "lasts_s",
        "releases",
    )

    def __init__(self, device: str, base: str, *, lasts_s: float, unreleased_max: int) -> None:
        self._device = device
        self._base = base
        self.lasts_s = lasts_s
        """Without a connection; 0 = the next one must not find it."""
        self.forgetting: TimerHandle | None = None
        """While there is no connection and it does not last for ever."""
        self._filters: dict[str, int] = {}
        self._granted: dict[str, tuple[int, str]] = {}
        """Leaf to QoS and topic, for the topics the device has subscribed to."""
        self._in_flight: dict[int, bytes] = {}
        self._released: dict[int, bytes] = {}
        """PUBRELs of QoS 2 packets that the device has, until it says PUBCOMP."""
        self._mailbox: dict[str, tuple[bytes, int]] = {}
        """Leaf to the newest payload and its QoS, while the device is away."""
        self.elsewhere = False
        """It may subscribe outside the hub's tree too, where it hears its own actions alone."""
        self._commands: tuple[str, ...] = ()
        """Leaves of those: `/` and the whole topic."""
        self._packet_id = 0
        self._send: Callable[[bytes], None] | None = None
        self.releases = Releases(unreleased_max)
        """The device's own QoS 2 publishes."""

    def keep(self) -> None:
        """It is not to be forgotten any more, or is already."""
        if self.forgetting is not None:
            self.forgetting.cancel()
            self.forgetting = None

    def attach(self, send: Callable[[bytes], None], limits: Limits = NO_LIMITS) -> None:
        """A connection is ready: send again what was not acknowledged, then what waited (4.4)."""
        del limits  # 3.1.1 has none
        self._send = send
        for packet in self._in_flight.values():
            send(bytes((packet[0] | DUPLICATE,)) + packet[1:])
        for packet in self._released.values():
            send(packet)
        mailbox, self._mailbox = self._mailbox, {}
        for leaf, (payload, qos) in mailbox.items():
            self.publish(leaf, payload, qos)

    def detach(self, send: Callable[[bytes], None]) -> bool:
        """The connection is gone; nothing is sent until the next one. False: that has come."""
        if self._send != send:
            return False
        self._send = None
        return True

    def publish(self, leaf: str, payload: bytes, qos: int, *, retained: bool = False) -> None:
        """Send to the device if it has subscribed, or keep it for when it comes back."""
        granted = self._granted.get(leaf)
        if granted is None:
            return
        qos, topic = min(qos, granted[0]), granted[1]
        if self._send is None:
            if qos and self.lasts_s:
                self._mailbox[leaf] = (payload, qos)
            return
        packet_id = self._next_id() if qos else 0
        packet = wire.publish(topic, payload, qos=qos, packet_id=packet_id, retain=retained)
        if qos:
            self._in_flight[packet_id] = packet
            if len(self._in_flight) > IN_FLIGHT_MAX:
                del self._in_flight[next(iter(self._in_flight))]
        self._send(packet)

    def pass_on(self, leaf: str, payload: bytes, qos: int, *, retained: bool) -> None:
        """What was published to whoever listens; `retained`: and is kept for those to come."""
        del retained  # 3.3.1-9: those who have subscribed already are not told
        self.publish(leaf, payload, qos)

    def command(self, topic: str, payload: bytes, qos: int) -> None:
        """An action, in the words of a legacy device, to a topic outside the hub's tree."""
        leaf = f"/{topic}"
        if leaf not in self._commands:
            self._commands = (*self._commands[1 - COMMANDS_MAX :], leaf)
            self._grant()
        self.publish(leaf, payload, qos)

    def hears(self, leaf: str) -> bool:
        """Whether the device has subscribed to it."""
        return leaf in self._granted

    def topic(self, leaf: str) -> str:
        """The whole topic of one of the device's leaves."""
        if leaf[0] == "/":
            return leaf[1:]
        if leaf == HUB_STATUS:
            return hub_status(self._base)
        return device_topic(self._base, self._device, leaf)

    def acknowledged(self, packet_id: int) -> None:
        """PUBACK."""
        self._in_flight.pop(packet_id, None)

    def received(self, packet_id: int, *, refused: bool = False) -> None:
        """PUBREC: the device has a QoS 2 packet, and is released from keeping its id (4.3.3).

        A packet that is not kept here any more is released as well, or it would ask for ever.
        """
        assert not refused, "3.1.1 has no way to"
        self._in_flight.pop(packet_id, None)
        packet = wire.pubrel(packet_id)
        self._released[packet_id] = packet
        if len(self._released) > IN_FLIGHT_MAX:
            del self._released[next(iter(self._released))]
        if self._send is not None:
            self._send(packet)

    def completed(self, packet_id: int) -> None:
        """PUBCOMP."""
        self._released.pop(packet_id, None)

    def subscribe(self, filters: list[tuple[str, int]]) -> tuple[list[int], list[str]]:
        """Take SUBSCRIBE's filters in: the codes of its SUBACK, and leaves to send retained.

        Those are due once more for a subscription that was there already (3.8.4-3).
        """
        codes = []
        for topic_filter, qos in filters:
            granted = may_subscribe(self._base, self._device, topic_filter) or self._may_elsewhere(
                topic_filter
            )
            codes.append(qos if granted else wire.NOT_GRANTED)
            if granted:
                self._filters[topic_filter] = qos
        self._grant()
        due = [
            leaf
            for leaf in RETAINED
            if leaf in self._granted and any(matches(f, self.topic(leaf)) for f, _ in filters)
        ]
        return codes, due

    def unsubscribe(self, filters: list[str]) -> list[bool]:
        """Take UNSUBSCRIBE's filters out: which of them were there."""
        were_there = [self._filters.pop(topic_filter, None) is not None for topic_filter in filters]
        self._grant()
        return were_there

    def _grant(self) -> None:
        """3.3.5: of overlapping subscriptions the highest QoS holds."""
        self._granted = {}
        for leaf in (*DEVICE_HEARS, HUB_STATUS, *self._commands):
            topic = self.topic(leaf)
            if topic in self._filters:  # the same text once, for there are many devices
                topic = next(f for f in self._filters if f == topic)
            granted = [qos for f, qos in self._filters.items() if matches(f, topic)]
            if granted:
                self._granted[leaf] = max(granted), topic

    def _may_elsewhere(self, topic_filter: str) -> bool:
        """A filter outside the hub's tree, of a legacy device."""
        tree = f"{self._base}/"
        if not self.elsewhere or topic_filter.startswith(tree):
            return False
        others = [f for f in self._filters if not f.startswith(tree) and f != topic_filter]
        return len(others) < ELSEWHERE_MAX and len(topic_filter) <= ELSEWHERE_LETTERS_MAX

    def _next_id(self) -> int:
        """2.3.1: one that is not in use."""
        while True:
            self._packet_id = self._packet_id % wire.PACKET_ID_MAX + 1
            if self._packet_id not in self._in_flight and self._packet_id not in self._released:
                return self._packet_id
