"""Hours of a fleet in minutes: what each process of the hub holds, and whether that grows.

python -m tests.bench.soak [--hours 16] [--devices 1000] [--compressed 120]

Each device reports once a simulated minute, and learns with the others. In simulated time segments
are sealed every hour, `/metrics` is scraped every minute and the log queried every ten. With
`--compressed 120` an hour takes half a minute, if the machine keeps up; the rate that was reached
is part of the figures. The first quarter is not looked at: until then caches fill.

Writes bench/soak.json and bench/soak.md; exits with 1 where a process grew by more than is allowed.
"""

from __future__ import annotations

import argparse
import heapq
import os
import select
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from msgspec import Struct

from hub.clock import SystemClock
from hub.demo.serving import ServedHub
from tests.bench.load import connect
from tests.bench.open_hub import HOST, Status
from tests.bench.processes import PROC
from tests.bench.table import table
from tests.bench.talk import READ_BYTES, MqttTalk, walking
from tests.bench.walk import walk

if TYPE_CHECKING:
    import socket

OUT: Final = Path("bench")
REPORT_S: Final = 60.0
"""Between two steps of a device; simulated, as all that follows."""
SEAL_S: Final = 3600.0
SCRAPE_S: Final = 60.0
QUERY_S: Final = 600.0
QUERY: Final = "SELECT kind, count(*) AS n FROM events GROUP BY kind"
HOUR_S: Final = 3600.0
FIRST_STEP: Final = 1000
"""Numbers up to 256 are there once for all, in Python, and steps beyond them for each device: 7 MB
that fill once, whenever devices get there."""
SETTLING: Final = 0.25
"""Of the time, that is not looked at."""
GROWTH_MB_PER_H_MAX: Final = 1.0
FILES_MORE_MAX: Final = 2
"""Open at one look and not at another: a query, a seal."""
HEADS: Final = ("process", "RSS at first, MB", "at last", "MB an hour", "open files")
SETTINGS: Final = "[log]\nseal_s = {seal_s}\n[quotas]\ndevices_max = {devices}\n"


class Process(Struct):
    """What one process held, look by look."""

    pid: int
    hours: list[float]
    rss_mb: list[float]
    files: list[int]


class Held(Struct, frozen=True):
    """The same in a few figures."""

    name: str
    rss_mb_first: float
    """Median of the first tenth that is looked at."""
    rss_mb_last: float
    growth_mb_per_h: float
    """Slope of a straight line through all looks."""
    rss_mb_hourly: list[float]
    """Medians, from the start on: whether what grew goes on growing."""
    files_first: int
    files_last: int

    @property
    def grew(self) -> bool:
        """By more than is allowed."""
        files = self.files_last - self.files_first
        return self.growth_mb_per_h > GROWTH_MB_PER_H_MAX or files > FILES_MORE_MAX


class Soaked(Struct, frozen=True):
    """`bench/soak.json`."""

    date: str
    cores: int
    devices: int
    hours: float
    """Simulated."""
    minutes: float
    """That it took."""
    steps: int
    steps_per_s: float
    restarted: list[str]
    """Processes that were others at the end."""
    held: list[Held]


class Fleet:
    """Devices that report at their times, however fast they are answered."""

    def __init__(self, port: int, key: str, devices: int, every_s: float) -> None:
        self.answered = 0
        self._every_s = every_s
        self._epoll = select.epoll()
        self._lines: dict[int, tuple[socket.socket, MqttTalk]] = {}
        self._due: list[tuple[float, int]] = []
        steps, now = walk(), time.perf_counter()
        for number in range(devices):
            says = walking(steps, number)
            talk = MqttTalk(f"soak-{number}", key, says, first_step=FIRST_STEP)
            connection = connect((HOST, port))
            talk.greet(connection)
            self._lines[connection.fileno()] = connection, talk
            self._epoll.register(connection, select.EPOLLIN)
            heapq.heappush(self._due, (now + every_s * number / devices, connection.fileno()))

    def run(self, until_s: float) -> None:
        """Go on until then, by `time.perf_counter`."""
        while (now := time.perf_counter()) < until_s:
            while self._due and self._due[0][0] <= now:
                _, descriptor = heapq.heappop(self._due)
                connection, talk = self._lines[descriptor]
                connection.sendall(talk.ask())
            wait_s = min(self._due[0][0] if self._due else until_s, until_s) - now
            for descriptor, _ in self._epoll.poll(max(wait_s, 0)):
                connection, talk = self._lines[descriptor]
                data = connection.recv(READ_BYTES)
                if not data:
                    raise ConnectionError("the hub closed a connection")
                answered = talk.hear(data)
                if answered is not None:  # or it was told that the hub is busy
                    self.answered += answered
                    heapq.heappush(self._due, (time.perf_counter() + self._every_s, descriptor))


