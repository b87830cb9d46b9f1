"""The command line: those commands that run something; an operator's are in `commands/`.

0 = done, 1 = refused (stderr says what to do), 2 = wrong usage.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import click

from hub import control
from hub.commands import (
    agents,
    claims,
    completion,
    doctor,
    log,
    mapping,
    people,
    policies,
    rebuild,
    simulate,
    tls,
    top,
)
from hub.commands.examples import show_examples
from hub.commands.operate import data_option, do, take_json
from hub.errors import OperatorFault, SheepfoldError


def main() -> None:
    """Run a command; an error of ours is one line and exit code 1."""
    try:
        cli(standalone_mode=True, complete_var=completion.VARIABLE)
    except SheepfoldError as error:
        print(f"sheepfold: {error}", file=sys.stderr)
        sys.exit(1)


@click.group()
@click.version_option(package_name="sheepfold")
def cli() -> None:
    """Devices send observations, get actions back, and learn."""


@cli.command()
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="TOML settings.")
@click.option(
    "--data", type=click.Path(file_okay=False), envvar="SHEEPFOLD_DATA", help="Data folder."
)
@click.option("--host", help="Address to listen on.")
@click.option("--http-port", type=int, help="0 = any free port.")
@click.option("--mqtt-port", type=int, help="0 = any free port.")
@click.option("--ws-port", type=int, help="0 = any free port.")
@click.option("--json", "as_json", is_flag=True, help="Say as JSON, as ready.json, where it is.")
def serve(
    config: Path | None,
    data: str | None,
    host: str | None,
    http_port: int | None,
    mqtt_port: int | None,
    ws_port: int | None,
    *,
    as_json: bool,
) -> None:
    """Run the hub until SIGTERM."""
    from hub import processes, settings

    flags: dict[str, dict[str, Any]] = {
        "hub": {"data": data, "host": host},
        "http": {"port": http_port},
        "mqtt": {"port": mqtt_port, "ws_port": ws_port},
    }
    processes.serve(settings.load(config, flags=flags), as_json=as_json)


@cli.command()
@click.option("--seconds", type=float, default=120.0, show_default=True, envvar="DEMO_SECONDS")
@click.option("--devices", type=int, default=4, show_default=True)
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="Default: a new folder."
)
@click.option("--json", "as_json", is_flag=True, help="At the end a JSON line; the rest on stderr.")
def demo(seconds: float, devices: int, data: Path | None, *, as_json: bool) -> None:
    """Four simulated carts learn to balance their poles, live."""
    from hub.demo import demo as show

    sys.exit(show.run(seconds, devices, data, as_json=as_json))


@cli.command()
@data_option
def status(data: Path) -> None:
    """Processes and counts of a running hub."""
    do(data, control.Status())


@cli.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 when anything is stale.")
def schemas(*, check: bool) -> None:
    """Write schemas/ and deploy/hub.toml anew from the code."""
    from hub import schemas as generated
    from hub.settings import HttpSettings

    root = Path.cwd()
    front_end = importlib.import_module(HttpSettings().app.partition(":")[0])
    openapi: bytes = front_end.openapi_document()
    if not check:
        generated.write(root, openapi=openapi)
        return
    wrong = generated.stale(root, openapi=openapi)
    if wrong:
        raise OperatorFault(f"stale: {', '.join(wrong)}; run 'sheepfold schemas'")


for _group in (
    agents.agent,
    mapping.mapping,
    policies.policy,
    claims.claim,
    people.device,
    people.key,
    people.user,
    tls.tls,
):
    cli.add_command(_group)
for _command in (log.sql, log.seal, log.backup, log.move, log.restore, log.verify, log.export):
    cli.add_command(_command)
cli.add_command(rebuild.rebuild)
cli.add_command(simulate.simulate)
cli.add_command(top.top)
cli.add_command(doctor.doctor)
cli.add_command(completion.completion)
take_json(cli)
show_examples(cli)


if __name__ == "__main__":
    main()
