"""The log under load: all of it, or the parts that are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

from msgspec import Struct
from msgspec.structs import replace

from tests.bench.commit_bench import HubLoad, commits_beside_the_loop
from tests.bench.log_commit import DurableCommit, bulk_rows_per_s, durable_commits
from tests.bench.log_load import Steady
from tests.bench.log_long import Long, long
from tests.bench.log_read import Reading, reading
from tests.bench.log_stall import stall

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

Part = Literal["commit", "stall", "read", "long"]
PARTS: Final = get_args(Part)


class LogPlan(Struct, frozen=True):
    """How long and how often."""

    runs: int = 3
    commit_s: float = 3.0
    bulk_rows: int = 1_000_000
    stall_s: float = 60.0
    hub_load_s: float = 4.0
    hub_load_runs: int = 7
    """More of them: a 99th percentile of a second is a few commits."""
    read_rows: int = 1_000_000
    push_rows: int = 1_000_000
    latency_s: float = 5.0
    long_events: int = 10_000_000
    beside_s: float = 10.0


QUICK_LOG: Final = LogPlan(
    runs=1, commit_s=0.05, bulk_rows=5_000, stall_s=0.3, hub_load_s=0.2, hub_load_runs=1,
    read_rows=20_000, push_rows=20_000, latency_s=0.3, long_events=20_000, beside_s=0.3,
)  # fmt: skip


class LogFigures(Struct, frozen=True):
    """What was measured; None = that part was not asked for."""

    bulk_rows_per_s: float | None = None
    """What DuckDB takes from Arrow in one insert."""
    commits: list[DurableCommit] | None = None
    stall: Steady | None = None
    hub_loads: list[HubLoad] | None = None
    reading: Reading | None = None
    long: Long | None = None


def measure_log(
    plan: LogPlan, folder: Path, parts: Collection[Part], say: Callable[[str], None]
) -> LogFigures:
    """One part after the other.

    Args:
        plan: how long and how often.
        folder: on the disk that is measured; new folders are made in it.
        parts: of them.
        say: told what is being measured.
    """
    figures = LogFigures()
    if "commit" in parts:
        say("log: durable commits")
        bulk = bulk_rows_per_s(folder, plan.bulk_rows, plan.runs)
        commits = list(durable_commits(folder, plan.commit_s, plan.runs, bulk))
        figures = replace(figures, bulk_rows_per_s=bulk, commits=commits)
    if "stall" in parts:
        say(f"log: {plan.stall_s:g} s of steady rows, then commits beside a full loop")
        figures = replace(
            figures,
            stall=stall(folder, plan.stall_s),
            hub_loads=list(commits_beside_the_loop(folder, plan.hub_load_s, plan.hub_load_runs)),
        )
    if "read" in parts:
        say("log: readers")
        figures = replace(
            figures,
            reading=reading(
                folder,
                rows=plan.read_rows,
                push_rows=plan.push_rows,
                seconds=plan.latency_s,
                runs=plan.runs,
            ),
        )
    if "long" in parts:
        say(f"log: {plan.long_events:,} events")
        figures = replace(
            figures,
            long=long(folder, events=plan.long_events, seconds=plan.beside_s, runs=plan.runs),
        )
    return figures
