"""Whether a busy hub starves its log: commits while the hub's loop idles, and while it is full.

The log is a process of its own for this reason: in a thread beside a busy loop the same commits
fell from 598 to 45 a second. The duration is the log process's own, from the batch to the answer.
"""

from __future__ import annotations

import asyncio
import struct
from statistics import median
from typing import TYPE_CHECKING, Final

import uvloop
from msgspec import Struct

from hub.clock import SystemClock
from hub.log.link import LogLink
from hub.settings import LogSettings
from hub.words import Event, Floats, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS: Final = 64
IN_FLIGHT: Final = 16
"""Batches on their way, each a commit: a hub has more devices than one."""
TURN_S: Final = 0.001
"""Of work in each turn of the full loop."""
OBSERVATION: Final = Floats(struct.pack("<4f", 0.1, 0.2, 0.3, 0.4))


class HubLoad(Struct, frozen=True):
    """Commits of 64 rows, some always waiting, as many devices keep them."""

    loop: str
    """`idle`, or `full`: the loop never sleeps."""
    commits: int
    """Of all runs together."""
    commits_per_s: float
    """Medians of the runs', this and the following."""
    p50_ms: float
    p99_ms: float


def commits_beside_the_loop(folder: Path, seconds: float, runs: int) -> Iterator[HubLoad]:
    """The same stream of commits with either loop, in turn, so that both meet the same machine."""
    measured: dict[str, list[list[int]]] = {"idle": [], "full": []}
    for run in range(runs):
        for name, durations_us in measured.items():
            data = folder / f"{name}-{run}"
            data.mkdir()
            durations_us.append(sorted(uvloop.run(_stream(data, seconds, full=name == "full"))))
    for name, ordered in measured.items():
        yield HubLoad(
            name,
            sum(map(len, ordered)),
            commits_per_s=median(map(len, ordered)) / seconds,
            p50_ms=median(one[len(one) // 2] for one in ordered) / 1000,
            p99_ms=median(one[int(len(one) * 0.99)] for one in ordered) / 1000,
        )


async def _stream(folder: Path, seconds: float, *, full: bool) -> list[int]:
    loop, clock = asyncio.get_running_loop(), SystemClock()
    link = LogLink(folder, LogSettings(batch_rows_max=ROWS))
    await link.open()
    durations_us: list[int] = []
    ends = loop.time() + seconds
    done = loop.create_future()
    events = [
        Event(kind=Kind.OBSERVATION, ts=step, agent="a", device="d", step=step, obs=OBSERVATION)
        for step in range(ROWS)
    ]

    def committed(_seq: int) -> None:
        durations_us.append(link.commit_us)
        if loop.time() < ends:
            link.append(events, committed)
        elif not done.done():
            done.set_result(None)

    def work() -> None:
        until = clock.monotonic() + TURN_S  # uvloop's own time stands still during a turn
        while clock.monotonic() < until:
            pass
        if not done.done():
            loop.call_soon(work)

    for _ in range(IN_FLIGHT):
        link.append(events, committed)
    if full:
        loop.call_soon(work)
    await done
    await link.close()
    return durations_us
