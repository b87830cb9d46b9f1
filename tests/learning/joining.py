"""What a device gets that joins replicas which have learnt for a while: its first 1,000 steps.

python -m tests.learning.joining [--seeds N] [--reversed]

Four devices have made 8,192 steps each when a fifth joins, of which nothing was seen before. Its
mean return in its first 1,000 steps is held against the peers' in the same time.
"""

from __future__ import annotations

import hub.learner.one_thread  # noqa: F401 - before numpy and torch

# isort: split
import argparse
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from tests.learning.harness import Hub, cartpole
from tests.learning.sharing import AS_IT_COMES, CASES, Machine, Replica, step_on

if TYPE_CHECKING:
    from collections.abc import Sequence

BEFORE: Final = 8192
FIRST: Final = 1000
SEEDS: Final = 10


class Joined(Struct, frozen=True):
    """One seed."""

    seed: int
    joiner: float
    """Mean return of its episodes."""
    peers: float


def joined(seed: int, folder: Path, newcomer: Replica = AS_IT_COMES) -> Joined:
    """Let a fifth device join four."""
    case = CASES["alike"]
    late = msgspec.structs.replace(case, replicas=(*case.replicas, newcomer))
    flock = [Machine(number, late, seed) for number in range(5)]
    hub = Hub(cartpole("PPO", seed=100 * seed), folder)
    peers, joiner = flock[:4], flock[4]
    step_on(hub, peers, seed, until=lambda: min(peer.steps for peer in peers) >= BEFORE)
    for peer in peers:
        peer.returns.clear()
    step_on(hub, flock, seed + 1, until=lambda: joiner.steps >= FIRST)
    return Joined(
        seed,
        mean(joiner.returns or [joiner.returned]),
        mean([one for peer in peers for one in peer.returns] or [p.returned for p in peers]),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all seeds and print what they come to."""
    parser = argparse.ArgumentParser(prog="tests.learning.joining")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--reversed", action="store_true", help="its motor is")
    options = parser.parse_args(arguments)
    runs = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(joined(seed, Path(folder), Replica(reversed=options.reversed)))
        sys.stderr.write(f"{runs[-1]}\n")
    share = mean(run.joiner for run in runs) / mean(run.peers for run in runs)
    sys.stdout.write(f"{len(runs)} seeds: {share:.0%} of the peers' return\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
