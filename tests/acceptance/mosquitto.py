"""Debian's mosquitto, in a process of its own.

with device_broker(tmp_path, ["heater"]) as broker:
    broker.address, broker.kill_nine(), broker.start()
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import pytest

from tests.acceptance.real_hub import HOST, lasting_port, until

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT: Final = Path(__file__).parents[2]
DEPLOYED: Final = ROOT / "deploy" / "mosquitto"
PASSWORD: Final = "a password"
CLIENTS: Final = ("mosquitto_pub", "mosquitto_rr", "mosquitto_sub")
"""Debian has them in a package of their own."""


class Mosquitto:
    """Started, killed, and started again on the same port with what it had written down.

    Args:
        folder: it makes one of its own there.
        configuration: `{folder}` and `{port}` are put in.
        acl: who may say and hear what.
        users: who may connect; all with the same PASSWORD.
    """

    def __init__(self, folder: Path, configuration: str, acl: Path, users: Iterable[str]) -> None:
        self.port = lasting_port()
        self.folder = folder / f"broker-{self.port}"
        self.folder.mkdir()
        self._program = found("mosquitto")
        self._process: subprocess.Popen[bytes] | None = None
        self._configure(configuration, acl, users)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_nine()

    @property
    def address(self) -> str:
        """For the setting `mqtt.broker`."""
        return f"mqtt://hub:{PASSWORD.replace(' ', '%20')}@{HOST}:{self.port}"

    def start(self) -> None:
        """Returns when it listens."""
        with (self.folder / "says.txt").open("ab") as says:
            command = [self._program, "-c", str(self.folder / "mosquitto.conf")]
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
        assert self._process.poll() is None, (self.folder / "says.txt").read_text()
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0

    def _configure(self, configuration: str, acl: Path, users: Iterable[str]) -> None:
        passwords = self.folder / "passwords"
        passwords.touch(0o600)
        for user in users:
            command = [found("mosquitto_passwd"), "-b", str(passwords), user, PASSWORD]
            subprocess.run(command, check=True, capture_output=True)
        shutil.copy(acl, self.folder / "acl")
        (self.folder / "acl").chmod(0o600)
        text = configuration.format(folder=self.folder, port=self.port)
        # Debian's starts as root and becomes `mosquitto`, who may not read a test's folder.
        (self.folder / "mosquitto.conf").write_text(text + "user root\n")


def device_broker(folder: Path, devices: Iterable[str]) -> Mosquitto:
    """Set up as `deploy/mosquitto` has it, for these devices, `hub` and `operator`."""
    text = (DEPLOYED / "mosquitto.conf").read_text()
    text = text.replace("/etc/mosquitto/", "{folder}/")
    text = text.replace("/var/lib/mosquitto/", "{folder}/")
    text = text.replace("listener 1883 ", "listener {port} ")
    return Mosquitto(folder, text, DEPLOYED / "acl", ["hub", "operator", *devices])


def found(program: str) -> str:
    """Where a program of Debian's mosquitto is; installed where that is possible, as CI must."""
    path = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
    where = shutil.which(program, path=path)
    if where is None:
        package = "mosquitto-clients" if program in CLIENTS else "mosquitto"
        installed = subprocess.run([ROOT / "scripts" / "apt", package], check=False)
        where = shutil.which(program, path=path)
        if installed.returncode or where is None:
            assert os.geteuid(), "CI, which is root, must be able to install mosquitto"
            pytest.skip(f"needs {program}: scripts/apt {package}")
    return where
