"""One MQTT socket: bytes become packets here, and nothing is let in that was not checked.

Rule 1: before a key was accepted nothing changes for anyone, and little is buffered.
Rule 2: a device has one connection; the newest wins, after the old one ended and its will was sent.
Rule 3: what is slow or too much costs its sender: reading pauses, large packets are skipped unread.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from hub.errors import Malformed
from hub.intake.mqtt import wire
from hub.intake.mqtt.admission import (
    Admission,
    ClaimAdmission,
    HubAdmission,
    PersonAdmission,
    TurnedAway,
    admit_connect,
)
from hub.intake.mqtt.claim_client import ClaimClient
from hub.intake.mqtt.device_client import DeviceClient
from hub.intake.mqtt.dialect import MQTT_3, dialect_of
from hub.intake.mqtt.hub_client import HubClient
from hub.intake.mqtt.keep_alive import GRACE
from hub.intake.mqtt.person_client import PersonClient, check_session, session_id
from hub.intake.mqtt.reasons import Breach, Reason, reason_of
from hub.tls import certified_name
from hub.words import Protocol

if TYPE_CHECKING:
    from hub.intake.mqtt.gate import Gate
    from hub.intake.mqtt.publish import Publications

SKIP_BYTES_MAX: Final = 16 * 1024 * 1024
"""A larger packet is not skipped but ends the connection."""
CLOSE_S_MAX: Final = 2.0
"""A client that does not read what was written for it is cut off so long after `close`."""
NONE: Final[frozenset[str]] = frozenset()
DEVICE_BEHIND: Final = "device"
LOG_BEHIND: Final = "log"
REFUSED: Final = "refused"
"""Reasons for not reading: too much of the device's own is not done yet, or of everyone's; or
nothing more is wanted from it."""


class Connection(asyncio.Protocol):
    """One socket: unknown until its CONNECT is accepted, then one device's, person's or hub's."""

    __slots__ = (
        "_buffer",
        "_certified",
        "_client",
        "_dialect",
        "_gate",
        "_limit",
        "_loop",
        "_pauses",
        "_settings",
        "_skip",
        "_transport",
        "_unsent",
        "_unsent_max",
        "heard_s",
        "peer",
        "silent_s_max",
    )

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._settings = gate.settings
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._unsent: list[bytes] = []
        self._unsent_max = self._settings.write_bytes_max
        self._skip = 0
        """Bytes of a too large packet still to be thrown away."""
        self.heard_s = 0.0
        self.silent_s_max = 0.0
        """As `KeepAlive` has it."""
        self._pauses: frozenset[str] = NONE
        """Why it is not read from now; empty = it is."""
        self._limit = self._settings.connect_bytes_max
        self._client: ClaimClient | DeviceClient | HubClient | PersonClient | None = None
        """None until CONNECT was accepted."""
        self._dialect = MQTT_3
        """As its CONNECT began."""
        self.peer: tuple[str, int] = ("", 0)
        self._certified: str | None = None
        """The name in the client's certificate, if it has shown one."""

    # --- asyncio's calls -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A socket opened."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        name = transport.get_extra_info("peername") or ("", 0)
        self.peer = (name[0], name[1])
        self._certified = certified_name(transport.get_extra_info("ssl_object"))
        if not self._gate.strangers.enter(self):
            self.close()
            return
        self._gate.keep_alive.expect(self, self._settings.connect_timeout_s)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client, in whatever pieces."""
        if self._client is not None:  # before that there is one time limit for all of CONNECT
            self.heard_s = self._loop.time()
        if self._skip:
            dropped = min(self._skip, len(data))
            self._skip -= dropped
            data = data[dropped:]
        self._buffer += data
        try:
            self._read_packets()
        except wire.BadProtocol:
            self.send(wire.connack(wire.ConnectCode.BAD_PROTOCOL))
            self.close()
        except Malformed as error:
            self._part(error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The socket is gone, by either side."""
        self._gate.strangers.leave(self)
        self._gate.held.discard(self)
        self._transport = None
        self._forget()
        # What remembers the socket for a while, to look whether it is silent, keeps it alone.
        self._client = None
        self._dialect = MQTT_3
        self._buffer = bytearray()

    # --- packets in ----------------------------------------------------------------------

    def _read_packets(self) -> None:
        buffer, at = self._buffer, 0
        while self._transport is not None and not self._transport.is_closing():
            if self._pauses:
                break  # what came in the same piece waits too
            head = self._dialect.read_head(buffer, at)
            if head is None:
                break
            end = at + head.body_at + head.length
            if head.length > self._limit:
                if not self._skip_large(head, bytes(buffer[at + head.body_at : end])):
                    break
                self._skip = max(0, end - len(buffer))
                at = min(end, len(buffer))
                continue
            if len(buffer) < end:
                break
            if self._gate.hold(self):
                break  # a CONNECT too: it opens a session, which the log has to take
            packet = bytes(buffer[at:end])
            at = end
            if self._client is not None:
                self._client.handle(head, packet)
            elif head.type is wire.PacketType.CONNECT:
                self._dialect = dialect_of(packet[head.body_at :])
                self._connect(self._dialect.read_connect(packet[head.body_at :]))
            else:
                raise Malformed("the first packet must be CONNECT (3.1.0-1)")
        del buffer[:at]

    def _skip_large(self, head: wire.Head, start: bytes) -> bool:
        """Throw a packet over the limit away, unread; an observation is answered with `size`.

        False = its topic has not arrived yet.
        """
        text = f"{head.type.name} of {head.length} bytes, {self._limit} are taken"
        if self._client is None or head.type is not wire.PacketType.PUBLISH:
            raise Breach(Reason.PACKET_TOO_LARGE, text)
        publish = self._dialect.read_publish_head(head.flags, start)
        if publish is None and len(start) < self._limit:
            return False
        if publish is None or head.length > SKIP_BYTES_MAX:
            raise Breach(Reason.PACKET_TOO_LARGE, text)
        self._client.handle_large(head, publish)
        return True

    # --- CONNECT -------------------------------------------------------------------------

    def _connect(self, packet: wire.Connect) -> None:
        """Accept or refuse; nothing of anyone's changes before the key was accepted."""
        gate = self._gate
        try:
            admission = admit_connect(
                gate.registry,
                gate.people,
                packet,
                self._settings,
                gate.claiming,
                self._certified,
            )
            if isinstance(admission, PersonAdmission):
                check_session(gate, session_id(admission.user, packet, self.name), self._dialect)
        except TurnedAway as refusal:
            self._turn_away(refusal)
            return
        gate.strangers.known(self)
        gate.keep_alive.expect(self, packet.keep_alive_s * GRACE)
        if isinstance(admission, Admission):
            self._serve_device(admission, packet)
        elif isinstance(admission, ClaimAdmission):
            self._limit = admission.packet_bytes_max
            claiming = ClaimClient(gate, self, admission, self._dialect)
            self._client = claiming
            claiming.begin()
        elif isinstance(admission, HubAdmission):
            self._limit = admission.packet_bytes_max
            self._unsent_max = self._settings.hub_write_bytes_max
            visiting = HubClient(gate, self, admission, packet, self._dialect)
            self._client = visiting
            visiting.begin()
        else:
            self._limit = self._settings.packet_bytes_min
            self._client = PersonClient(gate, self, admission.user, admission.secret, packet)
            self._client.begin()

    def _serve_device(self, admission: Admission, packet: wire.Connect) -> None:
        gate, device = self._gate, admission.device
        self._limit = admission.packet_bytes_max
        old = gate.connections.get(device)
        if old is not None:
            gate.takeovers.note(
                admission.agent,
                device,
                before=old.peer[0],
                now=self.peer[0],
                silent_s=self._loop.time() - old.heard_s,
            )
            old.end(Reason.SESSION_TAKEN_OVER)
        gate.connections[device] = self
        outbox, resumed = gate.outboxes.open(device, packet, self._dialect)
        session = gate.sessions.open(device, admission.agent, Protocol.MQTT, key=admission.key)
        self._client = DeviceClient(gate, self, admission, session, outbox, packet, self._dialect)
        self.send(self._dialect.accepted(gate, admission, resumed=resumed))
        self._client.begin()

    def _turn_away(self, refusal: TurnedAway) -> None:
        """Answer, late where this address was refused often; nothing more is read meanwhile."""
        self.pause(REFUSED)
        self.silent_s_max = 0.0
        answer = self._dialect.refused(refusal.code, refusal.why)
        if refusal.key is not None:
            self._gate.strangers.say_once(refusal.key, refusal.why)
        late_s = self._gate.strangers.failed(self)
        if late_s:
            self._loop.call_later(late_s, self._refuse, answer)
        else:
            self._refuse(answer)

    def _refuse(self, answer: bytes) -> None:
        self.send(answer)
        self.close()

    # --- the client's side ---------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Nobody has ended it, nor taken it over."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def publications(self) -> Publications | None:
        """A device's publishes; None of a person or a stranger."""
        return self._client.publications if isinstance(self._client, DeviceClient) else None

    @property
    def name(self) -> str:
        """Of this socket, while it is open."""
        return f"{self.peer[0]}:{self.peer[1]}"

    def send(self, packet: bytes) -> None:
        """Queue for this loop turn: a step's PUBACK and action leave in one write.

        A client that does not read is disconnected, not buffered for.
        """
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(packet)

    @property
    def is_read(self) -> bool:
        """What the client sends is taken from its socket."""
        return not self._pauses

    def pause(self, reason: str = DEVICE_BEHIND) -> None:
        """Stop reading: too much is not durable yet."""
        self._pauses |= {reason}
        if self.is_open:
            assert self._transport is not None
            self._transport.pause_reading()

    def resume(self, reason: str = DEVICE_BEHIND) -> None:
        """Read on, unless there is another reason not to."""
        self._pauses -= {reason}
        if self._pauses:
            return
        self.heard_s = self._loop.time()
        # Not from within the sender's own write: what waited may close this connection.
        self._loop.call_soon(self.data_received, b"")
        if self.is_open:
            assert self._transport is not None
            self._transport.resume_reading()

    def say_goodbye(self, reason: Reason, why: str = "") -> None:
        """Why the connection is closed, where its MQTT has a packet for that."""
        packet = self._dialect.goodbye(reason, why, connected=self._client is not None)
        if packet:
            self.send(packet)

    def close(self) -> None:
        """End the connection once what was written has left, or it takes too long to.

        More than once is fine.
        """
        if self.is_open:
            assert self._transport is not None
            self._flush()
            self._transport.close()
            if self._transport.get_write_buffer_size():  # else it would be counted for ever
                self._loop.call_later(CLOSE_S_MAX, self.abort)

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def end(self, reason: Reason | None = None) -> None:
        """End the connection, and have its device's next one find that done: its will is sent."""
        if reason is not None:
            self.say_goodbye(reason)
        self.close()
        self._forget()
        if self._transport is not None and self._transport.get_write_buffer_size():
            self._transport.abort()  # it does not even read; it would hold its socket for ever

    def recheck(self) -> None:
        """End the connection if what its client was let in with does not hold any more."""
        if self._client is None:
            return
        try:
            self._client.check()
        except Malformed as error:
            self._part(error)
            self.end()

    def _part(self, error: Malformed) -> None:
        """Say why nothing more is taken from the client."""
        if self._client is not None:
            self._client.say_goodbye(str(error))
        self.say_goodbye(reason_of(error), str(error))

    def _forget(self) -> None:
        client = self._client
        if client is None:
            return
        client.gone()
        if isinstance(client, DeviceClient):
            device = client.publications.device
            if self._gate.connections.get(device) is self:
                del self._gate.connections[device]

    def _flush(self) -> None:
        packets, self._unsent = self._unsent, []
        transport = self._transport
        if packets and transport is not None and not transport.is_closing():
            transport.write(b"".join(packets))
            if transport.get_write_buffer_size() > self._unsent_max:
                transport.abort()
