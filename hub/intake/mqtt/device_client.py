"""A device's end of MQTT, once its key was accepted: all packets it may send, and their answers.

Rule 1: a device reaches only topics below its own id; any other publish closes the connection.
    What legacy devices say outside the hub's tree is read by their mappings, and goes no further.
Rule 2: PUBACK and PUBREC mean that it is on disk, or refused for good; QoS 2 is taken once.
Rule 3: its will is published when the connection ends without a DISCONNECT, before a newer
    connection of the device is served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hub.errors import DeviceFault
from hub.intake.mqtt import wire
from hub.intake.mqtt.elsewhere import Elsewhere
from hub.intake.mqtt.reasons import Breach, Reason
from hub.topics import DEVICE_PUBLISHES, device_leaf, device_topic
from hub.words import Code

if TYPE_CHECKING:
    from hub.intake.mqtt.admission import Admission
    from hub.intake.mqtt.connection import Connection
    from hub.intake.mqtt.dialect import Dialect
    from hub.intake.mqtt.gate import Gate
    from hub.intake.mqtt.outbox import Outbox
    from hub.intake.mqtt.wire import Connect, Head, Publish
    from hub.intake.mqtt.wire5 import Disconnect
    from hub.intake.session import Session

STATUS: Final = "status"


class DeviceClient:
    """Handles one connection's packets in place; what outlives it is in `outbox`."""

    __slots__ = (
        "_admission",
        "_dialect",
        "_elsewhere",
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
        dialect: Dialect,
    ) -> None:
        self._dialect = dialect
        self._gate = gate
        self._line = line
        self._admission = admission
        self._outbox = outbox
        self._prefix = device_topic(gate.settings.base, admission.device, "")
        self._will = connect if connect.will_topic is not None else None
        self.publications = dialect.publications(gate, line, session, outbox)
        self._elsewhere = Elsewhere(
            gate.receiver.mappings, gate.settings.base, admission.agent, self.publications
        )

    def begin(self) -> None:
        """CONNACK has left: send what waited for the device."""
        self._outbox.attach(self._line.send, self._dialect.limits)

    def check(self) -> None:
        """What the device was let in with still holds.

        Raises:
            Malformed: it does not.
        """
        if not self._admission.holds(self._gate.registry):
            device = self._admission.device
            text = f"device {device!r}: its key was revoked, or it was moved"
            raise Breach(Reason.ADMINISTRATIVE_ACTION, text)

    def handle(self, head: Head, packet: bytes) -> None:
        """One whole packet.

        Raises:
            Malformed: the packet, its order or its topic is not allowed.
        """
        self.check()
        body = packet[head.body_at :]
        match head.type:
            case wire.PacketType.PUBLISH:
                self._publish(self._dialect.read_publish(head.flags, body))
            case wire.PacketType.PUBACK:
                self._outbox.acknowledged(self._dialect.read_puback(body))
            case wire.PacketType.PINGREQ:
                self._line.send(wire.PINGRESP)
            case wire.PacketType.SUBSCRIBE:
                self._subscribe(self._dialect.read_subscribe(body))
            case wire.PacketType.UNSUBSCRIBE:
                unsubscribe = self._dialect.read_unsubscribe(body)
                were_there = self._outbox.unsubscribe(unsubscribe.filters)
                self._line.send(self._dialect.unsuback(unsubscribe.packet_id, were_there))
            case _:
                self._handle_rarer(head, body)

    def _handle_rarer(self, head: Head, body: bytes) -> None:
        match head.type:
            case wire.PacketType.PUBREL:
                packet_id = self._dialect.read_pubrel(body)
                known = self._outbox.releases.release(packet_id)
                self._line.send(self._dialect.pubcomp(packet_id, known=known))
            case wire.PacketType.PUBREC:
                packet_id, refused = self._dialect.read_pubrec(body)
                self._outbox.received(packet_id, refused=refused)
            case wire.PacketType.PUBCOMP:
                self._outbox.completed(self._dialect.read_pubcomp(body))
            case wire.PacketType.DISCONNECT:
                self._disconnect(self._dialect.read_disconnect(body))
            case wire.PacketType.CONNECT:
                raise Breach(Reason.PROTOCOL_ERROR, "a second CONNECT (3.1.0-2)")
            case wire.PacketType.AUTH:
                text = "AUTH: only a password or a certificate is taken"
                raise Breach(Reason.BAD_AUTHENTICATION_METHOD, text)
            case _:  # what only a server sends has no valid flags in `read_head`
                raise AssertionError(head.type)

    def handle_large(self, head: Head, publish: Publish) -> None:
        """A PUBLISH over the limit, of which only the start was read.

        Raises:
            Malformed: its topic is not the device's.
        """
        if not self._elsewhere.has(publish.topic):
            self._leaf(publish)
        limit = self._admission.packet_bytes_max
        text = f"{head.length} bytes, this agent's devices may send {limit}"
        if self._is_new(publish):
            self.publications.refuse(publish, DeviceFault(Code.SIZE, text))

    def say_goodbye(self, why: str) -> None:
        """The last word before the connection is closed for what the device did."""
        self.publications.say_goodbye(why)

    def gone(self) -> None:
        """The connection has ended, or a newer one takes over; called once or more."""
        if self._outbox.detach(self._line.send):
            self._outbox.releases.forget_unacknowledged()
            self._gate.outboxes.close(self._admission.device, self._outbox)
        will, self._will = self._will, None
        if will is not None and will.will_topic is not None:
            status: bytes | None = will.will_payload
            if not will.will_topic.startswith(self._prefix):
                status = self._elsewhere.status(will.will_topic, will.will_payload)
            if status is not None:
                self._tell(status, qos=will.will_qos, retain=will.will_retain)

    def _disconnect(self, disconnect: Disconnect) -> None:
        """3.14.4: the will goes with anything but success."""
        if disconnect.reason == Reason.SUCCESS:
            self._will = None
        if disconnect.lasts_s is not None:
            self._outbox.lasts_s = disconnect.lasts_s
        self._line.close()

    def _publish(self, publish: Publish) -> None:
        if self._elsewhere.has(publish.topic):
            self._publish_elsewhere(publish)
            return
        leaf = self._leaf(publish)
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

    def _publish_elsewhere(self, publish: Publish) -> None:
        if publish.qos == 2 and not self._is_new(publish):
            return
        status = self._elsewhere.take(publish)
        if status is not None:
            self._tell(status, qos=publish.qos, retain=publish.retain)

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

    def _leaf(self, publish: Publish) -> str:
        """The topic below the device's own id.

        Raises:
            Breach: it is another's, or the hub's to publish. 3.1.1 has no other way to say so than
                closing the connection (3.3.5-2), and who tries is no better in MQTT 5.
        """
        leaf = publish.topic.removeprefix(self._prefix)
        if leaf != publish.topic and leaf in DEVICE_PUBLISHES:
            return leaf
        text = f"device {self._admission.device!r} may not publish to {publish.topic!r}"
        known = device_leaf(self._gate.settings.base, publish.topic) is not None
        reason = Reason.NOT_AUTHORIZED if known else Reason.TOPIC_NAME_INVALID
        raise Breach(reason, text)

    def _subscribe(self, subscribe: wire.Subscribe) -> None:
        self._outbox.elsewhere = self._gate.registry.is_mapped(self._admission.agent)
        codes, due = self._outbox.subscribe(subscribe.filters)
        self._line.send(self._dialect.suback(subscribe.packet_id, codes))
        for leaf in due:
            kept = self._gate.broker.retained(self._outbox.topic(leaf))
            if kept is not None:
                self._outbox.publish(leaf, kept[0], kept[1], retained=True)