def main() -> int:
    """Soak, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=16.0)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--compressed", type=float, default=120.0)
    options = parser.parse_args()
    soaked = soak(options.hours, options.devices, options.compressed)
    shown = text(soaked)
    print(shown)
    (OUT / "soak.json").write_bytes(msgspec.json.format(msgspec.json.encode(soaked)) + b"\n")
    (OUT / "soak.md").write_text(shown)
    return 1 if soaked.restarted or any(process.grew for process in soaked.held) else 0


def soak(hours: float, devices: int, compressed: float) -> Soaked:
    """A hub of its own, its fleet, and what is looked at each second."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "hub.toml"
        config.write_text(SETTINGS.format(seal_s=SEAL_S / compressed, devices=devices))
        served = ServedHub(
            Path(folder) / "data", log=Path(folder) / "hub.txt", clock=SystemClock(),
            pause=time.sleep, config=config,
        )  # fmt: skip
        with served:
            return _soaked(served, hours, devices, compressed)


def _soaked(hub: ServedHub, hours: float, devices: int, compressed: float) -> Soaked:
    agent = hub.create_agent(
        "soak", algorithm="PPO", observations="[[4],-3.4e38,3.4e38]", actions="2"
    )
    fleet = Fleet(hub.ready.mqtt, agent.api_key, devices, REPORT_S / compressed)
    fleet.run(time.perf_counter() + 10)  # the learner starts
    seen = {name: Process(pid, [], [], []) for name, pid in _processes(hub).items()}
    began, answered, looked, queried = time.perf_counter(), fleet.answered, 0, 0.0
    seconds = hours * HOUR_S / compressed
    while (passed := time.perf_counter() - began) < seconds:
        fleet.run(began + min(passed + 1, seconds))
        at_h = (time.perf_counter() - began) * compressed / HOUR_S
        for process in seen.values():
            _look(process, at_h)
        looked += 1
        urllib.request.urlopen(f"http://{HOST}:{hub.ready.http}/metrics").read()
        if at_h * HOUR_S - queried >= QUERY_S:
            queried = at_h * HOUR_S
            hub.command("sql", QUERY)
    steps, took_s = fleet.answered - answered, time.perf_counter() - began
    now = _processes(hub)
    return Soaked(
        date=datetime.fromtimestamp(SystemClock().now_us() / 1e6, UTC).date().isoformat(),
        cores=os.cpu_count() or 1,
        devices=devices,
        hours=hours,
        minutes=took_s / 60,
        steps=steps,
        steps_per_s=steps / took_s,
        restarted=[name for name, process in seen.items() if now.get(name) != process.pid],
        held=[held(name, process) for name, process in seen.items()],
    )


def _processes(hub: ServedHub) -> dict[str, int]:
    return msgspec.json.decode(hub.command("status"), type=Status).processes


def _look(process: Process, at_h: float) -> None:
    try:
        status = (PROC / str(process.pid) / "status").read_text()
        files = sum(1 for _ in (PROC / str(process.pid) / "fd").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return  # it was started again, which is told at the end
    (rss_kb,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
    process.hours.append(at_h)
    process.rss_mb.append(int(rss_kb) / 1024)
    process.files.append(files)


def held(name: str, process: Process) -> Held:
    """What is left of the looks after the first quarter."""
    start = int(len(process.hours) * SETTLING)
    hours, rss_mb = np.array(process.hours[start:]), np.array(process.rss_mb[start:])
    tenth = max(1, len(hours) // 10)
    files = process.files[start:]
    return Held(
        name=name,
        rss_mb_first=float(np.median(rss_mb[:tenth])),
        rss_mb_last=float(np.median(rss_mb[-tenth:])),
        growth_mb_per_h=float(np.polyfit(hours, rss_mb, 1)[0]),
        rss_mb_hourly=_hourly(process),
        files_first=int(np.median(files[:tenth])),
        files_last=int(np.median(files[-tenth:])),
    )


def _hourly(process: Process) -> list[float]:
    hours, rss_mb = np.array(process.hours).astype(int), np.array(process.rss_mb)
    return [round(float(np.median(rss_mb[hours == hour])), 1) for hour in np.unique(hours)]


def text(soaked: Soaked) -> str:
    """For people."""
    rows = [
        [
            one.name,
            f"{one.rss_mb_first:.1f}",
            f"{one.rss_mb_last:.1f}",
            f"{one.growth_mb_per_h:+.2f}",
            f"{one.files_first} → {one.files_last}",
        ]
        for one in soaked.held
    ]
    return (
        f"{soaked.date}, {soaked.cores} cores: {soaked.devices} devices that report once a minute, "
        f"{soaked.hours:g} hours of it in {soaked.minutes:.0f} minutes: {soaked.steps} steps, "
        f"{soaked.steps_per_s:.0f} a second. The first quarter is not looked at. By `make "
        "soak-hours`.\n\n" + "\n".join(table(HEADS, rows)) + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())
