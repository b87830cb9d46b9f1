"""`sheepfold rebuild`: a policy made again from the log, and held against it."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hub.clock import SystemClock
from hub.commands.log import INTERRUPTED
from hub.commands.operate import check_data, data_option, parameters_of, print_line
from hub.commands.progress import Progress
from hub.commands.train_again import Wanted, train_into
from hub.errors import OperatorFault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.learner.training.rebuild import Rebuilt
    from hub.log.replay import Replay


@click.command()
@click.argument("agent")
@click.option(
    "--at", type=click.IntRange(1), metavar="SEQ", help="As the log had it there. Default: now."
)
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep the policy's file here, a FILE.safetensors.",
)
@click.option("--as", "name", metavar="NAME", help="Train a new agent of this name instead.")
@click.option("--algorithm", help="Of the new agent. Default: the same.")
@click.option(
    "--set", "sets", multiple=True, metavar="NAME=VALUE", help="Parameter of the new agent."
)
@data_option
def rebuild(
    agent: str,
    at: int | None,
    target: Path | None,
    name: str | None,
    algorithm: str | None,
    sets: tuple[str, ...],
    data: Path,
) -> None:
    """Make a policy again from the log alone; prints its version and SHA-256.

    Exits with 0 when it is bit for bit the one in the log, with 1 when it is not.

    With --as, train a new agent from all that the devices of AGENT went through, under another
    algorithm or other parameters. It acts by that policy from its first step on.
    """
    check_data(data)
    if name is not None:
        if target is not None:
            raise click.UsageError(
                "--to is for a policy made again; export the new agent's instead"
            )
        _train_as(data, Wanted(agent, name, algorithm, parameters_of(sets), at))
        return
    if algorithm is not None or sets:
        raise click.UsageError(
            "--algorithm and --set are for a new agent: give it a name with --as"
        )
    try:
        with _log(data, at) as log, tempfile.TemporaryDirectory(prefix="sheepfold-") as folder:
            rebuilt = _rebuild(log, agent, at, Path(folder), data)
            if target is not None and rebuilt.sha256 is not None:
                _keep(Path(folder), agent, rebuilt.sha256, target)
    except KeyboardInterrupt:
        click.echo("sheepfold: rebuild cancelled; nothing was changed", err=True)
        sys.exit(INTERRUPTED)
    print_line(rebuilt)
    click.echo(f"sheepfold: {_verdict(rebuilt)}", err=True)
    sys.exit(0 if rebuilt.equal else 1)


def _train_as(data: Path, wanted: Wanted) -> None:
    try:
        with _log(data, wanted.at) as log:
            print_line(train_into(data, log, wanted))
    except KeyboardInterrupt:
        click.echo("sheepfold: rebuild cancelled; there is no new agent", err=True)
        sys.exit(INTERRUPTED)


def _rebuild(log: Replay, agent: str, at: int | None, folder: Path, data: Path) -> Rebuilt:
    from hub.learner.training.rebuild import rebuild
    from hub.learner.training.train import KINDS
    from hub.learner.versions import line

    found = line.line_of(agent, log.events(agent, line.KINDS, after=0, upto=at))
    clock = SystemClock()
    count = sum(1 for _ in log.events(agent, KINDS, after=found.begins, upto=found.wanted.position))
    events = log.events(agent, KINDS, after=found.begins, upto=found.wanted.seq)
    with Progress(count, clock) as progress:
        return rebuild(found, events, folder, data, clock, told=progress.at)


@contextlib.contextmanager
def _log(data: Path, at: int | None) -> Iterator[Replay]:
    """The log as it can be read now.

    Raises:
        OperatorFault: `at` is beyond its end.
    """
    # First, for numpy and torch ask how many threads they may have when they are loaded, and the
    # files of a log load numpy: with two, a product may have other bits.
    import hub.learner.one_thread  # noqa: F401 - before numpy
    from hub.log import replay

    if replay.is_running(data):
        _check_reaches(data, at)
        yield replay.FeedReplay(data)
        return
    from hub.processes import claimed
    from hub.settings import load

    with claimed(data), replay.from_files(data, load().log) as log:
        _check_reaches(data, at)
        yield log


def _check_reaches(data: Path, at: int | None) -> None:
    """Once it is open, the log's mark is where it ends."""
    from hub.log.acknowledged import Acknowledged

    mark = Acknowledged.read(data)
    if at is not None and mark is not None and at > mark.seq:
        raise OperatorFault(f"--at {at} is beyond the log: its last seq is {mark.seq}")


def _keep(folder: Path, agent: str, sha256: str, target: Path) -> None:
    from hub.learner.messages import policy_path
    from hub.words import AgentName

    try:
        shutil.copyfile(policy_path(folder, AgentName(agent), sha256), target)
    except OSError as error:
        raise OperatorFault(f"{target} can't be written: {error.strerror}") from error


def _verdict(rebuilt: Rebuilt) -> str:
    if rebuilt.equal:
        return (
            f"version {rebuilt.version} of {rebuilt.agent!r} is the one in the log, bit for bit, "
            f"and so are the {rebuilt.versions - 1} before it"
        )
    came = "nothing" if rebuilt.sha256 is None else f"{rebuilt.sha256[:12]}…"
    return (
        f"version {rebuilt.version} of {rebuilt.agent!r} is {rebuilt.logged[:12]}… in the log, but "
        f"{came} came of its events. Was it made by another build of Sheepfold or torch, or on "
        "another kind of processor?"
    )
