"""The intake's sockets are tested on the event loop that the hub runs on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from hub.settings import MqttSettings
from tests.intake.fakes import EagerLog
from tests.intake.house import House, become

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import AsyncIterator, Callable, Mapping

    from tests.intake.fakes import ManualLog


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], AbstractEventLoop]]:
    """For pytest-asyncio."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def open_house() -> AsyncIterator[Callable[..., Any]]:
    """Opens houses; all are closed after the test."""
    houses: list[tuple[House, asyncio.Server]] = []

    async def open_one(log: ManualLog | None = None, **settings: Any) -> House:
        house = House(EagerLog() if log is None else log, MqttSettings(**settings))
        await house.broker.start()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(house.gate.accept, "127.0.0.1", 0)
        house.port = server.sockets[0].getsockname()[1]
        houses.append((house, server))
        return house

    yield open_one
    for house, server in houses:
        server.close()
        for connection in list(house.gate.connections.values()):
            connection.abort()
        for person in list(house.gate.people_online.values()):
            await person.end()
        await become(lambda: house.gate.sockets == 0)  # noqa: B023 - awaited here
        await house.broker.stop()


@pytest.fixture
async def house(open_house: Callable[..., Any]) -> House:
    """One whose log commits at once."""
    opened: House = await open_house()
    return opened


PACKETS_SMALL = 100_000


@pytest.fixture
def packets(pytestconfig: pytest.Config) -> int:
    """How many hostile packets are sent."""
    # Unknown when pytest was started higher up and did not read this file first.
    return int(pytestconfig.getoption("--packets", PACKETS_SMALL))


def pytest_addoption(parser: pytest.Parser) -> None:
    """The large form: `pytest tests/intake/mqtt/test_hostile.py --packets 10000000`."""
    parser.addoption("--packets", type=int, default=PACKETS_SMALL, help="hostile packets, so many")
