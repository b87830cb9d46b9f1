"""The gate beside mosquitto: what a message and a step cost the process that holds the sockets.

python -m tests.bench.broker_bench [--seconds 3] [--rounds 3] [--only PART …]

mosquitto's persistence is off and nobody subscribes to what it takes in; the hub decodes, checks
and logs each observation, and acknowledges it after the commit. Hub and mosquitto take turns, so
that a busy machine is busy for both. Parts:

- intake: 32 devices, ten observations on their way at once, acknowledged (QoS 1) or not (QoS 0).
- steps: observation to action, the next as soon as it has come, the agent learning all the while;
  beside mosquitto with a paho client that answers, of which only mosquitto's own time counts.
- connects: 5,000 devices connect and stay; connects a second and memory of each.
- restart: 1,000 devices step, the hub is killed and started again, and all come back at once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from hub.words import Protocol
from tests.bench.load import Load, connect
from tests.bench.mosquitto import Mosquitto, mosquitto, paho_echo
from tests.bench.open_hub import HOST, OpenHub, open_hub
from tests.bench.processes import Spinner, cpu_s, pss_mib
from tests.bench.talk import BurstTalk, MqttTalk, mqtt_login, walking
from tests.bench.walk import walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.load import Measured
    from tests.bench.talk import Talk
    from tests.bench.walk import WalkStep

PARTS: Final = ("intake", "steps", "connects", "restart")
INTAKE_DEVICES: Final = 32
STEP_DEVICES: Final = (32, 256, 1000)
BURST: Final = 10
CONNECTS: Final = 5000
RESTART_DEVICES: Final = 1000
SLICE_S: Final = 0.05
WARM_UP_S: Final = 1.0
OURS: Final = "hub"
THEIRS: Final = "mosquitto"
"""Names of the two sides."""


class Side(Struct, frozen=True):
    """One of the two: where it is heard, and the processes whose time counts."""

    name: str
    port: int
    pids: dict[str, list[int]]
    """By role; the first is the process that holds the sockets."""
    key: str


class Cost(Struct, frozen=True):
    """One side in one arrangement: medians of its rounds."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: dict[str, float]
    """Of a message or step, by role."""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    steps = walk()
    with tempfile.TemporaryDirectory(dir=".") as name, Spinner(), ExitStack() as open_all:
        folder = Path(name)
        hub = open_all.enter_context(open_hub(folder / "hub", steps))
        broker = open_all.enter_context(mosquitto(folder))
        sides = (_ours(hub), _theirs(broker))
        if "intake" in options.only:
            for qos in (1, 0):
                talks = _bursts(steps, qos)
                costs = measure(sides, talks, INTAKE_DEVICES, options.rounds, options.seconds)
                _report(f"intake, QoS {qos}, {INTAKE_DEVICES} devices", costs, BURST)
        if "steps" in options.only:
            with paho_echo(broker.port):
                for count in STEP_DEVICES:
                    talks = _walks(steps)
                    costs = measure(sides, talks, count, options.rounds, options.seconds)
                    _report(f"observation to action, {count} devices", costs, 1)
        if "connects" in options.only:
            for side in sides:
                _report_connects(side)
        if "restart" in options.only:
            _report_restart(hub, steps)
    return 0


