"""Brokers where hubs meet: mosquitto, open or with the users of `deploy/hubs`, or with a bridge.

with MeetingPlace(tmp_path, USERS) as broker:
    broker.settings("site-a"), broker.kill_nine(), broker.start()
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.acceptance.mosquitto import PASSWORD, found
from tests.acceptance.real_hub import HOST, until

if TYPE_CHECKING:
    from collections.abc import Sequence

DEPLOYED: Final = Path(__file__).parents[2] / "deploy" / "hubs"
OPEN: Final = "allow_anonymous true\n"
BRIDGED: Final = """
connection to-site-a
address {host}:{there}
topic rl/v1/agents/# both 0
"""
GUARDED: Final = """
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/acl
"""


class MeetingPlace:
    """A broker on a port of its own, which it keeps when it is started again.

    Args:
        folder: of its own.
        users: who may connect, with one password, as `deploy/hubs/acl` lets them; none = anybody.
        bridged_to: port of another, which it is joined to.
    """

    def __init__(
        self, folder: Path, users: Sequence[str] = (), *, bridged_to: int | None = None
    ) -> None:
        self.port = _free_port()
        self._folder = folder / f"broker-{self.port}"
        self._folder.mkdir()
        self._process: subprocess.Popen[bytes] | None = None
        # Debian's starts as root and becomes `mosquitto`, who may not read a test's folder.
        text = f"listener {self.port} {HOST}\nuser root\n" + (GUARDED if users else OPEN)
        if bridged_to is not None:
            text += BRIDGED
        text = text.format(folder=self._folder, host=HOST, there=bridged_to)
        (self._folder / "mosquitto.conf").write_text(text)
        self._admit(users)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_nine()

    def settings(self, name: str) -> str:
        """`[federation]` of a hub that comes here, in TOML."""
        login = self._folder / f"{name}.login"
        login.write_text(f"{name}:{PASSWORD}\n")
        return (
            f'[federation]\nbroker = "mqtt://{HOST}:{self.port}"\nname = "{name}"\n'
            f'credentials = "{login}"\nannounce_s = 0.5\nrefresh_s = 2.0\n'
        )

    def start(self) -> None:
        """Returns when it listens."""
        with (self._folder / "says.txt").open("ab") as says:
            command = [found("mosquitto"), "-c", str(self._folder / "mosquitto.conf")]
            self._process = subprocess.Popen(command, stdout=says, stderr=says)
        until(self._listens, f"mosquitto on port {self.port}")

    def kill_nine(self) -> None:
        """`kill -9`; what it retained is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "says.txt").read_text()
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0

    def _admit(self, users: Sequence[str]) -> None:
        passwords = self._folder / "passwords"
        passwords.touch(0o600)
        for user in users:
            command = [found("mosquitto_passwd"), "-b", str(passwords), user, PASSWORD]
            subprocess.run(command, check=True, capture_output=True)
        shutil.copy(DEPLOYED / "acl", self._folder / "acl")
        (self._folder / "acl").chmod(0o600)


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        return int(server.getsockname()[1])
