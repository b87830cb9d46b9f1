"""`firmware_examples/c`: the header by itself, and a thermostat of it on a bad network."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from tests.acceptance.boards import EXAMPLES, THERMOSTAT, Workbench, assert_true_transitions, steps
from tests.acceptance.flood import flooding
from tests.acceptance.real_hub import HOST, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

ROOM: Final = [[1], -50, 80]
IMPATIENT: Final = ("-DSHEEP_RETRY_MS=200", "-DSHEEP_REPEAT_MS=150", "-DSHEEP_DEADLINE_MS=0")
"""For tests that take the hub away: they need not wait for seconds."""
FLASH_BYTES_MAX: Final = 1228
"""1.2 KB."""
RAM_BYTES_MAX: Final = 100
"""Beside the buffer."""
NEWEST: Final = "SELECT coalesce(max(version), 0) FROM policies WHERE agent = 'patient'"
SMALLEST: Final = """
#include "sheepfold.h"
static sheep hub;
static float seen[2];
static void put(void *link, uint8_t byte) { (void)link; *(volatile uint8_t *)0xc6 = byte; }
int main(void) {
    hub.device = "d", hub.key = "k", hub.boot = "7", hub.put = put;
    hub.values = seen, hub.count = 2;
    for (;;)
        if (sheep_run(&hub, *(volatile uint16_t *)0x84, *(volatile uint8_t *)0xc6)) {
            seen[0] = sheep_choice(&hub);
            sheep_observe(&hub, 0, SHEEP_REWARD);
        }
}
"""


@pytest.fixture(scope="module")
def thermostat(workbench: Workbench) -> Path:
    """The program, for a network that fails every other moment."""
    return workbench.c("c/thermostat.c", "-lm", *IMPATIENT, name="thermostat")


@pytest.fixture(scope="module")
def key(hub: RealHub) -> str:
    """Of an agent for every room; until it has started its fallback answers, and quickly."""
    return hub.make_agent("rooms", observations=ROOM, deadline_ms=20)


@pytest.mark.parametrize("encoding", ["f32", "json"])
def test_the_header_keeps_to_its_rules_byte_by_byte(workbench: Workbench, encoding: str) -> None:
    flags = ["-DSHEEP_JSON"] if encoding == "json" else []
    test = workbench.c("c/sheepfold_test.c", *flags, name=f"header-{encoding}")
    assert workbench.run(test) == "ok\n"


def test_the_header_fits_the_smallest_chip(workbench: Workbench, tmp_path: Path) -> None:
    source, program = tmp_path / "smallest.c", tmp_path / "smallest.elf"
    source.write_text(SMALLEST)
    compiler = workbench.tool("avr-gcc", "gcc-avr avr-libc")
    flags = ["-std=c99", "-mmcu=atmega328p", "-Os", "-mrelax", "-Wall", "-Wextra", "-Werror"]
    command: list[str | Path] = [compiler, *flags, f"-I{EXAMPLES / 'c'}", "-o", program, source]
    subprocess.run(command, check=True)
    symbols = subprocess.run(
        ["avr-nm", "--size-sort", "-S", "-t", "d", program],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    sizes = {name: int(size) for size, name in re.findall(r"^\d+ (\d+) \w (\w+)$", symbols, re.M)}
    header = sum(size for name, size in sizes.items() if name.startswith("sheep_"))
    assert 0 < header <= FLASH_BYTES_MAX
    buffer = 64
    assert sizes["hub"] - buffer <= RAM_BYTES_MAX


@pytest.mark.parametrize("encoding", ["f32", "json"])
def test_a_thermostat_in_c_lives_two_days(
    hub: RealHub, workbench: Workbench, key: str, encoding: str
) -> None:
    device = f"room-{encoding}"
    flags = ["-DSHEEP_JSON"] if encoding == "json" else []
    program = workbench.c("c/thermostat.c", "-lm", *flags, name=device)
    workbench.run(program, HOST, hub.ready.mqtt, device, key, 200)
    assert_true_transitions(hub, device, THERMOSTAT, at_least=198)
    ended = f"SELECT ended_by, steps FROM episodes WHERE device = '{device}' AND ended IS NOT NULL"
    assert hub.sql(ended) == [{"ended_by": "truncated", "steps": 96}] * 2


def test_a_repeat_of_every_observation_is_logged_once(
    hub: RealHub, workbench: Workbench, key: str
) -> None:
    flags = ["-DSHEEP_REPEAT_MS=1", "-DSHEEP_UNHEARD_MAX=250"]
    program = workbench.c("c/thermostat.c", "-lm", *flags, name="stutterer")
    workbench.run(program, HOST, hub.ready.mqtt, "stutterer", key, 50)
    assert_true_transitions(hub, "stutterer", THERMOSTAT, at_least=49)
    numbers = "SELECT count(*) - count(DISTINCT step) FROM events WHERE kind = 'observation'"
    assert hub.value(f"{numbers} AND device = 'stutterer'") == 0


def test_an_observation_of_another_size_is_refused_and_says_so(
    hub: RealHub, workbench: Workbench, thermostat: Path
) -> None:
    two_rooms = hub.make_agent("two-rooms", observations=[[2], -50, 80])
    with pytest.raises(AssertionError, match="obs has 1 values"):
        workbench.run(thermostat, HOST, hub.ready.mqtt, "small", two_rooms, 1)
    refused = "SELECT reason FROM events WHERE kind = 'refused' AND device = 'small' LIMIT 1"
    assert hub.value(refused).startswith("shape")


def test_a_wrong_key_is_no_reason_to_knock_for_ever(
    hub: RealHub, workbench: Workbench, thermostat: Path
) -> None:
    with pytest.raises(AssertionError, match="is the key good"):
        workbench.run(thermostat, HOST, hub.ready.mqtt, "stranger", "wrong", 1)


def test_a_flood_as_it_connects_drowns_nothing(
    hub: RealHub, workbench: Workbench, thermostat: Path, key: str
) -> None:
    with flooding(hub.ready.mqtt) as port:
        workbench.run(thermostat, HOST, port, "flooded", key, 50)
    assert_true_transitions(hub, "flooded", THERMOSTAT, at_least=49)


def test_it_waits_for_a_late_hub_and_learns_on_after_it_was_killed(
    hub: RealHub, workbench: Workbench, thermostat: Path
) -> None:
    key = hub.make_agent("patient", observations=ROOM, deadline_ms=20)
    hub.stop()
    with workbench.running(thermostat, HOST, hub.ready.mqtt, "patient", key) as device:
        hub.start()
        until(lambda: steps(hub, "patient") > 20, "20 steps after a late start")
        hub.kill_nine()
        hub.start()
        before = steps(hub, "patient")
        until(lambda: steps(hub, "patient") > before + 20, "20 steps after the restart")
        policy = hub.value(NEWEST)
        until(lambda: hub.value(NEWEST) > policy, "a policy of steps after the restart")
        assert device.poll() is None
    assert_true_transitions(hub, "patient", THERMOSTAT, at_least=35)
