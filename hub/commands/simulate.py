"""`sheepfold simulate`: devices for load and learning tests, on a line as bad as you like."""

from __future__ import annotations

import asyncio
import math
import resource
import secrets
import signal
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
from msgspec import Struct
from rich.console import Console

from hub import control
from hub.ask import ask
from hub.clock import SystemClock
from hub.commands.operate import DATA, parameters_of, print_line
from hub.errors import OperatorFault
from hub.topics import is_device_id

if TYPE_CHECKING:
    from hub.simulate.crowd import Crowd, Plan
    from hub.simulate.summary import Summary

DEVICES_MAX: Final = 10_000
SEED_BITS: Final = 32
WAYS: Final = ("mqtt", "mqtt5", "http", "ws", "shepherd")
HOST: Final = "127.0.0.1"
PORTS: Final = {"http": 8000, "mqtt": 1883}


def _lasting(_: click.Context, __: click.Parameter, seconds: float | None) -> float | None:
    """Some time, and not for ever: `nan` and `inf` are floats too."""
    if seconds is not None and not 0 < seconds < math.inf:
        raise click.BadParameter(f"{seconds} is not above 0 and finite")
    return seconds


class Where(Struct, frozen=True):
    """A hub, as found by its data folder or as told."""

    host: str
    http: int
    mqtt: int


@click.command()
@click.option("--env", "environment", default="CartPole-v1", show_default=True, metavar="ID",
              help="Of Gymnasium's registry, or module:ID.")  # fmt: skip
