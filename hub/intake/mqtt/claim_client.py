"""A device's end of MQTT that has no key yet, but a claim token: it can fetch its key, no more.

    CONNECT    user name = device id, password = the token
    SUBSCRIBE  <base>/<device>/key, and <base>/<device>/err to hear why not
    PUBLISH    <base>/<device>/claim     {"nonce": "…", "dt": "thermostat"}, both may be left out
               <base>/<device>/key       {"key": "…"}, then the PUBACK; it connects again by that

Rule 1: nothing of anyone's changes by such a connection but what the redeemed token says: a device
    that is connected by its key stays so, and is sent nothing of it.
Rule 2: it ends by itself, and its bytes are counted before they are read.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from hub.errors import AccessDenied, DeviceFault
from hub.intake.mqtt import wire
from hub.intake.mqtt.reasons import Breach, Reason
from hub.payloads import ClaimSent, Err, KeyGiven
from hub.registry.claim_acts import asked
from hub.topics import CLAIM, KEY, device_topic
from hub.words import Code

if TYPE_CHECKING:
    from hub.intake.mqtt.admission import ClaimAdmission
    from hub.intake.mqtt.connection import Connection
    from hub.intake.mqtt.dialect import Dialect
    from hub.intake.mqtt.gate import Gate
    from hub.intake.mqtt.wire import Head, Publish
    from hub.registry.claim_acts import Asked, Given

CLAIMING: Final = "claim"
"""Reason for not reading: what was asked is not answered yet."""

_sent: Final = msgspec.json.Decoder(ClaimSent)


class Claiming(Protocol):
    """Who gives keys for tokens; `hub.provision.Provision` is one."""

    def check_claim(self, token: str, device: str) -> str:
        """The agent that the token may make the device one of; looks only.

        Raises:
            AccessDenied: it would not be given a key, whatever else it says.
        """
        ...

    async def claim(self, asked: Asked) -> Given:
        """The device's own key; durable when it returns.

        Raises:
            AccessDenied: the token gives it none.
            DeviceFault: `busy`, nothing can be made durable now.
        """
        ...


class ClaimClient:
    """One such connection."""

    __slots__ = ("_admission", "_dialect", "_gate", "_line", "_outbox", "_task", "_timer")

    def __init__(
        self, gate: Gate, line: Connection, admission: ClaimAdmission, dialect: Dialect
    ) -> None:
        self._gate = gate
        self._line = line
        self._admission = admission
        self._dialect = dialect
        self._outbox = dialect.outbox(admission.device, 0.0, gate.settings)
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(gate.settings.claim_s_max, line.close)

    def begin(self) -> None:
        """Let it in."""
        self._line.send(self._dialect.accepted(self._gate, self._admission, resumed=False))
        self._outbox.attach(self._line.send, self._dialect.limits)

    def check(self) -> None:
        """Redeeming looks again at what the token is worth; until then it opens nothing."""

    def handle(self, head: Head, packet: bytes) -> None:
        """One whole packet.

        Raises:
            Malformed: the packet, its order or its topic is not allowed.
        """
        body = packet[head.body_at :]
        match head.type:
            case wire.PacketType.SUBSCRIBE:
                subscribe = self._dialect.read_subscribe(body)
                codes, _ = self._outbox.subscribe(subscribe.filters)
                self._line.send(self._dialect.suback(subscribe.packet_id, codes))
            case wire.PacketType.PUBLISH:
                self._publish(self._dialect.read_publish(head.flags, body))
            case wire.PacketType.PUBACK:
                self._outbox.acknowledged(self._dialect.read_puback(body))
            case wire.PacketType.PUBREC:
                packet_id, refused = self._dialect.read_pubrec(body)
                self._outbox.received(packet_id, refused=refused)
            case wire.PacketType.PUBCOMP:
                self._outbox.completed(self._dialect.read_pubcomp(body))
            case wire.PacketType.PUBREL:
                packet_id = self._dialect.read_pubrel(body)
                self._line.send(self._dialect.pubcomp(packet_id, known=True))
            case wire.PacketType.PINGREQ:
                self._line.send(wire.PINGRESP)
            case wire.PacketType.DISCONNECT:
                self._line.close()
            case _:
                raise Breach(Reason.PROTOCOL_ERROR, f"{head.type.name} by a claim token")

    def handle_large(self, head: Head, publish: Publish) -> None:
        """Nothing that it may send is that large."""
        text = f"PUBLISH of {head.length} bytes to {publish.topic!r} by a claim token"
        raise Breach(Reason.PACKET_TOO_LARGE, text)

    def say_goodbye(self, why: str) -> None:
        """The last word before the connection is closed for what the device did."""
        self._refuse(DeviceFault(Code.AUTH, why))

    def gone(self) -> None:
        """The connection has ended; what was asked for is decided all the same."""
        self._timer.cancel()
        self._outbox.detach(self._line.send)

    def _publish(self, publish: Publish) -> None:
        device = self._admission.device
        if publish.topic != device_topic(self._gate.settings.base, device, CLAIM):
            text = f"device {device!r} may not publish to {publish.topic!r} by a claim token"
            raise Breach(Reason.NOT_AUTHORIZED, text)
        if not self._outbox.hears(KEY):
            text = f"device {device!r} must subscribe to its 'key' before it claims one"
            raise Breach(Reason.PROTOCOL_ERROR, text)
        self._line.pause(CLAIMING)
        self._task = asyncio.get_running_loop().create_task(self._claim(publish))

    async def _claim(self, publish: Publish) -> None:
        try:
            sent = _read(publish.payload)
            said = asked(self._admission.token, self._admission.device, sent.nonce, sent.dt)
            given = await self._gate.claiming.claim(said)
            payload = msgspec.json.encode(KeyGiven(given.key, given.agent))
            self._outbox.publish(KEY, payload, publish.qos)
        except DeviceFault as fault:
            self._refuse(fault)
            if fault.code is Code.BUSY:
                self._line.close()  # unacknowledged: it asks again
                return
        except AccessDenied as error:
            self._refuse(DeviceFault(Code.AUTH, str(error)))
        if publish.qos:
            acknowledge = wire.puback if publish.qos == 1 else wire.pubrec
            self._line.send(acknowledge(publish.packet_id))
        self._line.resume(CLAIMING)

    def _refuse(self, fault: DeviceFault) -> None:
        said = Err(fault.code, m=fault.message)
        self._outbox.publish("err", msgspec.json.encode(said), 0)


def _read(payload: bytes) -> ClaimSent:
    """What a device says with its token; nothing is fine.

    Raises:
        DeviceFault: `payload`, it can't be read.
    """
    try:
        return _sent.decode(payload) if payload.strip() else ClaimSent()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DeviceFault(Code.PAYLOAD, f"claim: {error}") from error
