"""Shepherd's protocol and the console, with an agent that learns all the while.

python -m tests.bench.web_bench [--seconds 4] [--rounds 3] [--only PART …]

- rates: actions a second and latencies at 1 and 32 devices, on kept connections and with a new one
  for each request.
- sessions: 2,000 sessions of one agent, each a step a second and as many connections.
- slow: 8 honest devices alone, and beside 1,000 connections that never end their request, in turn.
- console: processor time of the hub with an agent's page open and without, in turn.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final, TypeVar

from tests.acceptance.people import Person, add_user
from tests.acceptance.real_hub import HOST, RealHub, until
from tests.bench.load import Load, NewConnections, connect
from tests.bench.processes import Spinner, cpu_s, pss_mib
from tests.bench.talk import ShepherdTalk
from tests.bench.walk import walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.bench.load import Measured
    from tests.bench.walk import WalkStep

AGENT: Final = "bench"
DEVICES: Final = 32
SESSIONS: Final = 2000
SESSION_S: Final = 20.0
SLOW: Final = 1000
SLOW_HEAD: Final = b"POST /shepherd/env/ HTTP/1.1\r\nHost: hub\r\nContent-Length: 100\r\n"
HONEST: Final = 8
WARM_UP_S: Final = 1.0
WAKE_S_MAX: Final = 60.0
PACE_S: Final = 0.016
"""Between two steps of a device while the console is measured: 2,000 a second in all."""
ADMIN: Final = "ann"
Devices = list[tuple[int, ShepherdTalk]]
T = TypeVar("T")


def main() -> int:
    """Measure and print."""
    parts = {"rates": rates, "sessions": sessions, "slow": slow, "console": console}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as folder, Spinner():
        hub = RealHub(Path(folder) / "data")
        hub.start()
        try:
            shepherd = Shepherd(hub, walk())
            for name in options.only:
                print(f"\n## {name}\n")
                parts[name](shepherd, options.rounds, options.seconds)
        finally:
            hub.end()
    return 0


class Shepherd:
    """A hub with one agent that acts and learns, and its clients."""

    def __init__(self, hub: RealHub, steps: list[WalkStep]) -> None:
        self.hub = hub
        self._steps = steps
        self._key = hub.make_agent(AGENT, parameters={})
        with Load(HOST, self.devices(1)) as load:
            until(lambda: self._acts(load), "a policy acts", timeout_s=WAKE_S_MAX)

    def devices(self, count: int) -> Devices:
        """Far apart on the walk, so that they end their episodes at different times."""
        steps, apart = self._steps, len(self._steps) / count
        port = self.hub.ready.http
        return [
            (port, ShepherdTalk(f"load-{i}", self._key, steps, int(i * apart)))
            for i in range(count)
        ]

    def _acts(self, load: Load) -> bool:
        load.run(WARM_UP_S)
        return bool(self.hub.value("SELECT count(*) FROM events WHERE source = 'policy'"))


def rates(shepherd: Shepherd, rounds: int, seconds: float) -> None:
    """The more devices, the more steps share a commit."""
    for count in (1, DEVICES):
        devices = shepherd.devices(count)
        with Load(HOST, devices) as load:
            load.run(WARM_UP_S)
            _say(f"{count} kept", [load.run(seconds) for _ in range(rounds)])
        anew = NewConnections(HOST, devices)
        anew.run(WARM_UP_S)
        _say(f"{count} new", [anew.run(seconds) for _ in range(rounds)])


def sessions(shepherd: Shepherd, rounds: int, seconds: float) -> None:
    """All logged in at once, a step a second each."""
    del rounds, seconds
    pids = [shepherd.hub.pid]
    before_mib = pss_mib(pids)
    with Load(HOST, shepherd.devices(SESSIONS)) as load:
        load.run_paced(2.0, every_s=1.0)
        _say(f"{SESSIONS} sessions", [load.run_paced(SESSION_S, every_s=1.0)])
        print(f"hub: {(pss_mib(pids) - before_mib) * 1024 / SESSIONS:.1f} KiB a session")


def slow(shepherd: Shepherd, rounds: int, seconds: float) -> None:
    """Who never ends a request costs the others nothing."""
    with Load(HOST, shepherd.devices(HONEST)) as load:
        load.run(WARM_UP_S)
        alone, beside = _in_turn(
            lambda: _dribbling(shepherd.hub.ready.http), rounds, lambda: load.run(seconds)
        )
    _say(f"{HONEST} alone", alone)
    _say(f"beside {SLOW} slow", beside)


def console(shepherd: Shepherd, rounds: int, seconds: float) -> None:
    """Of what the hub's process takes, what an open page takes."""
    hub = shepherd.hub
    add_user(hub, ADMIN, "admin")
    with Load(HOST, shepherd.devices(DEVICES)) as load, Person(hub) as ann:
        ann.log_in(ADMIN)
        load.run_paced(WARM_UP_S, PACE_S)

        def cpu_us() -> float:
            # At a fixed pace: in a closed loop whoever reads the page slows the devices down.
            before_s = cpu_s([hub.pid])
            measured = load.run_paced(seconds, PACE_S)
            return (cpu_s([hub.pid]) - before_s) * 1e6 / len(measured.latencies_ms)

        closed, opened = _in_turn(lambda: _watching(ann), rounds, cpu_us)
    print(f"hub, CPU us a step: {median(closed):.1f} closed, {median(opened):.1f} open")
    print(f"ratio {median(opened) / median(closed):.3f}")


def _in_turn(
    beside: Callable[[], AbstractContextManager[object]], rounds: int, measure: Callable[[], T]
) -> tuple[list[T], list[T]]:
    """Without and with it, a round of each after the other."""
    found: tuple[list[T], list[T]] = [], []
    for turn in range(2 * rounds):
        with beside() if turn % 2 else nullcontext():
            found[turn % 2].append(measure())
    return found


@contextmanager
def _dribbling(port: int) -> Iterator[None]:
    with ExitStack() as stay:
        for _ in range(SLOW):
            stay.enter_context(connect((HOST, port))).sendall(SLOW_HEAD)
        yield


@contextmanager
def _watching(person: Person) -> Iterator[None]:
    """The agent's page, as a browser keeps it open."""
    over = threading.Event()

    def listen() -> None:
        with person.http.stream("GET", f"/live/agents/{AGENT}") as page:
            for _ in page.iter_bytes():
                if over.is_set():
                    return

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        yield
    finally:
        over.set()
        listener.join()


def _say(what: str, runs: list[Measured]) -> None:
    """Medians of the runs."""
    print(
        f"{what:>20}: {median(run.actions_per_s for run in runs):7,.0f}/s"
        f"  p50 {median(run.quantile_ms(0.5) for run in runs):6.2f} ms"
        f"  p99 {median(run.quantile_ms(0.99) for run in runs):6.2f} ms"
        f"  refused {sum(run.refused for run in runs)}"
    )


if __name__ == "__main__":
    sys.exit(main())
