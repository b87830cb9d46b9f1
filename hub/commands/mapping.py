"""`sheepfold mapping`: how legacy payloads become observations (docs/legacy.md)."""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path
from typing import Final

import click

from hub import control
from hub.ask import ask
from hub.commands.operate import data_option, do, print_line
from hub.errors import DeviceFault, OperatorFault
from hub.intake.mapping import again
from hub.intake.mapping.mapper import Mapper, Memory, shown
from hub.intake.mapping.read import read_mapping
from hub.registry.mapping_acts import AddMapping, RemoveMapping, ShowMappings
from hub.topics import is_device_id

PAYLOAD_BYTES_MAX: Final = 16 * 1024 * 1024
FILE: Final = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.group()
def mapping() -> None:
    """How legacy payloads become observations."""


@mapping.command()
@click.argument("name")
@click.argument("file", type=FILE)
@click.option("--agent", required=True, help="Whose devices send so.")
@data_option
def add(name: str, file: Path, agent: str, data: Path) -> None:
    """Have devices of an agent send as FILE says; again makes the next version."""
    do(data, AddMapping(name, agent, read_mapping(_text_of(file))))


@mapping.command("list")
@data_option
def list_(data: Path) -> None:
    """One JSON line a mapping."""
    do(data, ShowMappings())


@mapping.command()
@click.argument("name")
@data_option
def show(name: str, data: Path) -> None:
    """The mapping as it stands."""
    do(data, ShowMappings(name))


@mapping.command()
@click.argument("name")
@data_option
def remove(name: str, data: Path) -> None:
    """Read nothing by it any more; the log keeps what was read, and how."""
    do(data, RemoveMapping(name))


@mapping.command("try")
@click.argument("file", type=FILE)
@click.argument("payloads", metavar="PAYLOAD...", nargs=-1, required=True)
def try_(file: Path, payloads: tuple[str, ...]) -> None:
    """What a mapping makes of payloads, one after the other; needs no hub.

    A PAYLOAD is the text itself, @FILE for what stands in a file, or - for standard input.
    """
    mapper = Mapper(file.stem, 0, read_mapping(_text_of(file)))
    memory: Memory | None = None
    refused = False
    for given in payloads:
        try:
            mapped = mapper.read(_payload(given), memory)
        except DeviceFault as fault:
            refused = True
            print_line({"e": fault.code, "m": fault.message})
            continue
        if mapped is None:
            print_line(None)
            continue
        memory = mapped.memory
        print_line(shown(mapper, mapped))
    if refused:
        raise OperatorFault("a payload would be refused; see above")


@mapping.command()
@click.argument("file", type=FILE)
@click.argument("device")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=1000, show_default=True)
@data_option
def replay(file: Path, device: str, limit: int, data: Path) -> None:
    """What FILE makes of what a device sent before, beside what was made of it then.

    One JSON line an observation, the newest so many, in their order. Nothing is changed.
    """
    mapper = Mapper(file.stem, 0, read_mapping(_text_of(file)))
    if not is_device_id(device, reserved=True):  # it stands in the query
        raise OperatorFault(f"{device!r:.60} is no device id")
    sent = _lines(data, again.SENT.format(device=device, limit=limit))
    lines = again.read_again(mapper, again.sent_in(sent))
    first = next(lines, None)
    if first is None:
        (refused,) = _lines(data, again.REFUSED.format(device=device))
        raise OperatorFault(again.nothing_of(device, refused))
    for line in chain((first,), lines):
        print_line(line)


def _lines(data: Path, query: str) -> list[bytes]:
    """The rows of a query that sees all that was acknowledged before."""
    from hub.log.analyst.ask import stream_blocking
    from hub.log.analyst.messages import Ask

    after: int = ask(data, control.Position()).answer["seq"]
    return b"".join(
        stream_blocking(data, Ask(query, "json", after=after, agents=None))
    ).splitlines()


def _text_of(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorFault(f"{file} can't be read: {error}") from error


def _payload(given: str) -> bytes:
    if given == "-":
        return sys.stdin.buffer.read(PAYLOAD_BYTES_MAX)
    if not given.startswith("@"):
        return given.encode()
    try:
        with Path(given[1:]).open("rb") as file:
            return file.read(PAYLOAD_BYTES_MAX)
    except OSError as error:
        raise OperatorFault(f"payload {given} can't be read: {error}") from error
