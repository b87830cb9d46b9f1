"""How every command speaks to a running hub, and prints what it answered."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from hub.ask import ask
from hub.errors import OperatorFault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.control import Request

DATA: Final = "./data"
NO_JSON: Final = ("completion", "schemas")
"""Commands that print a script, and nothing."""
ANYWAY: Final = "JSON lines, which it prints anyway."
DURATION: Final = re.compile(r"[0-9]{1,9}[smhd]")

data_option: Final = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=DATA,
    envvar="SHEEPFOLD_DATA",
    show_default=True,
    show_envvar=True,
    help="Folder of the hub to speak to.",
)


def do(data: Path, request: Request) -> None:
    """Have it done and print the answer: one JSON line, or one a row.

    Raises:
        SheepfoldError: as `hub.ask.ask`.
    """
    answer = ask(data, request).answer
    for row in answer if isinstance(answer, list) else [answer]:
        print_line(row)


def print_line(row: object) -> None:
    """One JSON line."""
    click.echo(msgspec.json.encode(row))


def take_json(group: click.Group) -> None:
    """Have every command below a group take `--json`, those too that print JSON lines anyway.

    Nobody has to know which of them do. Those that print nothing of their own are left alone.
    """
    for command in group.commands.values():
        if isinstance(command, click.Group):
            take_json(command)
        elif command.name not in NO_JSON and not any(_is_json(option) for option in command.params):
            command.params.append(
                click.Option(["--json"], is_flag=True, expose_value=False, help=ANYWAY)
            )


def _is_json(parameter: click.Parameter) -> bool:
    return "--json" in parameter.opts


def check_data(data: Path) -> None:
    """Refuse a folder that is not there: nobody means to back up nothing.

    Raises:
        OperatorFault: it is not there.
    """
    if not data.is_dir():
        raise OperatorFault(f"there is no data folder {data}; name it with --data")


def parameters_of(sets: tuple[str, ...]) -> dict[str, str]:
    """What `--set NAME=VALUE` says, given any number of times."""
    for pair in sets:
        if "=" not in pair:
            raise click.UsageError(f"--set {pair!r}: write NAME=VALUE")
    return {name: value for name, _, value in (pair.partition("=") for pair in sets)}


def seconds_of(text: str, flag: str) -> float:
    """What a duration says, as `90s`, `30m`, `12h` or `7d`."""
    unit_s = {"s": 1, "m": 60, "h": 3600, "d": 86_400}.get(text[-1:])
    if unit_s is None or not DURATION.fullmatch(text):
        raise click.UsageError(f"{flag} {text[:40]!r}: write a number and s, m, h or d, as 12h")
    return float(int(text[:-1]) * unit_s)


@contextlib.contextmanager
def private() -> Iterator[None]:
    """What is written inside is this user's alone, as in the data folder."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
