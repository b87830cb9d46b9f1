"""Debian's mosquitto with the configuration of `deploy/mosquitto`, in a process of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.acceptance.real_hub import HOST, until

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT: Final = Path(__file__).parents[2]
DEPLOYED: Final = ROOT / "deploy" / "mosquitto"
PASSWORD: Final = "a password"


class Mosquitto:
    """Started, killed, and started again on the same port with what it had written down.

    Args:
        folder: of its own.
        users: who may connect, besides `hub` and `operator`; all with the same PASSWORD.
    """

    def __init__(self, folder: Path, users: Iterable[str]) -> None:
        self._folder = folder
        self._program = found("mosquitto")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self._configure(["hub", "operator", *users])

    @property
    def address(self) -> str:
        """For the setting `mqtt.broker`."""
        return f"mqtt://hub:{PASSWORD.replace(' ', '%20')}@{HOST}:{self.port}"

    def start(self) -> None:
        """Returns when it listens."""
        with (self._folder / "says.txt").open("ab") as says:
            command = [self._program, "-c", str(self._folder / "mosquitto.conf")]
            self._process = subprocess.Popen(command, stdout=says, stderr=says)
        until(self._listens, f"mosquitto on port {self.port}")

    def kill_nine(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "says.txt").read_text()
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0

    def _configure(self, users: list[str]) -> None:
        """The deployed files, with this folder and port in place of the machine's."""
        passwords = self._folder / "passwords"
        passwords.touch(0o600)
        for user in users:
            command = [found("mosquitto_passwd"), "-b", str(passwords), user, PASSWORD]
            subprocess.run(command, check=True, capture_output=True)
        shutil.copy(DEPLOYED / "acl", self._folder / "acl")
        (self._folder / "acl").chmod(0o600)
        text = (DEPLOYED / "mosquitto.conf").read_text()
        text = text.replace("/etc/mosquitto/", f"{self._folder}/")
        text = text.replace("/var/lib/mosquitto/", f"{self._folder}/")
        text = text.replace("listener 1883 ", f"listener {self.port} ")
        # Debian's starts as root and becomes `mosquitto`, who may not read a test's folder.
        (self._folder / "mosquitto.conf").write_text(text + "user root\n")


def found(program: str) -> str:
    """Where a program of Debian's mosquitto is; installed where that is possible, as CI must."""
    path = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
    where = shutil.which(program, path=path)
    if where is None:
        installed = subprocess.run([ROOT / "scripts" / "apt", "mosquitto"], check=False)
        where = shutil.which(program, path=path)
        if installed.returncode or where is None:
            assert os.geteuid(), "CI, which is root, must be able to install mosquitto"
            pytest.skip("needs mosquitto: scripts/apt mosquitto")
    return where


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        return int(server.getsockname()[1])
