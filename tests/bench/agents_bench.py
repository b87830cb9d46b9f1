"""Fifty agents, five of them at work: their memory, how they wake, what a quota gives."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from hub import control
from hub.ask import ask
from hub.clock import SystemClock
from hub.demo.serving import ServedHub
from hub.registry.acts import NewAgent
from tests.bench.load import Load, connect
from tests.bench.open_hub import HOST, Status
from tests.bench.processes import cpu_s, pss_mib
from tests.bench.talk import READ_BYTES, NativeTalk, walking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.walk import WalkStep

BOX: Final = [[1], -1.0, 1.0]
AWAKE: Final[tuple[tuple[str, Any], ...]] = (
    ("PPO", 2),
    ("A2C", 2),
    ("DQN", 2),
    ("SAC", BOX),
    ("TD3", BOX),
)
HELD: Final = "agent-4"
"""TD3 makes a gradient step for each transition, so its trainer always has something to do."""
ASLEEP: Final = {"actor": 0, "trainer": 0, "other": 2}
"""Processes when all agents sleep: the others are the fork server and its resource tracker."""
POLL_S: Final = 0.02
LOOK_S: Final = 0.5
WAIT_S_MAX: Final = 120.0


class AgentsPlan(Struct, frozen=True):
    """How long and how often."""

    defined: int = 50
    learn_s: float = 30.0
    held_s: float = 10.0
    percent: int = 25
    sleep_s: float = 2.0
    rounds: int = 4


QUICK_AGENTS: Final = AgentsPlan(learn_s=3.0, held_s=1.0, rounds=1)


class AgentsFigures(Struct, frozen=True):
    """What one hub with many agents gave."""

    defined: int
    awake: list[str]
    """Algorithms of those at work."""
    processes: dict[str, int]
    pss_mib: dict[str, float]
    """By role, while they learn."""
    asleep_mib: dict[str, float]
    """The same when nobody has asked for a while."""
    wake_ms: list[float]
    """From an observation of a sleeping agent to its action."""
    fallbacks: int
    """Of those: the policy was not there by the deadline."""
    percent: int
    held_percent: float
    """Of one core, what a trainer used that may use `percent`."""
    free_percent: float
    """The same without its limit, beside four others."""

    @property
    def total_mib(self) -> float:
        """Of all processes, while they learn."""
        return sum(self.pss_mib.values())


def measure_agents(folder: Path, plan: AgentsPlan, steps: list[WalkStep]) -> AgentsFigures:
    """On a hub of its own in a new folder."""
    folder.mkdir(parents=True)
    config = folder / "hub.toml"
    config.write_text(f"[learner]\nsleep_s = {plan.sleep_s}\n")
    data = folder / "data"
    served = ServedHub(
        data, log=folder / "hub.txt", clock=SystemClock(), pause=time.sleep, config=config
    )
    with served:
        keys = list(_declared(data, plan.defined))
        port = served.ready.http
        talks = [
            (port, NativeTalk(f"load-{i}", keys[i], walking(steps, 200 * i)))
            for i in range(len(AWAKE))
        ]
        with Load(HOST, talks) as load:
            _await_all(data, load)
            load.run(plan.learn_s)
            pids = status_of(data).pids
            learning = {role: pss_mib(found) for role, found in pids.items()}
            free = _share(load, status_of(data), plan.held_s)
            ask(data, control.ChangeAgent(HELD, {"cpu_percent": plan.percent}))
            held = _share(load, status_of(data), plan.held_s)
        ask(data, control.ChangeAgent(HELD, {"cpu_percent": None}))
        _await_sleep(data)
        asleep = {role: pss_mib(found) for role, found in status_of(data).pids.items()}
        before = status_of(data).fallbacks
        wake_ms = []
        for turn in range(plan.rounds):
            for i in range(len(AWAKE)):
                talk = NativeTalk(f"wake-{i}-{turn}", keys[i], walking(steps, 0))
                wake_ms.append(_woken_ms(served.ready.http, talk))
            _await_sleep(data)
        return AgentsFigures(
            plan.defined,
            [algorithm for algorithm, _ in AWAKE],
            {role: len(found) for role, found in pids.items()},
            learning,
            asleep,
            wake_ms,
            status_of(data).fallbacks - before,
            plan.percent,
            held,
            free,
        )


def summary(figures: AgentsFigures) -> list[tuple[str, str]]:
    """What is beside the memory, as text."""
    return [
        ("all processes, PSS", f"{figures.total_mib:.0f} MiB"),
        ("the same, all asleep", f"{sum(figures.asleep_mib.values()):.0f} MiB"),
        ("first action of a sleeping agent, median", f"{median(figures.wake_ms):.0f} ms"),
        ("the same, slowest", f"{max(figures.wake_ms):.0f} ms"),
        ("of them fallbacks", f"{figures.fallbacks} of {len(figures.wake_ms)}"),
        ("a busy trainer, of one core", f"{figures.free_percent:.0f} %"),
        (f"the same with cpu_percent {figures.percent}", f"{figures.held_percent:.0f} %"),
    ]


def _declared(data: Path, count: int) -> Iterator[str]:
    """The keys of new agents; those at work come first."""
    for i in range(count):
        algorithm, actions = AWAKE[i % len(AWAKE)]
        spaces = {"observations": [[4], "-inf", "inf"], "actions": actions}
        done = ask(data, control.CreateAgent(NewAgent(f"agent-{i}", algorithm, **spaces)))
        yield str(done.answer["api_key"])


def status_of(data: Path) -> Status:
    """Asked at once and not by a command, which may take longer than an agent takes to sleep."""
    return msgspec.convert(ask(data, control.Status()).answer, Status)


def _share(load: Load, status: Status, seconds: float) -> float:
    """Per cent of one core that the trainer uses which is held, over so long."""
    pids = [status.processes[f"trainer-{HELD}"]]
    load.run(seconds / 4)  # what it owes, or has saved up
    before, started = cpu_s(pids), time.perf_counter()
    load.run(seconds)
    return 100 * (cpu_s(pids) - before) / (time.perf_counter() - started)


def _await_all(data: Path, load: Load) -> None:
    """Step until every process is there: the first waits for the fork server to import torch."""
    until = time.perf_counter() + WAIT_S_MAX
    while len(status_of(data).pids["trainer"]) < len(AWAKE):
        if time.perf_counter() > until:
            raise TimeoutError("some trainer does not start; see hub.txt in the run's folder")
        load.run(LOOK_S)


def _await_sleep(data: Path) -> None:
    until = time.perf_counter() + WAIT_S_MAX
    # Also those that are just ending, which the hub does not count any more.
    while any(len(status_of(data).pids[role]) > most for role, most in ASLEEP.items()):
        if time.perf_counter() > until:
            raise TimeoutError("some agent does not sleep; see hub.txt in the run's folder")
        time.sleep(POLL_S)


def _woken_ms(port: int, talk: NativeTalk) -> float:
    with connect((HOST, port)) as connection:
        asked = time.perf_counter()
        connection.sendall(talk.ask())
        while (answered := talk.hear(connection.recv(READ_BYTES))) is None:
            pass
        assert answered, "the first observation was refused"
        return 1000 * (time.perf_counter() - asked)
