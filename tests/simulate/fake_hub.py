"""The outside of a hub without an inside: MQTT and both HTTP protocols, with faults on order.

with FakeHub() as hub:
    hub.swallow(1)          # the next observation arrives and is never answered
    hub.refuse_busy(1)      # then one is told to come again
    hub.restart()           # every connection breaks; the ports and session keys stay
    hub.seen                # what was answered, in order
"""

from __future__ import annotations

import asyncio
import struct
import threading
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

KEY: Final = "the-key"
SESSION_KEY: Final = "the-session"
HOST: Final = "127.0.0.1"
CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGREQ, PINGRESP = 1, 2, 3, 4, 8, 9, 12, 13
THREAD_TIMEOUT_S: Final = 5.0

_decode = msgspec.json.decode
_encode = msgspec.json.encode


class FakeHub:
    """Answers every observation with action 1, or None where its episode is over."""

    def __init__(self) -> None:
        self.http_port = 0
        self.mqtt_port = 0
        self.seen: list[dict[str, Any]] = []
        self.logins = 0
        self.connections = 0
        self._swallow = 0
        self._busy = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(THREAD_TIMEOUT_S)
        self._loop.close()

    def swallow(self, count: int) -> None:
        """Leave the next observations unanswered."""
        self._swallow = count

    def refuse_busy(self, count: int) -> None:
        """Say `busy`, or 503, to the next observations."""
        self._busy = count

    def restart(self) -> None:
        """Break every connection and listen again on the same ports."""
        self._run(self._hang_up())
        self._run(self._listen())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(THREAD_TIMEOUT_S)

    async def _listen(self) -> None:
        http = await asyncio.start_server(self._tracked(self._http), HOST, self.http_port)
        mqtt = await asyncio.start_server(self._tracked(self._mqtt), HOST, self.mqtt_port)
        self.http_port = http.sockets[0].getsockname()[1]
        self.mqtt_port = mqtt.sockets[0].getsockname()[1]
        self._servers = [http, mqtt]

    async def _hang_up(self) -> None:
        for server in self._servers:
            server.close()
        for writer in list(self._writers):
            writer.close()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=THREAD_TIMEOUT_S)

    def _tracked(
        self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            self._writers.add(writer)
            self.connections += 1
            try:
                await serve(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass  # the device has gone, or `_hang_up` closed it
            finally:
                writer.close()
                self._writers.discard(writer)
                self._tasks.discard(task)

        return served

    # --- what an observation is answered with -----------------------------------------------

    def _answer(self, observation: dict[str, Any]) -> dict[str, Any] | None:
        """The answer, None = say nothing."""
        if self._swallow:
            self._swallow -= 1
            return None
        if self._busy:
            self._busy -= 1
            return {"e": "busy", "s": observation.get("s"), "m": "try again"}
        self.seen.append(observation)
        over = any(observation.get(name) for name in ("d", "tr", "done", "truncated"))
        action = None if over else 1
        return {"s": observation.get("s"), "a": action, "pv": 7, "seq": len(self.seen)}

    # --- MQTT 3.1.1, as much as a device needs ----------------------------------------------

    async def _mqtt(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            (head,) = await reader.readexactly(1)
            body = await reader.readexactly(await _remaining_length(reader))
            match head >> 4:
                case 1:  # CONNECT
                    accepted = body.endswith(KEY.encode())
                    writer.write(bytes([CONNACK << 4, 2, 0, 0 if accepted else 5]))
                    if not accepted:
                        return
                case 8:  # SUBSCRIBE
                    writer.write(bytes([SUBACK << 4, 3]) + body[:2] + b"\1")
                case 3:  # PUBLISH
                    self._published(writer, qos=head >> 1 & 3, body=body)
                case 12:  # PINGREQ
                    writer.write(bytes([PINGRESP << 4, 0]))
                case 14:  # DISCONNECT
                    return

    def _published(self, writer: asyncio.StreamWriter, *, qos: int, body: bytes) -> None:
        (length,) = struct.unpack_from(">H", body)
        topic = body[2 : 2 + length].decode()
        packet_id = body[2 + length : 4 + length]
        answer = self._answer(_decode(body[2 + length + (2 if qos else 0) :]))
        if answer is None:
            return
        if qos:
            writer.write(bytes([PUBACK << 4, 2]) + packet_id)
        leaf = "err" if "e" in answer else "act"
        answer.pop("seq", None)
        name = topic.replace("/obs", f"/{leaf}").encode()
        content = struct.pack(">H", len(name)) + name + _encode(answer)
        writer.write(bytes([PUBLISH << 4, len(content)]) + content)

    # --- HTTP -------------------------------------------------------------------------------

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            fields = dict(
                line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line
            )
            body = _decode(await reader.readexactly(int(fields["content-length"])))
            path = head.split(" ", 2)[1]
            status, answer = self._respond(path, fields.get("authorization", ""), body)
            if answer is None:
                continue
            content = _encode(answer)
            writer.write(
                f"HTTP/1.1 {status} x\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content
            )

    def _respond(
        self, path: str, authorization: str, body: dict[str, Any]
    ) -> tuple[int, dict[str, Any] | None]:
        if path == "/shepherd/login_user/":
            self.logins += 1
            accepted = body["apikey"] == KEY
            return 200, {"ok": True, "session_key": SESSION_KEY} if accepted else {"error": "no"}
        if path == "/shepherd/env/":
            if body["session_key"] != SESSION_KEY:
                return 200, {"error": "this session key is not known"}
            answer = self._answer(body)
            if answer is not None and "e" in answer:
                return 200, {"error": answer["m"]}
            return 200, None if answer is None else {"action": answer["a"]}
        if authorization != f"bearer {KEY}":
            return 401, {"title": "unknown key"}
        answer = self._answer(body)
        return (503 if answer is not None and "e" in answer else 200), answer


async def _remaining_length(reader: asyncio.StreamReader) -> int:
    length = shift = 0
    while True:
        (byte,) = await reader.readexactly(1)
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return length
