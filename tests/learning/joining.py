"""What a device gets that joins replicas which have learnt for a while: its first 1,000 steps.

python -m tests.learning.joining [--minutes M] [--seeds N] [--only CASE …] [--out DIR]

Four devices have made 8,192 steps each when a fifth joins, of which nothing was seen before. Its
mean return in its first 1,000 steps is held against the peers' in the same time.

Runs are kept in `joining.json` and never made twice; the table goes to `joining.md`. Runs of other
parameters are left out.
"""

from __future__ import annotations

import hub.learner.one_thread  # noqa: F401 - before numpy and torch

# isort: split
import sys
import tempfile
from itertools import product
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from tests.bench.table import table
from tests.learning.book import Runs, in_time, long_run
from tests.learning.harness import Hub
from tests.learning.sharing import (
    AS_IT_COMES,
    CASES,
    CONFIDENCE,
    RESAMPLES,
    Machine,
    Mode,
    Replica,
    agent_of,
    parameters_of,
    step_on,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BEFORE: Final = 8192
FIRST: Final = 1000
SEEDS: Final = 10
NEWCOMERS: Final = {"alike": AS_IT_COMES, "reversed": Replica(reversed=True)}
WAYS: Final[tuple[Mode, ...]] = ("lone", "guarded", "advice", "random advice")
"""Of sharing; `guarded` is what an agent does that is told nothing else."""


class Joined(Struct, frozen=True):
    """One seed."""

    newcomer: str
    mode: Mode
    seed: int
    joiner: float
    """Mean return of its episodes."""
    peers: float
    parameters: str


def joined(newcomer: str, mode: Mode, seed: int, folder: Path) -> Joined:
    """Let a fifth device join four."""
    case = CASES["alike"]
    late = msgspec.structs.replace(case, replicas=(*case.replicas, NEWCOMERS[newcomer]))
    flock = [Machine(number, late, seed) for number in range(5)]
    # Lone learners are a flock whose replicas share nothing: each learns as it would alone.
    hub = Hub(agent_of(case, mode, seed=100 * seed), folder)
    peers, joiner = flock[:4], flock[4]
    step_on(hub, peers, seed, until=lambda: min(peer.steps for peer in peers) >= BEFORE)
    for peer in peers:
        peer.returns.clear()
    step_on(hub, flock, seed + 1, until=lambda: joiner.steps >= FIRST)
    return Joined(
        newcomer,
        mode,
        seed,
        mean(joiner.returns or [joiner.returned]),
        mean([one for peer in peers for one in peer.returns] or [p.returned for p in peers]),
        parameters_of("alike", mode),
    )


class Share(NamedTuple):
    """What a newcomer gets of its peers' return, over all seeds."""

    seeds: int
    joiner: float
    peers: float
    share: float
    bound: float
    """The share is above it, at 90 %: a bootstrap's over seeds."""


def joined_share(runs: Sequence[Joined], newcomer: str, mode: Mode) -> Share | None:
    """None without runs."""
    some = [run for run in runs if (run.newcomer, run.mode) == (newcomer, mode)]
    if not some:
        return None
    ours = np.array([run.joiner for run in some])
    theirs = np.array([run.peers for run in some])
    picked = np.random.default_rng(0).integers(len(some), size=(RESAMPLES, len(some)))
    shares = ours[picked].mean(axis=1) / theirs[picked].mean(axis=1)
    return Share(
        len(some),
        float(ours.mean()),
        float(theirs.mean()),
        float(ours.mean() / theirs.mean()),
        float(np.quantile(shares, 1 - CONFIDENCE)),
    )


def report(runs: Sequence[Joined]) -> str:
    """A table of what is known."""
    rows = [
        [
            newcomer,
            mode,
            str(one.seeds),
            f"{one.joiner:.0f}",
            f"{one.peers:.0f}",
            f"{one.share:.0%}",
            f"{one.bound:.0%}",
        ]
        for newcomer, mode in product(NEWCOMERS, WAYS)
        if (one := joined_share(runs, newcomer, mode)) is not None
    ]
    heads = ["newcomer", "", "seeds", "its return", "the peers'", "share", "90 % bound"]
    return "\n".join(table(heads, rows)) if rows else "too few runs for a table"


def wanting(
    made: Sequence[Joined], newcomers: Sequence[str], seeds: int
) -> Iterator[tuple[str, Mode, int]]:
    """What is still to be run: one seed of everything after the other."""
    known = {(run.newcomer, run.mode, run.seed) for run in made}
    for seed in range(seeds):
        for newcomer, mode in product(newcomers, WAYS):
            if (newcomer, mode, seed) not in known:
                yield newcomer, mode, seed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is wanting until the time is over; print and write the table."""
    options = long_run("tests.learning.joining", list(NEWCOMERS), seeds=SEEDS).parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    now = {mode: parameters_of("alike", mode) for mode in WAYS}
    runs = Runs(options.out / "joining.json", Joined, lambda it: now.get(it.mode) == it.parameters)
    for newcomer, mode, seed in in_time(
        wanting(tuple(runs.made), options.only, options.seeds), options.minutes
    ):
        with tempfile.TemporaryDirectory() as folder:
            runs.add(joined(newcomer, mode, seed, Path(folder)))
        sys.stderr.write(f"{runs.made[-1]}\n")
    text = report(runs.made)
    (options.out / "joining.md").write_text(f"# What a device gets that joins late\n\n{text}\n")
    sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
