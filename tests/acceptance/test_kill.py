"""`kill -9` under load loses nothing that was acknowledged, and everyone goes on by themselves.

The large form is `pytest tests/acceptance/test_kill.py --kills 20`.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from hub.intake.mqtt.wire import PacketType
from tests.acceptance.devices import BOOT, Http, Mqtt, walkers
from tests.acceptance.real_hub import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.devices import Walker
    from tests.acceptance.real_hub import RealHub

STEPS_BETWEEN: Final = 50
"""Of each device between two kills."""
DEADLINE_MS: Final = 250
CHOICE_MS_MAX: Final = DEADLINE_MS + 500
"""From arrival to the choice of an action; the second term is a busy machine's."""
AWAY_MS_MAX: Final = 10_000
"""An answer from outside while a process is away: the log opens again in half a second."""

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]


@pytest.fixture
def load(fresh_hub: RealHub) -> Iterator[list[Walker]]:
    """Three devices of one agent, one of each protocol, on a hub that already learns."""
    key = fresh_hub.make_agent("cart", deadline_ms=DEADLINE_MS)
    devices = walkers(fresh_hub, key)
    for device in devices:
        device.start()
    await_learning(fresh_hub)
    yield devices
    for device in devices:
        device.stop()


def test_killed_hub_loses_nothing_and_all_go_on(
    fresh_hub: RealHub, load: list[Walker], kills: int
) -> None:
    """Goal: the promises of README.md hold over `kill -9`.

    Method: three devices never stop; the hub is killed in the middle of it, several times, and at
    the end the log is compared with what the devices were told.
    """
    version = newest_version(fresh_hub)
    for _ in range(kills):
        await_steps(load)
        fresh_hub.kill_nine()
        fresh_hub.start()
        assert newest_version(fresh_hub) >= version
        version = newest_version(fresh_hub)
    await_steps(load)
    await_learning(fresh_hub)
    for device in load:
        device.stop()
    assert_nothing_lost(fresh_hub, load)
    assert_learning_resumed(fresh_hub)
    logins = "SELECT count(*) FROM events WHERE kind = 'hello' AND device = 'w-shep'"
    assert fresh_hub.value(logins) == 1, "the session key must have outlived every kill"


def test_killed_process_comes_back_and_every_step_is_answered_in_time(
    fresh_hub: RealHub, load: list[Walker]
) -> None:
    hub = fresh_hub.pid
    for name in ("actor-cart", "trainer-cart", "log") * 2:
        await_steps(load)
        killed = fresh_hub.processes[name]
        os.kill(killed, signal.SIGKILL)
        await_successor(fresh_hub, name, killed)
        await_learning(fresh_hub)
    for device in load:
        device.stop()
        assert max(step.latency_ms for step in device.steps) < AWAY_MS_MAX
    assert fresh_hub.processes["hub"] == hub
    assert_nothing_lost(fresh_hub, load)
    slow = f"kind = 'action' AND latency_us > {CHOICE_MS_MAX * 1000}"
    assert fresh_hub.sql(f"SELECT seq, latency_us FROM events WHERE {slow}") == []


def test_log_that_stands_still_makes_devices_wait_and_nothing_is_lost(fresh_hub: RealHub) -> None:
    """Only `busy` and 503 may be said while nothing can be made durable: promise 3."""
    key = fresh_hub.make_agent("cart")
    observation = {"s": 0, "b": 1, "o": [0, 0, 0, 0]}
    log = fresh_hub.processes["log"]
    with Http(fresh_hub.ready.http) as http, Mqtt(fresh_hub.ready.mqtt) as mqtt:
        assert mqtt.connect("mqtt", key) == 0
        os.kill(log, signal.SIGSTOP)
        try:
            mqtt.observe("mqtt", msgspec.json.encode(observation), packet_id=1)
            status, problem = http.step(key, {"device": "http", **observation})
            assert (status, problem["code"]) == (503, "busy")
            kind, _ = mqtt.packet()
            assert kind == PacketType.PUBLISH, "a PUBACK would say that it is durable"
        finally:
            os.kill(log, signal.SIGCONT)
        assert http.step(key, {"device": "http", **observation})[0] == 200
        mqtt.observe("mqtt", msgspec.json.encode(observation), packet_id=2)
        assert mqtt.said("act")["s"] == 0
    rows = fresh_hub.sql("SELECT device, kind FROM events WHERE step = 0 ORDER BY device, kind")
    assert [tuple(row.values()) for row in rows] == [
        ("http", "action"),
        ("http", "observation"),
        ("mqtt", "action"),
        ("mqtt", "observation"),
    ]


