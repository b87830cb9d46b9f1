"""`sheepfold claim`: tokens by which devices get keys of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from hub import control
from hub.commands.operate import data_option, do, seconds_of
from hub.registry.claim_acts import CreateClaim, RevokeClaim

TYPE_HELP: Final = "What its devices must say they are, as `dt`."


@click.group()
def claim() -> None:
    """Tokens by which devices get keys of their own."""


@claim.command()
@click.argument("agent")
@click.option("--uses", type=int, default=1, show_default=True, help="Devices that may redeem it.")
@click.option("--expires", default="1d", show_default=True, metavar="30m|12h|7d", help="From now.")
@click.option("--prefix", default="", help="The ids of its devices begin so.")
@click.option("--device-type", metavar="TYPE", help=TYPE_HELP)
@data_option
def create(
    agent: str, uses: int, expires: str, prefix: str, device_type: str | None, data: Path
) -> None:
    """Make a token for devices of an agent; it is shown this once."""
    do(data, CreateClaim(agent, uses, seconds_of(expires, "--expires"), prefix, device_type))


@claim.command("list")
@data_option
def list_claims(data: Path) -> None:
    """What each is for, and which devices have redeemed it."""
    do(data, control.Show("claims"))


@claim.command()
@click.argument("claim_id", metavar="ID")
@click.option("--keys", is_flag=True, help="The keys that came of it, too.")
@data_option
def revoke(claim_id: str, data: Path, *, keys: bool) -> None:
    """Let nobody redeem a token any more."""
    do(data, RevokeClaim(claim_id, keys))
