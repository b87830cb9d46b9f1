"""What systemd is told, over a socket as it has one."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import pytest

from hub.settings import Supervised, supervised
from hub.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """Its address as systemd writes it, and where what is said there arrives."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        address = str(tmp_path / "notify")
        if request.param == "abstract":
            address = f"@sheepfold-test-{os.getpid()}"
        listening.bind("\0" + address[1:] if address.startswith("@") else address)
        listening.settimeout(5)
        yield address, listening


def test_lines_arrive_as_one_datagram(systemd: tuple[str, socket.socket]) -> None:
    address, listening = systemd
    Supervisor(Supervised(address)).say("READY=1", "STATUS=ready: http://…")
    assert listening.recv(1000).decode() == "READY=1\nSTATUS=ready: http://…"


async def test_the_watchdog_hears_three_signs_in_its_time(
    systemd: tuple[str, socket.socket],
) -> None:
    address, listening = systemd
    listening.setblocking(False)
    alive = asyncio.create_task(Supervisor(Supervised(address, 0.3)).keep_alive())
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(4):
        assert await asyncio.wait_for(loop.sock_recv(listening, 100), 5) == b"WATCHDOG=1"
    assert loop.time() - began >= 0.28
    alive.cancel()


async def test_without_a_watchdog_there_is_nothing_to_keep() -> None:
    await asyncio.wait_for(Supervisor(Supervised("@nobody")).keep_alive(), 1)


def test_a_systemd_that_does_not_listen_stops_nobody() -> None:
    Supervisor(Supervised("/nowhere/notify")).say("READY=1")
    Supervisor(Supervised()).say("READY=1")


@pytest.mark.parametrize(
    ("environment", "meant"),
    [
        ({}, Supervised()),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "30000000"}, Supervised("/run/n", 30.0)),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, Supervised()),
        ({"WATCHDOG_USEC": "soon"}, Supervised()),
    ],
)
def test_the_environment_says_where(environment: dict[str, str], meant: Supervised) -> None:
    assert supervised(environment) == meant
