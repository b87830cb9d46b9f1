"""The command line. Every command's work is elsewhere; here are names, flags and exit codes.

0 = done, 1 = refused (stderr says what to do), 2 = wrong usage.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from hub import control
from hub.errors import OperatorFault, SheepfoldError
from hub.registry.acts import NewAgent

DATA: Final = "./data"

data_option: Final = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=DATA,
    envvar="SHEEPFOLD_DATA",
    show_default=True,
    show_envvar=True,
    help="Folder of the hub to speak to.",
)


def main() -> None:
    """Run a command; an error of ours is one line and exit code 1."""
    try:
        cli(standalone_mode=True)
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
def serve(
    config: Path | None,
    data: str | None,
    host: str | None,
    http_port: int | None,
    mqtt_port: int | None,
    ws_port: int | None,
) -> None:
    """Run the hub until SIGTERM."""
    from hub import processes, settings

    flags: dict[str, dict[str, Any]] = {
        "hub": {"data": data, "host": host},
        "http": {"port": http_port},
        "mqtt": {"port": mqtt_port, "ws_port": ws_port},
    }
    processes.serve(settings.load(config, flags=flags))


@cli.command()
@click.option("--seconds", type=float, default=120.0, show_default=True, envvar="DEMO_SECONDS")
@click.option("--devices", type=int, default=4, show_default=True)
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="Default: a new folder."
)
def demo(seconds: float, devices: int, data: Path | None) -> None:
    """Four simulated carts learn to balance their poles, live."""
    from hub.demo import demo as show

    sys.exit(show.run(seconds, devices, data))


@cli.group()
def agent() -> None:
    """What learns."""


@agent.command("create")
@click.argument("name")
@click.option("--algorithm", required=True, help="PPO, DQN or SAC.")
@click.option(
    "--observations", required=True, metavar="SPACE", help="int, [shape, low, high] or object."
)
@click.option("--actions", required=True, metavar="SPACE", help="int or [shape, low, high].")
@click.option(
    "--set", "sets", multiple=True, metavar="NAME=VALUE", help="Parameter of the algorithm."
)
@click.option("--sharing", type=click.Choice(["shared", "advice", "none"]), default="shared")
@click.option("--owner", default="admin", metavar="USER")
@click.option(
    "--fallback", default="hold", metavar="hold|none|JSON", help="When no policy answers."
)
@click.option("--deadline-ms", type=int, default=250, show_default=True)
@click.option("--missing-reward", type=float, help="Stands in for a reward a device leaves out.")
@data_option
def agent_create(data: Path, sets: tuple[str, ...], **declared: Any) -> None:
    """Make an agent and its first key; prints both as one JSON line."""
    declared["observations"] = _json(declared["observations"], "--observations")
    declared["actions"] = _json(declared["actions"], "--actions")
    declared["fallback"] = _fallback(declared["fallback"])
    new = msgspec.convert(declared | {"parameters": _parameters(sets)}, NewAgent)
    _do(data, control.CreateAgent(new))


@agent.command("list")
@data_option
def agent_list(data: Path) -> None:
    """One JSON line an agent."""
    _do(data, control.Show("agents"))


@agent.command("show")
@click.argument("name")
@data_option
def agent_show(name: str, data: Path) -> None:
    """The agent as declared."""
    _do(data, control.Show("agent", name))


@agent.command("update")
@click.argument("name")
@click.option("--set", "sets", multiple=True, metavar="NAME=VALUE")
@click.option("--fallback", metavar="hold|none|JSON")
@click.option("--deadline-ms", type=int)
@click.option("--missing-reward", type=float)
@click.option("--learning", type=click.Choice(["on", "off"]))
@data_option
def agent_update(
    name: str, data: Path, sets: tuple[str, ...], learning: str | None, **options: Any
) -> None:
    """Change what can be changed while it runs."""
    changes = {key: value for key, value in options.items() if value is not None}
    if "fallback" in changes:
        changes["fallback"] = _fallback(changes["fallback"])
    if sets:
        changes["parameters"] = _parameters(sets)
    if learning is not None:
        changes["learning"] = learning == "on"
    _do(data, control.ChangeAgent(name, changes))


def _status_command(verb: str, status: str, sentence: str) -> None:
    @agent.command(verb, help=sentence)
    @click.argument("name")
    @data_option
    def command(name: str, data: Path) -> None:
        _do(data, control.ChangeAgent(name, {"status": status}))


_status_command("pause", "paused", "Answer with the fallback, learn nothing.")
_status_command("resume", "active", "Act and learn again.")
_status_command("delete", "deleted", "Hide the agent and revoke its keys; the log stays.")


@cli.group()
def key() -> None:
    """API keys."""


@key.command("create")
@click.argument("agent_name", metavar="AGENT")
@click.option("--device", help="Only for this device.")
@data_option
def key_create(agent_name: str, device: str | None, data: Path) -> None:
    """Make a key; the secret is shown this once."""
    _do(data, control.CreateKey(agent_name, device))


@key.command("list")
@data_option
def key_list(data: Path) -> None:
    """Public ids and what they open."""
    _do(data, control.Show("keys"))


@key.command("revoke")
@click.argument("key_id", metavar="ID")
@data_option
def key_revoke(key_id: str, data: Path) -> None:
    """Accept a key no more."""
    _do(data, control.RevokeKey(key_id))


@cli.group()
def device() -> None:
    """Devices and the agents they belong to."""


def _assign_command(verb: str, sentence: str) -> None:
    @device.command(verb, help=sentence)
    @click.argument("device_id", metavar="DEVICE")
    @click.option("--agent", "agent_name", required=True, metavar="AGENT")
    @data_option
    def command(device_id: str, agent_name: str, data: Path) -> None:
        _do(data, control.AddDevice(device_id, agent_name))


_assign_command("add", "Assign a device before it is first seen.")
_assign_command("move", "Give a device to another agent.")


@device.command("list")
@data_option
def device_list(data: Path) -> None:
    """One JSON line a device."""
    _do(data, control.Show("devices"))


@cli.command()
@click.argument("query")
@click.option(
    "--format", "form", type=click.Choice(["table", "csv", "json", "arrow"]), default="table"
)
@data_option
def sql(query: str, form: Any, data: Path) -> None:
    """Ask the live log; sees all that was acknowledged before."""
    result = control.ask(data, control.Query(query, form))
    assert isinstance(result, control.Result), "a query has a result"
    sys.stdout.buffer.write(result.body)


@cli.command()
@data_option
def status(data: Path) -> None:
    """Processes and counts of a running hub."""
    _do(data, control.Status())


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


def _do(data: Path, request: control.Request) -> None:
    """Have it done and print the answer: one JSON line, or one a row."""
    done = control.ask(data, request)
    assert isinstance(done, control.Done), "only a query has a result"
    for row in done.answer if isinstance(done.answer, list) else [done.answer]:
        print(msgspec.json.encode(row).decode())


def _json(text: str, flag: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise OperatorFault(
            f"{flag} {text!r} is not JSON: {error}; try '[[4], -5, 5]' or 2"
        ) from error


def _fallback(text: str) -> Any:
    return text if text in ("hold", "none") else _json(text, "--fallback")


def _parameters(sets: tuple[str, ...]) -> dict[str, str]:
    for pair in sets:
        if "=" not in pair:
            raise click.UsageError(f"--set {pair!r}: write NAME=VALUE")
    return {name: value for name, _, value in (pair.partition("=") for pair in sets)}


if __name__ == "__main__":
    main()
