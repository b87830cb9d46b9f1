"""A device's exchange over `/v1/ws`: a frame out, a frame back."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from hub.payloads import Act
from hub.simulate.exchange import ANSWER_TIMEOUT_S, HalfOpen, Said
from hub.simulate.problem import raise_problem

if TYPE_CHECKING:
    from hub.simulate.exchange import Endpoint
    from hub.words import DeviceId

FRAME_BYTES_MAX: Final = 1 << 20


class WebSocketExchange:
    """One socket of the device's own; a lost one is opened again by the next `ask`."""

    numbered = True
    ordered = True

    def __init__(self, device: DeviceId, key: str, endpoint: Endpoint) -> None:
        self._device = device
        self._headers = {"Authorization": f"Bearer {key}"}
        self._tls = endpoint.tls
        self._address = f"ws{'' if endpoint.tls is None else 's'}://{endpoint}/v1/ws"
        self._socket: ClientConnection | None = None
        self._abandoned = HalfOpen()

    async def ask(self, said: Said) -> Act:
        """The frame that answers this step, as `Exchange.ask`."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                socket = await self._opened()
                await socket.send(self._frame(said))
                while True:
                    frame = await socket.recv(decode=False)
                    head = _head.decode(frame)
                    if head.status and head.step in (None, said.s):
                        raise_problem(head.status, frame)
                    if head.s == said.s:
                        return _act.decode(frame)
        except ConnectionClosed as error:
            self._hang_up()
            raise ConnectionResetError(f"the hub broke off: {error}") from error
        except OSError:
            self._hang_up()
            raise

    async def send(self, said: Said) -> None:
        """On the same socket; the answer is to a step that nobody waits for, or comes twice."""
        if self._socket is not None:
            with suppress(ConnectionClosed):
                await self._socket.send(self._frame(said))

    def abandon(self) -> None:
        """Leave it half open."""
        if self._socket is not None:
            self._socket.transport.pause_reading()
            self._abandoned.keep(self._socket.transport.abort)
            self._socket = None

    def close(self) -> None:
        """Disconnect, without a word: a device may just be gone."""
        self._hang_up()
        self._abandoned.close()

    async def _opened(self) -> ClientConnection:
        if self._socket is None:
            try:
                self._socket = await connect(
                    self._address,
                    ssl=self._tls,
                    additional_headers=self._headers,
                    compression=None,
                    max_size=FRAME_BYTES_MAX,
                    ping_interval=None,  # a device that waits for each answer notices by itself
                    proxy=None,
                )
            except InvalidStatus as error:
                status = error.response.status_code
                if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                    raise_problem(status, error.response.body or b"")
                raise ConnectionRefusedError(f"no WebSocket: HTTP {status}") from error
            except InvalidHandshake as error:
                raise ConnectionRefusedError(f"no WebSocket: {error}") from error
        return self._socket

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.transport.abort()
            self._socket = None

    def _frame(self, said: Said) -> bytes:
        return _encoder.encode(msgspec.structs.replace(said, device=self._device))


class _Head(Struct, frozen=True):
    """What tells frames apart: an answer has `s`, a problem document has `status`."""

    s: int | None = None
    status: int = 0
    step: int | None = None


_encoder: Final = msgspec.json.Encoder()
_head: Final = msgspec.json.Decoder(_Head)
_act: Final = msgspec.json.Decoder(Act)
