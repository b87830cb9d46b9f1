"""A long log: what it weighs, how soon it is open, and what an analyst costs the devices."""

from __future__ import annotations

import time
from contextlib import closing
from statistics import median
from typing import TYPE_CHECKING

from msgspec import Struct

from hub.clock import SystemClock
from hub.log.segments.manifest import FOLDER, Manifest
from hub.log.segments.seal import seal
from tests.bench.log_analyst import Beside, Question, analyst
from tests.bench.log_read import DATABASE
from tests.bench.log_rows import fill
from tests.log.linked import LinkedLog

if TYPE_CHECKING:
    from pathlib import Path


class Long(Struct, frozen=True):
    """One log of so many events of 64 devices of 8 agents."""

    events: int
    fill_rows_per_s: float
    """Made, committed by 4,096 and checkpointed."""
    hot_bytes_per_event: float
    segment_bytes_per_event: float
    seal_rows_per_s: float
    open_s: float
    """From the start of the log process until it takes commits."""
    recover_s: float
    """Until the hub knows how to go on."""
    questions: list[Question]
    beside: Beside


def long(folder: Path, *, events: int, seconds: float, runs: int) -> Long:
    """Fill it, open it, seal it, ask it.

    Args:
        folder: for the log.
        events: in it.
        seconds: of each stream beside the analyst.
        runs: of what is short.
    """
    data = folder / "long"
    started = time.perf_counter()
    fill(data, events)
    filled_s = time.perf_counter() - started
    hot_bytes = (data / DATABASE).stat().st_size
    opened = [_open(data) for _ in range(runs)]
    seal_s = _seal(data, events)
    sealed = Manifest.read(data / FOLDER).retained
    questions, beside = analyst(data, seconds, runs)
    return Long(
        events,
        fill_rows_per_s=events / filled_s,
        hot_bytes_per_event=hot_bytes / events,
        segment_bytes_per_event=sum(segment.bytes for segment in sealed) / events,
        seal_rows_per_s=events / seal_s,
        open_s=median(open_s for open_s, _ in opened),
        recover_s=median(recover_s for _, recover_s in opened),
        questions=questions,
        beside=beside,
    )


def _open(data: Path) -> tuple[float, float]:
    started = time.perf_counter()
    log = LinkedLog(data).open()
    opened = time.perf_counter()
    log.recover()
    recovered = time.perf_counter()
    log.close()
    return opened - started, recovered - opened


def _seal(data: Path, to: int) -> float:
    log = LinkedLog(data).open()
    with closing(log):
        started = time.perf_counter()
        list(seal(data, to, log.hub, clock=SystemClock()))
        return time.perf_counter() - started
