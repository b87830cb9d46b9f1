"""`make bench`: the hub under load beside what the machine can do, into `bench/results.json`.

python -m tests.bench [--quick] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hub.clock import SystemClock
from tests.bench import report, yardsticks
from tests.bench.commit_bench import commits_beside_the_loop
from tests.bench.hub_bench import QUICK, Plan, cells
from tests.bench.processes import Spinner
from tests.bench.walk import walk

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure everything, print the table and write the results."""
    parser = argparse.ArgumentParser(prog="tests.bench", description="Benchmarks of the hub.")
    parser.add_argument("--quick", action="store_true", help="seconds, not minutes; no figures")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder of the results")
    options = parser.parse_args(arguments)
    # The disk of the data is the disk that is measured: not a RAM disk under /tmp.
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=options.out) as folder, Spinner():
        results = measure(QUICK if options.quick else Plan(), Path(folder))
    report.write(results, options.out)
    print(report.as_text(results))
    return 0


def measure(plan: Plan, folder: Path) -> report.Results:
    """All of it, one after the other; says on stderr what it is at."""
    machine = report.this_machine()
    steps = walk()
    _say("the machine: commits, inserts, echoes")
    commits = list(yardsticks.commits(folder, plan.seconds))
    insert_rows_per_s = yardsticks.insert_rows_per_s(folder)
    echoes = [
        *yardsticks.echoes(plan.devices, plan.seconds),
        *yardsticks.broker_echoes(plan.devices, plan.seconds, steps, folder),
    ]
    measured = []
    for cell in cells(folder, plan, steps):
        _say(f"{cell.protocol}, {cell.devices}, {cell.connection}: {cell.actions_per_s:.0f}/s")
        measured.append(cell)
    _say("commits beside a full loop")
    return report.Results(
        report.today(SystemClock()),
        machine,
        quick=plan is QUICK,
        commits=commits,
        insert_rows_per_s=insert_rows_per_s,
        echoes=echoes,
        cells=measured,
        hub_loads=list(commits_beside_the_loop(folder, plan.seconds, plan.hub_load_runs)),
    )


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
