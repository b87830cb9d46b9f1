"""A device's publishes: each goes to the main path, and what comes of it back to the device."""

from __future__ import annotations

import asyncio
import struct
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol
from zlib import crc32

import msgspec

from hub.errors import DeviceFault
from hub.intake.commands import read_reward
from hub.intake.mapping.reply import in_own_words
from hub.intake.mapping.take import take
from hub.intake.mqtt.wire import puback, pubrec
from hub.intake.observation import BOOT_MAX
from hub.payloads import Err, act_of
from hub.spaces import Discrete, size
from hub.topics import ENCODINGS
from hub.words import Code, DeviceId, Hello

if TYPE_CHECKING:
    from hub.intake.mapping.bound import Heard
    from hub.intake.mqtt.outbox import Outbox
    from hub.intake.mqtt.wire import Publish
    from hub.intake.receive import Receiver
    from hub.intake.session import Session, Sessions
    from hub.spaces import Space
    from hub.words import Answer

ACTION_LEAVES: Final = {"json": "act", "mp": "act/mp", "f32": "act/f32"}
F32_VERSION: Final = 1
OVER_QUOTA: Final = "quota"
OVER_QUOTA_S_MAX: Final = 1.0
"""Longest pause in reading for a quota; then it is looked at again."""
_DISCRETE, _BOX, _NONE = 0, 1, 15
_U8_MAX: Final = 255
_U16_MAX: Final = 65_535

_hello: Final = msgspec.json.Decoder(Hello, strict=False)
_json: Final = msgspec.json.Encoder()
_msgpack: Final = msgspec.msgpack.Encoder()


class Line(Protocol):
    """The device's connection; `hub.intake.mqtt.connection.Connection` is one."""

    def send(self, packet: bytes) -> None:
        """To the device, in order."""
        ...

    @property
    def is_open(self) -> bool:
        """Nobody has ended it, nor taken it over."""
        ...

    def pause(self, reason: str = ...) -> None:
        """Stop reading."""
        ...

    def resume(self, reason: str = ...) -> None:
        """Read on, unless there is another reason not to."""
        ...


