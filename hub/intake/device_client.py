"""A device's end of MQTT, once its key was accepted: all packets it may send, and their answers.

Rule 1: a device reaches only topics below its own id; any other publish closes the connection.
Rule 2: PUBACK and PUBREC mean that it is on disk, or refused for good; QoS 2 is taken once.
Rule 3: its will is published when the connection ends without a DISCONNECT, before a newer
    connection of the device is served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hub.errors import DeviceFault, Malformed
from hub.intake import wire
from hub.intake.publish import Publications
from hub.topics import DEVICE_PUBLISHES, device_topic
from hub.words import Code

if TYPE_CHECKING:
    from hub.intake.admission import Admission
    from hub.intake.gate import Connection, Gate
    from hub.intake.outbox import Outbox
    from hub.intake.session import Session
    from hub.intake.wire import Connect, Head, Publish

STATUS: Final = "status"


class DeviceClient:
    """Handles one connection's packets in place; what outlives it is in `outbox`."""

    __slots__ = (
        "_admission",
        "_gate",
        "_line",
        "_outbox",
        "_prefix",
        "_will",
        "publications",
    )

    def __init__(
        self,
        gate: Gate,
        line: Connection,
        admission: Admission,
        session: Session,
        outbox: Outbox,
        connect: Connect,
    ) -> None:
        self._gate = gate
        self._line = line
        self._admission = admission
        self._outbox = outbox
        self._prefix = device_topic(gate.settings.base, admission.device, "")
        self._will = connect if connect.will_topic is not None else None
        self.publications = Publications(
            line,
            gate.receiver,
            gate.sessions,
            session,
            outbox,
            gate.settings.unacknowledged_max,
        )

    def begin(self) -> None:
        """CONNACK has left: send what waited for the device."""
        self._outbox.attach(self._line.send)

    def check(self) -> None:
        """What the device was let in with still holds.

        Raises:
            Malformed: it does not.
        """
        if not self._admission.holds(self._gate.registry):
            device = self._admission.device
            raise Malformed(f"device {device!r}: its key was revoked, or it was moved")

    def handle(self, head: Head, packet: bytes) -> None:
        """One whole packet.

        Raises:
            Malformed: the packet, its order or its topic is not allowed.
        """
        self.check()
        body = packet[head.body_at :]
        match head.type:
            case wire.PacketType.PUBLISH:
                self._publish(wire.read_publish(head.flags, body))
            case wire.PacketType.PUBACK:
                self._outbox.acknowledged(wire.read_packet_id(body))
            case wire.PacketType.PINGREQ:
                self._line.send(wire.PINGRESP)
            case wire.PacketType.SUBSCRIBE:
                self._subscribe(wire.read_subscribe(body))
            case wire.PacketType.UNSUBSCRIBE:
                unsubscribe = wire.read_unsubscribe(body)
                self._outbox.unsubscribe(unsubscribe.filters)
                self._line.send(wire.unsuback(unsubscribe.packet_id))
            case _:
                self._handle_rarer(head, body)

    def _handle_rarer(self, head: Head, body: bytes) -> None:
        match head.type:
            case wire.PacketType.PUBREL:
                packet_id = wire.read_packet_id(body)
                self._outbox.releases.release(packet_id)
                self._line.send(wire.pubcomp(packet_id))
            case wire.PacketType.PUBREC:
                self._outbox.received(wire.read_packet_id(body))
            case wire.PacketType.PUBCOMP:
                self._outbox.completed(wire.read_packet_id(body))
            case wire.PacketType.DISCONNECT:
                self._will = None
                self._line.close()
            case wire.PacketType.CONNECT:
                raise Malformed("a second CONNECT (3.1.0-2)")
            case _:  # what only a server sends has no valid flags in `read_head`
                raise AssertionError(head.type)

    def handle_large(self, head: Head, publish: Publish) -> None:
        """A PUBLISH over the limit, of which only the start was read.

        Raises:
            Malformed: its topic is not the device's.
        """
        self._own_leaf(publish)
        limit = self._admission.packet_bytes_max
        text = f"{head.length} bytes, this agent's devices may send {limit}"
        if self._is_new(publish):
            self.publications.refuse(publish, DeviceFault(Code.SIZE, text))

    def say_goodbye(self, why: str) -> None:
        """The last word before the connection is closed for what the device did."""
        self.publications.say_goodbye(why)

    def gone(self) -> None:
        """The connection has ended, or a newer one takes over; called once or more."""
        self._outbox.detach(self._line.send)
        self._outbox.releases.forget_unacknowledged()
        device = self._admission.device
        if self._outbox.clean and self._gate.outboxes.get(device) is self._outbox:
            del self._gate.outboxes[device]  # 3.1.2.4: it lasts as long as the connection
        will, self._will = self._will, None
        if will is not None:
            self._tell(will.will_payload, qos=will.will_qos, retain=will.will_retain)

    def _publish(self, publish: Publish) -> None:
        leaf = self._own_leaf(publish)
        if publish.qos == 2 and not self._is_new(publish):
            return
        if leaf != STATUS:
            self.publications.take(publish, leaf)
            return
        if len(publish.payload) > self._gate.settings.retained_bytes_max:
            limit = self._gate.settings.retained_bytes_max
            text = f"status of {len(publish.payload)} bytes, {limit} are kept"
            self.publications.refuse(publish, DeviceFault(Code.SIZE, text))
            return
        if self.publications.take_other(publish):
            self._tell(publish.payload, qos=publish.qos, retain=publish.retain)

    def _tell(self, status: bytes, *, qos: int, retain: bool) -> None:
        device = self._admission.device
        self._gate.tell(device, STATUS, status, qos=qos, retain=retain)

    def _is_new(self, publish: Publish) -> bool:
        """Whether it is not one that was taken and is not released yet (4.3.3)."""
        releases = self._outbox.releases
        if publish.qos < 2 or releases.is_new(publish.packet_id):
            return True
        if releases.is_acknowledged(publish.packet_id):
            self._line.send(wire.pubrec(publish.packet_id))
        return False

    def _own_leaf(self, publish: Publish) -> str:
        """The topic below the device's own id.

        Raises:
            Malformed: it is another's, or the hub's to publish; 3.1.1 has no other way to say so
                than closing the connection (3.3.5-2).
        """
        leaf = publish.topic.removeprefix(self._prefix)
        if leaf == publish.topic or leaf not in DEVICE_PUBLISHES:
            device = self._admission.device
            raise Malformed(f"device {device!r} may not publish to {publish.topic!r}")
        return leaf

    def _subscribe(self, subscribe: wire.Subscribe) -> None:
        codes, due = self._outbox.subscribe(subscribe.filters)
        self._line.send(wire.suback(subscribe.packet_id, codes))
        for leaf in due:
            kept = self._gate.broker.retained(self._outbox.topic(leaf))
            if kept is not None:
                self._outbox.publish(leaf, kept[0], kept[1], retained=True)
