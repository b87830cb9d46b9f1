"""Firmware as it is outside: built by its own tools, run as a process, judged in the hub's log.

def test_a_thermostat(hub, workbench):
    program = workbench.c("c/thermostat.c", "-lm")
    workbench.run(program, HOST, hub.ready.mqtt, "room-1", key, 200)
    assert_true_transitions(hub, "room-1", THERMOSTAT, at_least=198)
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest

from hub.errors import LogUnavailable
from tests.acceptance.real_hub import until
from tests.architecture.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.acceptance.real_hub import RealHub

EXAMPLES: Final = ROOT / "firmware_examples"
RUN_S_MAX: Final = 60
STRICT: Final = ("-std=c99", "-Wall", "-Wextra", "-Werror")
CHECKED: Final = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")

# What each plant does with an action, as SQL over a transition: the next value is this one.
THERMOSTAT: Final = "obs[1] + 0.02 * (5 - obs[1]) + 0.8 * action[1]"
HEATED: Final = "obs[1] + 2 * action[1] - (obs[1] + 9) / 20"
HEATER: Final = "obs[1] + 0.6 * action[1] - 0.3"
LAMP: Final = "next_obs[2] + 0.7 * action[1]"
DIMMER: Final = "0.2 + 0.7 * least(1, greatest(0, obs[2] + 0.05 * (action[1] - 1)))"
TANK: Final = "greatest(0, obs[1] + 0.05 * action[1] - 0.04 * sqrt(obs[1]))"
FORCE: Final = "((20 * action[1] - 10) + 0.05 * obs[4] ** 2 * sin(obs[3])) / 1.1"
CART: Final = (  # its speed, the second value
    f"obs[2] + 0.02 * ({FORCE} - 0.05 * (9.8 * sin(obs[3]) - cos(obs[3]) * {FORCE})"
    " / (0.5 * (4 / 3 - 0.1 * cos(obs[3]) ** 2 / 1.1)) * cos(obs[3]) / 1.1)"
)
CLOSE: Final = 1e-3
"""The device computes in float32, the log in float64."""


class Workbench:
    """Builds examples into a folder and runs them.

    Args:
        folder: what is built lies there.
        required: a tool that is missing fails the test; else it is skipped.
    """

    def __init__(self, folder: Path, *, required: bool) -> None:
        self.folder = folder
        self.required = required

    def tool(self, program: str, package: str) -> str:
        """Where a program is; `package` is what brings it."""
        where = shutil.which(program)
        if where is None:
            self.missing(program, package)
        return where

    def missing(self, what: str, package: str) -> NoReturn:
        """End the test, which cannot run without it."""
        message = f"needs {what}: install {package}"
        if self.required:
            pytest.fail(message)
        pytest.skip(message)

    def c(self, source: str, *flags: str, name: str = "program") -> Path:
        """An example for this computer, with all that the compiler and its sanitizers can say."""
        program = self.folder / name
        gcc = self.tool("gcc", "gcc")
        self.run(gcc, *STRICT, *CHECKED, "-o", program, EXAMPLES / source, *flags)
        return program

    def run(self, *command: object, environment: Mapping[str, str] | None = None) -> str:
        """What it printed; it ended well, knowing nothing of this repository."""
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            timeout=RUN_S_MAX,
            cwd=self.folder,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextlib.contextmanager
    def running(
        self,
        *command: object,
        environment: Mapping[str, str] | None = None,
        says: str = "says.txt",
    ) -> Iterator[subprocess.Popen[bytes]]:
        """The same in the background; it ends with the block at the latest.

        Args:
            command: as for `run`.
            environment: the same.
            says: file in the folder for what it prints.
        """
        with (self.folder / says).open("ab") as text:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdout=text,
                stderr=text,
                cwd=self.folder,
                env=environment,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def steps(hub: RealHub, device: str) -> int:
    """Observations that were answered."""
    query = f"SELECT count(*) AS count FROM events WHERE kind = 'action' AND device = '{device}'"
    return int(_rows(hub, query)[0]["count"])


def assert_true_transitions(
    hub: RealHub, device: str, law: str, *, at_least: int, value: int = 1
) -> None:
    """The log's transitions are what the plant did: what was logged as done was done.

    Args:
        hub: whose log.
        device: its id, or the pattern (SQL's LIKE) of several.
        law: one of those above.
        at_least: so many transitions.
        value: which of an observation the law is of.
    """
    false = f"abs(next_obs[{value}] - ({law})) > {CLOSE}"
    (counted,) = _rows(
        hub,
        f"SELECT count(*) AS all, count(*) FILTER ({false}) AS false,"
        f" count(*) FILTER (reward IS NULL) AS unrewarded"
        f" FROM transitions WHERE device LIKE '{device}'",
    )
    assert counted["all"] >= at_least, counted
    assert (counted["false"], counted["unrewarded"]) == (0, 0), counted


def _rows(hub: RealHub, query: str) -> list[dict[str, Any]]:
    """A query's rows, once the log has caught up: compilers and emulators may keep it from that."""
    rows: list[dict[str, Any]] = []

    def answered() -> bool:
        with contextlib.suppress(LogUnavailable):
            rows.extend(hub.sql(query))
        return bool(rows)

    until(answered, query)
    return rows
