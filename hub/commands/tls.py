"""`sheepfold tls`: an authority of one's own, the hub's certificate and devices'."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hub.clock import SystemClock
from hub.commands.operate import print_line, private
from hub.errors import OperatorFault
from hub.topics import is_device_id
from hub.words import DeviceId

if TYPE_CHECKING:
    from hub.authority import Authority

folder = click.Path(path_type=Path, file_okay=False)
names_option = click.option(
    "--name",
    "names",
    multiple=True,
    help="Host name or address that devices and browsers reach the hub by; repeat for more. "
    "Default: this machine's name, localhost, 127.0.0.1, ::1.",
)
days_option = click.option(
    "--days", type=click.IntRange(1, 825), default=397, show_default=True, help="Days it holds."
)


@click.group()
def tls() -> None:
    """Certificates of your own making, for [tls] in the settings."""


@tls.command()
@click.argument("target", metavar="DIR", type=folder)
@names_option
@days_option
@click.option("--json", "as_json", is_flag=True, help="The settings as a JSON line.")
def init(target: Path, names: tuple[str, ...], days: int, *, as_json: bool) -> None:
    """Make an authority and the hub's certificate in DIR; prints the settings to use them."""
    from hub.authority import Authority, alternatives

    wanted = _names(names)
    alternatives(wanted)  # before there is an authority, which can't be made twice
    with private():
        authority = Authority.make(target, SystemClock())
        certificate, key = authority.certify_hub(wanted, days)
    files = {"certificate": certificate, "key": key, "client_ca": authority.file}
    settings = {name: str(file.resolve()) for name, file in files.items()}
    if as_json:
        print_line(settings)
        return
    click.echo("# These lines go into the hub's settings; give devices the authority, ca.pem.")
    click.echo("[tls]")
    for name, file in settings.items():
        click.echo(f'{name} = "{file}"')


@tls.command()
@click.argument("target", metavar="DIR", type=folder)
@names_option
@days_option
def hub(target: Path, names: tuple[str, ...], days: int) -> None:
    """Renew the hub's certificate by the authority in DIR; then send the hub SIGHUP."""
    with private():
        certificate, key = _authority(target).certify_hub(_names(names), days)
    print_line({"certificate": str(certificate), "key": str(key)})


@tls.command()
@click.argument("target", metavar="DIR", type=folder)
@click.argument("name", metavar="DEVICE")
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=3650,
    show_default=True,
    help="Days it holds.",
)
def device(target: Path, name: str, days: int) -> None:
    """Make a certificate that stands for a device's key; the device needs both files and ca.pem.

    The device has to have an agent: sheepfold device add DEVICE --agent AGENT.
    """
    if not is_device_id(name):
        raise OperatorFault(
            f"device id {name[:40]!r} must match [a-z0-9_-]{{1,23}}, not hub, agents, http-*"
        )
    with private():
        authority = _authority(target)
        certificate, key = authority.certify_device(DeviceId(name), days)
    files = {"certificate": certificate, "key": key, "authority": authority.file}
    print_line({"device": name} | {what: str(file) for what, file in files.items()})


def _authority(target: Path) -> Authority:
    from hub.authority import Authority

    return Authority.open(target, SystemClock())


def _names(names: tuple[str, ...]) -> list[str]:
    """Each once, as they were given."""
    usual = (socket.gethostname(), "localhost", "127.0.0.1", "::1")
    return list(dict.fromkeys(names or usual))
