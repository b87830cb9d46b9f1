"""What a bench device puts on the wire and how it knows its answer: bytes built by hand.

A client library per device would cost more than the hub does; here a step costs about 10 µs. Talks
know nothing of sockets and time: `load.py` moves their bytes and holds the watch.
"""

from __future__ import annotations

import itertools
import secrets
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

if TYPE_CHECKING:
    from tests.bench.walk import WalkStep

CONNECT_TIMEOUT_S: Final = 10.0
READ_BYTES: Final = 65_536
_encode = msgspec.json.encode


Says = Callable[[bytes], bytes]
"""What a device says next, from its step number on; it is given what it was answered."""


class Talk(Protocol):
    """One device's side of a protocol."""

    def greet(self, connection: socket.socket) -> None:
        """What comes before the first step; blocking."""
        ...

    def ask(self) -> bytes:
        """The bytes of the next step."""
        ...

    def hear(self, data: bytes) -> bool | None:
        """True = the step is answered, False = it was refused, None = more is to come."""
        ...


class MqttTalk:
    """QoS 1 `obs` out; PUBACK and `act` in, which is acknowledged with the next `obs`."""

    def __init__(self, device: str, key: str, says: Says, *, first_step: int = 0) -> None:
        self.answer = b""
        self._device = device
        self._key = key
        self._says = says
        self._step = first_step
        self._topic = _mqtt_string(f"rl/v1/{device}/obs")
        self._buffer = bytearray()
        self._owed = b""

    def greet(self, connection: socket.socket) -> None:
        self.answer = self._owed = b""  # nothing is owed on a new connection
        self._buffer.clear()
        mqtt_login(connection, self._device, self._key)
        for packet_id, leaf in enumerate(("act", "err"), start=1):
            topic = _mqtt_string(f"rl/v1/{self._device}/{leaf}")
            subscribe = struct.pack(">H", packet_id) + topic + b"\x01"
            connection.sendall(_packet(0x82, subscribe))
            assert _read_exactly(connection, 5)[4] == 1, "SUBACK says no"

    def ask(self) -> bytes:
        body = b'{"s":%d,%b' % (self._step, self._says(self.answer))
        packet_id = struct.pack(">H", self._step % 65_535 + 1)
        self._step += 1
        asked = self._owed + _packet(0x32, self._topic + packet_id + body)
        self._owed = b""
        return asked

    def hear(self, data: bytes) -> bool | None:
        buffer = self._buffer
        buffer += data
        answered = None
        while (size := _packet_size(buffer)) is not None and size[0] + size[1] <= len(buffer):
            head, length = size
            if buffer[0] >> 4 == 3:
                answered = self._publish(bytes(buffer[: head + length]), head)
            del buffer[: head + length]
        return answered

    def _publish(self, packet: bytes, head: int) -> bool:
        (topic_bytes,) = struct.unpack_from(">H", packet, head)
        topic_end = head + 2 + topic_bytes
        if packet[0] & 0x06:
            self._owed += b"\x40\x02" + packet[topic_end : topic_end + 2]
        self.answer = packet[topic_end + (2 if packet[0] & 0x06 else 0) :]
        return packet.endswith(b"/act", head + 2, topic_end)


class BurstTalk:
    """So many `obs` at once, and no subscription: answered when the hub has taken all of them.

    At QoS 1 that is the last PUBACK. Nothing answers QoS 0, so a PINGREQ goes behind them: a broker
    reads in order, and its PINGRESP says that it has read them.
    """

    def __init__(self, device: str, key: str, says: Says, *, qos: int, size: int) -> None:
        self._device = device
        self._key = key
        self._says = says
        self._qos = qos
        self._size = size
        self._topic = _mqtt_string(f"rl/v1/{device}/obs")
        self._step = 0
        self._missing = 0

    def greet(self, connection: socket.socket) -> None:
        mqtt_login(connection, self._device, self._key)

    def ask(self) -> bytes:
        self._missing = 4 * self._size if self._qos else 2
        packets = b"".join(self._packet() for _ in range(self._size))
        return packets if self._qos else packets + b"\xc0\x00"

    def _packet(self) -> bytes:
        body = b'{"s":%d,%b' % (self._step, self._says(b""))
        packet_id = struct.pack(">H", self._step % 65_535 + 1) if self._qos else b""
        self._step += 1
        return _packet(0x30 | self._qos << 1, self._topic + packet_id + body)

    def hear(self, data: bytes) -> bool | None:
        self._missing -= len(data)
        return None if self._missing else True


