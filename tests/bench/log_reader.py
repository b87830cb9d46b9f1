"""A reader in a process of its own: says when it is live, then when what came.

    python -m tests.bench.log_reader SOCKET AFTER EVENTS

Prints `live`, and at the end one JSON list of `[position, s]`, a pair for each time something
arrived; `s` is on the machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from hub.clock import SystemClock
from hub.log.read import Reader


def main() -> None:
    """Follow the log for so many events."""
    place, after, events = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    now = SystemClock().monotonic
    arrivals: list[tuple[int, float]] = []
    with Reader(place, after) as reader:
        while not reader.caught_up:
            reader.receive(None)
        print("live", flush=True)
        while reader.position < after + events:
            reader.receive(None)
            arrivals.append((reader.position, now()))
    print(msgspec.json.encode(arrivals).decode(), flush=True)


if __name__ == "__main__":
    main()
