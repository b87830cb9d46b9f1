"""How soon and how quickly committed events reach readers in other processes."""

from __future__ import annotations

import asyncio
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, Final

import duckdb
import msgspec
import numpy as np
import uvloop
from msgspec import Struct

from hub.clock import SystemClock
from hub.log.address import listen
from hub.log.feed import Feed
from hub.log.link import LogLink
from hub.log.messages import socket_path
from hub.log.read import Fetcher, Reader
from hub.settings import LogSettings
from tests.bench.log_load import steady
from tests.bench.log_rows import fill, walk_rows
from tests.log.linked import LinkedLog

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable
    from pathlib import Path

LATENCY_ROWS_PER_S: Final = 5_000
PUSH_ROWS: Final = 512
"""Of one commit."""
LINE_BYTES_MAX: Final = 1 << 26
DATABASE: Final = "log.duckdb"


class Reading(Struct, frozen=True):
    """Medians of the runs'."""

    fetch_share: float
    """Of what DuckDB gives as Arrow in one process."""
    scan_rows_per_s: float
    """That: all columns, by seq."""
    fetch_rows_per_s: float
    """Old events as Arrow tables, `Fetcher`."""
    read_events_per_s: float
    """Old events as Events, `Reader`, until it has caught up."""
    push_events_per_s: float
    """New events as Events: the feed without commits, a `Reader` in another process."""
    latency_p50_ms: float
    """From the hub's callback to another process, at 5,000 rows/s; below 0 it was there first."""
    latency_p99_ms: float


def reading(folder: Path, *, rows: int, push_rows: int, seconds: float, runs: int) -> Reading:
    """All of it.

    Args:
        folder: for the logs.
        rows: old events that are read.
        push_rows: new events that are pushed.
        seconds: of the stream whose latency is measured.
        runs: of each.
    """
    hub = folder / "old"
    fill(hub, rows)
    scan = _median(runs, lambda: _scan(hub, rows))
    log = LinkedLog(hub).open()
    fetch = _median(runs, lambda: _fetch(hub, rows))
    read = _median(runs, lambda: _read(hub, rows))
    log.close()
    push = _median(runs, lambda: uvloop.run(_push(folder, push_rows)))
    live = [folder / f"live-{run}" for run in range(runs)]
    for data in live:
        data.mkdir()
    latencies = [uvloop.run(_latency(data, seconds)) for data in live]
    return Reading(
        fetch_share=fetch / scan,
        scan_rows_per_s=scan,
        fetch_rows_per_s=fetch,
        read_events_per_s=read,
        push_events_per_s=push,
        latency_p50_ms=median(p50 for p50, _ in latencies),
        latency_p99_ms=median(p99 for _, p99 in latencies),
    )


def _median(runs: int, measure: Callable[[], float]) -> float:
    return median(measure() for _ in range(runs))


# --- old events ----------------------------------------------------------------------------


def _scan(folder: Path, rows: int) -> float:
    with duckdb.connect(folder / DATABASE, read_only=True, config={"threads": 1}) as connection:
        started = time.perf_counter()
        found = connection.sql("SELECT * FROM log ORDER BY seq").to_arrow_table()
        took_s = time.perf_counter() - started
    assert found.num_rows == rows, f"{found.num_rows} of {rows} rows"
    return rows / took_s


def _fetch(folder: Path, rows: int) -> float:
    with Fetcher(socket_path(folder)) as log:
        started = time.perf_counter()
        found = sum(page.table.num_rows for page in log.pages(after=0))
        took_s = time.perf_counter() - started
    assert found == rows, f"{found} of {rows} rows"
    return rows / took_s


def _read(folder: Path, rows: int) -> float:
    with Reader(socket_path(folder)) as reader:
        started = time.perf_counter()
        found = 0
        while not reader.caught_up:
            found += len(reader.receive(None) or ())
        took_s = time.perf_counter() - started
    assert found == rows, f"{found} of {rows} events"
    return rows / took_s


# --- new events ----------------------------------------------------------------------------


class _NoRows:
    """A log that nobody has to replay."""

    def rows(self, *_: object, **__: object) -> None:
        raise AssertionError("the reader fell behind")


async def _push(folder: Path, rows: int) -> float:
    events = list(islice(walk_rows(), PUSH_ROWS))
    rows -= rows % PUSH_ROWS
    with ThreadPoolExecutor(1) as worker:
        # All of it may wait for the reader: frames come as fast as it takes them.
        feed = Feed(_NoRows(), end=0, reader_events_max=10 * rows, worker=worker, report=print)
        path = socket_path(folder)
        await feed.open(listen(path))
        reader = await _reader(path, 0, rows)
        started = SystemClock().monotonic()
        for first in range(1, rows, PUSH_ROWS):
            feed.publish(first, events)
            await asyncio.sleep(0)
        arrivals = await _arrivals(reader)
        feed.close()
    return rows / (arrivals[-1][1] - started)


async def _latency(folder: Path, seconds: float) -> tuple[float, float]:
    """p50 and p99, ms."""
    link = LogLink(folder, LogSettings())
    await link.open()
    acknowledged: list[tuple[int, float]] = []
    reader = await _reader(socket_path(folder), 0, int(seconds * LATENCY_ROWS_PER_S))
    await steady(link, seconds, LATENCY_ROWS_PER_S, lambda seq, at: acknowledged.append((seq, at)))
    arrivals = np.array(await _arrivals(reader))
    await link.close()
    seqs, times = np.array(acknowledged).T
    arrived = arrivals[np.searchsorted(arrivals[:, 0], seqs), 1]
    p50, p99 = np.percentile((arrived - times) * 1000, (50, 99)).tolist()
    return p50, p99


async def _reader(path: Path, after: int, events: int) -> Process:
    """Started, and live."""
    command = ("-m", "tests.bench.log_reader", str(path), str(after), str(events))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, limit=LINE_BYTES_MAX
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"live\n"
    return process


async def _arrivals(reader: Process) -> list[tuple[int, float]]:
    assert reader.stdout is not None
    arrivals = msgspec.json.decode(await reader.stdout.readline(), type=list[tuple[int, float]])
    await reader.wait()
    return arrivals
