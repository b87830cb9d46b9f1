"""`make bench`: the hub and its log under load beside what the machine can do, into `bench/`.

python -m tests.bench [--quick] [--out FOLDER]          all: results.json, results.md
python -m tests.bench agents                            many agents alone: agents.json, agents.md
python -m tests.bench log [--only PART …] [--events N]  the log alone: log.json, log.md
python -m tests.bench learner                           actors, trainers: learner.json, learner.md
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hub.clock import SystemClock
from tests.bench import report, yardsticks
from tests.bench.agents_bench import QUICK_AGENTS, AgentsPlan, measure_agents
from tests.bench.hub_bench import QUICK, Plan, cells
from tests.bench.learner_bench import LearnerFigures, measure_learner
from tests.bench.log_bench import PARTS, QUICK_LOG, LogPlan, measure_log
from tests.bench.processes import Spinner
from tests.bench.walk import walk

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables and write the results."""
    options = _options(arguments)
    log_plan = QUICK_LOG if options.quick else LogPlan()
    if options.events is not None:
        log_plan = replace(log_plan, long_events=options.events)
    if options.stall_s is not None:
        log_plan = replace(log_plan, stall_s=options.stall_s)
    # The disk of the data is the disk that is measured: not a RAM disk under /tmp.
    options.out.mkdir(parents=True, exist_ok=True)
    results: report.Results | report.AgentsResults | report.LogResults | report.LearnerResults
    agents_plan = QUICK_AGENTS if options.quick else AgentsPlan()
    with tempfile.TemporaryDirectory(prefix="run-", dir=options.out) as folder, Spinner():
        if options.what == "log":
            results = report.LogResults(
                report.today(SystemClock()),
                report.this_machine(),
                quick=options.quick,
                log=measure_log(log_plan, Path(folder), options.only, _say),
            )
        elif options.what == "agents":
            results = report.AgentsResults(
                report.today(SystemClock()),
                report.this_machine(),
                quick=options.quick,
                agents=measure_agents(Path(folder) / "agents", agents_plan, walk()),
            )
        elif options.what == "learner":
            results = report.LearnerResults(
                report.today(SystemClock()),
                report.this_machine(),
                quick=options.quick,
                learner=measure_learner(Path(folder), quick=options.quick),
            )
        else:
            plan = QUICK if options.quick else Plan()
            results = measure(plan, agents_plan, log_plan, Path(folder))
    print(report.write(results, options.out))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.bench", description="Benchmarks of the hub.")
    parser.add_argument(
        "what", nargs="?", choices=["all", "agents", "log", "learner"], default="all"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts of the log")
    parser.add_argument("--quick", action="store_true", help="seconds, not minutes; no figures")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder of the results")
    parser.add_argument("--events", type=int, help="of the long log, 10 million without it")
    parser.add_argument("--stall-s", type=float, help="of the steady stream, 60 s without it")
    return parser.parse_args(arguments)


def measure(plan: Plan, agents_plan: AgentsPlan, log_plan: LogPlan, folder: Path) -> report.Results:
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
    _say("many agents")
    return report.Results(
        report.today(SystemClock()),
        machine,
        quick=plan is QUICK,
        commits=commits,
        insert_rows_per_s=insert_rows_per_s,
        echoes=echoes,
        cells=measured,
        agents=measure_agents(folder / "agents", agents_plan, steps),
        log=measure_log(log_plan, folder, PARTS, _say),
        learner=_learner(folder, quick=plan is QUICK),
    )


def _learner(folder: Path, *, quick: bool) -> LearnerFigures:
    _say("learners: an action, a trainer, a rebuild")
    return measure_learner(folder, quick=quick)


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
