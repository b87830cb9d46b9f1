"""The gate: owns every device's socket and lets nothing in that was not checked.

Rule 1: before a key was accepted nothing changes for anyone, and little is buffered.
Rule 2: a device has one connection; the newest wins, after the old one ended and its will was sent.
Rule 3: a device reaches only topics below its own id; any other publish closes the connection.
Rule 4: what is slow or too much costs its sender: reading pauses, large packets are skipped unread.

Observations are handled in place, for amqtt takes 350 µs a round trip; everything else goes through
to the broker as whole, checked packets.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from hub.errors import DeviceFault, Malformed
from hub.intake import wire
from hub.intake.admission import TurnedAway, admit_connect
from hub.intake.keep_alive import GRACE, KeepAlive
from hub.intake.outbox import Outbox
from hub.intake.publish import Publications
from hub.intake.releases import Releases
from hub.topics import DEVICE_PUBLISHES, device_topic
from hub.words import Code, DeviceId, Protocol

if TYPE_CHECKING:
    from hub.intake.admission import Admission
    from hub.intake.broker import Broker
    from hub.intake.receive import Receiver
    from hub.intake.session import Sessions
    from hub.registry.fold import Registry
    from hub.settings import MqttSettings

SKIP_BYTES_MAX: Final = 16 * 1024 * 1024
"""A larger packet is not skipped but ends the connection."""
SESSION_PRESENT_AT: Final = 2
"""Byte of a CONNACK: whether the broker has resumed a session (MQTT 3.1.1, 3.2.2.2)."""
DEVICE_BEHIND: Final = "device"
LOG_BEHIND: Final = "log"
"""Reasons for not reading: too much of the device's own is not done yet, or of everyone's."""
TAKE_OVER_S_MAX: Final = 2.0
"""The old connection's will gets so long; then the new one goes on."""


class Gate:
    """What all connections share."""

    def __init__(
        self,
        registry: Registry,
        sessions: Sessions,
        receiver: Receiver,
        broker: Broker,
        settings: MqttSettings,
    ) -> None:
        self.registry = registry
        self.sessions = sessions
        self.receiver = receiver
        self.broker = broker
        self.settings = settings
        self.connections: dict[DeviceId, Connection] = {}
        self.outboxes: dict[DeviceId, Outbox] = {}
        """Subscriptions of each device; they outlive a connection without clean session."""
        self.sockets = 0
        self._held: set[Connection] = set()
        """Not read from until the log has caught up."""

    def hold(self, connection: Connection) -> bool:
        """Whether the log is too far behind to take more; then `relieve` reads on."""
        if self.receiver.crowded:
            self._held.add(connection)
            connection.pause(LOG_BEHIND)
        return self.receiver.crowded

    def relieve(self) -> None:
        """The log has caught up: read on from all who wait."""
        held, self._held = self._held, set()
        for connection in held:
            connection.resume(LOG_BEHIND)

    def disconnect(self, device: DeviceId) -> None:
        """End the device's connection; what was kept for its next one is gone too."""
        self.outboxes.pop(device, None)
        if device in self.connections:
            self.connections[device].close()

    def accept(self) -> Connection:
        """The protocol of a new socket: for `loop.create_server`."""
        return Connection(self)


