"""TLS in front of the gate: sockets count before anybody has ended a handshake on them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from hub.intake.mqtt.handshake import serve_tls
from tests.acceptance.certificates import Authority
from tests.intake.house import KEY, House, become, step
from tests.intake.mqtt.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


class Secured:
    """A house whose clients speak TLS."""

    def __init__(self, house: House, port: int, trusted: ssl.SSLContext) -> None:
        self.house = house
        self._port = port
        self._trusted = trusted

    def client(self) -> RawClient:
        """One that does."""
        return RawClient(self._port, self._trusted)

    def stranger(self) -> RawClient:
        """One that does not."""
        return RawClient(self._port)


@pytest.fixture
async def secure(
    tmp_path: Path, open_house: Callable[..., Any]
) -> AsyncIterator[Callable[..., Any]]:
    """Opens houses with TLS."""
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.sign("the hub"))
    trusted = ssl.create_default_context(cafile=str(authority.file))
    served: list[tuple[asyncio.Task[None], socket.socket]] = []

    async def secured(**settings: Any) -> Secured:
        house = await open_house(**settings)
        listener = socket.create_server(("127.0.0.1", 0))
        serving = asyncio.create_task(serve_tls(house.gate, listener, context))
        served.append((serving, listener))
        return Secured(house, listener.getsockname()[1], trusted)

    yield secured
    for serving, listener in served:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        listener.close()


async def test_a_device_speaks_with_the_gate_when_tls_stands(secure: Callable[..., Any]) -> None:
    secured = await secure()
    async with secured.client() as client:
        await client.connected("heater", KEY)
        await client.subscribed("rl/v1/heater/act")
        await step(client, 1)
        assert secured.house.gate.sockets == 1
    await become(lambda: secured.house.gate.sockets == 0)
    assert secured.house.observed() == [("heater", 1)]


async def test_whoever_never_ends_a_handshake_takes_no_room_of_others(
    secure: Callable[..., Any],
) -> None:
    secured = await secure(strangers_max=2)
    async with secured.stranger() as first, secured.stranger(), secured.stranger():
        assert await first.read_until_closed() == [], "it has waited longest"
        await become(lambda: secured.house.gate.sockets == 2)
        async with secured.client() as client:
            await client.connected("heater", KEY)
    await become(lambda: secured.house.gate.sockets == 0)


async def test_sockets_in_a_handshake_count_for_their_address(secure: Callable[..., Any]) -> None:
    secured = await secure(address_connections_max=2)
    async with secured.stranger(), secured.stranger(), secured.stranger() as third:
        assert await third.read_until_closed() == []
        assert secured.house.gate.sockets == 2


@pytest.mark.parametrize(
    "said", [b"", b"\x10\x10\x00\x04MQTT", b"\x16\x03\x01\xff\xff" + bytes(99)]
)
async def test_what_is_no_handshake_in_time_is_hung_up_on(
    secure: Callable[..., Any], said: bytes
) -> None:
    secured = await secure(connect_timeout_s=0.1)
    async with secured.stranger() as client:
        client.send(said)
        await become(lambda: secured.house.gate.sockets == 0)
