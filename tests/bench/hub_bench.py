"""The hub under load: every protocol, a few numbers of devices, learning on all the while."""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from hub.words import Protocol
from tests.bench.load import Load, Measured, NewConnections, connect
from tests.bench.open_hub import HOST, OpenHub, open_hub
from tests.bench.processes import cpu_s, pss_mib
from tests.bench.talk import MqttTalk, NativeTalk, ShepherdTalk, walking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.bench.open_hub import Status
    from tests.bench.talk import Talk
    from tests.bench.walk import WalkStep

TALKS: Final[dict[Protocol, Callable[[str, str, list[WalkStep], int], Talk]]] = {
    Protocol.MQTT: lambda device, key, steps, at: MqttTalk(device, key, walking(steps, at)),
    Protocol.HTTP: lambda device, key, steps, at: NativeTalk(device, key, walking(steps, at)),
    Protocol.SHEPHERD: ShepherdTalk,
}


class Plan(Struct, frozen=True):
    """How long and how often."""

    devices: tuple[int, ...] = (1, 8, 32)
    warm_up_s: float = 1.0
    seconds: float = 4.0
    runs: int = 3


QUICK: Final = Plan(devices=(1, 4), warm_up_s=0.2, seconds=0.5, runs=1)


def cells(folder: Path, plan: Plan, steps: list[WalkStep]) -> Iterator[Cell]:
    """Each protocol against a hub of its own, few devices first."""
    for protocol in Protocol:
        with open_hub(folder / str(protocol), steps) as hub:
            for count in plan.devices:
                port = hub.port(protocol)
                talks = [(port, talk) for talk in _talks(hub, protocol, count, steps)]
                with Load(HOST, talks) as load:
                    load.run(plan.warm_up_s / 2)
                    before = hub.status()
                    load.run(plan.warm_up_s / 2)
                    measure = partial(load.run, plan.seconds)
                    runs = [_accounted(before.pids, measure) for _ in range(plan.runs)]
                    yield _cell(hub, before, runs, protocol, count, connection="kept")
            if protocol is not Protocol.MQTT:
                yield _reconnecting(hub, protocol, plan, steps)


class Cell(Struct, frozen=True):
    """One protocol at one number of devices: medians over the runs."""

    protocol: str
    devices: int
    connection: str
    """`kept` alive, or `new` for every step."""
    actions_per_s: float
    p50_ms: float
    p99_ms: float
    refused: int
    """Of all runs together."""
    fallbacks: int
    """Actions that no policy chose, of all runs together."""
    cpu_us: dict[str, float]
    """User and system time for one step, by role of the process."""
    pss_mib: dict[str, float]
    """After the last run."""


class _Run(Struct, frozen=True):
    """One measurement and the processor time it took, in seconds by role."""

    measured: Measured
    cpu_s: dict[str, float]


def _accounted(pids: dict[str, list[int]], measure: Callable[[], Measured]) -> _Run:
    before = {role: cpu_s(found) for role, found in pids.items()}
    measured = measure()
    return _Run(measured, {role: cpu_s(found) - before[role] for role, found in pids.items()})


def _reconnecting(hub: OpenHub, protocol: Protocol, plan: Plan, steps: list[WalkStep]) -> Cell:
    """One device with a new connection for every step: keep-alive must not be slower than this."""
    port = hub.port(protocol)
    (talk,) = _talks(hub, protocol, 1, steps)
    with connect((HOST, port)) as connection:
        talk.greet(connection)
    measure = partial(NewConnections(HOST, [(port, talk)]).run, plan.seconds)
    before = hub.status()
    runs = [_accounted(before.pids, measure) for _ in range(plan.runs)]
    return _cell(hub, before, runs, protocol, 1, connection="new")


def _cell(
    hub: OpenHub,
    before: Status,
    runs: list[_Run],
    protocol: Protocol,
    devices: int,
    *,
    connection: str,
) -> Cell:
    return Cell(
        protocol,
        devices,
        connection,
        actions_per_s=median(run.measured.actions_per_s for run in runs),
        p50_ms=median(run.measured.quantile_ms(0.5) for run in runs),
        p99_ms=median(run.measured.quantile_ms(0.99) for run in runs),
        refused=sum(run.measured.refused for run in runs),
        fallbacks=hub.status().fallbacks - before.fallbacks,
        cpu_us={
            role: median(run.cpu_s[role] * 1e6 / len(run.measured.latencies_ms) for run in runs)
            for role in runs[0].cpu_s
        },
        pss_mib={role: pss_mib(found) for role, found in before.pids.items()},
    )


def _talks(hub: OpenHub, protocol: Protocol, count: int, steps: list[WalkStep]) -> list[Talk]:
    kind = TALKS[protocol]
    # Far apart on the walk, so that they end their episodes at different times.
    return [kind(f"load-{i}", hub.key, steps, i * len(steps) // count) for i in range(count)]