def measure(
    sides: tuple[Side, ...],
    talk: Callable[[Side, int, int], Talk],
    devices: int,
    rounds: int,
    seconds: float,
) -> dict[str, Cost]:
    """The sides in turn, so many rounds of each."""
    found: dict[str, list[Cost]] = {side.name: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            talks = [(side.port, talk(side, i, devices)) for i in range(devices)]
            with Load(HOST, talks) as load:
                load.run(WARM_UP_S)
                before = {role: cpu_s(pids) for role, pids in side.pids.items()}
                measured = load.run(seconds)
                found[side.name].append(_cost(side, before, measured))
    return {name: _median(costs) for name, costs in found.items()}


def _ours(hub: OpenHub) -> Side:
    pids = {role: found for role, found in hub.status().pids.items() if found}
    return Side(OURS, hub.port(Protocol.MQTT), pids, hub.key)


def _theirs(broker: Mosquitto) -> Side:
    return Side(THEIRS, broker.port, {THEIRS: [broker.pid]}, "any")


def _bursts(steps: list[WalkStep], qos: int) -> Callable[[Side, int, int], Talk]:
    def talk(side: Side, number: int, devices: int) -> Talk:
        says = walking(steps, number * len(steps) // devices)
        return BurstTalk(f"load-{number}", side.key, says, qos=qos, size=BURST)

    return talk


def _walks(steps: list[WalkStep]) -> Callable[[Side, int, int], Talk]:
    def talk(side: Side, number: int, devices: int) -> Talk:
        return MqttTalk(f"load-{number}", side.key, walking(steps, number * len(steps) // devices))

    return talk


def _cost(side: Side, before: dict[str, float], measured: Measured) -> Cost:
    answers = len(measured.latencies_ms)
    return Cost(
        measured.actions_per_s,
        measured.quantile_ms(0.5),
        measured.quantile_ms(0.99),
        {role: (cpu_s(pids) - before[role]) * 1e6 / answers for role, pids in side.pids.items()},
    )


def _median(costs: list[Cost]) -> Cost:
    return Cost(
        median(cost.per_s for cost in costs),
        median(cost.p50_ms for cost in costs),
        median(cost.p99_ms for cost in costs),
        {role: median(cost.cpu_us[role] for cost in costs) for role in costs[0].cpu_us},
    )


def _report(title: str, costs: dict[str, Cost], messages: int) -> None:
    """`messages`: in each answer that was waited for."""
    print(f"\n## {title}\n")
    for name, cost in costs.items():
        took = ", ".join(f"{role} {us / messages:.1f}" for role, us in cost.cpu_us.items())
        print(
            f"{name:10} {cost.per_s * messages:9,.0f}/s  p50 {cost.p50_ms:6.2f} ms"
            f"  p99 {cost.p99_ms:6.2f} ms  CPU us each: {took}"
        )
    ours, theirs = costs[OURS], costs[THEIRS]
    ratio = ours.cpu_us[OURS] / theirs.cpu_us[THEIRS]
    with_log = (ours.cpu_us[OURS] + ours.cpu_us["log"]) / theirs.cpu_us[THEIRS]
    print(
        f"ratios: CPU {ratio:.2f}, with the log's {with_log:.2f};"
        f" rate {ours.per_s / theirs.per_s:.2f}; p50 {ours.p50_ms / theirs.p50_ms:.2f}"
    )


def _report_connects(side: Side) -> None:
    """All connect one after the other and stay; then each once more, as after an outage."""
    pids = side.pids[side.name]
    with ExitStack() as stay:
        for title in ("new", "known"):
            before_mib, before_s, began = pss_mib(pids), cpu_s(pids), perf_counter()
            for number in range(CONNECTS):
                connection = stay.enter_context(connect((HOST, side.port)))
                mqtt_login(connection, f"idle-{number}", side.key)
            took_s = perf_counter() - began
            print(
                f"{side.name:10} {title:6} {CONNECTS / took_s:8,.0f} connects/s"
                f"  CPU us {(cpu_s(pids) - before_s) * 1e6 / CONNECTS:6.1f}"
                f"  KiB each {(pss_mib(pids) - before_mib) * 1024 / CONNECTS:5.2f}"
            )


def _report_restart(hub: OpenHub, steps: list[WalkStep]) -> None:
    """From the kill until each device has had an action again."""
    ready = hub.served.ready
    talks = [
        MqttTalk(f"load-{i}", hub.key, walking(steps, i * len(steps) // RESTART_DEVICES))
        for i in range(RESTART_DEVICES)
    ]
    with Load(HOST, [(ready.mqtt, talk) for talk in talks]) as load:
        load.run(WARM_UP_S)
    began = perf_counter()
    hub.served.kill()
    hub.served.open(http_port=ready.http, mqtt_port=ready.mqtt)
    up_s = perf_counter() - began
    with Load(HOST, [(ready.mqtt, talk) for talk in talks]) as load:
        connected_s = perf_counter() - began
        while not all(talk.answer for talk in talks):
            load.run(SLICE_S)
    served_s = perf_counter() - began
    print(
        f"\n## restart\n\n{RESTART_DEVICES} devices, since the hub was killed: it is up after "
        f"{up_s:.1f} s, all are connected after {connected_s:.1f} s, served after {served_s:.1f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
