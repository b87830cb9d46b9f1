"""mosquitto for one measurement, where it is installed: persistence off, nobody's password."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgspec import Struct

from tests.acceptance.real_hub import lasting_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Mosquitto(Struct, frozen=True):
    """One that runs."""

    pid: int
    port: int


def program() -> str | None:
    """None where it is not installed. Debian keeps it out of a user's path."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


@contextmanager
def mosquitto(folder: Path) -> Iterator[Mosquitto]:
    """On a free port of loopback.

    Raises:
        FileNotFoundError: it is not installed.
    """
    found = program()
    if found is None:
        raise FileNotFoundError("mosquitto is not installed: apt-get install mosquitto")
    port = lasting_port()
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n")
    with process([found, "-c", str(settings)]) as broker:
        yield Mosquitto(broker.pid, port)


@contextmanager
def paho_echo(port: int) -> Iterator[int]:
    """Answers every `obs` on this broker with an `act`; its pid, once it has subscribed."""
    with process([sys.executable, "-m", "tests.bench.paho_echo", str(port)]) as echo:
        assert echo.stdout is not None
        assert echo.stdout.readline() == b"subscribed\n"
        yield echo.pid


@contextmanager
def process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Runs until the block ends; its output can be read."""
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield started
    finally:
        started.kill()
        started.wait()
        if started.stdout is not None:
            started.stdout.close()
