"""`sheepfold doctor`: what is wrong, and what to do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hub.clock import SystemClock
from hub.commands.operate import data_option, print_line

if TYPE_CHECKING:
    from hub.doctor.finding import Finding


@click.command()
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="The hub's TOML settings."
)
@click.option("--mend", is_flag=True, help="Mend what can be mended without losing anything.")
@click.option("--json", "as_json", is_flag=True, help="A JSON line for each finding.")
@data_option
def doctor(data: Path, config: Path | None, *, mend: bool, as_json: bool) -> None:
    """Examine a data folder and the machine, whether a hub runs there or not.

    Exits with 1 when something is wrong and was not mended.
    """
    from hub.doctor.examine import examine
    from hub.settings import load

    left = 0
    found = False
    for finding in examine(data, load(config, flags={"hub": {"data": str(data)}}), SystemClock()):
        found = True
        mended = mend and _mended(finding)
        left += finding.level == "wrong" and not mended
        _say(finding, mended=mended, as_json=as_json)
    if not found and not as_json:
        click.echo("all is well")
    sys.exit(1 if left else 0)


def _mended(finding: Finding) -> bool:
    if finding.mend is None:
        return False
    try:
        finding.mend()
    except OSError as error:
        click.echo(f"sheepfold: {finding.check} can't be mended: {error}", err=True)
        return False
    return True


def _say(finding: Finding, *, mended: bool, as_json: bool) -> None:
    if as_json:
        names = ("check", "level", "where", "says", "do")
        line: dict[str, object] = {name: getattr(finding, name) for name in names}
        print_line(line | {"mended": mended, "can_mend": finding.mend is not None})
        return
    state = "mended" if mended else finding.level
    click.echo(f"{state}: {finding.check}: {finding.where}: {finding.says}")
    if not mended:
        by_itself = " (or: sheepfold doctor --mend)" if finding.mend is not None else ""
        click.echo(f"    {finding.do}{by_itself}")
