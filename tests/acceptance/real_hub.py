"""A real hub in its own process, started by the command line, on free ports in a folder of its own.

hub = RealHub(tmp_path / "data")
hub.start()
key = hub.make_agent("cart")
hub.kill_nine()
hub.start(); hub.sql("SELECT seq FROM events ORDER BY seq")
hub.end()                                      # asserts that nothing of it is left
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hub import control
from hub.ask import ask
from hub.log.analyst.ask import stream_blocking
from hub.log.analyst.messages import Ask
from hub.processes import Ready
from hub.registry import key_acts
from hub.registry.acts import NewAgent
from tests.acceptance.family import family, lives

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from hub.log.analyst.messages import ResultForm
    from hub.words import Hubs, Sharing
    from tests.acceptance.family import Member

HOST: Final = "127.0.0.1"
START_S_MAX: Final = 30.0
"""A busy machine, and Python's modules read for the first time."""
STOP_S_MAX: Final = 10.0
"""SIGTERM drains and exits within it (docs/operator.md)."""
ORPHAN_S_MAX: Final = 10.0
"""What lives longer than this once the hub has ended would live for ever."""
LASTING_PORTS: Final = range(15_000, 32_000)
POLL_S: Final = 0.03
"""To look takes the hub a query, mostly."""
QUICK_PPO: Final = {"n_steps": "64", "batch_size": "64", "n_epochs": "2"}
"""A new policy every 64 transitions, within tens of milliseconds."""


def until(condition: Callable[[], object], what: str, *, timeout_s: float = 20.0) -> None:
    """Wait for a condition.

    Raises:
        AssertionError: it did not come true in time.
    """
    deadline = time.perf_counter() + timeout_s
    while not condition():
        assert time.perf_counter() < deadline, f"waited {timeout_s} s in vain: {what}"
        pause()


def pause() -> None:
    """Between two looks at a condition."""
    threading.Event().wait(POLL_S)  # nobody sets it


def lasting_ports() -> tuple[int, int, int]:
    """For HTTP, MQTT, and MQTT in WebSockets."""
    return lasting_port(), lasting_port(), lasting_port()


def lasting_port() -> int:
    """A free port that stays ours while the hub is down.

    Linux gives those above to whoever connects anywhere: one that a hub had could be taken by the
    time it starts again.
    """
    while True:
        port = LASTING_PORTS.start + secrets.randbelow(len(LASTING_PORTS))
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) != 0:
                return port


