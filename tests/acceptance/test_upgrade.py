"""Forward and back between versions, each a hub that runs: N-1, N, N-1, N, under load, one killed.

The large form of `tests/learning/test_past_versions.py` (`make rehearse`): it installs commits of
this repository beside this version, and needs its history.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import duckdb
import msgspec
import pytest

from hub import control
from hub.log.acknowledged import Acknowledged, Mark
from hub.log.duck import SCHEMA_VERSION
from tests.acceptance.devices import walkers
from tests.acceptance.earlier import ON_POLICY, create_agent, install, rows
from tests.acceptance.test_kill import assert_logged_once, await_steps
from tests.learning.test_past_versions import unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.devices import Walker
    from tests.acceptance.real_hub import RealHub

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(1200)]

GO_ON: Final = ["de57b46", "63fae7d"]
"""Commits whose hubs go on with what this version wrote."""
REFUSES: Final = "7c25ebb"
"""One whose hub knows an older schema."""
OLD_LOGS: Final = Path(__file__).parents[1] / "log" / "fixtures"
EVENTS: Final = 10_000_000
UPGRADE_S_MAX: Final = 30.0
"""`RealHub.start` waits no longer."""

MULTIPLY: Final = """
INSERT INTO log BY NAME
SELECT old.* REPLACE (last + row_number() OVER (ORDER BY round, old.seq) AS seq)
FROM (FROM log WHERE kind IN (2, 3)) AS old, range($rounds) AS rounds(round),
     (SELECT max(seq) AS last FROM log)
ORDER BY seq LIMIT $wanted
"""
"""Observations and actions as they are, again and again."""


@pytest.mark.parametrize("commit", GO_ON)
def test_forward_back_and_forward_again_loses_nothing(
    tmp_path: Path, new_hub: Callable[[str], RealHub], commit: str
) -> None:
    """Goal: an operator may go back.

    Method: two devices never stop; the hub is replaced, N-1, N, N-1, N, and killed as often as
    stopped. At the end the log is compared with what the devices were told.
    """
    hub = new_hub("")
    hub.program = earlier = install(commit, tmp_path)
    hub.start()
    devices = walkers(hub, create_agent(hub, "cart", "PPO", ON_POLICY), rest_s=0.01)[:2]
    for device in devices:
        device.start()
    version = -1
    for number, program in enumerate((None, earlier, None)):
        version = await_newer_policy(hub, version)
        hub.kill_nine() if number % 2 else hub.stop()
        hub.program = program
        hub.start()
        await_steps(devices)
    await_newer_policy(hub, version)
    stop_and_compare(hub, devices)


def test_an_older_hub_refuses_a_newer_schema_and_leaves_the_log_as_it_is(
    tmp_path: Path, new_hub: Callable[[str], RealHub]
) -> None:
    hub = new_hub("")
    hub.program = earlier = install(REFUSES, tmp_path)
    hub.start()
    devices = walkers(hub, create_agent(hub, "cart", "PPO", ON_POLICY), rest_s=0.01)[:2]
    for device in devices:
        device.start()
    version = await_newer_policy(hub, -1)
    hub.stop()
    hub.program = None
    hub.start()
    version = await_newer_policy(hub, version)
    hub.stop()
    hub.program = earlier
    assert hub.spawn("--http-port", "0", "--mqtt-port", "0", "--ws-port", "0").wait(30) == 1
    assert "made by a newer Sheepfold" in hub.says.read_text().splitlines()[-1]
    hub.program = None
    hub.start()
    await_newer_policy(hub, version)
    stop_and_compare(hub, devices)


def test_ten_million_events_of_the_first_schema_are_there_after_an_upgrade(
    new_hub: Callable[[str], RealHub],
) -> None:
    hub = new_hub("")
    hub.data.mkdir(mode=0o700)
    unpack(OLD_LOGS / "v1.tar.gz", hub.data)
    mark = Acknowledged.read(hub.data)
    assert mark is not None
    multiply(hub.data / "log.duckdb")
    Acknowledged.open(hub.data, mark.hub).write(EVENTS)
    began = time.perf_counter()
    hub.start()
    took_s = time.perf_counter() - began
    assert hub.says.read_text().count("\n") == 1, "one line says that it is ready"
    assert hub.ask_key(hub.ask(control.Show("agents"))[0]["name"])
    assert hub.stop() == 0
    assert Acknowledged.read(hub.data) == Mark(mark.hub, EVENTS + 1)
    with duckdb.connect(hub.data / "log.duckdb", read_only=True) as file:
        counted = file.execute("SELECT count(*), count(DISTINCT seq), max(seq) FROM log")
        assert counted.fetchone() == (EVENTS + 1, EVENTS + 1, EVENTS + 1)
        schema = file.execute("SELECT max(value::INT) FROM meta WHERE key = 'schema'").fetchone()
        assert schema == (SCHEMA_VERSION,)
    print(f"{EVENTS} events of schema 1: ready after {took_s:.1f} s")  # noqa: T201


def multiply(path: Path) -> None:
    """Make a log of schema 1 as long as is wanted, by what was in it."""
    with duckdb.connect(path) as file:
        ((last, repeated),) = file.execute(
            "SELECT max(seq), count(*) FILTER (kind IN (2, 3)) FROM log"
        ).fetchall()
        wanted = EVENTS - last
        file.execute(MULTIPLY, {"rounds": wanted // repeated + 1, "wanted": wanted})


def await_newer_policy(hub: RealHub, version: int) -> int:
    """Return when a newer version acts; its number."""
    newest = f"SELECT max(policy) AS acts FROM events WHERE kind = 'action' AND policy > {version}"
    deadline = time.perf_counter() + 90
    while (acts := rows(hub, newest)[0]["acts"]) is None:
        assert time.perf_counter() < deadline, f"no version after {version} came to act"
    return int(acts)


def stop_and_compare(hub: RealHub, devices: list[Walker]) -> None:
    """What devices were told is what the log has, once."""
    for device in devices:
        device.stop()
    for device in devices:
        assert_logged_once(hub, device)
    assert msgspec.json.decode(hub.command("verify").stdout)["lost"] == []
