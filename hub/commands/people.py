"""`sheepfold user|key|device`: who may do what."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final, Literal

import click

from hub import control
from hub.commands.operate import data_option, do, seconds_of
from hub.errors import OperatorFault
from hub.registry import key_acts, user_acts
from hub.registry.publishable import publishable as _publishable
from hub.registry.rewarding import rewarding as _rewarding

password_option: Final = click.option(
    "--password-stdin", is_flag=True, help="Read one line; else you are asked for it, hidden."
)

REWARDS_HELP: Final = "For a link or button: it only rewards --device, or any of the agent's."
MOST_HELP: Final = "Of one such reward, either way, and what a press on its page gives; 1."


@click.group()
def user() -> None:
    """Who may ask and operate, over HTTP and in the console."""


@user.command()
@click.argument("name")
@click.option(
    "--role",
    required=True,
    type=click.Choice(["admin", "owner"]),
    help="An owner sees and changes the own agents only, an admin all.",
)
@password_option
@data_option
def add(name: str, role: Literal["admin", "owner"], data: Path, *, password_stdin: bool) -> None:
    """Add a user with a password."""
    do(data, user_acts.CreateUser(name, role, _password(from_stdin=password_stdin)))


@user.command("list")
@data_option
def list_users(data: Path) -> None:
    """One JSON line a user."""
    do(data, control.Show("users"))


@user.command()
@click.argument("name")
@password_option
@data_option
def passwd(name: str, data: Path, *, password_stdin: bool) -> None:
    """Give a user another password."""
    do(data, user_acts.SetPassword(name, _password(from_stdin=password_stdin)))


@user.command()
@click.argument("name")
@data_option
def remove(name: str, data: Path) -> None:
    """Remove a user who owns no agent, and revoke the user's keys."""
    do(data, user_acts.RemoveUser(name))


@click.group()
def key() -> None:
    """API keys, of devices and of users."""


@key.command("create")
@click.argument("agent", required=False)
@click.option("--device", help="Only for this device of the agent.")
@click.option("--user", "owner", metavar="USER", help="For what this user may ask and do.")
@click.option("--hub", metavar="NAME", help="Only for a hub of the user's, to meet others here.")
@click.option("--publishable", is_flag=True, help="For web pages: all may read it, it only steps.")
@click.option("--origin", "origins", multiple=True, metavar="https://…", help="Of such a page.")
@click.option("--sessions", type=int, help="Of a publishable key, open at once; 100.")
@click.option("--rate", type=float, help="Of a publishable key, messages a second; 100.")
@click.option("--rewards", is_flag=True, help=REWARDS_HELP)
@click.option("--most", type=float, help=MOST_HELP)
@click.option("--per-minute", type=float, help="Such rewards; 60.")
@data_option
def create_key(
    agent: str | None,
    device: str | None,
    owner: str | None,
    hub: str | None,
    data: Path,
    *,
    publishable: bool,
    origins: tuple[str, ...],
    sessions: int | None,
    rate: float | None,
    rewards: bool,
    most: float | None,
    per_minute: float | None,
) -> None:
    """Make a key of an agent, or of a user; the secret is shown this once."""
    if not publishable and (origins or sessions is not None or rate is not None):
        raise click.UsageError("--origin, --sessions and --rate are of a --publishable key")
    if not rewards and (most is not None or per_minute is not None):
        raise click.UsageError("--most and --per-minute are of a key for --rewards")
    if agent is not None and owner is None and hub is None:
        limits = _publishable(origins, sessions, rate) if publishable else None
        bounds = _rewarding(most, per_minute) if rewards else None
        do(data, key_acts.CreateKey(agent, device, limits, bounds))
    elif owner is not None and agent is None and device is None and not publishable and not rewards:
        do(data, key_acts.CreateUserKey(owner, hub))
    else:
        raise click.UsageError(
            "write AGENT, AGENT --device D, AGENT --publishable, --user USER or --user USER --hub H"
        )


@key.command("list")
@data_option
def list_keys(data: Path) -> None:
    """Public ids, what they open, and of rotated ones which takes whose place until when."""
    do(data, control.Show("keys"))


@key.command()
@click.argument("key_id", metavar="ID")
@data_option
def revoke(key_id: str, data: Path) -> None:
    """Accept a key no more."""
    do(data, key_acts.RevokeKey(key_id))


@key.command()
@click.argument("key_id", metavar="ID")
@click.option(
    "--overlap", metavar="30m|12h|7d", help="The old key ends so much later; keys.overlap_s."
)
@data_option
def rotate(key_id: str, overlap: str | None, data: Path) -> None:
    """Make a key that takes the place of another; a device's ends when the new one is used."""
    overlap_s = None if overlap is None else seconds_of(overlap, "--overlap")
    do(data, key_acts.RotateKey(key_id, overlap_s))


@click.group()
def device() -> None:
    """Devices and the agents they belong to."""


def _assign_command(verb: str, sentence: str) -> None:
    @device.command(verb, help=sentence)
    @click.argument("device_id", metavar="DEVICE")
    @click.option("--agent", "agent_name", required=True, metavar="AGENT")
    @data_option
    def command(device_id: str, agent_name: str, data: Path) -> None:
        do(data, control.AddDevice(device_id, agent_name, must_be_there=verb == "move"))


_assign_command("add", "Assign a device before it is first seen.")
_assign_command("move", "Give a device to another agent.")


@device.command()
@click.argument("device_id", metavar="DEVICE")
@data_option
def forget(device_id: str, data: Path) -> None:
    """Erase the personal payloads it sent, for ever, and let any key take it."""
    do(data, control.ForgetDevice(device_id))


@device.command("list")
@data_option
def list_devices(data: Path) -> None:
    """One JSON line a device."""
    do(data, control.Show("devices"))


def _password(*, from_stdin: bool) -> str:
    if not from_stdin:
        asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return asked
    line = sys.stdin.buffer.readline()
    try:
        return line.rstrip(b"\r\n").decode()
    except UnicodeDecodeError as error:
        raise OperatorFault("the password on stdin is not UTF-8 text") from error