class RealHub:
    """Starts, kills and asks one hub; `ready` says where it is."""

    ready: Ready

    def __init__(self, data: Path, settings: str = "", program: Path | None = None) -> None:
        self.data = data
        self.program = program
        """Where another version is installed, which is run instead; None = this one."""
        self.says = data.with_name(data.name + ".txt")
        """What the hub and its processes printed, over all starts."""
        self.settings = settings
        """TOML."""
        self._process: subprocess.Popen[bytes] | None = None
        self._family: list[Member] = []

    # --- its life ---------------------------------------------------------------------------

    def start(self, *, timeout_s: float = START_S_MAX) -> None:
        """Start, and return when it is ready; the second time on the same ports.

        Raises:
            AssertionError: it is not in time, or ended; nothing of it is left then.
        """
        before = getattr(self, "ready", None)
        ports = (before.http, before.mqtt, before.ws) if before else lasting_ports()
        http, mqtt, ws = map(str, ports)
        process = self.spawn("--http-port", http, "--mqtt-port", mqtt, "--ws-port", ws)
        try:
            until(self._is_ready, f"ready.json of {self.data}", timeout_s=timeout_s)
        except BaseException:
            if process.poll() is None:  # a fixture that fails to start one never ends it
                self.kill_nine()
            raise

    def spawn(self, *flags: str) -> subprocess.Popen[bytes]:
        """Start without waiting."""
        config = self.data.with_name(self.data.name + ".toml")
        config.write_text(self.settings)
        command = [*python(self.program), "-m", "hub", "serve", "--config", str(config)]
        with self.says.open("ab") as says:
            self._process = subprocess.Popen(
                [*command, "--data", str(self.data), *flags],
                stdout=says,
                stderr=says,
                cwd=self.program,  # or what it starts would be of the folder that we are in
            )
        return self._process

    def kill_nine(self) -> None:
        """`kill -9`; returns when it is gone, and asserts that its processes go with it."""
        self._remember_family()
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None
        self.assert_no_orphans()

    def terminate(self) -> subprocess.Popen[bytes]:
        """SIGTERM; returns at once, with the process to wait for."""
        self._remember_family()
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        code = self.terminate().wait(STOP_S_MAX)
        self._process = None
        self.assert_no_orphans()
        return code

    def end(self) -> None:
        """Kill what is left, and look at what it left behind."""
        if self._process is not None and self._process.poll() is None:
            self.kill_nine()
        self._process = None
        self.assert_no_orphans()
        text = self.says.read_text(errors="replace") if self.says.exists() else ""
        assert "Traceback" not in text, text

    def assert_no_orphans(self) -> None:
        """Assert that no process of the hub outlives it for long."""
        members, self._family = self._family, []
        deadline = time.perf_counter() + ORPHAN_S_MAX
        while any(map(lives, members)) and time.perf_counter() < deadline:
            pause()
        orphans = list(filter(lives, members))
        for orphan in orphans:
            os.kill(orphan.pid, signal.SIGKILL)
        assert orphans == [], f"outlived the hub by {ORPHAN_S_MAX} s: {orphans}"

    # --- questions --------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Of the hub itself."""
        return self.ready.pid

    def make_agent(
        self,
        name: str,
        *,
        algorithm: str = "PPO",
        observations: Any = (4, "box"),
        actions: Any = 2,
        parameters: Mapping[str, str] = QUICK_PPO,
        fallback: Any = "hold",
        deadline_ms: int | None = 250,
        safety: Any = None,
        sharing: Sharing = "shared",
        hubs: Hubs = "none",
    ) -> str:
        """A new agent; its key. Observations default to four numbers without bounds."""
        if observations == (4, "box"):
            observations = [[4], "-inf", "inf"]
        declared = NewAgent(
            name=name,
            algorithm=algorithm,
            observations=observations,
            actions=actions,
            parameters=dict(parameters),
            fallback=fallback,
            deadline_ms=deadline_ms,
            safety=safety,
            sharing=sharing,
            hubs=hubs,
        )
        return str(self.ask(control.CreateAgent(declared))["api_key"])

    def ask_key(self, agent: str) -> str:
        """One more key of the agent."""
        return str(self.ask(key_acts.CreateKey(agent))["api_key"])

    def ask(self, request: control.Request) -> Any:
        """What the hub answers an operator."""
        done = ask(self.data, request)
        assert isinstance(done, control.Done)
        return done.answer

    def change(self, agent: str, **changes: Any) -> None:
        """`sheepfold agent update`."""
        self.ask(control.ChangeAgent(agent, changes))

    def sql(self, query: str) -> list[dict[str, Any]]:
        """A query's rows."""
        return [msgspec.json.decode(line) for line in self.asked(query, "json").splitlines()]

    def asked(self, query: str, form: ResultForm) -> bytes:
        """A query's result; it sees all that was acknowledged."""
        after = self.ask(control.Position())["seq"]
        return b"".join(stream_blocking(self.data, Ask(query, form, after=after, agents=None)))

    def value(self, query: str) -> Any:
        """The one value a query answers."""
        ((value,),) = (row.values() for row in self.sql(query))
        return value

    @property
    def processes(self) -> dict[str, int]:
        """Name to process id, as `sheepfold status` says."""
        return dict(self.ask_status()["processes"])

    def ask_status(self) -> dict[str, Any]:
        """`sheepfold status`."""
        return dict(self.ask(control.Status()))

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`sheepfold ARGUMENTS` against this hub, in a process of its own and of its version."""
        return sheepfold(*arguments, data=self.data, program=self.program)

    def _is_ready(self) -> bool:
        process = self._process
        assert process is not None
        assert process.poll() is None, f"the hub ended:\n{self.says.read_text(errors='replace')}"
        try:
            ready = msgspec.json.decode((self.data / "ready.json").read_bytes(), type=Ready)
        except FileNotFoundError:
            return False
        self.ready = ready
        return ready.pid == process.pid  # else a hub that was killed left it behind

    def _remember_family(self) -> None:
        assert self._process is not None
        self._family = family(self._process.pid)


def python(program: Path | None) -> list[str]:
    """The command of a Python that finds `hub` in a folder; None = here."""
    place = [] if program is None else ["env", f"PYTHONPATH={program}"]
    return [*place, sys.executable]


def sheepfold(
    *arguments: str, data: Path | None = None, program: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command; its exit code and what it printed."""
    where = [] if data is None else ["--data", str(data)]
    return subprocess.run(
        [*python(program), "-m", "hub", *arguments, *where],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=program,
    )
