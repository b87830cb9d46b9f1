"""`sheepfold agent`: what learns."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final, get_args

import click
import msgspec

from hub import control, spaces
from hub.ask import ask
from hub.commands.operate import data_option, do, parameters_of
from hub.errors import OperatorFault
from hub.registry.acts import NewAgent
from hub.registry.limits import FRACTIONAL, LIMITS
from hub.words import Hubs, Sharing

CPU_HELP: Final = "Of one core, that its trainer may use."
MEMORY_HELP: Final = "That its trainer may have for itself; beyond, it is ended."
STEPS_HELP: Final = "An episode is cut short after so many."
SILENT_HELP: Final = "A device unheard for so long ends its episode."
LAG_HELP: Final = "Observations that may wait for its trainer before it leaves out."
MESSAGES_HELP: Final = "That all its devices may send together; none: the hub's setting."
BYTES_HELP: Final = "The same in bytes."
DEVICES_HELP: Final = "That may be its."
REWARD_HELP: Final = "Over the observation, instead of what devices send: -abs(temp - 21)."
NUMBERS: Final = ("deadline_ms", *LIMITS)
"""Fields whose value may be none."""
SHARING: Final = click.Choice(get_args(Sharing))
HUBS: Final = click.Choice(get_args(Hubs))
SHARING_HELP: Final = "One policy for all devices, or one for each, which may advise each other."
HUBS_HELP: Final = "What agents of this name on other hubs get, and it of them."


@click.group()
def agent() -> None:
    """What learns."""


@agent.command()
@click.argument("name")
@click.option("--algorithm", required=True, help="PPO, DQN, SAC, …, external (docs/algorithms.md).")
@click.option(
    "--observations",
    required=True,
    metavar="SPACE",
    help="int, [shape, low, high] or object; docs/device-maker.md.",
)
@click.option("--actions", required=True, metavar="SPACE", help="int, [shape, low, high], …")
@click.option(
    "--set", "sets", multiple=True, metavar="NAME=VALUE", help="Parameter of the algorithm."
)
@click.option("--sharing", type=SHARING, default="shared", help=SHARING_HELP)
@click.option("--hubs", type=HUBS, default="none", help=HUBS_HELP)
@click.option("--owner", default="admin", metavar="USER", help="Who may see and change it.")
@click.option(
    "--fallback", default="hold", metavar="hold|none|JSON", help="When no policy answers."
)
@click.option("--deadline-ms", type=int, help="Default: 250; of an external agent none.")
@click.option("--missing-reward", type=float, help="Stands in for a reward a device leaves out.")
@click.option("--reward", metavar="EXPRESSION", help=REWARD_HELP)
@click.option("--safety", metavar="JSON", help="What its actions keep to; docs/safety.md has all.")
@click.option("--max-episode-steps", metavar="N|none", help=STEPS_HELP)
@click.option("--silent-s", metavar="N|none", help=SILENT_HELP)
@click.option("--cpu-percent", metavar="N|none", help=CPU_HELP)
@click.option("--memory-mb", metavar="N|none", help=MEMORY_HELP)
@click.option("--lag-max", metavar="N|none", help=LAG_HELP)
@click.option("--messages-per-s", metavar="N|none", help=MESSAGES_HELP)
@click.option("--bytes-per-s", metavar="N|none", help=BYTES_HELP)
@click.option("--devices-max", metavar="N|none", help=DEVICES_HELP)
@data_option
def create(
    data: Path,
    sets: tuple[str, ...],
    observations: str,
    actions: str,
    fallback: str,
    safety: str | None,
    **declared: object,
) -> None:
    """Make an agent and its first key; prints both as one JSON line."""
    declared |= {
        "observations": _json(observations, "--observations"),
        "actions": _json(actions, "--actions"),
        "fallback": _fallback(fallback),
        "parameters": parameters_of(sets),
        "safety": None if safety is None else _safety(safety),
        **_numbers(declared),
    }
    do(data, control.CreateAgent(msgspec.convert(declared, NewAgent)))
    for name in ("observations", "actions"):
        for doubt in spaces.doubts(declared[name]):
            click.echo(f"warning: {name}: {doubt}", err=True)


@agent.command("list")
@data_option
def list_(data: Path) -> None:
    """One JSON line an agent."""
    do(data, control.Show("agents"))


@agent.command()
@click.argument("name")
@data_option
def show(name: str, data: Path) -> None:
    """The agent as declared."""
    do(data, control.Show("agent", name))


@agent.command()
@click.argument("name")
@click.option("--set", "sets", multiple=True, metavar="NAME=VALUE")
@click.option("--sharing", type=SHARING, help=SHARING_HELP)
@click.option("--hubs", type=HUBS, help=HUBS_HELP)
@click.option("--owner", metavar="USER", help="Give it to this user, or to admin.")
@click.option("--fallback", metavar="hold|none|JSON")
@click.option("--deadline-ms", metavar="N|none", help="none for an external agent only.")
@click.option("--missing-reward", type=float)
@click.option("--reward", metavar="EXPRESSION|none", help=REWARD_HELP)
@click.option("--learning", type=click.Choice(["on", "off"]))
@click.option("--safety", metavar="JSON|none", help="Stands instead of all rules before.")
@click.option("--max-episode-steps", metavar="N|none", help=STEPS_HELP)
@click.option("--silent-s", metavar="N|none", help=SILENT_HELP)
@click.option("--cpu-percent", metavar="N|none", help=CPU_HELP)
@click.option("--memory-mb", metavar="N|none", help=MEMORY_HELP)
@click.option("--lag-max", metavar="N|none", help=LAG_HELP)
@click.option("--messages-per-s", metavar="N|none", help=MESSAGES_HELP)
@click.option("--bytes-per-s", metavar="N|none", help=BYTES_HELP)
@click.option("--devices-max", metavar="N|none", help=DEVICES_HELP)
@data_option
def update(
    name: str,
    data: Path,
    sets: tuple[str, ...],
    fallback: str | None,
    learning: str | None,
    safety: str | None,
    **options: object,
) -> None:
    """Change what can be changed while it runs."""
    changes = {key: value for key, value in options.items() if value is not None}
    changes |= _numbers(changes)
    if changes.get("reward") == "none":
        changes["reward"] = None
    if fallback is not None:
        changes["fallback"] = _fallback(fallback)
    if sets:
        changes["parameters"] = parameters_of(sets)
    if learning is not None:
        changes["learning"] = learning == "on"
    if safety is not None:
        changes["safety"] = _safety(safety)
    do(data, control.ChangeAgent(name, changes))


@agent.command()
@click.argument("name")
@click.argument("new", metavar="NEW")
@data_option
def clone(name: str, new: str, data: Path) -> None:
    """Make an agent NEW that is declared as NAME is, and its first key; it learns for itself.

    Policies and devices stay with NAME, and so do its mappings.
    """
    shown = ask(data, control.Show("agent", name)).answer
    declared = {field: shown[field] for field in NewAgent.__struct_fields__ if field in shown}
    anew = msgspec.convert(declared | {"name": new, "seed": None}, NewAgent)
    do(data, control.CreateAgent(anew))


@agent.command()
@click.argument("name")
@data_option
def restart(name: str, data: Path) -> None:
    """Forget the policy and begin anew; sessions end, the log and the old versions stay."""
    do(data, control.RestartAgent(name))


def _status_command(verb: str, status: str, sentence: str) -> None:
    @agent.command(verb, help=sentence)
    @click.argument("name")
    @data_option
    def command(name: str, data: Path) -> None:
        do(data, control.ChangeAgent(name, {"status": status}))


_status_command("pause", "paused", "Answer with the fallback, learn nothing.")
_status_command("resume", "active", "Act and learn again.")
_status_command("delete", "deleted", "Hide the agent and revoke its keys; the log stays.")


def _json(text: str, flag: str) -> object:
    try:
        value: object = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise OperatorFault(
            f"{flag} {text!r} is not JSON: {error}; try '[[4], -5, 5]' or 2"
        ) from error
    return value


def _numbers(options: dict[str, object]) -> dict[str, float | None]:
    """Of those that were given, the number, or None where none is wanted."""
    found: dict[str, float | None] = {}
    for name in NUMBERS:
        text = options.get(name)
        if text is None:
            continue
        try:
            found[name] = None if text == "none" else _number(name, str(text))
        except ValueError:
            what = "a number" if name in FRACTIONAL else "a whole number"
            flag = "--" + name.replace("_", "-")
            raise click.UsageError(f"{flag} {text!r}: write {what} or none") from None
    return found


def _number(name: str, text: str) -> float:
    number = float(text) if name in FRACTIONAL else int(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _fallback(text: str) -> object:
    return text if text in ("hold", "none") else _json(text, "--fallback")


def _safety(text: str) -> object:
    """Rules, or None for none."""
    if text == "none":
        return None
    try:
        value: object = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise OperatorFault(
            f"--safety {text!r} is not JSON: {error}; try "
            '\'{"interlocks": [{"when": "o[0] > 80", "action": 0}]}\' or none'
        ) from error
    return value
