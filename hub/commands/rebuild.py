"""`sheepfold rebuild`: a policy made again from the log, and held against it."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hub.clock import SystemClock
from hub.commands.log import INTERRUPTED
from hub.commands.operate import check_data, data_option, print_line
from hub.errors import OperatorFault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.clock import Clock
    from hub.learner.line import Line
    from hub.learner.rebuild import Rebuilt
    from hub.log.replay import Replay

PROGRESS_S: Final = 1.0


@click.command()
@click.argument("agent")
@click.option("--at", type=int, metavar="SEQ", help="As the log had it there. Default: now.")
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep the policy's file here, a FILE.safetensors.",
)
@data_option
def rebuild(agent: str, at: int | None, target: Path | None, data: Path) -> None:
    """Make a policy again from the log alone; prints its version and SHA-256.

    Exits with 0 when it is bit for bit the one in the log, with 1 when it is not.
    """
    check_data(data)
    try:
        with _log(data) as log, tempfile.TemporaryDirectory(prefix="sheepfold-") as folder:
            rebuilt = _rebuild(log, agent, at, Path(folder), data)
            if target is not None and rebuilt.sha256 is not None:
                _keep(Path(folder), agent, rebuilt.sha256, target)
    except KeyboardInterrupt:
        click.echo("sheepfold: rebuild cancelled; nothing was changed", err=True)
        sys.exit(INTERRUPTED)
    print_line(rebuilt)
    click.echo(f"sheepfold: {_verdict(rebuilt)}", err=True)
    sys.exit(0 if rebuilt.equal else 1)


def _rebuild(log: Replay, agent: str, at: int | None, folder: Path, data: Path) -> Rebuilt:
    # First, for numpy and torch ask how many threads they may have when they are loaded.
    import hub.learner.one_thread  # noqa: F401 - before torch
    from hub.learner import line, train
    from hub.learner import rebuild as learner

    found = line.line_of(agent, log.events(agent, line.KINDS, after=0, upto=at))
    clock = SystemClock()
    events = log.events(agent, train.KINDS, after=found.begins, upto=found.wanted.seq)
    return learner.rebuild(found, events, folder, data, clock, told=Progress(found, clock).at)


class Progress:
    """Says once a second how far it is, on stderr."""

    def __init__(self, line: Line, clock: Clock) -> None:
        self._first = line.begins
        self._last = line.wanted.position
        self._clock = clock
        self._began = self._said = clock.monotonic()
        self._events = 0

    def at(self, seq: int) -> None:
        """An event comes next."""
        self._events += 1
        now = self._clock.monotonic()
        if now - self._said < PROGRESS_S:
            return
        self._said = now
        share = (seq - self._first) / max(1, self._last - self._first)
        spent = now - self._began
        click.echo(
            f"rebuild: seq {seq} of {self._last}, {self._events / spent:.0f} events/s, "
            f"{spent * (1 / max(share, 1e-9) - 1):.0f} s left",
            err=True,
        )


@contextlib.contextmanager
def _log(data: Path) -> Iterator[Replay]:
    """The log as it can be read now."""
    from hub.log import replay

    if replay.is_running(data):
        yield replay.FeedReplay(data)
        return
    from hub.processes import claimed
    from hub.settings import load

    with claimed(data), replay.from_files(data, load().log) as log:
        yield log


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