class Publications:
    """One connection's publishes and their replies."""

    __slots__ = (
        "_connection",
        "_paused",
        "_receiver",
        "_sessions",
        "_unacknowledged",
        "_unacknowledged_max",
        "device",
        "outbox",
        "session",
    )

    def __init__(
        self,
        connection: Line,
        receiver: Receiver,
        sessions: Sessions,
        session: Session,
        outbox: Outbox,
        unacknowledged_max: int,
    ) -> None:
        self._connection = connection
        self._receiver = receiver
        self._sessions = sessions
        self.session = session
        self.outbox = outbox
        self.device = DeviceId(session.device.id)
        self._unacknowledged_max = unacknowledged_max
        self._unacknowledged = 0
        self._paused = False

    def take(self, publish: Publish, leaf: str) -> None:
        """Handle a publish that is the hub's; its QoS 2 id is a new one."""
        reply = self._reply(leaf, publish)
        self._begin(publish.qos)
        packet = (publish.packet_id, crc32(publish.payload)) if publish.qos else None
        self._dispatch(leaf, publish.payload, reply, packet, duplicate=publish.duplicate)

    def take_mapped(self, publish: Publish, heard: Heard) -> None:
        """Handle what a mapping reads."""
        self._begin(publish.qos)
        self._take_mapped(publish, heard, self._reply("obs", publish))

    def take_other(self, publish: Publish) -> bool:
        """Acknowledge a publish that is not for the log; False: it was over the quota."""
        reply = self._reply("status", publish)
        self._begin(publish.qos)
        try:
            self.session.quota.take(len(publish.payload))
        except DeviceFault as fault:
            self._receiver.refuse(self.session, fault, reply)
            return False
        reply.durable(0)
        return True

    def refuse(self, publish: Publish, fault: DeviceFault) -> None:
        """A publish whose content was not even read."""
        self._begin(publish.qos)
        self._receiver.refuse(self.session, fault, self._reply("obs", publish))

    def say_goodbye(self, why: str) -> None:
        """The last word on `err` before the connection is closed for what the device did."""
        self.send("err", _json.encode(Err(e=Code.AUTH, m=f"{why}; the connection is closed")), 0)

    def acknowledge(self, qos: int, packet_id: int) -> None:
        """To the connection that the publish came on: on the next the id may be another's."""
        if qos == 1:
            self._connection.send(puback(packet_id))
        elif qos == 2 and self._connection.is_open:
            self.outbox.releases.acknowledge(packet_id)
            self._connection.send(pubrec(packet_id))

    def leave(self, qos: int, packet_id: int) -> None:
        """It was not taken, and is not acknowledged: at QoS 2 it is new when it comes again."""
        if qos == 2 and self._connection.is_open:
            self.outbox.releases.forget(packet_id)

    def slow_down(self, retry_s: float) -> None:
        """Over its quota: it is not read for a while, so that its flood costs others nothing."""
        self._connection.pause(OVER_QUOTA)
        wait_s = min(retry_s, OVER_QUOTA_S_MAX)
        asyncio.get_running_loop().call_later(wait_s, self._connection.resume, OVER_QUOTA)

    def release(self, qos: int) -> None:
        """A publish is dealt with: room for another."""
        if not qos:
            return
        self._unacknowledged -= 1
        if self._paused and self._unacknowledged <= self._unacknowledged_max // 2:
            self._paused = False
            self._connection.resume()

    def send(self, leaf: str, payload: bytes, qos: int) -> None:
        """To the device, if it has subscribed."""
        self.outbox.publish(leaf, payload, qos)

    def command(self, topic: str, payload: bytes, qos: int) -> None:
        """To a legacy device, if it has subscribed."""
        self.outbox.command(topic, payload, qos)

    def _take_mapped(self, publish: Publish, heard: Heard, reply: MqttReply) -> None:
        packet = (publish.packet_id, crc32(publish.payload)) if publish.qos else None
        told = in_own_words(heard, self.device, reply, partial(self._command_at, publish.qos))
        try:
            self.session.quota.take(len(publish.payload))
            mapper, payload = heard.bound.mapper, publish.payload
            if not take(
                self._receiver,
                self.session,
                mapper,
                payload,
                told,
                packet=packet,
                duplicate=publish.duplicate,
            ):
                reply.durable(0)  # there is nothing that could be
        except DeviceFault as fault:
            self._receiver.refuse(self.session, fault, reply)

    def _command_at(self, qos: int, topic: str, payload: bytes) -> None:
        self.command(topic, payload, qos)

    def _reply(self, leaf: str, publish: Publish) -> MqttReply:
        """What becomes of the publish is said by this."""
        return MqttReply(self, leaf, publish.qos, publish.packet_id)

    def _begin(self, qos: int) -> None:
        if qos:
            self._unacknowledged += 1
            if self._unacknowledged >= self._unacknowledged_max and not self._paused:
                self._paused = True
                self._connection.pause()

    def _dispatch(
        self,
        leaf: str,
        payload: bytes,
        reply: MqttReply,
        packet: tuple[int, int] | None,
        *,
        duplicate: bool,
    ) -> None:
        encoding = ENCODINGS.get(leaf)
        try:
            if encoding is not None:
                if encoding == "f32":
                    self._check_f32()
                self._receiver.receive(
                    self.session, payload, encoding, reply, packet=packet, duplicate=duplicate
                )
                return
            # Before it is read, as of an observation: a flood of nonsense has to slow down as well.
            self.session.quota.take(len(payload))
            if leaf == "hello":
                self._take_hello(payload, reply)
            else:
                self._receiver.reward(
                    self.session,
                    read_reward(payload),
                    reply,
                    packet=None if packet is None else ("", *packet),
                    duplicate=duplicate,
                )
        except DeviceFault as fault:
            self._receiver.refuse(self.session, fault, reply)

    def _check_f32(self) -> None:
        """Raises DeviceFault where an action would not fit: the step could not be answered."""
        spec = self._sessions.spec(self.session)
        if spec is not None and not _fits_f32(spec.actions):
            text = "an f32 action holds 255 values or a choice from 0 to 65535; use obs or obs/mp"
            raise DeviceFault(Code.TYPE, text)

    def _take_hello(self, payload: bytes, reply: MqttReply) -> None:
        hello = _read_hello(payload or b"{}")
        if hello.b is not None and not 0 <= hello.b <= BOOT_MAX:
            text = f"hello: boot {hello.b} is not a whole number from 0 to {BOOT_MAX}"
            raise DeviceFault(Code.TYPE, text)
        self._sessions.hello(self.session, hello, reply.durable)
        configuration = self._sessions.configuration(self.session, hello)
        self.send("cfg", _json.encode(configuration), 1)


