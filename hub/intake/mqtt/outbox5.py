"""What goes to one MQTT 5 device: as `outbox.py`, with what this version promises besides.

Rule 1: no more is on its way than the client's receive maximum; above, of each topic the newest
    message waits for room, as it does for a device that is away.
Rule 2: a message that has expired is not sent any more, and none larger than the client takes.
Rule 3: an action goes to the response topic of its observation, if the device listens there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct

from hub.intake.mqtt import wire, wire5
from hub.intake.mqtt.outbox import (
    DUPLICATE,
    HUB_STATUS,
    IN_FLIGHT_MAX,
    NO_LIMITS,
    RETAINED,
    Limits,
    Outbox,
)
from hub.intake.mqtt.properties import NONE, Properties, Property
from hub.intake.mqtt.reasons import Reason
from hub.topics import DEVICE_HEARS, device_topic, hub_status, matches

if TYPE_CHECKING:
    from collections.abc import Callable

FILTERS_MAX: Final = 32
FILTER_LETTERS_MAX: Final = 256
"""Of one device: below its own id it may choose any, and the hub is to remember them."""
STATUS: Final = "status"
"""The leaf that a device hears its own publishes on."""


class Note(Struct, frozen=True, gc=False):
    """What is said of an action besides the action."""

    response_topic: str | None = None
    correlation: bytes | None = None
    expires_s: int | None = None

    def properties(self) -> Properties:
        """As they stand in its PUBLISH."""
        said = Properties()
        if self.correlation is not None:
            said[Property.CORRELATION_DATA] = self.correlation
        if self.expires_s is not None:
            said[Property.MESSAGE_EXPIRY_S] = self.expires_s
        return said


class _Message(NamedTuple):
    """On its way to the device."""

    topic: str
    payload: bytes
    qos: int
    properties: Properties = NONE
    until_s: float = math.inf
    """When it expires, by the clock."""
    retained: bool = False


class Outbox5(Outbox):
    """Outlives the connection for as long as its session expiry interval.

    Args:
        now_s: the clock that messages expire by.
    """

    __slots__ = ("_as_published", "_limits", "_now_s", "_waiting")

    def __init__(
        self,
        device: str,
        base: str,
        *,
        lasts_s: float,
        unreleased_max: int,
        now_s: Callable[[], float],
    ) -> None:
        super().__init__(device, base, lasts_s=lasts_s, unreleased_max=unreleased_max)
        self._now_s = now_s
        self._limits = NO_LIMITS
        self._as_published: frozenset[str] = frozenset()
        """Leaves of which the device wants to know whether a message is retained (3.8.3.1)."""
        self._waiting: dict[str, _Message] = {}
        """Leaf to its newest message, while the device is away or there is no room."""

    def attach(self, send: Callable[[bytes], None], limits: Limits = NO_LIMITS) -> None:
        """A connection is ready: send again what was not acknowledged, then what waited (4.4)."""
        self._limits = Limits(min(limits.packets, IN_FLIGHT_MAX), limits.packet_bytes)
        self._send = send
        small = {i: p for i, p in self._in_flight.items() if len(p) <= limits.packet_bytes}
        room = max(0, self._limits.packets - len(self._released))
        self._in_flight = dict(list(small.items())[max(0, len(small) - room) :])
        for packet in self._in_flight.values():
            send(bytes((packet[0] | DUPLICATE,)) + packet[1:])
        for packet in self._released.values():
            send(packet)
        self._send_waiting()

    def publish(self, leaf: str, payload: bytes, qos: int, *, retained: bool = False) -> None:
        """Send to the device if it has subscribed, or keep it until it can be."""
        granted = self._granted.get(leaf)
        if granted is not None:
            qos, topic = min(qos, granted[0]), granted[1]
            self._take(leaf, _Message(topic, payload, qos, retained=retained))

    def answer(self, leaf: str, payload: bytes, qos: int, note: Note) -> None:
        """Send an action to where its observation asks for it, else to its own topic."""
        topic, granted = note.response_topic, None
        if topic is not None:
            granted = self._qos_of(topic)
        if topic is None or granted is None:
            granted, topic = self._granted.get(leaf, (None, ""))
        if granted is None:
            return
        until_s = math.inf if note.expires_s is None else self._now_s() + note.expires_s
        said = note.properties()
        message = _Message(topic, payload, min(qos, granted), said, until_s)
        self._take(leaf, message)

    def pass_on(self, leaf: str, payload: bytes, qos: int, *, retained: bool) -> None:
        """What was published to whoever listens; `retained`: and is kept for those to come."""
        self.publish(leaf, payload, qos, retained=retained and leaf in self._as_published)

    def acknowledged(self, packet_id: int) -> None:
        """PUBACK."""
        super().acknowledged(packet_id)
        self._send_waiting()

    def received(self, packet_id: int, *, refused: bool = False) -> None:
        """PUBREC; `refused`: the device wants nothing of it, and its id is free (4.3.3)."""
        if refused:
            self.acknowledged(packet_id)
        elif packet_id in self._in_flight or packet_id in self._released:
            super().received(packet_id)
        elif self._send is not None:
            unknown = Reason.PACKET_ID_NOT_FOUND
            self._send(wire5.acknowledgement(wire.PacketType.PUBREL, packet_id, unknown))

    def completed(self, packet_id: int) -> None:
        """PUBCOMP."""
        super().completed(packet_id)
        self._send_waiting()

    def subscribe(self, filters: list[tuple[str, int]]) -> tuple[list[int], list[str]]:
        """Take SUBSCRIBE's filters in: the codes of its SUBACK, and leaves to send retained."""
        codes, wanted = [], []
        for topic_filter, options in filters:
            refused = self._refuses(topic_filter)
            codes.append(options & wire5.QOS if refused is None else refused)
            if refused is not None:
                continue
            handling = options & wire5.RETAIN_HANDLING
            is_new = topic_filter not in self._filters
            if handling == 0 or (handling == wire5.RETAINED_IF_NEW and is_new):
                wanted.append(topic_filter)
            self._filters[topic_filter] = options
        self._grant()
        due = [
            leaf
            for leaf in RETAINED
            if leaf in self._granted and any(matches(f, self.topic(leaf)) for f in wanted)
        ]
        return codes, due

    def _refuses(self, topic_filter: str) -> Reason | None:
        """Why the device may not have this filter (3.9.3)."""
        if topic_filter.startswith(wire5.SHARED):
            return Reason.SHARED_NOT_SUPPORTED
        if (
            topic_filter != hub_status(self._base)
            and not self._is_own(topic_filter)
            and not self._may_elsewhere(topic_filter)
        ):
            return Reason.NOT_AUTHORIZED
        one_more = topic_filter not in self._filters
        if one_more and (
            len(self._filters) >= FILTERS_MAX or len(topic_filter) > FILTER_LETTERS_MAX
        ):
            return Reason.QUOTA_EXCEEDED
        return None

    def _is_own(self, topic: str) -> bool:
        """Below the device's id; then so is all that a filter takes in."""
        return topic.startswith(device_topic(self._base, self._device, ""))

    def _qos_of(self, topic: str) -> int | None:
        """What the device has subscribed to a topic of its own with; None = it has not."""
        if not self._is_own(topic):
            return None
        granted = [o & wire5.QOS for f, o in self._filters.items() if matches(f, topic)]
        return max(granted, default=None)

    def _grant(self) -> None:
        """3.3.4: of overlapping subscriptions the highest QoS holds."""
        self._granted = {}
        as_published = []
        for leaf in (*DEVICE_HEARS, HUB_STATUS, *self._commands):
            topic = self.topic(leaf)
            options = [
                chosen
                for topic_filter, chosen in self._filters.items()
                if matches(topic_filter, topic)
                and not (leaf == STATUS and chosen & wire5.NO_LOCAL)  # its own publishes
            ]
            if options:
                self._granted[leaf] = max(chosen & wire5.QOS for chosen in options), topic
            if any(chosen & wire5.RETAIN_AS_PUBLISHED for chosen in options):
                as_published.append(leaf)
        self._as_published = frozenset(as_published)

    def _take(self, leaf: str, message: _Message) -> None:
        """Send it, or have it wait."""
        if self._send is not None and not (message.qos and self._is_full()):
            self._transmit(self._send, message)
        elif message.qos and (self._send is not None or self.lasts_s):
            self._waiting[leaf] = message

    def _is_full(self) -> bool:
        return len(self._in_flight) + len(self._released) >= self._limits.packets

    def _send_waiting(self) -> None:
        """What waited, as far as there is room and it has not expired."""
        while self._waiting and self._send is not None and not self._is_full():
            leaf = next(iter(self._waiting))
            message = self._waiting.pop(leaf)
            left_s = message.until_s - self._now_s()
            if left_s <= 0:
                continue
            if left_s < math.inf:
                expiry = {Property.MESSAGE_EXPIRY_S: math.ceil(left_s)}
                message = message._replace(properties=Properties(message.properties | expiry))
            self._transmit(self._send, message)

    def _transmit(self, send: Callable[[bytes], None], message: _Message) -> None:
        packet_id = self._next_id() if message.qos else 0
        packet = wire5.publish(
            message.topic,
            message.payload,
            message.properties,
            qos=message.qos,
            packet_id=packet_id,
            retain=message.retained,
        )
        if len(packet) > self._limits.packet_bytes:
            return  # 3.1.2-25: as if it had been sent
        if message.qos:
            self._in_flight[packet_id] = packet
        send(packet)
