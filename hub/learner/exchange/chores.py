"""What is done to policy files in a process of its own: the hub loads neither torch nor numpy.

await carry_out(Export(source, agent, target))         # a file for Stable-Baselines3, say
removed = await carry_out(Prune(data, name, pinned))   # older versions' files

python -m hub.learner.exchange.chores < job   # JSON on stdin, a number on stdout
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from hub.clock import SystemClock
from hub.errors import OperatorFault, SheepfoldError
from hub.learner.messages import policy_path
from hub.words import Agent, AgentName

CHORE_S_MAX: Final = 120.0
NICE: Final = 10
KEPT: Final = 2
"""Files written last, which may be on their way to an actor or into the log."""
WRITING_US_MAX: Final = 60_000_000
"""From a version's first network on disk to its own file."""
STEM: Final = "x"


class Export(Struct, frozen=True, tag="export"):
    """Write a version to a file, as `sheepfold policy export`."""

    source: str
    agent: Agent
    target: str
    """Its suffix says in which form."""
    device: str | None = None


class Prune(Struct, frozen=True, tag="prune"):
    """Remove the files of an agent's versions that nobody needs."""

    data: str
    agent: AgentName
    pinned: list[str]
    """SHA-256 of those that are needed."""


Job = Export | Prune


async def carry_out(job: Job, limit_s: float = CHORE_S_MAX) -> int:
    """Have it done; how many files were written, or removed.

    Raises:
        OperatorFault: it was refused, or took too long.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "hub.learner.exchange.chores",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(limit_s):
            out, said = await process.communicate(msgspec.json.encode(job))
    except TimeoutError as error:
        raise OperatorFault(f"it took longer than {limit_s:g} s; try again") from error
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode == 0:
        return int(out)
    lines = said.decode(errors="replace").strip().splitlines()
    raise OperatorFault(lines[-1] if lines else f"it ended with {process.returncode}")


def main() -> None:
    """Carry out the job on stdin."""
    os.nice(NICE)
    job: Job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    try:
        done = _export(job) if isinstance(job, Export) else _prune(job)
    except SheepfoldError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    sys.stdout.write(f"{done}\n")


def _export(job: Export) -> int:
    from hub.learner.exchange.exporting import export_policy

    export_policy(Path(job.source), job.agent, Path(job.target), job.device)
    return 1


def _prune(job: Prune) -> int:
    from hub.learner.versions.policy import prune

    data = Path(job.data)
    home = policy_path(data, job.agent, STEM).parent
    before = len(_files(home))
    since_us = SystemClock().now_us() - WRITING_US_MAX
    prune(data, job.agent, kept=KEPT, pinned=job.pinned, writing_since_us=since_us)
    return before - len(_files(home))


def _files(home: Path) -> list[Path]:
    return list(home.glob(policy_path(Path(), AgentName(STEM), "*").name))


if __name__ == "__main__":
    main()
