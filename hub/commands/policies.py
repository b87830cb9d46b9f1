"""`sheepfold policy`: the versions of an agent's policy, out, in, and back in place."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import click
import msgspec
from msgspec import Struct

from hub import control
from hub.ask import ask
from hub.commands.operate import data_option, do, print_line, private
from hub.errors import OperatorFault
from hub.facts import PolicyChosen
from hub.learner.messages import policy_path
from hub.registry.acts import Chosen
from hub.words import Agent

VERSIONS: Final = """
SELECT policies.version, policies.seq, policies.created, policies.sha256, policies.parent,
    (updates.payload ->> 'transitions')::BIGINT AS transitions,
    (updates.payload ->> 'gradient_steps')::BIGINT AS gradient_steps
FROM policies
LEFT JOIN events AS updates
    ON updates.kind = 'update' AND updates.agent = policies.agent
    AND updates.policy = policies.version
WHERE policies.agent = '{agent}'
ORDER BY policies.version
"""
SHOWN: Final = 12
"""Hexadecimal digits of a hash."""

version_option: Final = click.option("--version", type=int, help="Default: the one that acts.")


class Version(Struct, frozen=True):
    """One row of the log's versions."""

    version: int
    seq: int
    created: str
    sha256: str
    parent: int | None
    transitions: int | None
    gradient_steps: int | None


class Policies(Struct, frozen=True):
    """What the hub knows at once."""

    agent: Agent
    acts: int | None
    chosen: list[PolicyChosen]


@click.group()
def policy() -> None:
    """Versions of what an agent would do."""


@policy.command("list")
@click.argument("agent")
@data_option
def list_(agent: str, data: Path) -> None:
    """One JSON line a version, oldest first."""
    known, versions = _look_up(data, agent)
    chosen = {one.version: one for one in known.chosen}
    for one in versions:
        by = chosen.get(one.version)
        print_line(
            msgspec.structs.asdict(one)
            | {
                "sha256": one.sha256[:SHOWN],
                "how": "trained" if by is None else by.how,
                "by": None if by is None else by.by,
                "file": _path(data, known, one).exists(),
                "acts": one.version == known.acts,
            }
        )


@policy.command()
@click.argument("agent")
@version_option
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="FILE.safetensors, as it is kept here; or FILE.zip for Stable-Baselines3.",
)
@click.option(
    "--device", help="Where each device has its own network: whose. Default: the one that leads."
)
@data_option
def export(agent: str, version: int | None, target: Path, device: str | None, data: Path) -> None:
    """Write a version to a file; prints what was written."""
    known, versions = _look_up(data, agent)
    one = _version(known, versions, version)
    path = _path(data, known, one)
    if not path.exists():
        raise OperatorFault(_gone(known.agent, one))
    from hub.learner.exchange.exporting import export_policy

    export_policy(path, known.agent, target, device)
    print_line({"agent": agent, "version": one.version, "file": str(target)})


@policy.command("import")
@click.argument("agent")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@data_option
def import_(agent: str, file: Path, data: Path) -> None:
    """Let a policy from a file act: safetensors of Sheepfold, or Stable-Baselines3's ZIP.

    Nothing in the file is run. It must fit the agent's spaces and network.
    """
    known = _known(data, agent)
    from hub.learner.exchange.importing import Job, import_policy
    from hub.settings import load

    bytes_max = load().learner.import_mb_max << 20
    with private():
        made = import_policy(Job(known.agent, str(file), str(data), bytes_max))
    do(data, control.ChoosePolicy(agent, Chosen(made.sha256, "imported")))


@policy.command()
@click.argument("agent")
@click.argument("version", type=int)
@data_option
def promote(agent: str, version: int, data: Path) -> None:
    """Let a version act again, under a new number; learning goes on from it."""
    known, versions = _look_up(data, agent)
    _choose(data, known, _version(known, versions, version), "promoted")


@policy.command()
@click.argument("agent")
@click.option(
    "--to", "version", type=int, help="Default: what acted before; again, what acted before that."
)
@data_option
def rollback(agent: str, version: int | None, data: Path) -> None:
    """Let an older version act again, under a new number; learning goes on from it."""
    known, versions = _look_up(data, agent)
    if version is None:
        one = _before(known, versions)
    else:
        one = _version(known, versions, version)
        if known.acts is not None and version >= known.acts:
            raise OperatorFault(
                f"version {version} is not older than {known.acts}, which acts; see "
                f"'sheepfold policy list {agent}'"
            )
    _choose(data, known, one, "rolled_back")


def _choose(
    data: Path, known: Policies, one: Version, how: Literal["promoted", "rolled_back"]
) -> None:
    if one.version == known.acts:
        raise OperatorFault(f"version {one.version} acts already")
    do(data, control.ChoosePolicy(known.agent.name, Chosen(one.sha256, how, one.version)))


def _look_up(data: Path, agent: str) -> tuple[Policies, list[Version]]:
    """What the hub knows, and all versions in the log."""
    from hub.log.analyst.ask import stream_blocking
    from hub.log.analyst.messages import Ask

    known = _known(data, agent)  # refuses a name that is no agent's, so it can stand in the query
    after: int = ask(data, control.Position()).answer["seq"]
    query = VERSIONS.format(agent=known.agent.name)
    pieces = stream_blocking(data, Ask(query, "json", after=after, agents=None))
    lines = b"".join(pieces).splitlines()
    return known, [msgspec.json.decode(line, type=Version) for line in lines]


def _known(data: Path, agent: str) -> Policies:
    return msgspec.convert(ask(data, control.Show("policies", agent)).answer, Policies)


def _version(known: Policies, versions: list[Version], wanted: int | None) -> Version:
    number = known.acts if wanted is None else wanted
    for one in versions:
        if one.version == number:
            return one
    name = known.agent.name
    if number is None:
        raise OperatorFault(f"agent {name!r} has no policy yet: it makes one when a device comes")
    raise OperatorFault(
        f"agent {name!r} has no version {number}; 'sheepfold policy list {name}' shows them"
    )


def _before(known: Policies, versions: list[Version]) -> Version:
    """What acted before the version that acts; after a rollback, before the one it went back to."""
    acting = _version(known, versions, None)
    back = {one.version: one.parent for one in known.chosen if one.how == "rolled_back"}
    parent = back.get(acting.version)
    first = acting.version if parent is None else parent
    older = [one for one in versions if one.version < first and one.sha256 != acting.sha256]
    if not older:
        raise OperatorFault(f"agent {known.agent.name!r} has no version before {first}")
    return older[-1]


def _path(data: Path, known: Policies, one: Version) -> Path:
    return policy_path(data, known.agent.name, one.sha256)


def _gone(agent: Agent, one: Version) -> str:
    return (
        f"the file of version {one.version} is gone: only the newest are kept, and those that an "
        f"operator chose; 'sheepfold rebuild {agent.name} --at {one.seq} --to FILE' makes it again"
    )