def await_steps(devices: list[Walker]) -> None:
    """Return when each device has gone on for a while."""
    wanted = [len(device.steps) + STEPS_BETWEEN for device in devices]

    def gone_on() -> bool:
        return all(len(d.steps) >= n for d, n in zip(devices, wanted, strict=True))

    until(gone_on, "all devices to go on", timeout_s=60)


def await_successor(hub: RealHub, name: str, killed: int) -> None:
    """Return when a process of that name runs again."""
    until(lambda: hub.processes.get(name) not in (None, killed), f"a new {name}")


def await_learning(hub: RealHub) -> None:
    """Return when a newer policy has been made and acts."""
    version = newest_version(hub)
    acts = f"SELECT count(*) FROM events WHERE kind = 'action' AND policy > {version}"
    until(lambda: hub.value(acts), f"actions of a version over {version}", timeout_s=60)


def newest_version(hub: RealHub) -> int:
    """Of the agent's policies in the log; -1 before the first."""
    return int(hub.value("SELECT coalesce(max(version), -1) FROM policies"))


def assert_nothing_lost(hub: RealHub, devices: list[Walker]) -> None:
    """What devices were told is what the log has, once."""
    (seqs,) = hub.sql("SELECT min(seq) AS a, max(seq) AS b, count(DISTINCT seq) AS n FROM events")
    assert seqs["a"] == 1
    assert seqs["b"] == seqs["n"]
    for device in devices[:2]:  # those that number their steps
        assert_logged_once(hub, device)
    # The third puts its own count into `info`, and may be logged twice where an answer was lost.
    counts = "SELECT DISTINCT (payload ->> 'n')::INTEGER AS n FROM events"
    logged = hub.sql(f"{counts} WHERE kind = 'observation' AND device = '{devices[2].device}'")
    assert {step.step for step in devices[2].steps} <= {row["n"] for row in logged}


def assert_logged_once(hub: RealHub, device: Walker) -> None:
    """Each acknowledged step has one observation, and one action: the one the device got."""
    rows = f"FROM events WHERE device = '{device.device}' AND kind"
    steps = [row["step"] for row in hub.sql(f"SELECT step {rows} = 'observation' ORDER BY seq")]
    assert steps == list(range(len(steps)))
    assert len(steps) >= len(device.steps)
    assert hub.value(f"SELECT count(DISTINCT boot) {rows} = 'observation'") == 1
    assert hub.value(f"SELECT min(boot) {rows} = 'observation'") == BOOT
    actions = hub.sql(f"SELECT step, action[1]::INTEGER AS action {rows} = 'action'")
    sent = {row["step"]: row["action"] for row in actions}
    assert len(sent) == len(actions)
    told = {step.step: step.action for step in device.steps if step.action is not None}
    assert told == {step: sent[step] for step in told}


def assert_learning_resumed(hub: RealHub) -> None:
    """Versions go on from where they were, each from the one before."""
    made = hub.sql("SELECT version, parent FROM policies ORDER BY seq")
    versions = [row["version"] for row in made]
    assert versions == list(range(len(versions)))
    assert [row["parent"] for row in made] == [None, *versions[:-1]]
