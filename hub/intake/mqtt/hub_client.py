"""Another hub's end of MQTT, or of whoever takes part as one: it meets others at this gate.

    CONNECT    user name = its name, password = a key of `sheepfold key create --user U --hub NAME`

Rule 1: what comes too fast waits in its sender's socket; what a hub does not read in time ends its
    own connection (`hub_write_bytes_max`).
Rule 2: messages are passed on at QoS 0. Announcements are retained and said again on a new
    connection, and parts are asked for again, so none is worth keeping for who is away.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from hub.intake.mqtt import wire
from hub.intake.mqtt.reasons import Breach, Reason
from hub.intake.mqtt.releases import Releases
from hub.registry.buckets import Bucket

if TYPE_CHECKING:
    from hub.intake.mqtt.admission import HubAdmission
    from hub.intake.mqtt.connection import Connection
    from hub.intake.mqtt.dialect import Dialect
    from hub.intake.mqtt.gate import Gate
    from hub.intake.mqtt.wire import Connect, Head, Publish, Subscribe

RATE: Final = "rate"
"""Reason for not reading: it says more than it may."""
BURST_S: Final = 1.0


class HubClient:
    """One connection of a hub."""

    __slots__ = (
        "_admission",
        "_bucket",
        "_dialect",
        "_gate",
        "_line",
        "_releases",
        "_will",
        "name",
        "user",
    )

    def __init__(
        self,
        gate: Gate,
        line: Connection,
        admission: HubAdmission,
        connect: Connect,
        dialect: Dialect,
    ) -> None:
        self.name = admission.name
        self.user = admission.user
        self._admission = admission
        self._gate = gate
        self._line = line
        self._dialect = dialect
        self._will = connect if connect.will_topic is not None else None
        self._releases = Releases(gate.settings.unacknowledged_max)
        self._bucket = Bucket(gate.settings.hub_messages_per_s, burst_s=BURST_S)

    def begin(self) -> None:
        """Let it in; a connection before, in the same name, ends."""
        before = self._gate.meeting.enter(self)
        if before is not None:
            before.end(Reason.SESSION_TAKEN_OVER)
        self._line.send(self._dialect.accepted(self._gate, self._admission, resumed=False))

    def check(self) -> None:
        """Its key is still accepted.

        Raises:
            Breach: it is not.
        """
        if not self._admission.holds(self._gate.registry):
            raise Breach(Reason.ADMINISTRATIVE_ACTION, f"hub {self.name!r}: its key was revoked")

    def recheck(self) -> None:
        """End the connection if the key is not accepted any more."""
        self._line.recheck()

    def end(self, reason: Reason) -> None:
        """Another takes over, or the hub here stops."""
        self._line.end(reason)

    def hear(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Send it what was published; what is larger than it said it takes is left out."""
        packet = self._dialect.message(topic, payload, retained=retained)
        if len(packet) <= self._dialect.limits.packet_bytes:
            self._line.send(packet)

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
            case wire.PacketType.SUBSCRIBE:
                self._subscribe(self._dialect.read_subscribe(body))
            case wire.PacketType.UNSUBSCRIBE:
                unsubscribe = self._dialect.read_unsubscribe(body)
                meeting = self._gate.meeting
                were_there = [meeting.unsubscribe(self, one) for one in unsubscribe.filters]
                self._line.send(self._dialect.unsuback(unsubscribe.packet_id, were_there))
                self._slow_down(len(were_there))
            case wire.PacketType.PUBREL:
                packet_id = self._dialect.read_pubrel(body)
                known = self._releases.release(packet_id)
                self._line.send(self._dialect.pubcomp(packet_id, known=known))
            case wire.PacketType.PINGREQ:
                self._line.send(wire.PINGRESP)
            case wire.PacketType.DISCONNECT:
                if self._dialect.read_disconnect(body).reason == Reason.SUCCESS:
                    self._will = None  # 3.14.4
                self._line.close()
            case _:
                raise Breach(Reason.PROTOCOL_ERROR, f"{head.type.name} by a hub")

    def handle_large(self, head: Head, publish: Publish) -> None:
        """No message between hubs is that large."""
        text = f"PUBLISH of {head.length} bytes to {publish.topic!r} by hub {self.name!r}"
        raise Breach(Reason.PACKET_TOO_LARGE, text)

    def say_goodbye(self, why: str) -> None:
        """There is no topic for it: MQTT 5 has reasons, and 3.1.1 closes."""

    def gone(self) -> None:
        """The connection has ended; called once or more."""
        will, self._will = self._will, None
        meeting = self._gate.meeting
        if will is not None and will.will_topic is not None and self._may(will.will_topic):
            meeting.publish(self, will.will_topic, will.will_payload, retain=will.will_retain)
        meeting.leave(self)

    def _may(self, topic: str) -> bool:
        holds = self._admission.holds(self._gate.registry)
        return holds and self._gate.meeting.may_publish(self, topic)

    def _publish(self, publish: Publish) -> None:
        if publish.qos == 2 and not self._releases.is_new(publish.packet_id):
            if self._releases.is_acknowledged(publish.packet_id):
                self._line.send(wire.pubrec(publish.packet_id))
            return
        if not self._gate.meeting.may_publish(self, publish.topic):
            text = f"hub {self.name!r} may not publish to {publish.topic!r}"
            raise Breach(Reason.NOT_AUTHORIZED, text)
        retain = publish.retain
        if not self._gate.meeting.publish(self, publish.topic, publish.payload, retain=retain):
            raise Breach(Reason.QUOTA_EXCEEDED, f"hub {self.name!r} has retained too much")
        if publish.qos == 1:
            self._line.send(wire.puback(publish.packet_id))
        elif publish.qos == 2:
            self._releases.acknowledge(publish.packet_id)
            self._line.send(wire.pubrec(publish.packet_id))
        self._slow_down(1)

    def _slow_down(self, messages: int) -> None:
        """Read on when it may say more."""
        loop = asyncio.get_running_loop()
        self._bucket.owe(loop.time(), messages)
        wait_s = self._bucket.wait_s(loop.time())
        if wait_s and self._line.is_read:
            self._line.pause(RATE)
            loop.call_later(wait_s, self._line.resume, RATE)

    def _subscribe(self, subscribe: Subscribe) -> None:
        meeting, codes = self._gate.meeting, []
        for topic_filter, _ in subscribe.filters:
            granted = meeting.subscribe(self, topic_filter)
            codes.append(0 if granted else wire.NOT_GRANTED)
        self._line.send(self._dialect.suback(subscribe.packet_id, codes))
        both = zip(subscribe.filters, codes, strict=True)
        kept = list(meeting.kept(self, [one for (one, _), code in both if code == 0]))
        for topic, payload in kept:
            self.hear(topic, payload, retained=True)
        self._slow_down(len(codes) + len(kept))
