"""Durable commits beside what the disk and DuckDB can do: appending rows in one process."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, Final, Self

import duckdb
import numpy as np
import pyarrow as pa
from msgspec import Struct

from hub.clock import SystemClock
from hub.log import columns
from hub.log.duck import sql
from hub.log.store import SETTLE_ROWS, DuckLog
from hub.settings import LogSettings
from tests.bench.log_rows import MEBIBYTE, walk_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

    from hub.words import Event

ROWS: Final = (1, 8, 64, 512, 4096)
PLAIN_BYTES_MAX: Final = 4 << 20
BULK_BATCH_ROWS: Final = 100_000
WAL_BYTES_MAX: Final = LogSettings().checkpoint_wal_mb * MEBIBYTE


class DurableCommit(Struct, frozen=True):
    """Commits of so many rows of 4 floats, one after the other; medians of the runs'."""

    rows: int
    commits: int
    """Of all runs together."""
    ratio: float
    """p50 to the p50 of a plain write + fdatasync of as many bytes, in the same run."""
    bulk_share: float
    """Of the rows a second that DuckDB takes in one insert."""
    p50_ms: float
    p99_ms: float
    plain_p50_ms: float
    journal_bytes: int
    """Of one commit."""
    rows_per_s: float
    """One commit after the other, checkpoints among them."""


class _Run(Struct):
    took_ms: list[float]
    plain_ms: list[float]
    written: list[int]
    """Bytes."""
    rows_per_s: float


def durable_commits(
    folder: Path, seconds: float, runs: int, bulk_rows_per_s: float
) -> Iterator[DurableCommit]:
    """`DuckLog.append` as the log process calls it, which settles and checkpoints beside it."""
    data = folder / "durable"
    data.mkdir()
    with (folder / "plain").open("wb", buffering=0) as plain, _Appending(data) as log:
        for rows in ROWS:
            events = list(islice(walk_rows(), rows))
            measured = [_run(log, plain, events, seconds) for _ in range(runs)]
            yield _cell(rows, measured, bulk_rows_per_s)


class _Appending:
    """A log, and the thread that takes its journal into its file."""

    def __init__(self, data: Path) -> None:
        self.log = DuckLog.open(data, LogSettings(), clock=SystemClock())
        self._beside = ThreadPoolExecutor(1)
        self._settling = self._beside.submit(self.log.settle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._beside.shutdown()
        self.log.close()

    def append(self, events: list[Event]) -> None:
        self.log.append(events)
        if self.log.unsettled >= SETTLE_ROWS and self._settling.done():
            self._settling = self._beside.submit(self.log.keep_up, WAL_BYTES_MAX)

    def settle(self) -> None:
        """All of it."""
        self._settling.result()
        self.log.checkpoint()


def _run(log: _Appending, plain: IO[bytes], events: list[Event], seconds: float) -> _Run:
    """A commit and a plain write in turn, so that both meet the same disk; then commits alone."""
    data = memoryview(os.urandom(PLAIN_BYTES_MAX))
    run = _Run([], [], [], 0.0)
    ends = time.perf_counter() + seconds / 2
    while time.perf_counter() < ends:
        before = log.log.journal_bytes
        started = time.perf_counter()
        log.append(events)
        run.took_ms.append((time.perf_counter() - started) * 1000)
        grown = log.log.journal_bytes - before
        run.written.append(grown if grown > 0 else log.log.journal_bytes)  # begun anew
        started = time.perf_counter()
        plain.write(data[: run.written[-1]])
        os.fdatasync(plain.fileno())
        run.plain_ms.append((time.perf_counter() - started) * 1000)
    log.settle()
    plain.truncate(0)
    plain.seek(0)
    run.rows_per_s = _rows_per_s(log, events, seconds / 2)
    return run


def _rows_per_s(log: _Appending, events: list[Event], seconds: float) -> float:
    """Until the last of them is in the file, with all its checkpoints."""
    started = time.perf_counter()
    commits = 0
    while time.perf_counter() < started + seconds:
        log.append(events)
        commits += 1
    log.settle()
    return commits * len(events) / (time.perf_counter() - started)


def _cell(rows: int, runs: list[_Run], bulk_rows_per_s: float) -> DurableCommit:
    rows_per_s = median(run.rows_per_s for run in runs)
    return DurableCommit(
        rows,
        sum(len(run.took_ms) for run in runs),
        ratio=median(median(run.took_ms) / median(run.plain_ms) for run in runs),
        bulk_share=rows_per_s / bulk_rows_per_s,
        p50_ms=median(median(run.took_ms) for run in runs),
        p99_ms=median(float(np.percentile(run.took_ms, 99)) for run in runs),
        plain_p50_ms=median(median(run.plain_ms) for run in runs),
        journal_bytes=int(median(median(run.written) for run in runs)),
        rows_per_s=rows_per_s,
    )


def bulk_rows_per_s(folder: Path, count: int, runs: int) -> float:
    """One INSERT of an Arrow table of the log's columns into a table of the same, with its commit.

    The table is made before the clock starts, and DuckDB writes it past its write-ahead log: no
    log of single events can be as quick.
    """
    events = walk_rows()
    batches = [
        columns.to_batch(list(islice(events, min(BULK_BATCH_ROWS, count - first))), first + 1)
        for first in range(0, count, BULK_BATCH_ROWS)
    ]
    table = pa.Table.from_batches([columns.stored(batch) for batch in batches])
    measured = []
    for _ in range(runs):
        path = folder / "bulk.duckdb"
        with duckdb.connect(str(path), config={"threads": 1}) as connection:
            connection.execute(sql("table"))
            connection.register("arrived", table)
            started = time.perf_counter()
            connection.execute("INSERT INTO log BY NAME SELECT * FROM arrived").fetchall()
            measured.append(count / (time.perf_counter() - started))
        path.unlink()
    return median(measured)
