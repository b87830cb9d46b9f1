"""A process that makes a policy version of a file from outside, and can be ended at any moment.

    python -m hub.learner.exchange.importing < job   # JSON on stdin and stdout, refusals on stderr

What the file says is read without running any of it (`checkpoint.py`); should a reader be wrong
nevertheless, it is wrong here, with bounded memory and time, and not in the hub. The weights are
held against a network made from the agent's own declaration, and written as that network's.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from hub.errors import HubFault, OperatorFault, SheepfoldError
from hub.learner.algorithms.libraries import ALGORITHMS
from hub.spaces import Box, parse
from hub.words import Agent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.learner.algorithms.row import Parameters
    from hub.learner.exchange.checkpoint import Checkpoint
    from hub.learner.interface import Learner
    from hub.learner.sb3.library import Library
    from hub.learner.versions.policy import Tensors

MEMORY_BYTES_MIN: Final = 6 << 30
"""Of addresses: torch alone maps 4 GiB of libraries."""
MEMORY_TIMES: Final = 8
CPU_S_MAX: Final = 120
DIFFERENCES_SHOWN: Final = 3
NUMBER: Final = re.compile(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?")
BOUNDS_TEXT_MAX: Final = 10_000
BOUNDS_TOLERANCE: Final = 1e-3
"""SB3 writes bounds with a few digits."""


class Job(Struct, frozen=True):
    """What is to be imported, and for whom."""

    agent: Agent
    file: str
    folder: str
    bytes_max: int


class Imported(Struct, frozen=True):
    """The version's file is on disk."""

    sha256: str
    tensors: int
    numbers: int


def import_policy(job: Job) -> Imported:
    """Have a process of its own make the version.

    Raises:
        OperatorFault: the file was refused, or was too much for the process.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "hub.learner.exchange.importing"],
            input=msgspec.json.encode(job),
            capture_output=True,
            timeout=2 * CPU_S_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise OperatorFault(f"{job.file} could not be read in {2 * CPU_S_MAX} s") from error
    return _outcome(job, done.returncode, done.stdout, done.stderr)


async def import_meanwhile(job: Job) -> Imported:
    """The same, while the loop goes on; the process ends with the task.

    Raises:
        OperatorFault: as `import_policy`.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hub.learner.exchange.importing", stdin=pipe, stdout=pipe, stderr=pipe
    )
    try:
        async with asyncio.timeout(2 * CPU_S_MAX):
            out, said = await process.communicate(msgspec.json.encode(job))
    except TimeoutError as error:
        raise OperatorFault(f"{job.file} could not be read in {2 * CPU_S_MAX} s") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode is not None, "it has said all"
    return _outcome(job, process.returncode, out, said)


def _outcome(job: Job, code: int, out: bytes, said: bytes) -> Imported:
    if code == 0:
        return msgspec.json.decode(out, type=Imported)
    lines = said.decode(errors="replace").strip().splitlines()
    if code == 1 and lines:
        raise OperatorFault(lines[-1])
    raise OperatorFault(f"{job.file} could not be read: its reader ended with {code}")


