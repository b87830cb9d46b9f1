"""What of `/v1/ws` needs a client that behaves badly to the letter; the rest meets a real hub."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

import msgspec
from msgspec import structs

from hub.registry.key_acts import RevokeKey
from hub.words import EXTERNAL
from tests.bridge.rooms import SETTINGS, Rooms, bearer

FRAMES: Final = 2 * SETTINGS.http.ws_waiting_max
WAIT_S: Final = 5.0
TURNS_MAX: Final = 10_000


class Socket:
    """A WebSocket's far end as ASGI shows it; it reads answers only while `reads` is set."""

    def __init__(self, key: str, frames: list[bytes]) -> None:
        shown = bearer(key) if key else {}
        headers = [(name.lower().encode(), text.encode()) for name, text in shown.items()]
        self.scope = {
            "type": "websocket", "path": "/v1/ws", "raw_path": b"/v1/ws", "query_string": b"",
            "headers": headers, "subprotocols": [], "extensions": {}, "state": {},
        }  # fmt: skip
        self.taken = 0
        self.heard: list[Any] = []
        self.reads = asyncio.Event()
        self.hangs_up = False
        """After the last frame."""
        self._frames = frames

    async def receive(self) -> Any:
        if not self.taken:
            self.taken = 1
            return {"type": "websocket.connect"}
        if self.hangs_up and self.taken == len(self._frames) + 1:
            self.taken += 1
            return {"type": "websocket.disconnect", "code": 1006}
        if self.taken > len(self._frames):
            await asyncio.get_running_loop().create_future()
        self.taken += 1
        return {"type": "websocket.receive", "bytes": self._frames[self.taken - 2], "text": None}

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            await self.reads.wait()
            self.heard.append(msgspec.json.decode(message["text"]))


def served(rooms: Rooms, socket: Socket) -> asyncio.Task[None]:
    """The bridge at the other end."""
    app = cast("Any", rooms.app)
    return asyncio.ensure_future(app(socket.scope, socket.receive, socket.send))


async def test_who_hangs_up_before_its_key_came_leaves_nothing_behind(rooms: Rooms) -> None:
    before = asyncio.all_tasks()
    socket = Socket("", [])
    socket.hangs_up = True
    await asyncio.wait_for(served(rooms, socket), WAIT_S)
    assert asyncio.all_tasks() == before


async def test_who_reads_no_answers_is_read_no_more_until_it_does(rooms: Rooms) -> None:
    key = rooms.make_agent("deaf")
    frame = msgspec.json.encode({"device": "d", "o": [0, 0]})
    socket = Socket(key, [frame] * FRAMES)
    serving = served(rooms, socket)
    for _ in range(TURNS_MAX):
        await asyncio.sleep(0)
    assert socket.taken - 1 == SETTINGS.http.ws_waiting_max + 1, "one is read ahead"
    assert socket.heard == []
    socket.reads.set()
    for _ in range(TURNS_MAX):
        await asyncio.sleep(0)
    assert [answer["a"] for answer in socket.heard] == [0] * FRAMES
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


def resets(count: int) -> list[bytes]:
    """What waits for as long as devices that nobody has say nothing."""
    return [msgspec.json.encode({"env": "reset", "device": f"d{i}"}) for i in range(count)]


async def test_who_hangs_up_while_all_its_frames_wait_leaves_nothing_behind(rooms: Rooms) -> None:
    key = rooms.make_agent("afar", algorithm=EXTERNAL, deadline_ms=None)
    before = asyncio.all_tasks()
    socket = Socket(key, resets(SETTINGS.http.ws_waiting_max))
    socket.hangs_up = True
    await asyncio.wait_for(served(rooms, socket), WAIT_S)
    for _ in range(TURNS_MAX):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_who_has_more_to_say_and_is_never_answered_is_hung_up_on() -> None:
    settings = structs.replace(SETTINGS, http=structs.replace(SETTINGS.http, session_idle_s=0.05))
    async with Rooms(settings=settings) as rooms:
        key = rooms.make_agent("afar", algorithm=EXTERNAL, deadline_ms=None)
        socket = Socket(key, resets(FRAMES))
        await asyncio.wait_for(served(rooms, socket), WAIT_S)
        assert socket.heard == []


async def test_a_key_that_ends_while_its_connection_is_accepted_ends_it(rooms: Rooms) -> None:
    key = rooms.make_agent("short")
    socket = Socket(key, [])
    socket.reads.set()

    async def send(message: Any) -> None:
        if message["type"] == "websocket.accept":
            await rooms.control.act(RevokeKey(key.partition(".")[0]), "operator", lambda: None)
        await socket.send(message)

    app = cast("Any", rooms.app)
    await asyncio.wait_for(app(socket.scope, socket.receive, send), WAIT_S)
    assert [said["status"] for said in socket.heard] == [401]