class HttpTalk:
    """Requests on one kept connection, answers told by status and length."""

    def __init__(self) -> None:
        self.answer = b""
        self._buffer = b""

    def greet(self, connection: socket.socket) -> None:
        """Nothing comes before the first step."""

    def ask(self) -> bytes:
        raise NotImplementedError

    def hear(self, data: bytes) -> bool | None:
        response = self._response(data)
        return None if response is None else self._accepts(*response)

    def _accepts(self, head: bytes, body: bytes) -> bool:
        self.answer = body
        return head.startswith(b"HTTP/1.1 200") and bool(body)

    def _response(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Head and body once both are whole."""
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return None
        at = head.lower().index(b"content-length:") + len(b"content-length:")
        length = int(head[at:].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return None
        assert len(rest) == length, "one request, one answer"
        self._buffer = b""
        return head, rest


class NativeTalk(HttpTalk):
    """`POST /v1/step`."""

    def __init__(self, device: str, key: str, says: Says) -> None:
        super().__init__()
        self._device = b'"device":%b,' % _encode(device)
        self._says = says
        self._head = _request_head("/v1/step", f"Authorization: Bearer {key}\r\n")
        self._step = 0

    def ask(self) -> bytes:
        body = b'{"s":%d,%b%b' % (self._step, self._device, self._says(self.answer))
        self._step += 1
        return self._head % len(body) + body


class ShepherdTalk(HttpTalk):
    """`login_user` once, then `env`; the hub numbers the steps."""

    def __init__(self, device: str, key: str, steps: list[WalkStep], start: int) -> None:
        super().__init__()
        self._device = device
        self._key = key
        self._bodies = [
            b'"obs":%b,"reward":%b,"done":%b,"info":{}}'
            % (_encode(step.observation), _encode(step.reward or 0.0), _encode(step.done))
            for step in steps
        ]
        self._head = _request_head("/shepherd/env/")
        self._prefix = b""
        self._at = start

    def greet(self, connection: socket.socket) -> None:
        body = _encode({"apikey": self._key, "device": self._device})
        connection.sendall(_request_head("/shepherd/login_user/") % len(body) + body)
        while (response := self._response(connection.recv(READ_BYTES))) is None:
            pass
        login = msgspec.json.decode(response[1], type=dict[str, object])
        self._prefix = b'{"session_key":%b,' % _encode(login["session_key"])

    def ask(self) -> bytes:
        body = self._prefix + self._bodies[self._at]
        self._at = (self._at + 1) % len(self._bodies)
        return self._head % len(body) + body

    def _accepts(self, head: bytes, body: bytes) -> bool:
        return super()._accepts(head, body) and b'"error"' not in body


class EchoTalk:
    """The same bytes back, whatever they are."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._missing = 0

    def greet(self, connection: socket.socket) -> None:
        """Nothing comes before the first message."""

    def ask(self) -> bytes:
        self._missing = len(self._content)
        return self._content

    def hear(self, data: bytes) -> bool | None:
        self._missing -= len(data)
        return None if self._missing else True


def mqtt_login(connection: socket.socket, device: str, key: str) -> None:
    """CONNECT of MQTT 3.1.1 with a clean session, and its CONNACK (3.1.2, 3.2); blocking."""
    name, password = _mqtt_string(device), _mqtt_string(key)
    connect = _mqtt_string("MQTT") + b"\x04\xc2" + struct.pack(">H", 60) + name + name + password
    connection.sendall(_packet(0x10, connect))
    assert _read_exactly(connection, 4)[3] == 0, "CONNACK says no"


def walking(steps: list[WalkStep], start: int) -> Says:
    """Round the walk, from one place of it; what is answered changes nothing."""
    # Every talk is a boot of its own: the same device counts from 0 again in the next measurement.
    boot = secrets.randbits(32)
    bodies = [native_body(boot, step.observation, step.reward, done=step.done) for step in steps]
    round_and_round = itertools.cycle(bodies[start:] + bodies[:start])
    return lambda _answer: next(round_and_round)


def native_body(
    boot: int,
    observation: list[float],
    reward: float | None,
    *,
    done: bool,
    truncated: bool = False,
) -> bytes:
    """The object from after its step number on, with its closing brace."""
    paid = b"" if reward is None else b',"r":%b' % _encode(reward)
    ends = b',"d":%d,"tr":%d}' % (done, truncated) if truncated else b',"d":%d}' % done
    return b'"b":%d,"o":%b%b%b' % (boot, _encode(observation), paid, ends)


def _request_head(path: str, fields: str = "") -> bytes:
    """With a `%d` for the length of the body."""
    fixed = "Host: hub\r\nContent-Type: application/json\r\n"
    return f"POST {path} HTTP/1.1\r\n{fixed}{fields}Content-Length: %d\r\n\r\n".encode()


def _mqtt_string(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()


def _packet(head: int, content: bytes) -> bytes:
    length, coded = len(content), bytearray()
    while True:
        length, digit = divmod(length, 128)
        coded.append(digit | (0x80 if length else 0))
        if not length:
            return bytes([head]) + coded + content


def _packet_size(buffer: bytearray) -> tuple[int, int] | None:
    """Bytes of the fixed header and after it; None when the header is not there yet."""
    length = 0
    for i in range(1, min(len(buffer), 5)):
        length |= (buffer[i] & 0x7F) << 7 * (i - 1)
        if buffer[i] < 0x80:
            return i + 1, length
    return None


def _read_exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        assert more, "the hub closed the connection"
        data += more
    return data
