"""MQTT over WebSocket: sockets count before anybody has asked for it on them."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from hub.intake.mqtt import wire
from hub.intake.mqtt.websocket import open_websocket
from tests.intake.house import KEY, become
from tests.intake.mqtt.raw_client import CONNACK, RawClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.intake.house import House


@contextlib.asynccontextmanager
async def door(house: House) -> AsyncIterator[int]:
    """Its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    async with open_websocket(house.gate, listener):
        yield listener.getsockname()[1]


async def test_whoever_asks_for_nothing_takes_no_room_of_others(
    open_house: Callable[..., Any],
) -> None:
    house = await open_house(strangers_max=2)
    async with door(house) as port:
        async with RawClient(port) as first, RawClient(port), RawClient(port) as third:
            assert await first.read_until_closed() == [], "it has waited longest"
            await become(lambda: house.gate.sockets == 2)
            third.send(b"GET /")
            uri = f"ws://127.0.0.1:{port}"
            async with connect(uri, subprotocols=[Subprotocol("mqtt")]) as client:
                packet = wire.Connect("any", True, 0, username="heater", password=KEY.encode())
                await client.send(wire.connect(packet))
                answer = await client.recv(decode=False)
                assert (answer[0] >> 4, answer[3]) == (CONNACK, 0)
                assert house.gate.sockets == 2, "the device and the newest of the others"
        await become(lambda: house.gate.sockets == 0)


async def test_sockets_that_have_asked_for_nothing_count_for_their_address(
    open_house: Callable[..., Any],
) -> None:
    house = await open_house(address_connections_max=1)
    async with door(house) as port:
        async with RawClient(port), RawClient(port) as second:
            assert await second.read_until_closed() == []
            assert house.gate.sockets == 1
        await become(lambda: house.gate.sockets == 0)
