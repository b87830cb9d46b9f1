"""What it costs to be watched: processor time of the hub for a step, with and without.

python -m tests.bench.watching_bench [--rounds 5] [--seconds 3]

Rounds in which `/metrics` and `sheepfold top` ask each second (Prometheus asks every 15 s) take
turns with rounds in which nobody does. What the step path counts and the hub logs is in both, so
that is timed alone. The differences of rounds drown in a busy machine's noise; so one look is also
timed while nothing else is. The last line adds up: metrics and logs may take 5 % of the hub's time.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import threading
import timeit
import urllib.request
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from time import process_time
from typing import TYPE_CHECKING, Final

from hub.ask import ask
from hub.control import Watch
from hub.counts import Counts
from hub.words import Event, Kind, Protocol, Source
from tests.bench.load import Load
from tests.bench.open_hub import HOST, OpenHub, open_hub
from tests.bench.processes import cpu_s
from tests.bench.talk import MqttTalk, walking
from tests.bench.walk import walk

if TYPE_CHECKING:
    from collections.abc import Iterator

DEVICES: Final = 8
EVERY_S: Final = 1.0
STEPS_PER_S: Final = 2000
"""The rate at which at most 5 % may be spent."""
SHARE_MAX: Final = 0.05
COUNTED: Final = 200_000
LOOKS: Final = 200
LINES: Final = 20_000


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    steps = walk()
    with tempfile.TemporaryDirectory() as folder, open_hub(Path(folder) / "hub", steps) as hub:
        data = Path(folder) / "hub"
        talks = [
            (hub.port(Protocol.MQTT), MqttTalk(f"load-{i}", hub.key, walking(steps, i)))
            for i in range(DEVICES)
        ]
        with Load(HOST, talks) as load:
            load.run(2.0)
            rounds: dict[bool, list[float]] = {False: [], True: []}
            for number in range(2 * options.rounds):
                watched = bool(number % 2)
                with _watching(hub, data) if watched else nullcontext():
                    rounds[watched].append(_cpu_us(hub, load, options.seconds))
        look_us = _look_us(hub, data)
        lines = len((data / "hub.txt").read_bytes().splitlines())
    took = options.seconds * 2 * options.rounds
    logging_us = _logging_us() * lines / (took * STEPS_PER_S)
    share = _report(
        median(rounds[False]), median(rounds[True]), _counting_us(), look_us, logging_us
    )
    return 0 if share <= SHARE_MAX else 1


def _cpu_us(hub: OpenHub, load: Load, seconds: float) -> float:
    """Of the hub's process, for one step."""
    pids = hub.status().pids["hub"]
    before = cpu_s(pids)
    measured = load.run(seconds)
    print(f"{measured.actions_per_s:6.0f} steps/s")
    return (cpu_s(pids) - before) * 1e6 / len(measured.latencies_ms)


@contextmanager
def _watching(hub: OpenHub, data: Path) -> Iterator[None]:
    over = threading.Event()

    def watch() -> None:
        while not over.wait(EVERY_S):
            _look(hub, data)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _look(hub: OpenHub, data: Path) -> None:
    urllib.request.urlopen(f"http://{HOST}:{hub.served.ready.http}/metrics").read()
    ask(data, Watch())


def _look_us(hub: OpenHub, data: Path) -> float:
    """One of each, of the hub's process; its clock ticks every 10 ms."""
    pids = hub.status().pids["hub"]
    before = cpu_s(pids)
    for _ in range(LOOKS):
        _look(hub, data)
    return (cpu_s(pids) - before) * 1e6 / LOOKS


def _counting_us() -> float:
    """What the step path does for it."""
    counts = Counts()
    action = Event(Kind.ACTION, 0, source=Source.POLICY, latency_us=700)
    took = timeit.repeat(lambda: counts.answer(action, 0.0017), timer=process_time, number=COUNTED)
    return min(took) * 1e6 / COUNTED


def _logging_us() -> float:
    """A line, to a file."""
    logger = logging.getLogger("bench")
    with tempfile.NamedTemporaryFile("w") as file:
        handler = logging.StreamHandler(file)
        logger.addHandler(handler)
        took = timeit.repeat(
            lambda: logger.warning("%s ended; it starts again in %.1f s", "trainer-bench", 0.1),
            timer=process_time,
            number=LINES,
        )
        logger.removeHandler(handler)
    return min(took) * 1e6 / LINES


def _report(
    without_us: float, with_us: float, counting_us: float, look_us: float, logging_us: float
) -> float:
    """Print it; the share of a step's time that metrics and logs take."""
    looking_us = look_us / (EVERY_S * STEPS_PER_S)
    all_us = looking_us + counting_us + logging_us
    print(f"a step, nobody watching   {without_us:7.2f} µs of the hub's processor time")
    print(f"a step, watched           {with_us:7.2f} µs ({with_us / without_us - 1:+.1%})")
    looks = f"({looking_us / without_us:.1%} at {STEPS_PER_S} steps/s)"
    print(f"a look by both           {look_us:8.0f} µs {looks}")
    print(f"counting, in both         {counting_us:7.2f} µs ({counting_us / without_us:.1%})")
    print(f"logging, in both          {logging_us:7.2f} µs ({logging_us / without_us:.1%})")
    share = all_us / (without_us + looking_us)
    print(f"metrics and logs          {all_us:7.2f} µs ({share:.1%}; {SHARE_MAX:.0%} at most)")
    return share


if __name__ == "__main__":
    sys.exit(main())
