"""The learner's half of the bench, in a process of its own: torch asks for threads when it loads.

python -m tests.bench.learner_bench FOLDER [--quick]       figures as JSON on stdout
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.bench.learner_figures import ActCost, Lateness, Refolded, Throughput


class LearnerFigures(Struct, frozen=True):
    """What was measured."""

    acts: list[ActCost]
    lateness: list[Lateness]
    throughputs: list[Throughput]
    refolded: list[Refolded]


def measure_learner(folder: Path, *, quick: bool) -> LearnerFigures:
    """All of it, in another process; new folders are made in `folder`."""
    command = [sys.executable, "-m", "tests.bench.learner_bench", str(folder)]
    done = subprocess.run(command + ["--quick"] * quick, stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=LearnerFigures)


def _measure(folder: Path, *, quick: bool) -> LearnerFigures:
    import hub.learner.one_thread  # noqa: F401 - before numpy and torch
    from tests.bench import learner_act, learner_train

    return LearnerFigures(
        acts=list(learner_act.act_costs(folder, rounds=1 if quick else 8)),
        lateness=list(learner_act.lateness(folder, seconds=0.2 if quick else 10.0, quick=quick)),
        throughputs=list(learner_train.throughputs(folder, quick=quick)),
        refolded=list(learner_train.refolded(folder, steps=600 if quick else 12_000, quick=quick)),
    )


if __name__ == "__main__":
    figures = _measure(Path(sys.argv[1]), quick="--quick" in sys.argv)
    sys.stdout.buffer.write(msgspec.json.encode(figures))
