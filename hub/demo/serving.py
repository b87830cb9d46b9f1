"""A hub in its own process, run as an operator runs it: by the command line and nothing else.

with ServedHub(data, log=data / "hub.txt", clock=clock, pause=time.sleep) as served:
    agent = served.create_agent("cartpole", ...)
    rows = served.sql("SELECT seq FROM events", Row)
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final, Self, TypeVar

import msgspec
from msgspec import Struct

from hub.errors import HubFault, OperatorFault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hub.clock import Clock

START_TIMEOUT_S: Final = 60.0
"""A cold disk, and torch read from it for the first time."""
STOP_TIMEOUT_S: Final = 12.0
"""The hub promises 10 s from SIGTERM to its exit."""
COMMAND_TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.02
COMMAND: Final = (sys.executable, "-m", "hub")

Row = TypeVar("Row")


class Ready(Struct, frozen=True):
    """What a hub says of itself in `ready.json`, where `hub.processes` writes it."""

    pid: int
    http: int
    mqtt: int
    version: str = ""


class AgentKey(Struct, frozen=True):
    """What `agent create` prints."""

    agent: str
    api_key: str


class ServedHub:
    """Starts `serve`, waits until it is ready, and stops it; `ready` is set in between."""

    ready: Ready

    def __init__(
        self,
        data: Path,
        *,
        log: Path,
        clock: Clock,
        pause: Callable[[float], None],
        config: Path | None = None,
    ) -> None:
        self._data = data
        self._log = log
        self._clock = clock
        self._pause = pause
        self._config = () if config is None else ("--config", str(config))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, *, http_port: int = 0, mqtt_port: int = 0) -> None:
        """Start the hub; 0 = any free port.

        Raises:
            HubFault: it ended, or was not ready within `START_TIMEOUT_S`; its last words are in it.
        """
        ports = ["--http-port", str(http_port), "--mqtt-port", str(mqtt_port), "--ws-port", "0"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*COMMAND, "serve", *self._config, "--data", str(self._data), *ports],
                stdout=log,
                stderr=log,
                # Ctrl-C is for whoever started us; we then stop the hub in our own order.
                start_new_session=True,
            )
        try:
            self.ready = self._await_ready(self._process)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the hub, by force when it does not keep its promise."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """`kill -9`, as the acceptance tests do; `open` starts it again."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def command(self, *arguments: str) -> str:
        """What `sheepfold ARGUMENTS` prints.

        Raises:
            OperatorFault: it was refused; the message is the command's own.
        """
        done = subprocess.run(
            [*COMMAND, *arguments, "--data", str(self._data)],
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise OperatorFault((done.stderr or done.stdout).strip().removeprefix("sheepfold: "))
        return done.stdout

    def create_agent(
        self,
        name: str,
        *,
        algorithm: str,
        observations: str,
        actions: str,
        options: tuple[str, ...] = (),
    ) -> AgentKey:
        """A new agent and its key.

        Raises:
            OperatorFault: there is one of that name already, or its spaces mean nothing.
        """
        spaces = ["--observations", observations, "--actions", actions]
        made = self.command("agent", "create", name, "--algorithm", algorithm, *spaces, *options)
        return msgspec.json.decode(made, type=AgentKey)

    def sql(self, query: str, row: type[Row]) -> list[Row]:
        """The rows of a query, one `row` each.

        Raises:
            OperatorFault: the query was refused.
        """
        decoder = msgspec.json.Decoder(row)
        lines = self.command("sql", query, "--format", "json").splitlines()
        return [decoder.decode(line) for line in lines if line]

    def _await_ready(self, process: subprocess.Popen[bytes]) -> Ready:
        path = self._data / "ready.json"
        deadline = self._clock.monotonic() + START_TIMEOUT_S
        while self._clock.monotonic() < deadline and process.poll() is None:
            if path.exists():
                ready = msgspec.json.decode(path.read_bytes(), type=Ready)
                if ready.pid == process.pid:  # else it is what a killed hub left behind
                    return ready
            self._pause(POLL_S)
        words = self._log.read_text(errors="replace").strip().splitlines()[-5:]
        raise HubFault("the hub did not become ready; it said last:\n" + "\n".join(words))