class MqttReply:
    """Answers one publish: PUBACK, then `act`; or `err`."""

    __slots__ = ("_leaf", "_packet_id", "_publications", "_qos", "_released")

    def __init__(self, publications: Publications, leaf: str, qos: int, packet_id: int) -> None:
        self._publications = publications
        self._leaf = leaf
        self._qos = qos
        self._packet_id = packet_id
        self._released = False

    def durable(self, seq: int) -> None:
        """On disk: acknowledge."""
        del seq  # MQTT 3.1.1 has no place for it in a PUBACK
        self._acknowledge()

    def act(self, answer: Answer) -> None:
        """Send the action in the encoding of its observation."""
        leaf, payload = encode_action(answer, self._leaf)
        self._publications.send(leaf, payload, self._qos)

    def warn(self, fault: DeviceFault) -> None:
        """Say it on `err`."""
        error = Err(e=fault.code, s=fault.step, m=fault.message)
        self._publications.send("err", _json.encode(error), self._qos)

    def refuse(self, fault: DeviceFault, *, acknowledge: bool) -> None:
        """Say it on `err`; refused content is acknowledged, for 3.1.1 has no other answer to it."""
        if acknowledge:
            self._acknowledge()
        else:
            self._publications.leave(self._qos, self._packet_id)
            self._release()
        self.warn(fault)
        if fault.retry_s is not None:
            self._publications.slow_down(fault.retry_s)

    def _acknowledge(self) -> None:
        self._publications.acknowledge(self._qos, self._packet_id)
        self._release()

    def _release(self) -> None:
        if not self._released:
            self._released = True
            self._publications.release(self._qos)


def _read_hello(payload: bytes) -> Hello:
    try:
        return _hello.decode(payload)
    except msgspec.ValidationError as error:
        raise DeviceFault(Code.TYPE, f"hello: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DeviceFault(Code.PAYLOAD, f"hello: not JSON: {error}") from error


def _fits_f32(actions: Space) -> bool:
    if isinstance(actions, Discrete):
        return actions.start >= 0 and actions.start + actions.n - 1 <= _U16_MAX
    return size(actions) <= _U8_MAX


def encode_action(answer: Answer, leaf: str) -> tuple[str, bytes]:
    """Leaf and payload of the answer to an observation that came on this leaf."""
    encoding = ENCODINGS[leaf]
    payload = _encode_f32(answer) if encoding == "f32" else _encode(answer, encoding)
    return ACTION_LEAVES[encoding], payload


def _encode(answer: Answer, encoding: str) -> bytes:
    return (_json if encoding == "json" else _msgpack).encode(act_of(answer))


def _encode_f32(answer: Answer) -> bytes:
    """`u8 version<<4|kind, u8 m, u16 step`, then m × u16 or f32 (docs/device-maker.md)."""
    step = answer.step & 0xFFFF
    if answer.values is None:
        return struct.pack("<BBH", F32_VERSION << 4 | _NONE, 0, step)
    if isinstance(answer.action, int):
        return struct.pack("<BBHH", F32_VERSION << 4 | _DISCRETE, 1, step, answer.action)
    return (
        struct.pack("<BBH", F32_VERSION << 4 | _BOX, len(answer.values) // 4, step) + answer.values
    )
