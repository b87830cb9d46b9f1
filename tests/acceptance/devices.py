"""Devices as they are outside: an HTTP client, an MQTT client of bytes, walkers without end.

http = Http(hub.ready.http)
status, answer = http.step(key, {"device": "d", "s": 0, "o": [0, 0, 0, 0]})

with Walker("cart-1", exchange) as walker:          # a thread: steps, repeats, reconnects
    until(lambda: len(walker.steps) > 100, "100 steps")
walker.steps                                        # what was acknowledged, in order
"""

from __future__ import annotations

import asyncio
import socket
import threading
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
from msgspec import Struct

from hub.clock import SystemClock
from hub.intake.mqtt import wire
from hub.simulate.exchange import Answered, Endpoint, Exchange, Said, answered
from hub.simulate.over_http import HttpExchange, ShepherdExchange
from hub.simulate.over_mqtt import MqttExchange
from hub.words import DeviceId
from tests.acceptance.real_hub import HOST

if TYPE_CHECKING:
    from tests.acceptance.real_hub import RealHub

ANSWER_S_MAX: Final = 10.0
EPISODE_STEPS: Final = 40
BOOT: Final = 7

__all__ = ["Http", "Mqtt", "Walker", "bearer", "walkers"]


class Http:
    """One kept-alive connection; a request is a document, or bytes as they are."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection(HOST, port, timeout=ANSWER_S_MAX)
        self.headers: dict[str, str] = {}
        """Of the last answer, lower case."""

    def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and document (bytes where the answer is none)."""
        sent = body if isinstance(body, bytes | None) else msgspec.json.encode(body)
        self._connection.request(method, path, sent, headers or {})
        response = self._connection.getresponse()
        answer = response.read()
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        try:
            return response.status, msgspec.json.decode(answer)
        except msgspec.DecodeError:
            return response.status, answer

    def step(self, key: str, document: object) -> tuple[int, Any]:
        """`POST /v1/step`."""
        return self.ask("POST", "/v1/step", document, bearer(key))

    def shepherd(self, route: str, document: object) -> Any:
        """`POST /shepherd/ROUTE/`: the document, which comes with 200 whatever happened."""
        status, answer = self.ask("POST", f"/shepherd/{route}/", document)
        assert status == 200
        return answer

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def bearer(key: str) -> dict[str, str]:
    """The header that shows a key."""
    return {"Authorization": f"Bearer {key}"}


class Mqtt:
    """An MQTT 3.1.1 client that sends what it is told to and reads packet by packet."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), ANSWER_S_MAX)
        self._buffer = b""

    def connect(self, device: str, key: str) -> int:
        """CONNECT and subscribe to `act` and `err`; CONNACK's return code."""
        packet = wire.Connect(device, True, 60, username=device, password=key.encode())
        self.socket.sendall(wire.connect(packet))
        code = self.packet()[1][1]
        if code == 0:
            filters = b"".join(
                len(topic).to_bytes(2, "big") + topic + b"\1"
                for topic in (f"rl/v1/{device}/{leaf}".encode() for leaf in ("act", "err"))
            )
            self.socket.sendall(bytes((0x82, 2 + len(filters))) + b"\0\1" + filters)
            assert self.packet()[0] == wire.PacketType.SUBACK
        return code

    def observe(self, device: str, payload: bytes, *, packet_id: int, leaf: str = "obs") -> None:
        """PUBLISH at QoS 1."""
        topic = f"rl/v1/{device}/{leaf}"
        self.socket.sendall(wire.publish(topic, payload, qos=1, packet_id=packet_id))

    def said(self, *leaves: str) -> Any:
        """The next document on one of these leaves; other packets are passed over."""
        while True:
            kind, body = self.packet()
            if kind != wire.PacketType.PUBLISH:
                continue
            end = 2 + int.from_bytes(body[:2], "big")
            self.socket.sendall(wire.puback(int.from_bytes(body[end : end + 2], "big")))  # QoS 1
            if body[2:end].decode().rpartition("/")[2] in leaves:
                return msgspec.json.decode(body[end + 2 :])

    def packet(self) -> tuple[int, bytes]:
        """The next packet's type and body.

        Raises:
            ConnectionError: the hub closed the connection.
        """
        (head,) = self._take(1)
        length = shift = 0
        while True:  # 7 bits a byte, the lowest first (MQTT 3.1.1, 2.2.3)
            (byte,) = self._take(1)
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return head >> 4, self._take(length)

    def closed_by_hub(self) -> bool:
        """Whether the hub hangs up; waits for it."""
        try:
            while True:
                self.packet()
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def close(self) -> None:
        """Hang up without a word."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            data = self.socket.recv(65_536)
            if not data:
                raise ConnectionResetError("the hub closed the connection")
            self._buffer += data
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken


class Stepped(Struct, frozen=True):
    """One acknowledged step."""

    step: int
    action: int | list[float] | None
    latency_ms: float
    """From the first sending to the answer, repeats included."""
    repeats: int
    """How often it had to be sent again."""


class Walker(threading.Thread):
    """A device that steps without end: what is not answered it repeats, for ever the same."""

    def __init__(self, device: str, exchange: Exchange, rest_s: float = 0.0) -> None:
        super().__init__(name=device, daemon=True)
        self.device = device
        self.steps: list[Stepped] = []
        """Acknowledged, in order."""
        self.failure: Exception | None = None
        self._exchange = exchange
        self._rest_s = rest_s
        """Between an answer and the next step."""
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End after the step in hand, and raise what went wrong."""
        self._stopping.set()
        self.join(ANSWER_S_MAX * 3)
        assert not self.is_alive(), f"{self.device} is still waiting for an answer"
        if self.failure is not None:
            raise self.failure

    def run(self) -> None:
        """Walk."""
        try:
            asyncio.run(self._walk())
        except Exception as error:  # noqa: BLE001 - a thread's error belongs to its test
            self.failure = error

    async def _walk(self) -> None:
        """In the thread's own event loop."""
        step = 0
        try:
            while not self._stopping.is_set():
                answer = await self._answered(_said(step))
                self.steps.append(Stepped(step, answer.act.a, answer.latency_ms, answer.repeats))
                step += 1
                await self._pause(self._rest_s)
        finally:
            self._exchange.close()

    async def _answered(self, said: Said) -> Answered:
        return await answered(self._exchange, said, clock=SystemClock(), pause=self._pause)

    async def _pause(self, seconds: float) -> None:
        self._stopping.wait(min(seconds, 0.1))  # the loop is this device's alone


def _said(step: int) -> Said:
    """The same for the same step, so that a repeat is one."""
    at = step % EPISODE_STEPS
    return Said(
        s=step,
        o=[at / EPISODE_STEPS, (step * 7 % 11) / 11, 0.5, -0.25],
        b=BOOT,
        r=None if at == 0 else 1.0,
        d=int(at == EPISODE_STEPS - 1),
    )


def walkers(hub: RealHub, key: str, *, rest_s: float = 0.0) -> list[Walker]:
    """One over MQTT, one over native HTTP, one in Shepherd's protocol."""
    http, mqtt = hub.ready.http, hub.ready.mqtt
    exchanges: list[Exchange] = [
        MqttExchange(DeviceId("w-mqtt"), key, Endpoint(HOST, mqtt)),
        HttpExchange(DeviceId("w-http"), key, Endpoint(HOST, http)),
        ShepherdExchange(DeviceId("w-shep"), key, Endpoint(HOST, http)),
    ]
    names = ("w-mqtt", "w-http", "w-shep")
    return [Walker(name, exchange, rest_s) for name, exchange in zip(names, exchanges, strict=True)]
