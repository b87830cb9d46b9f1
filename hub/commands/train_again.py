"""`sheepfold rebuild --as`: a new agent with a policy trained from another agent's log.

    declared ─▶ events of the log, folded in a temporary folder ─▶ policy's file ─▶ one act

Until the act nothing has changed, and the act is the agent, its key and its policy together.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct, structs

from hub import control
from hub.ask import ask
from hub.clock import SystemClock
from hub.commands.operate import private
from hub.commands.progress import Progress
from hub.errors import OperatorFault
from hub.facts import Origin
from hub.learner.messages import policy_path
from hub.registry.acts import NAME, Chosen, NewAgent
from hub.words import Agent, AgentName, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.log.replay import Replay

KINDS: Final = (Kind.OBSERVATION, Kind.ACTION)


class Wanted(Struct, frozen=True):
    """What was asked for."""

    agent: str
    """Whose log."""
    name: str
    """Of the new one."""
    algorithm: str | None
    """None = the same."""
    parameters: dict[str, str]
    at: int | None
    """Seq of the last event that may go in, in the log; None = all."""


def train_into(data: Path, log: Replay, wanted: Wanted) -> dict[str, Any]:
    """Train, and declare the agent; what the hub answered, its key among it.

    Raises:
        OperatorFault: no hub runs, it refuses such an agent, or there is nothing to learn from.
    """
    if not NAME.fullmatch(wanted.name):
        raise OperatorFault(f"agent name {wanted.name!r} must match [a-z0-9_-]{{1,40}}")
    agents = ask(data, control.Show("agents")).answer
    if any(one["name"] == wanted.name for one in agents):
        raise OperatorFault(f"agent {wanted.name!r} exists; choose another name")
    shown = ask(data, control.Show("policies", wanted.agent)).answer["agent"]
    agent = _declared(msgspec.convert(shown, Agent), wanted)
    last: int = wanted.at or ask(data, control.Position()).answer["seq"]
    # First, for numpy and torch ask how many threads they may have when they are loaded.
    import hub.learner.one_thread  # noqa: F401 - before torch
    from hub.learner.training.train_again import train_again

    clock = SystemClock()
    began = clock.monotonic()
    with private(), tempfile.TemporaryDirectory(prefix="sheepfold-") as name:
        count = sum(1 for _ in log.events(wanted.agent, KINDS, after=0, upto=last))
        events = log.events(wanted.agent, KINDS, after=0, upto=last)
        folder = Path(name)
        with Progress(count, clock) as progress:
            done = train_again(agent, events, folder, told=progress.at)
        origin = Origin(wanted.agent, last, done.transitions)
        chosen = Chosen(done.sha256, "trained_again", origin=origin)
        with _kept(data, folder, agent.name, done.sha256):
            request = control.CreateTrained(_new(agent), chosen)
            answer: dict[str, Any] = ask(data, request).answer
    seconds = round(clock.monotonic() - began, 3)
    return answer | {"transitions": done.transitions, "seconds": seconds}


def _declared(source: Agent, wanted: Wanted) -> Agent:
    """The source under another name: its spaces, safety and seed, another way to learn."""
    algorithm = wanted.algorithm or source.algorithm
    same = algorithm == source.algorithm
    parameters = (source.parameters if same else {}) | wanted.parameters
    return structs.replace(
        source,
        name=AgentName(wanted.name),
        algorithm=algorithm,
        parameters=parameters,
        learning=True,
        status="active",
    )


def _new(agent: Agent) -> NewAgent:
    """As an operator would declare it."""
    fields = msgspec.to_builtins(agent)
    declared = {name: fields[name] for name in NewAgent.__struct_fields__ if name in fields}
    return msgspec.convert(declared, NewAgent)


@contextlib.contextmanager
def _kept(data: Path, folder: Path, agent: AgentName, sha256: str) -> Iterator[None]:
    """The policy's file lies where the hub looks for it; taken away again when that refuses."""
    target = policy_path(data, agent, sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(policy_path(folder, agent, sha256), target)
    try:
        yield
    except OperatorFault:  # else it may have been done though nobody said so
        target.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            target.parent.rmdir()
        raise
