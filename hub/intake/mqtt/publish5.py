"""An MQTT 5 device's publishes: what is refused is said by reason code, at QoS 1 and 2.

At QoS 0 there is no acknowledgement to say it in: `err` has it, as for 3.1.1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from hub.errors import DeviceFault
from hub.intake.mqtt import wire5
from hub.intake.mqtt.outbox5 import Note, Outbox5
from hub.intake.mqtt.publish import MqttReply, Publications, encode_action
from hub.intake.mqtt.reasons import OF_FAULT, Reason
from hub.intake.mqtt.wire import PacketType

if TYPE_CHECKING:
    from hub.intake.mqtt.publish import Line
    from hub.intake.mqtt.wire import Publish
    from hub.intake.receive import Receiver
    from hub.intake.session import Session, Sessions
    from hub.words import Answer

MILLISECONDS = 1000


class SaysWhy(Protocol):
    """Builds a PUBACK or PUBREC that refuses; `hub.intake.mqtt.dialect.Mqtt5` has one."""

    def __call__(self, packet_type: PacketType, packet_id: int, reason: Reason, why: str) -> bytes:
        """The packet; without `why` where the client does not want it."""
        ...


class Publications5(Publications):
    """One connection's publishes and their replies."""

    __slots__ = ("_outbox5", "_refusal")

    def __init__(
        self,
        connection: Line,
        receiver: Receiver,
        sessions: Sessions,
        session: Session,
        outbox: Outbox5,
        unacknowledged_max: int,
        refusal: SaysWhy,
    ) -> None:
        super().__init__(connection, receiver, sessions, session, outbox, unacknowledged_max)
        self._outbox5 = outbox
        self._refusal = refusal

    def turn_down(self, qos: int, packet_id: int, reason: Reason, why: str) -> None:
        """Acknowledge a publish as refused: it must not come again, and its id is free (4.3.3)."""
        if qos == 2:
            if not self._connection.is_open:
                return
            self.outbox.releases.forget(packet_id)
        kind = PacketType.PUBACK if qos == 1 else PacketType.PUBREC
        self._connection.send(self._refusal(kind, packet_id, reason, why))

    def say_goodbye(self, why: str) -> None:
        """The DISCONNECT has it."""

    def expires_s(self) -> int | None:
        """After how long an action is worth nothing: its deadline; None = it has none."""
        spec = self._sessions.spec(self.session)
        deadline_ms = None if spec is None else spec.agent.deadline_ms
        return None if deadline_ms is None else max(1, math.ceil(deadline_ms / MILLISECONDS))

    def answer(self, leaf: str, payload: bytes, qos: int, note: Note) -> None:
        """An action, to where its observation asks for it."""
        self._outbox5.answer(leaf, payload, qos, note)

    def _reply(self, leaf: str, publish: Publish) -> _Reply:
        assert isinstance(publish, wire5.Publish)
        return _Reply(self, leaf, publish)


class _Reply(MqttReply):
    """Answers one publish: PUBACK, with the reason if it is refused; then the action."""

    __slots__ = ("_acknowledged", "_correlation", "_publications5", "_response_topic")

    def __init__(self, publications: Publications5, leaf: str, publish: wire5.Publish) -> None:
        super().__init__(publications, leaf, publish.qos, publish.packet_id)
        self._publications5 = publications
        self._response_topic = publish.response_topic
        self._correlation = publish.correlation
        self._acknowledged = False

    def durable(self, seq: int) -> None:
        """On disk: acknowledge, unless the device was told to send it again."""
        if not self._acknowledged:
            self._acknowledged = True
            super().durable(seq)

    def act(self, answer: Answer) -> None:
        """Send the action in the encoding of its observation."""
        leaf, payload = encode_action(answer, self._leaf)
        note = Note(self._response_topic, self._correlation, self._publications5.expires_s())
        self._publications5.answer(leaf, payload, self._qos, note)

    def refuse(self, fault: DeviceFault, *, acknowledge: bool) -> None:
        """Say it in the acknowledgement: also of what is to come again, for then it comes soon."""
        if not self._qos:
            super().refuse(fault, acknowledge=acknowledge)
            return
        if self._acknowledged:
            self.warn(fault)
            return
        self._acknowledged = True
        why = f"{fault.code}: {fault.message}"
        self._publications5.turn_down(self._qos, self._packet_id, OF_FAULT[fault.code], why)
        self._release()
        if fault.retry_s is not None:
            self._publications.slow_down(fault.retry_s)
