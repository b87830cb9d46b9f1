"""A person's end of MQTT: commands are carried out here, all else is the embedded broker's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from zlib import crc32

from hub.errors import AccessDenied, DeviceFault, Malformed, SheepfoldError
from hub.intake.mqtt import wire
from hub.intake.mqtt.admission import TurnedAway
from hub.intake.mqtt.releases import Releases
from hub.words import Code

if TYPE_CHECKING:
    from hub.intake.mqtt.connection import Connection
    from hub.intake.mqtt.dialect import Dialect
    from hub.intake.mqtt.gate import Gate
    from hub.intake.mqtt.wire import Connect, Head, Publish
    from hub.words import DeviceId, User

PAUSED: Final = "broker"
"""Reason for not reading: the embedded broker has not let the client in yet."""
TAKE_OVER_S_MAX: Final = 2.0
"""The old connection of the same client gets so long to end; then the new one goes on."""


def session_id(user: User, connect: Connect, line: str) -> str:
    """Of the broker's session; other users may have clients called alike."""
    return f"{user.name}/{connect.client_id or line}"


def check_session(gate: Gate, session: str, dialect: Dialect) -> None:
    """Whether the broker can serve this client; a session that is there already may go on.

    Raises:
        TurnedAway: it does not speak the client's version, or has no room for one more session.
    """
    if not dialect.for_people:
        raise TurnedAway(wire.ConnectCode.BAD_PROTOCOL)
    there = {*gate.broker.sessions, *gate.people_online}
    user = session.partition("/")[0]
    own = sum(known.partition("/")[0] == user for known in there)
    limits = gate.settings
    full = len(there) >= limits.people_max or own >= limits.person_sessions_max
    if full and session not in there:
        raise TurnedAway(wire.ConnectCode.UNAVAILABLE)


class PersonClient:
    """One connection of a dashboard, a script, Home Assistant."""

    def __init__(
        self, gate: Gate, line: Connection, user: User, secret: bytes, connect: Connect
    ) -> None:
        self._gate = gate
        self._line = line
        self._user = user
        self._secret = secret
        self._connect = connect
        self.id = session_id(user, connect, line.name)
        self._releases = Releases(gate.settings.unacknowledged_max)
        self._packets = asyncio.StreamReader()
        self._accepted = False
        self._ended = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._commands: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """Have the broker serve it, once the client's connection before has ended."""
        old = self._gate.people_online.get(self.id)
        self._gate.people_online[self.id] = self
        self._line.pause(PAUSED)
        self._serving = asyncio.get_running_loop().create_task(self._serve(old))

    def check(self) -> None:
        """The key that the person showed is still accepted.

        Raises:
            Malformed: it is not.
        """
        key = self._gate.registry.keys.get(self._secret)
        if key is None or key.user != self._user.name:
            raise Malformed(f"user {self._user.name!r}: the key was revoked")

    def recheck(self) -> None:
        """End the connection if the key is not accepted any more."""
        self._line.recheck()

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
            case wire.PacketType.PUBREL:
                packet_id = wire.read_packet_id(body)
                self._releases.release(packet_id)
                self._line.send(wire.pubcomp(packet_id))
            case wire.PacketType.CONNECT:
                raise Malformed("a second CONNECT (3.1.0-2)")
            case wire.PacketType.SUBSCRIBE:
                wire.read_subscribe(body)
                self._packets.feed_data(packet)
            case wire.PacketType.UNSUBSCRIBE:
                wire.read_unsubscribe(body)
                self._packets.feed_data(packet)
            case _:
                self._packets.feed_data(packet)

    def handle_large(self, head: Head, publish: Publish) -> None:
        """No command is that large."""
        raise Malformed(f"PUBLISH of {head.length} bytes to {publish.topic!r}")

    def say_goodbye(self, why: str) -> None:
        """There is no topic for it: a person sees that the connection ends."""

    def gone(self) -> None:
        """The connection has ended."""
        self._packets.feed_eof()
        if self._serving is None:
            self._ended.set()

    # --- the broker's side ---------------------------------------------------------------

    @property
    def peer(self) -> tuple[str, int]:
        """Address and port."""
        return self._line.peer

    def from_broker(self, packets: bytes) -> None:
        """Packets for the client; the first is a CONNACK."""
        self._line.send(packets)
        if not self._accepted:
            self._accepted = True
            self._line.resume(PAUSED)

    def close(self) -> None:
        """The broker ends the connection."""
        self._line.close()

    async def _serve(self, old: PersonClient | None) -> None:
        try:
            if old is not None:
                await old.end()
            if not self._line.is_open:
                return  # gone meanwhile, or taken over itself
            connect = wire.Connect(
                client_id=self.id,
                clean_session=self._connect.clean_session,
                keep_alive_s=0,  # kept by the gate; the broker's own timer does nothing
                username=self._user.name,
            )
            self._packets.feed_data(wire.connect(connect))
            clean = self._connect.clean_session
            await self._gate.broker.serve(self.id, self, self._packets, clean=clean)
        finally:
            self._line.close()
            if self._gate.people_online.get(self.id) is self:
                del self._gate.people_online[self.id]
            self._ended.set()

    async def end(self) -> None:
        """A newer connection of this client takes over; returns when the broker has let go."""
        self._line.close()
        try:
            await asyncio.wait_for(self._ended.wait(), TAKE_OVER_S_MAX)
        except TimeoutError:
            self._line.abort()
            if self._serving is not None:
                self._serving.cancel()

    # --- commands ------------------------------------------------------------------------

    def _publish(self, publish: Publish) -> None:
        is_birth = publish.topic == self._gate.people.birth
        command = None if is_birth else self._command(publish.topic)
        if publish.qos == 2 and not self._releases.is_new(publish.packet_id):
            if self._releases.is_acknowledged(publish.packet_id):
                self._line.send(wire.pubrec(publish.packet_id))
            return
        if len(self._commands) >= self._gate.settings.unacknowledged_max:
            raise Malformed("too many commands at once")
        if command is None:
            self._gate.on_birth(publish.payload)
            self._acknowledge(publish)
            return
        carried = self._carry_out(*command, publish)
        task = asyncio.get_running_loop().create_task(carried)
        self._commands.add(task)
        task.add_done_callback(self._commands.discard)

    def _command(self, topic: str) -> tuple[DeviceId, str]:
        """Raises Malformed: it is none of this person's."""
        try:
            return self._gate.people.command(self._user.name, topic)
        except AccessDenied as error:
            raise Malformed(str(error)) from error  # 3.3.5-2: there is no other way to say so

    async def _carry_out(self, device: DeviceId, leaf: str, publish: Publish) -> None:
        """Acknowledged once it is in the log, or refused for good."""
        gate = self._gate
        try:
            await gate.commands.carry_out(
                f"user {self._user.name}",
                device,
                leaf,
                publish.payload,
                packet=(self.id, publish.packet_id, crc32(publish.payload))
                if publish.qos
                else None,
                duplicate=publish.duplicate,
            )
            gate.tell(device, leaf, publish.payload, qos=publish.qos)
        except DeviceFault as fault:  # who sent it finds it in the log: MQTT 3.1.1 has no answer
            if fault.code is Code.BUSY:
                self._releases.forget(publish.packet_id)
                return
        except SheepfoldError:
            gate.receiver.refused += 1
        self._acknowledge(publish)

    def _acknowledge(self, publish: Publish) -> None:
        if publish.qos == 1:
            self._line.send(wire.puback(publish.packet_id))
        elif publish.qos == 2:
            self._releases.acknowledge(publish.packet_id)
            self._line.send(wire.pubrec(publish.packet_id))