@click.option("--devices", type=click.IntRange(1, DEVICES_MAX), default=1, show_default=True)
@click.option("--protocol", type=click.Choice(WAYS), default="mqtt", show_default=True)
@click.option("--seconds", type=float, callback=_lasting, help="Default: until Ctrl-C.")
@click.option("--episodes", type=click.IntRange(1), help="Of each device; then it is done.")
@click.option("--rate", metavar="N/s", help="Steps of each device; default: as fast as answered.")
@click.option("--loss", metavar="SHARE", default="0", help="Messages and answers lost: 2%.")
@click.option("--dup", metavar="SHARE", default="0", help="Messages that arrive twice: 1%.")
@click.option("--delay", metavar="TIME", default="0ms", help="Each way, of each message: 50ms±20.")
@click.option("--reboot", metavar="RATE", default="0/h", help="Of each device: 1/h.")
@click.option("--half-open", metavar="RATE", default="0/h",
              help="Connections of each device lost without the hub being told: 6/h.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), help="Of environments and faults; default: chance.")
@click.option("--host", help=f"Of the hub. Default: {HOST}.")
@click.option("--http-port", type=click.IntRange(1, 65535), help="Default: 8000.")
@click.option("--mqtt-port", type=click.IntRange(1, 65535), help="Default: 1883.")
@click.option("--tls", is_flag=True, help="The hub has a certificate that this machine trusts.")
@click.option(
    "--ca",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The same, but this authority is trusted: ca.pem of 'sheepfold tls init'.",
)
@click.option("--key", envvar="SHEEPFOLD_KEY", show_envvar=True, help="Of the agent.")
@click.option("--agent", metavar="NAME", help="Check its spaces first; with --create, its name.")
@click.option("--create", is_flag=True, help="Make the agent, for this environment.")
@click.option("--algorithm", default="PPO", show_default=True, help="Of the agent that is made.")
@click.option(
    "--set", "sets", multiple=True, metavar="NAME=VALUE", help="Parameter of the algorithm."
)
@click.option("--device-prefix", default="sim", show_default=True, help="Ids are sim-1, sim-2, …")
@click.option("--json", "as_json", is_flag=True, help="The summary as a JSON line, for programs.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="SHEEPFOLD_DATA",
    show_envvar=True,
    help=f"Folder of a hub on this machine. Default: {DATA}.",
)
def simulate(**options: Any) -> None:
    """Simulated devices that learn, against a hub here or anywhere.

    Each device is a Gymnasium environment that asks the hub for every action, as any device does,
    on a line that loses, repeats and delays as much as you like. Ctrl-C ends it with the summary.

    With a hub on this machine (--data) ports are found, and --create makes the agent. Elsewhere,
    give --host and a --key. Where the hub has TLS, give --ca, or --tls.
    """
    plan = _planned(options)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(
        f"{len(plan.devices)} x {plan.environment} over {plan.way} to {plan.endpoint}, "
        f"seed {plan.seed}",
        markup=False,
    )
    summary = _walk(plan, console)
    if options["as_json"]:
        print_line(summary)
    else:
        click.echo(str(summary))
    sys.exit(0 if summary.ok else 1)


def _planned(options: dict[str, Any]) -> Plan:
    """All that was asked, checked.

    Raises:
        OperatorFault: it can't be done as asked.
    """
    from hub.simulate.crowd import Plan
    from hub.simulate.device import Limits
    from hub.simulate.exchange import Endpoint, Way
    from hub.simulate.faults import Faults, read_delay, read_rate, read_share

    faults = Faults(
        lost=read_share(options["loss"]),
        repeated=read_share(options["dup"]),
        delay=read_delay(options["delay"]),
        boot_s=read_rate(options["reboot"]),
        link_s=read_rate(options["half_open"]),
    )
    period_s = read_rate(options["rate"]) if options["rate"] else 0.0
    if period_s == math.inf:
        raise OperatorFault(f"--rate {options['rate']}: such a device would never step")
    devices = [f"{options['device_prefix']}-{i + 1}" for i in range(options["devices"])]
    for device in (devices[0], devices[-1]):
        if not is_device_id(device):
            raise OperatorFault(
                f"--device-prefix {options['device_prefix']!r} makes {device!r}, which no device "
                "may be called: [a-z0-9_-], 23 characters at most, not hub or agents or http-…"
            )
    where = _find(options)
    way = Way(options["protocol"])
    seed = secrets.randbits(SEED_BITS) if options["seed"] is None else options["seed"]
    return Plan(
        environment=options["environment"],
        devices=devices,
        way=way,
        endpoint=Endpoint(
            where.host,
            where.mqtt if way in (Way.MQTT, Way.MQTT5) else where.http,
            _trusted(options),
        ),
        key=_key(options, devices),
        seed=seed,
        faults=faults,
        seconds=options["seconds"],
        limits=Limits(episodes=options["episodes"]),
        period_s=period_s,
    )


def _find(options: dict[str, Any]) -> Where:
    """Where the hub is: what is not said is what the hub of the data folder says of itself."""
    host, data = options["host"], options["data"] or Path(DATA)
    here: dict[str, int] = {}
    if host is None:
        try:
            here = msgspec.json.decode((data / "ready.json").read_bytes())
        except (OSError, msgspec.DecodeError):
            if options["data"] is not None:
                raise OperatorFault(
                    f"no hub has run in {data}; start one with 'sheepfold serve --data {data}', or "
                    "say where one is with --host"
                ) from None
    return Where(
        host or HOST,
        http=options["http_port"] or here.get("http") or PORTS["http"],
        mqtt=options["mqtt_port"] or here.get("mqtt") or PORTS["mqtt"],
    )


def _trusted(options: dict[str, Any]) -> ssl.SSLContext | None:
    """What the hub's certificate is checked by; None = plain text.

    Raises:
        OperatorFault: the file has no certificate.
    """
    if not options["tls"] and options["ca"] is None:
        return None
    try:
        return ssl.create_default_context(cafile=options["ca"])
    except OSError as error:  # ssl.SSLError is one
        raise OperatorFault(f"--ca {options['ca']} can't be used: {error}") from error


def _key(options: dict[str, Any], devices: list[str]) -> str:
    """The key, with the agent made or looked at where it can be.

    Raises:
        OperatorFault: there is none, or agent and environment are not for each other.
    """
    from hub import spaces
    from hub.simulate.crowd import make
    from hub.simulate.spaces import check_fits, declared

    environment = make(options["environment"])
    try:
        observations = declared(environment.observation_space, "observations")
        actions = declared(environment.action_space, "actions")
    finally:
        environment.close()
    data, agent, key = options["data"] or Path(DATA), options["agent"], options["key"]
    if options["create"]:
        if agent is None:
            raise click.UsageError("--create needs the new agent's name: --agent NAME")
        _check_free(data, devices, agent)
        return _created(options, data, observations, actions)
    if agent is not None:
        shown = ask(data, control.Show("agent", agent)).answer
        for what, space in (("observations", observations), ("actions", actions)):
            check_fits(spaces.parse(space), spaces.parse(shown[what]), what)
        _check_free(data, devices, agent)
    if key is None:
        if not sys.stdin.isatty():
            raise OperatorFault(
                "a key is missing: give --key (or SHEEPFOLD_KEY), as 'sheepfold key create AGENT' "
                "prints it; or --create --agent NAME, where the hub runs on this machine"
            )
        key = click.prompt("The agent's key", hide_input=True)
    return str(key)


def _check_free(data: Path, devices: list[str], agent: str) -> None:
    """Refuse ids that another agent's devices have: before an agent is made for them.

    Raises:
        OperatorFault: one is.
    """
    wanted = set(devices)
    for row in ask(data, control.Show("devices")).answer:
        if row["device"] in wanted and row["agent"] != agent:
            raise OperatorFault(
                f"device {row['device']!r} is of agent {row['agent']!r}; choose another "
                "--device-prefix, or have it forgotten ('sheepfold device forget')"
            )


def _created(options: dict[str, Any], data: Path, observations: Any, actions: Any) -> str:
    """A new agent for these spaces; its key."""
    from hub.registry.acts import NewAgent

    agent = NewAgent(
        name=options["agent"],
        algorithm=options["algorithm"],
        observations=observations,
        actions=actions,
        parameters=parameters_of(options["sets"]),
    )
    return str(ask(data, control.CreateAgent(agent)).answer["api_key"])


def _walk(plan: Plan, console: Console) -> Summary:
    """Walk until the plan is done or somebody presses Ctrl-C; a second one is not waited for."""
    import uvloop

    from hub.simulate.crowd import Crowd

    # Each device has a connection or several, and the usual limit is 1024 of all.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    clock = SystemClock()
    crowd = Crowd(plan, clock=clock, say=lambda text: console.print(text, markup=False))
    return uvloop.run(_shown(crowd, plan, console, clock))


async def _shown(crowd: Crowd, plan: Plan, console: Console, clock: SystemClock) -> Summary:
    from hub.simulate.display import open_display

    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def enough() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, enough)
    loop.add_signal_handler(signal.SIGTERM, enough)
    protocols = dict.fromkeys(plan.devices, str(plan.way))
    with open_display(console, protocols, title=plan.environment) as display:
        return await crowd.walk(stop, lambda: display.show(crowd.standing, now=clock.monotonic()))