class Connection(asyncio.Protocol):
    """One socket: unknown until its CONNECT is accepted, then one device's."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._settings = gate.settings
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._unsent: list[bytes] = []
        self._skip = 0
        """Bytes of a too large packet still to be thrown away."""
        self._closed = asyncio.Event()
        self._broker_packets = asyncio.StreamReader()
        self._broker_task: asyncio.Task[None] | None = None
        self._keep_alive = KeepAlive(self._loop, self.close)
        self._pauses: set[str] = set()
        """Why it is not read from now; empty = it is."""
        self._limit = self._settings.connect_bytes_max
        self._accepted = False
        """The broker has sent its CONNACK: the device may go on."""
        self._admission: Admission | None = None
        self._releases = Releases(self._settings.unacknowledged_max)
        self.publications: Publications | None = None
        """None until CONNECT was accepted."""
        self.peer: tuple[str, int] = ("", 0)

    # --- asyncio's calls -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A socket opened."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        name = transport.get_extra_info("peername") or ("", 0)
        self.peer = (name[0], name[1])
        self._gate.sockets += 1
        if self._gate.sockets > self._settings.connections_max:
            self.close()
            return
        self._keep_alive.expect(self._settings.connect_timeout_s)

    def data_received(self, data: bytes) -> None:
        """Bytes from the device, in whatever pieces."""
        if self._admission is not None:  # before that there is one time limit for all of CONNECT
            self._keep_alive.heard()
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
            if self.publications is not None:
                self.publications.say_goodbye(str(error))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The socket is gone, by either side."""
        self._gate.sockets -= 1
        self._transport = None
        self._keep_alive.stop()
        self._broker_packets.feed_eof()
        publications = self.publications
        if publications is not None:
            publications.gone()
            if self._gate.connections.get(publications.device) is self:
                del self._gate.connections[publications.device]
        if self._broker_task is None:
            self._closed.set()

    # --- packets in ----------------------------------------------------------------------

    def _read_packets(self) -> None:
        buffer, at = self._buffer, 0
        while self._transport is not None and not self._transport.is_closing():
            if self._keep_alive.held:
                break  # what came in the same piece waits too
            head = wire.read_head(buffer, at)
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
            if self._accepted and self._gate.hold(self):
                break
            self._read_packet(head, bytes(buffer[at:end]))
            at = end
        del buffer[:at]

    def _read_packet(self, head: wire.Head, packet: bytes) -> None:
        body = packet[head.body_at :]
        if self.publications is None:
            if head.type is not wire.PacketType.CONNECT:
                raise Malformed("the first packet must be CONNECT (3.1.0-1)")
            self._connect(wire.read_connect(body))
            return
        if not self._handle_here(self.publications, head, body):
            self._broker_packets.feed_data(packet)

    def _handle_here(self, publications: Publications, head: wire.Head, body: bytes) -> bool:
        """Do the gate's part with a device's packet; False = it is the broker's too.

        Raises:
            Malformed: the packet, its order or its topic is not allowed.
        """
        assert self._admission is not None, "publications come with it"
        if not self._admission.holds(self._gate.registry):
            raise Malformed(f"device {publications.device!r}: its key was revoked, or it was moved")
        match head.type:
            case wire.PacketType.PUBLISH:
                publish = wire.read_publish(head.flags, body)
                leaf = self._own_leaf(publish)
                if publish.qos < 2:
                    return publications.take(publish, leaf)
                self._releases.hand_on(publish.packet_id)
            case wire.PacketType.PUBREL:
                packet_id = wire.read_packet_id(body)
                if self._releases.released(packet_id):
                    self.send(wire.pubcomp(packet_id))
                    return True
            case wire.PacketType.PUBACK:
                return publications.outbox.acknowledged(wire.read_packet_id(body))
            case wire.PacketType.SUBSCRIBE:
                publications.outbox.subscribe(wire.read_subscribe(body).filters)
            case wire.PacketType.UNSUBSCRIBE:
                publications.outbox.unsubscribe(wire.read_unsubscribe(body))
            case wire.PacketType.CONNECT:
                raise Malformed("a second CONNECT (3.1.0-2)")
            case _:
                pass  # what only a server sends has no valid flags in `read_head`
        return False

    def _own_leaf(self, publish: wire.Publish) -> str:
        """The topic below the device's own id.

        Raises:
            Malformed: it is another's, or the hub's to publish; 3.1.1 has no other way to say so
                than closing the connection (3.3.5-2).
        """
        assert self.publications is not None
        prefix = device_topic(self._settings.base, self.publications.device, "")
        leaf = publish.topic.removeprefix(prefix)
        if leaf == publish.topic or leaf not in DEVICE_PUBLISHES:
            device = self.publications.device
            raise Malformed(f"device {device!r} may not publish to {publish.topic!r}")
        return leaf

    def _skip_large(self, head: wire.Head, start: bytes) -> bool:
        """Throw a packet over the limit away, unread; an observation is answered with `size`.

        False = its topic has not arrived yet.
        """
        if self.publications is None or head.type is not wire.PacketType.PUBLISH:
            raise Malformed(f"{head.type.name} of {head.length} bytes, {self._limit} are taken")
        publish = wire.read_publish_head(head.flags, start)
        if publish is None and len(start) < self._limit:
            return False
        if publish is None or head.length > SKIP_BYTES_MAX:
            raise Malformed(f"PUBLISH of {head.length} bytes, {self._limit} are taken")
        self._own_leaf(publish)
        fault = DeviceFault(
            Code.SIZE, f"{head.length} bytes, this agent's devices may send {self._limit}"
        )
        self.publications.refuse(publish, fault)
        return True

    # --- CONNECT -------------------------------------------------------------------------

    def _connect(self, packet: wire.Connect) -> None:
        """Accept or refuse; nothing of anyone's changes before the key was accepted."""
        gate = self._gate
        try:
            admission = admit_connect(gate.registry, packet, self._settings)
        except TurnedAway as refusal:
            self.send(wire.connack(refusal.code))
            self.close()
            return
        self._admission, device = admission, admission.device
        self._limit = admission.packet_bytes_max
        old = gate.connections.get(device)
        outbox = gate.outboxes.get(device)
        resume = outbox is not None and not outbox.clean and not packet.clean_session
        if outbox is None or not resume:
            outbox = Outbox(device, self._settings.base, clean=packet.clean_session)
            gate.outboxes[device] = outbox
        gate.connections[device] = self
        session = gate.sessions.open(device, admission.agent, Protocol.MQTT, key=admission.key)
        self.publications = Publications(
            self,
            gate.receiver,
            gate.sessions,
            session,
            outbox,
            gate.broker,
            self._settings.unacknowledged_max,
        )
        self._keep_alive.expect(packet.keep_alive_s * GRACE)
        self.pause()  # until the broker has accepted it too
        self._broker_task = self._loop.create_task(self._serve(old, packet, resume=resume))

    async def _serve(self, old: Connection | None, packet: wire.Connect, *, resume: bool) -> None:
        """First the old connection ends, its will included; then the broker serves this one."""
        assert self.publications is not None
        try:
            if old is not None:
                old.close()
                try:
                    await asyncio.wait_for(old.closed(), TAKE_OVER_S_MAX)
                except TimeoutError:
                    old.abandon()
            if self._transport is None:
                return  # gone meanwhile, or taken over itself
            device = self.publications.device
            connect = wire.Connect(
                client_id=device,
                clean_session=packet.clean_session,
                keep_alive_s=0,  # kept here; the broker's own timer does nothing when it fires
                username=device,
                will_topic=packet.will_topic,
                will_payload=packet.will_payload,
                will_qos=packet.will_qos,
                will_retain=packet.will_retain,
            )
            self._broker_packets.feed_data(wire.connect(connect))
            await self._gate.broker.serve(device, self, self._broker_packets, resume=resume)
        finally:
            self.close()
            self._closed.set()

    # --- the broker's and the publications' side -----------------------------------------

    def from_broker(self, packets: bytes) -> None:
        """Packets of the broker for the device; the first is its CONNACK."""
        self.send(packets)
        if not self._accepted and self._transport is not None:
            self._accepted = True
            assert self.publications is not None
            if not packets[SESSION_PRESENT_AT]:
                self.publications.outbox.clear()
            self.publications.outbox.attach(self.send)
            self.resume()

    async def publish_slowly(self, topic: str, payload: bytes) -> bool:
        """A QoS 2 publish, released by the broker; returns when it is durable."""
        assert self.publications is not None
        return await self.publications.take_slowly(topic, payload)

    def send(self, packet: bytes) -> None:
        """Queue for this loop turn: a step's PUBACK and action leave in one write.

        A device that does not read is disconnected, not buffered for.
        """
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(packet)

    def take_unread(self, packet_id: int) -> None:
        """Acknowledge a QoS 2 publish that was thrown away: its release is answered here too."""
        try:
            self._releases.throw_away(packet_id)
        except Malformed:
            self.close()
        self.send(wire.pubrec(packet_id))

    @property
    def is_read(self) -> bool:
        """What the device sends is taken from its socket."""
        return not self._pauses

    def pause(self, reason: str = DEVICE_BEHIND) -> None:
        """Stop reading: too much is not durable yet."""
        self._pauses.add(reason)
        self._keep_alive.held = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self, reason: str = DEVICE_BEHIND) -> None:
        """Read on, unless there is another reason not to."""
        self._pauses.discard(reason)
        if self._pauses:
            return
        self._keep_alive.held = False
        # Not from within the broker's own write: what waited may close this connection.
        self._loop.call_soon(self.data_received, b"")
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """End the connection once what was written has left; more than once is fine."""
        if self._transport is not None:
            self._flush()
            self._transport.close()

    async def closed(self) -> None:
        """Returns when the socket is gone and the broker has handled the will."""
        await self._closed.wait()

    def abandon(self) -> None:
        """The broker did not let go in time: cut it off."""
        if self._transport is not None:
            self._transport.abort()
        if self._broker_task is not None:
            self._broker_task.cancel()

    def _flush(self) -> None:
        packets, self._unsent = self._unsent, []
        transport = self._transport
        if packets and transport is not None and not transport.is_closing():
            transport.write(b"".join(packets))
            if transport.get_write_buffer_size() > self._settings.write_bytes_max:
                transport.abort()
