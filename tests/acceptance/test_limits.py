"""What an agent's trainer may take of the machine, on a real hub."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from hub.facts import Updated
from hub.learner.processes.proc import cpu_s
from tests.acceptance.devices import Http
from tests.acceptance.real_hub import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

ENDLESS: Final = {"n_steps": "8", "batch_size": "8", "n_epochs": "10000000"}
"""An update that is never done."""
WIDTH: Final = 4000
"""Values of an observation; a row of a replay buffer takes 32 kB."""
LARGE: Final = {"buffer_size": "100000", "learning_starts": "100000", "net_arch": "8"}
TOO_FEW_MB: Final = 64
LAG_MAX: Final = 20
SLOW_PPO: Final = {"n_steps": "64", "batch_size": "64", "n_epochs": "100"}
SLOW_DQN: Final = {
    "buffer_size": "1000",
    "learning_starts": "50",
    "train_freq": "1",
    "gradient_steps": "30",
    "publish_every": "16",
}
"""Updates that take longer than the observations for the next."""
WINDOW_S: Final = 3.0
PERCENT: Final = 5


def answers(
    hub: RealHub, key: str, values: list[float], *, boot: int = 1
) -> Iterator[dict[str, Any]]:
    """To a device that steps whenever the next is asked for."""
    with Http(hub.ready.http) as http:
        step = 0
        while True:
            document = {"device": "d", "b": boot, "s": step, "o": values, "r": 1.0}
            status, answer = http.step(key, document)
            assert status == 200, answer
            yield answer
            step += 1


def pid_of(hub: RealHub, name: str) -> int:
    """Once it runs."""
    until(lambda: name in hub.processes, f"{name} runs")
    return hub.processes[name]


def stands(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"


def used_s(pid: int) -> float:
    used = cpu_s(pid)
    assert used is not None
    return used


def test_a_trainer_gets_its_share_while_its_actor_answers_and_ends_with_the_hub(
    fresh_hub: RealHub,
) -> None:
    hub = fresh_hub
    key = hub.make_agent("busy", parameters=ENDLESS, deadline_ms=5_000)
    hub.change("busy", cpu_percent=PERCENT)
    device = answers(hub, key, [0, 0, 0, 0])
    until(lambda: "pv" in next(device), "its policy acts", timeout_s=60)
    for _ in range(20):
        assert next(device)["pv"] == 0
    trainer = pid_of(hub, "trainer-busy")
    until(lambda: stands(trainer), "the trainer has had its share")
    before, started = used_s(trainer), time.perf_counter()
    asked = 0
    while time.perf_counter() - started < WINDOW_S:
        assert next(device)["pv"] == 0
        asked += 1
    share = (used_s(trainer) - before) / (time.perf_counter() - started)
    assert PERCENT / 400 < share < PERCENT / 100 + 0.1
    assert asked > WINDOW_S * 10

    hub.change("busy", cpu_percent=None)
    free = used_s(trainer)
    until(lambda: stands(trainer) or used_s(trainer) > free + 0.5, "it runs on")
    assert not stands(trainer)
    hub.change("busy", cpu_percent=1)
    until(lambda: stands(trainer), "it stands still again")
    hub.kill_nine()  # asserts that all its processes go with it
    hub.start()
    hub.change("busy", cpu_percent=1)
    device = answers(hub, key, [0, 0, 0, 1], boot=2)
    until(lambda: "pv" in next(device), "its policy acts", timeout_s=60)
    trainer = pid_of(hub, "trainer-busy")
    until(lambda: stands(trainer), "the new one stands still")
    assert hub.stop() == 0


def test_a_trainer_beyond_its_memory_is_ended_with_an_alert_and_the_policy_acts_on(
    fresh_hub: RealHub,
) -> None:
    hub = fresh_hub
    key = hub.make_agent(
        "large",
        algorithm="DQN",
        observations=[[WIDTH], "-inf", "inf"],
        parameters=LARGE,
        deadline_ms=5_000,
    )
    hub.change("large", memory_mb=TOO_FEW_MB)
    device = answers(hub, key, [0.5] * WIDTH)
    until(lambda: "pv" in next(device), "its policy acts", timeout_s=60)
    first = pid_of(hub, "trainer-large")
    alert = "SELECT reason FROM events WHERE agent = 'large' AND reason LIKE '%memory_mb%'"

    def ended() -> bool:
        for _ in range(50):
            assert next(device)["pv"] == 0
        return bool(hub.sql(alert))

    until(ended, "the trainer takes too much", timeout_s=90)
    until(lambda: hub.processes.get("trainer-large", first) != first, "it starts again")
    assert next(device)["pv"] == 0
    (row,) = hub.sql(alert)
    assert "smaller buffer_size" in row["reason"]
    until(lambda: hub.says.read_text().count("trainer-large ended") > 1, "it comes to the same")
    assert len(hub.sql(alert)) == 1

    hub.change("large", memory_mb=None)
    until(lambda: "trainer-large" in hub.processes, "it starts again")
    assert next(device)["pv"] == 0
    waits = re.findall(
        r"trainer-large ended \(.*\); it starts again in ([\d.]+) s", hub.says.read_text()
    )
    assert waits[:2] == ["0.1", "0.2"]


@pytest.mark.parametrize(("algorithm", "parameters"), [("PPO", SLOW_PPO), ("DQN", SLOW_DQN)])
def test_what_a_trainer_that_is_behind_left_out_a_rebuild_leaves_out_too(
    fresh_hub: RealHub, algorithm: str, parameters: dict[str, str]
) -> None:
    hub = fresh_hub
    key = hub.make_agent("slow", algorithm=algorithm, parameters=parameters)
    hub.change("slow", lag_max=LAG_MAX)
    device = answers(hub, key, [0.1, 0.2, 0.3, 0.4])
    updates = "SELECT payload FROM events WHERE kind = 'update'"
    left_out = f"{updates} AND payload NOT LIKE '%\"skipped\":[]%'"

    def skipped() -> bool:
        for _ in range(100):
            next(device)
        return len(hub.sql(left_out)) >= 3

    until(skipped, "the trainer falls behind, and catches up", timeout_s=120)
    rows = hub.sql(left_out)
    # Not all: DQN makes no gradient steps of the first 50 transitions, so none is left out there.
    assert any(msgspec.json.decode(row["payload"], type=Updated).dropped for row in rows)
    done = hub.command("rebuild", "slow")
    assert done.returncode == 0, done.stderr
    assert msgspec.json.decode(done.stdout)["equal"]