def main() -> None:
    """Carry out the job on stdin."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    memory = max(MEMORY_BYTES_MIN, MEMORY_TIMES * job.bytes_max)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S_MAX, CPU_S_MAX))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * job.bytes_max, 2 * job.bytes_max))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        imported = make_version(job)
    except SheepfoldError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    except MemoryError:
        sys.stderr.write(f"{job.file} takes more than {memory} bytes of memory to read\n")
        sys.exit(1)
    sys.stdout.buffer.write(msgspec.json.encode(imported))


def make_version(job: Job) -> Imported:
    """Write the version's file.

    Raises:
        OperatorFault: the file is no policy, or not one for this agent.
        OSError: it can't be written.
    """
    import hub.learner.one_thread  # noqa: F401 - before torch
    from hub.learner.algorithms.parameters import read_parameters
    from hub.learner.exchange.checkpoint import read_checkpoint
    from hub.learner.sb3.library import Library
    from hub.learner.sb3.normalise import take_in
    from hub.learner.versions.outline import check_fits

    checkpoint = read_checkpoint(Path(job.file), bytes_max=job.bytes_max)
    parameters = read_parameters(job.agent)
    if checkpoint.outline is not None:
        check_fits(checkpoint.outline, job.agent)
    elif job.agent.algorithm not in ALGORITHMS:
        raise OperatorFault(
            f"{job.file} is of Stable-Baselines3, which has no {job.agent.algorithm}"
        )
    else:
        _check_said(checkpoint.said, job.agent, parameters)
    if job.agent.algorithm not in ALGORITHMS:
        return _from_elsewhere(job, checkpoint)
    learner = Library(job.agent, parameters)
    _load(learner, checkpoint, job.agent)
    take_in(learner.inner.normal, checkpoint.statistics, job.file)
    return _written(job, learner, checkpoint.weights)


def _from_elsewhere(job: Job, checkpoint: Checkpoint) -> Imported:
    """A version of an algorithm that is in no library: its own tensors in a new learner."""
    from hub.learner.interface import check_alike
    from hub.learner.open import open_one

    learner = open_one(job.agent)
    ours, theirs = learner.tensors(), checkpoint.weights
    try:
        check_alike(ours, theirs)
    except HubFault as error:
        raise OperatorFault(f"the policy does not fit agent {job.agent.name!r}: {error}") from error
    theirs = {name: tensor for name, tensor in theirs.items() if name in ours}
    learner.restore(ours | theirs)
    return _written(job, learner, theirs)


def _written(job: Job, learner: Learner, taken: Tensors) -> Imported:
    """The learner as a version, now that the tensors of the file are in it."""
    from hub.learner.versions.policy import IMPORTED, write_policy

    learner.settle()
    card = learner.card(job.agent, version=IMPORTED, parent=None, position=0)
    sha256 = write_policy(Path(job.folder), job.agent.name, card, learner.tensors())
    return Imported(sha256, len(taken), sum(tensor.size for tensor in taken.values()))


def _load(learner: Library, checkpoint: Checkpoint, agent: Agent) -> None:
    """Give the model the file's weights, when it has a place for each and needs no other.

    Weights that see no device are taken by a network that does: to it, all are alike at first.
    """
    import torch

    from hub.learner.sb3.snapshot import loose_tensors, with_second_names

    model = learner.inner.model
    had = 0 if checkpoint.outline is None else checkpoint.outline.device_slots
    try:
        found = learner.fitted(checkpoint.weights, had=had)
    except (IndexError, TypeError, ValueError) as error:
        raise OperatorFault(
            f"the policy does not fit agent {agent.name!r}: it says that it tells {had} devices "
            f"apart, and its tensors are not of so many ({error})"
        ) from error
    weights = with_second_names(
        model, {name: torch.from_numpy(t.copy()) for name, t in found.items()}
    )
    wanted = {name: list(tensor.shape) for name, tensor in model.policy.state_dict().items()}
    given = {name: list(tensor.shape) for name, tensor in weights.items()}
    differs = [
        f"has {name} of {given[name]} instead of {wanted[name]}"
        for name in wanted
        if name in given and given[name] != wanted[name]
    ]
    differs += [f"lacks {name} {wanted[name]}" for name in wanted if name not in given]
    differs += [f"has {name} {given[name]}" for name in given if name not in wanted]
    if differs:
        more = len(differs) - DIFFERENCES_SHOWN
        shown = ", ".join(differs[:DIFFERENCES_SHOWN]) + (f" and {more} more" if more > 0 else "")
        raise OperatorFault(
            f"the policy does not fit agent {agent.name!r} ({agent.algorithm}, observations "
            f"{agent.observations}, actions {agent.actions}): it {shown}"
        )
    model.policy.load_state_dict(weights)
    if learner.identity is not None:
        learner.identity.disown()
    with torch.no_grad():
        for name, tensor in loose_tensors(model).items():
            other = checkpoint.others.get(name)
            if other is not None and list(other.shape) == list(tensor.shape):
                tensor.copy_(torch.from_numpy(other.copy()))


def _check_said(said: dict[str, Any], agent: Agent, parameters: Parameters) -> None:
    """Refuse what tensors don't show: another activation, or a Box that means other numbers."""
    differs = []
    kwargs = said.get("policy_kwargs")
    named = kwargs.get("activation_fn") if isinstance(kwargs, dict) else None
    # Where nothing is said, policies have these in both libraries.
    activation = "tanh" if ALGORITHMS[agent.algorithm].family == "on_policy" else "relu"
    if named is not None:
        activation = re.sub(r"\W", "", str(named).rpartition(".")[2]).lower()
    if activation.replace("_", "") != parameters.activation_fn.replace("_", ""):
        differs.append(f"activation_fn {activation!r} instead of {parameters.activation_fn!r}")
    differs += _other_bounds(said.get("action_space"), agent)
    if differs:
        raise OperatorFault(
            f"the policy does not fit agent {agent.name!r}: it has {', '.join(differs)}"
        )


def _other_bounds(space: object, agent: Agent) -> list[str]:
    """How SB3's action space differs; it writes bounds as text, with a few digits."""
    actions = parse(agent.actions)
    if not isinstance(actions, Box) or not isinstance(space, dict):
        return []
    return [
        f"actions' {name} {str(space[name])[:80]} instead of {list(bounds)}"
        for name, bounds in (("low", actions.low), ("high", actions.high))
        if _are_others(str(space.get(name))[:BOUNDS_TEXT_MAX], bounds)
    ]


def _are_others(text: str, bounds: Sequence[float]) -> bool:
    """False too when the text leaves some of the numbers out, as numpy does when there are many."""
    numbers = [float(number) for number in NUMBER.findall(text)]
    return len(numbers) == len(bounds) and any(
        abs(number - bound) > BOUNDS_TOLERANCE * max(1.0, abs(bound))
        for number, bound in zip(numbers, bounds, strict=True)
    )


if __name__ == "__main__":
    main()
