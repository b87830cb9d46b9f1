"""MQTT over WebSocket, for browsers: the gate's connections over another kind of socket.

MQTT 3.1.1, 6: binary frames, subprotocol `mqtt`, packets cut over frames in any way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import AsyncIterator

    from hub.intake.mqtt.gate import Gate
    from hub.intake.mqtt.strangers import Strangers

SUBPROTOCOL: Final = Subprotocol("mqtt")
FRAME_BYTES_MAX: Final = 1 << 20
"""Of one WebSocket message; a browser's client sends a packet in each."""
CLOSE_S: Final = 1.0
NOT_BINARY: Final = 1003
"""RFC 6455, 7.4.1: unsupported data."""


@contextlib.asynccontextmanager
async def open_websocket(
    gate: Gate, listener: socket.socket, tls: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Serve on a bound socket while the block runs."""

    class Asking(_Counted):
        strangers = gate.strangers

    async def connected(websocket: ServerConnection) -> None:
        assert isinstance(websocket, Asking)
        websocket.leave()  # the gate counts it from now on
        await _carry(gate, websocket)

    handshakes = logging.getLogger("hub.websocket")
    handshakes.setLevel(logging.CRITICAL)  # one that fails is a stranger's, and takes 30 lines
    async with serve(
        connected,
        logger=handshakes,
        sock=listener,
        ssl=tls,
        subprotocols=[SUBPROTOCOL],
        max_size=FRAME_BYTES_MAX,
        compression=None,
        ping_interval=None,  # MQTT has its own
        close_timeout=CLOSE_S,
        open_timeout=gate.settings.connect_timeout_s,
        create_connection=Asking,
    ):
        yield


async def _carry(gate: Gate, websocket: ServerConnection) -> None:
    """One socket's life, as asyncio would have it for a stream."""
    connection = gate.accept()
    transport = _Transport(websocket)
    connection.connection_made(transport)
    writing = asyncio.create_task(transport.write_all())
    try:
        async for message in websocket:
            if isinstance(message, str):
                await websocket.close(NOT_BINARY, "MQTT is binary (MQTT 3.1.1, 6.0.0-1)")
                break
            await transport.reading.wait()
            connection.data_received(message)
    except ConnectionClosed:
        pass
    finally:
        transport.close()
        connection.connection_lost(None)
        await writing


class _Counted(ServerConnection):
    """A socket that has not asked for MQTT yet, counted like all others.

    With TLS it is once that stands: the library has no say before, but for `open_timeout`.
    """

    strangers: Strangers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A socket opened."""
        super().connection_made(transport)
        name = self.remote_address or ("", 0)
        self._newcomer: _Newcomer | None = _Newcomer((name[0], name[1]), self.transport)
        if not self.strangers.enter(self._newcomer):
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self.leave()
        super().connection_lost(exc)

    def leave(self) -> None:
        """It is not to be counted here any more."""
        newcomer, self._newcomer = self._newcomer, None
        if newcomer is not None:
            self.strangers.leave(newcomer)


class _Newcomer:
    """A `hub.intake.mqtt.strangers.Socket`."""

    def __init__(self, peer: tuple[str, int], transport: asyncio.Transport) -> None:
        self.peer = peer
        self._transport = transport

    def close(self) -> None:
        """There are too many."""
        self._transport.abort()


class _Transport(asyncio.Transport):
    """What the gate needs of a transport, over a WebSocket."""

    def __init__(self, websocket: ServerConnection) -> None:
        super().__init__()
        self._websocket = websocket
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._unsent_bytes = 0
        self._closing = False
        self.reading = asyncio.Event()
        """Cleared while the gate wants nothing read."""
        self.reading.set()

    async def write_all(self) -> None:
        """Send what is written, in order, until `close`."""
        with contextlib.suppress(ConnectionClosed):
            while (packet := await self._queue.get()) is not None:
                await self._websocket.send(packet)
                self._unsent_bytes -= len(packet)
            await self._websocket.close()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's
        """As the socket has it."""
        if name == "peername":
            return self._websocket.remote_address
        return self._websocket.transport.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue; the gate bounds it by `get_write_buffer_size`."""
        if not self._closing:
            self._unsent_bytes += len(data)
            self._queue.put_nowait(bytes(data))

    def get_write_buffer_size(self) -> int:
        """Bytes not sent yet."""
        return self._unsent_bytes

    def pause_reading(self) -> None:
        """Leave further frames in the socket."""
        self.reading.clear()

    def resume_reading(self) -> None:
        """Read on."""
        self.reading.set()

    def is_closing(self) -> bool:
        """Nothing more is sent."""
        return self._closing

    def close(self) -> None:
        """Close once what was written has left."""
        if not self._closing:
            self._closing = True
            self.reading.set()
            self._queue.put_nowait(None)

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self.reading.set()
        self._websocket.transport.abort()
