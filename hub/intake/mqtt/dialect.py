"""The versions of MQTT that devices speak, and all that the gate does differently for one.

    dialect = dialect_of(body)              # of a CONNECT
    packet = dialect.read_connect(body)
    line.send(dialect.accepted(…))          # or refused(code, why)

Rule 1: what a version can say, it says: MQTT 5 has reasons; 3.1.1 has `err`, and closing.
Rule 2: a session is resumed in the version it was made in; in the other it begins anew.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from hub.intake.mqtt import wire, wire5
from hub.intake.mqtt.admission import HubAdmission
from hub.intake.mqtt.fields import varint_bytes
from hub.intake.mqtt.outbox import NO_LIMITS, Limits, Outbox
from hub.intake.mqtt.outbox5 import Outbox5
from hub.intake.mqtt.properties import NONE, Properties, Property
from hub.intake.mqtt.publish import Publications
from hub.intake.mqtt.publish5 import Publications5
from hub.intake.mqtt.reasons import OF_CONNECT, Breach, Reason
from hub.intake.mqtt.wire import PacketType
from hub.topics import device_topic

if TYPE_CHECKING:
    from hub.intake.mqtt.admission import Served
    from hub.intake.mqtt.connection import Connection
    from hub.intake.mqtt.gate import Gate
    from hub.intake.mqtt.wire import ConnectCode
    from hub.intake.session import Session
    from hub.settings import MqttSettings

CLIENT_BYTES_MIN: Final = 128
"""A client must take packets of so many bytes: its CONNACK may be nearly as long."""
WHY_LETTERS_MAX: Final = 256
"""Of a reason string; a sentence may quote all that the client has written."""


class Dialect:
    """MQTT 3.1.1, towards any client; what reads is static, for a call costs 60 ns."""

    __slots__ = ()

    for_people = True
    """The broker behind the gate speaks it."""
    limits: Limits = NO_LIMITS
    """Of the client."""

    read_head = staticmethod(wire.read_head)
    read_publish = staticmethod(wire.read_publish)
    read_publish_head = staticmethod(wire.read_publish_head)
    read_puback = staticmethod(wire.read_packet_id)
    read_pubrel = staticmethod(wire.read_packet_id)
    read_pubcomp = staticmethod(wire.read_packet_id)
    read_subscribe = staticmethod(wire.read_subscribe)
    read_unsubscribe = staticmethod(wire.read_unsubscribe)

    def read_connect(self, body: bytes) -> wire.Connect:
        """As `wire.read_connect`."""
        return wire.read_connect(body)

    def read_pubrec(self, body: bytes) -> tuple[int, bool]:
        """Packet id, and whether the client refuses what it is of."""
        return wire.read_packet_id(body), False

    def read_disconnect(self, body: bytes) -> wire5.Disconnect:
        """3.14: it has no body."""
        del body
        return wire5.Disconnect(Reason.SUCCESS, None)

    def accepted(self, gate: Gate, admission: Served, *, resumed: bool) -> bytes:
        """CONNACK."""
        del gate, admission
        return wire.connack(wire.ConnectCode.ACCEPTED, session_present=resumed)

    def message(self, topic: str, payload: bytes, *, retained: bool) -> bytes:
        """PUBLISH at QoS 0; `retained` = it was before the client had subscribed."""
        return wire.publish(topic, payload, retain=retained)

    def refused(self, code: ConnectCode, why: str) -> bytes:
        """CONNACK, before the hub closes; `why` is empty for who has shown no right key."""
        del why
        return wire.connack(code)

    def goodbye(self, reason: Reason, why: str, *, connected: bool) -> bytes:
        """What is sent before the hub closes; empty = nothing."""
        del reason, why, connected
        return b""

    def pubcomp(self, packet_id: int, *, known: bool) -> bytes:
        """Answers a PUBREL, of an id that is known or not."""
        del known
        return wire.pubcomp(packet_id)

    def suback(self, packet_id: int, codes: list[int]) -> bytes:
        """Of each filter the QoS granted, or that it is not."""
        return wire.suback(packet_id, codes)

    def unsuback(self, packet_id: int, were_there: list[bool]) -> bytes:
        """Of each filter whether there was one."""
        del were_there
        return wire.unsuback(packet_id)

    def outbox(self, device: str, lasts_s: float, settings: MqttSettings) -> Outbox:
        """A new one."""
        return Outbox(
            device, settings.base, lasts_s=lasts_s, unreleased_max=settings.unacknowledged_max
        )

    def can_resume(self, outbox: Outbox) -> bool:
        """What is on its way in it was built in this version."""
        return type(outbox) is Outbox

    def publications(
        self, gate: Gate, line: Connection, session: Session, outbox: Outbox
    ) -> Publications:
        """Of a connection that was accepted."""
        most = gate.settings.unacknowledged_max
        return Publications(line, gate.receiver, gate.sessions, session, outbox, most)


MQTT_3: Final = Dialect()


class Dialect5(Dialect):
    """MQTT 5, towards one client: it has said what it can take."""

    __slots__ = ("_lasts", "_nameless", "_wants_reasons", "_wants_topic", "limits")

    for_people = False

    read_head = staticmethod(wire5.read_head)
    read_publish = staticmethod(wire5.read_publish)
    read_publish_head = staticmethod(wire5.read_publish_head)
    read_puback = staticmethod(wire5.read_puback)
    read_pubrel = staticmethod(wire5.read_pubrel)
    read_pubcomp = staticmethod(wire5.read_pubcomp)
    read_subscribe = staticmethod(wire5.read_subscribe)
    read_unsubscribe = staticmethod(wire5.read_unsubscribe)

    def __init__(self) -> None:
        self.limits = NO_LIMITS
        self._lasts = self._nameless = self._wants_reasons = self._wants_topic = False

    def read_connect(self, body: bytes) -> wire5.Connect:
        """As `wire5.read_connect`; what the client can take holds from now on.

        Raises:
            Malformed: or it can take too little.
        """
        connect = wire5.read_connect(body)
        self.limits = Limits(connect.receive_max, connect.packet_bytes_max)
        self._lasts = connect.lasts_s > 0
        self._nameless = not connect.client_id
        self._wants_reasons, self._wants_topic = connect.wants_reasons, connect.wants_topic
        if self.limits.packet_bytes < CLIENT_BYTES_MIN:
            text = f"a client that takes less than {CLIENT_BYTES_MIN} bytes can't be served"
            raise Breach(Reason.PACKET_TOO_LARGE, text)
        return connect

    def read_pubrec(self, body: bytes) -> tuple[int, bool]:
        """Packet id, and whether the client refuses what it is of."""
        return wire5.read_pubrec(body)

    def read_disconnect(self, body: bytes) -> wire5.Disconnect:
        """As `wire5.read_disconnect`.

        Raises:
            Malformed: or it gives a session a future that was to have none (3.14.2.2.2).
        """
        disconnect = wire5.read_disconnect(body)
        if disconnect.lasts_s and not self._lasts:
            text = "a session that ends with its connection can't be kept after all"
            raise Breach(Reason.PROTOCOL_ERROR, text)
        return disconnect

    def message(self, topic: str, payload: bytes, *, retained: bool) -> bytes:
        """As MQTT 3.1.1 has it."""
        return wire5.publish(topic, payload, retain=retained)

    def accepted(self, gate: Gate, admission: Served, *, resumed: bool) -> bytes:
        """CONNACK; what is not said of in it is available (3.2.2.3)."""
        settings = gate.settings
        said = Properties(
            {
                Property.RECEIVE_MAXIMUM: min(settings.unacknowledged_max, wire5.RECEIVE_MAX),
                Property.MAXIMUM_PACKET_BYTES: _packet_bytes(admission.packet_bytes_max),
                Property.SUBSCRIPTION_IDS_AVAILABLE: False,
                Property.SHARED_AVAILABLE: False,
            }
        )
        if self._nameless:
            said[Property.ASSIGNED_CLIENT_ID] = admission.name
        if self._wants_topic and not isinstance(admission, HubAdmission):
            topic = device_topic(settings.base, admission.name, "act")
            said[Property.RESPONSE_INFORMATION] = topic
        return wire5.connack(Reason.SUCCESS, said, session_present=resumed)

    def refused(self, code: ConnectCode, why: str) -> bytes:
        """CONNACK, with a sentence where there is one and the client takes as much."""
        packet = wire5.connack(OF_CONNECT[code], _reason_string(why))
        fits = len(packet) <= self.limits.packet_bytes
        return packet if fits else wire5.connack(OF_CONNECT[code])

    def goodbye(self, reason: Reason, why: str, *, connected: bool) -> bytes:
        """DISCONNECT, or a CONNACK where there was none yet."""
        if not connected:
            return wire5.connack(reason)
        packet = wire5.disconnect(reason, _reason_string(why))
        return packet if len(packet) <= self.limits.packet_bytes else wire5.disconnect(reason)

    def pubcomp(self, packet_id: int, *, known: bool) -> bytes:
        """Answers a PUBREL, of an id that is known or not."""
        reason = Reason.SUCCESS if known else Reason.PACKET_ID_NOT_FOUND
        return wire5.acknowledgement(PacketType.PUBCOMP, packet_id, reason)

    def refusal(self, packet_type: PacketType, packet_id: int, reason: Reason, why: str) -> bytes:
        """A PUBACK or PUBREC that says why, if the client wants to know (3.1.2.11.7)."""
        if self._wants_reasons:
            said = _reason_string(why)
            packet = wire5.acknowledgement(packet_type, packet_id, reason, said)
            if len(packet) <= self.limits.packet_bytes:
                return packet
        return wire5.acknowledgement(packet_type, packet_id, reason)

    def suback(self, packet_id: int, codes: list[int]) -> bytes:
        """Of each filter the QoS granted, or why not."""
        return self._within(wire5.suback(packet_id, codes))

    def unsuback(self, packet_id: int, were_there: list[bool]) -> bytes:
        """Of each filter whether there was one."""
        none, done = Reason.NO_SUBSCRIPTION_EXISTED, Reason.SUCCESS
        return self._within(
            wire5.unsuback(packet_id, [done if was else none for was in were_there])
        )

    def outbox(self, device: str, lasts_s: float, settings: MqttSettings) -> Outbox:
        """A new one."""
        return Outbox5(
            device,
            settings.base,
            lasts_s=lasts_s,
            unreleased_max=settings.unacknowledged_max,
            now_s=asyncio.get_running_loop().time,
        )

    def can_resume(self, outbox: Outbox) -> bool:
        """What is on its way in it was built in this version."""
        return isinstance(outbox, Outbox5)

    def publications(
        self, gate: Gate, line: Connection, session: Session, outbox: Outbox
    ) -> Publications:
        """Of a connection that was accepted."""
        assert isinstance(outbox, Outbox5)
        most, refusal = gate.settings.unacknowledged_max, self.refusal
        return Publications5(line, gate.receiver, gate.sessions, session, outbox, most, refusal)

    def _within(self, packet: bytes) -> bytes:
        """What the client must be sent.

        Raises:
            Breach: it has said that it can't take so much.
        """
        if len(packet) > self.limits.packet_bytes:
            raise Breach(Reason.PACKET_TOO_LARGE, f"an answer of {len(packet)} bytes is too large")
        return packet


def dialect_of(body: bytes) -> Dialect:
    """Of the client that sends this CONNECT; any that is not MQTT 5 is spoken to in 3.1.1."""
    return Dialect5() if body.startswith(wire5.PROTOCOL) else MQTT_3


def _packet_bytes(body_bytes: int) -> int:
    """Of a whole packet, whose length is `body_bytes` by its fixed header."""
    return 1 + len(varint_bytes(body_bytes)) + body_bytes


def _reason_string(why: str) -> Properties:
    if not why:
        return NONE
    return Properties({Property.REASON_STRING: why.replace("\0", "")[:WHY_LETTERS_MAX]})
