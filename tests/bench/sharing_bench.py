"""What sharing costs the hub: `python -m tests.bench.sharing_bench [--devices 32] [--turns 25]`.

One hub with three agents, alike but for `sharing`, each with as many devices over MQTT. They are
loaded in turn, again and again and never for long, so that whatever else the machine does is done
to all of them. Prints for each the medians of latencies and of processor time for one step: the
hub's process, and it together with the log, the actor and the trainer. Turns differ by more than
ways of sharing do, so the hub's time is also held beside that of `none` in the same turn: the
median of those ratios, and its quartiles. Trainers learn at their priority meanwhile.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Final, get_args

import msgspec
from msgspec import Struct

from hub import control
from hub.ask import ask
from hub.clock import SystemClock
from hub.demo.serving import ServedHub
from hub.registry.acts import NewAgent
from hub.words import Sharing
from tests.bench.load import Load
from tests.bench.open_hub import HOST, Status
from tests.bench.processes import cpu_s
from tests.bench.table import table
from tests.bench.talk import MqttTalk, walking
from tests.bench.walk import walk

if TYPE_CHECKING:
    from collections.abc import Sequence

OBSERVATIONS: Final = [[4], "-inf", "inf"]
REST_S: Final = 0.5
WAKE_S: Final = 0.5
WAKE_S_MAX: Final = 120.0
MICROSECONDS: Final = 1e6


class Run(Struct, frozen=True):
    """One turn of one agent."""

    p50_ms: float
    p99_ms: float
    hub_us: float
    """Processor time of the hub's process for one step."""
    all_us: float
    """And of the log, this agent's actor and its trainer."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="tests.bench.sharing_bench")
    parser.add_argument("--devices", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one turn")
    parser.add_argument("--turns", type=int, default=25)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="run-", dir="bench") as folder:
        runs = measure(Path(folder), options.devices, options.seconds, options.turns)
    titles = ["sharing", "p50 ms", "p99 ms", "hub µs", "hub, log, actor, trainer µs", "beside none"]
    rows = []
    for sharing, done in runs.items():
        medians = [f"{median(values):.2f}" for values in zip(*map(_numbers, done), strict=True)]
        rows.append([sharing, *medians, _beside(done, runs["none"])])
    print("\n".join(table(titles, rows)))
    return 0


def measure(folder: Path, devices: int, seconds: float, turns: int) -> dict[Sharing, list[Run]]:
    """By the way of sharing, each turn's figures."""
    steps = walk()
    data, said = folder / "data", folder / "hub.txt"
    served = ServedHub(data, log=said, clock=SystemClock(), pause=time.sleep)
    runs: dict[Sharing, list[Run]] = {sharing: [] for sharing in get_args(Sharing)}
    with served, ExitStack() as stack:
        loads = {}
        for sharing in runs:
            declared = NewAgent(f"to-{sharing}", "PPO", OBSERVATIONS, 2, sharing=sharing)
            key = str(_ask(data, control.CreateAgent(declared))["api_key"])
            talks = [
                MqttTalk(f"{sharing}-{i}", key, walking(steps, i * len(steps) // devices))
                for i in range(devices)
            ]
            load = Load(HOST, [(served.ready.mqtt, talk) for talk in talks])
            loads[sharing] = stack.enter_context(load)
            _wake(data, loads[sharing], f"actor-to-{sharing}")
        order = list(loads)
        for _ in range(turns):
            for sharing in order:
                runs[sharing].append(_run(data, loads[sharing], sharing, seconds))
            order.reverse()  # whose turn was before leaves its trainer something to do
    return runs


def _run(data: Path, load: Load, sharing: str, seconds: float) -> Run:
    processes = msgspec.convert(_ask(data, control.Status()), Status).processes
    own = [processes[f"{role}-to-{sharing}"] for role in ("actor", "trainer")]
    hub, others = [processes["hub"]], [processes["log"], *own]
    load.run(REST_S)  # what the turn before left is done meanwhile
    before = cpu_s(hub), cpu_s(others)
    measured = load.run(seconds)
    hub_s, others_s = cpu_s(hub) - before[0], cpu_s(others) - before[1]
    step_us = MICROSECONDS / len(measured.latencies_ms)
    assert not measured.refused, "the hub refused steps"
    return Run(
        measured.quantile_ms(0.5),
        measured.quantile_ms(0.99),
        hub_s * step_us,
        (hub_s + others_s) * step_us,
    )


def _wake(data: Path, load: Load, actor: str) -> None:
    """Step until there is an actor, which has a policy soon after."""
    until = time.perf_counter() + WAKE_S_MAX
    while actor not in msgspec.convert(_ask(data, control.Status()), Status).processes:
        if time.perf_counter() > until:
            raise TimeoutError(f"{actor} does not start; see hub.txt in the run's folder")
        load.run(WAKE_S)
    load.run(4 * WAKE_S)


def _ask(data: Path, request: control.Request) -> dict[str, object]:
    answer: dict[str, object] = ask(data, request).answer
    return answer


def _beside(runs: list[Run], none: list[Run]) -> str:
    """The hub's processor time for a step, of what it is without sharing: `104 % (98 to 109)`."""
    ratios = [100 * one.hub_us / other.hub_us for one, other in zip(runs, none, strict=True)]
    low, middle, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return f"{middle:.0f} % ({low:.0f} to {high:.0f})"


def _numbers(run: Run) -> tuple[float, ...]:
    return msgspec.structs.astuple(run)


if __name__ == "__main__":
    sys.exit(main())
