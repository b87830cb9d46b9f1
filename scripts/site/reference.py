"""The reference: pages that the code writes, so that none of them is ever stale."""

from __future__ import annotations

import html
import inspect
import json
import re
import tempfile
import typing
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bridge.errors import STATUS
from bridge.openapi import document as openapi
from hub import schemas, words
from hub.__main__ import cli
from hub.commands.examples import EXAMPLES
from hub.intake.mqtt.reasons import OF_FAULT
from hub.log.analyst.guard import VIEWS
from hub.log.analyst.instance import Instance, Surroundings
from hub.log.analyst.sealed import SealedFiles
from hub.settings import ENVIRONMENT_PREFIX, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FOLDER: Final = "docs/reference"
VIEWS_SQL: Final = Path(schemas.__file__).parent / "log/analyst/views.sql"
VIEW: Final = re.compile(
    r"(?P<above>(?:^-- [^\n]*\n)+)CREATE VIEW (?P<name>\w+)(?P<made>.*?);$",
    re.MULTILINE | re.DOTALL,
)
COLUMN: Final = re.compile(r"(\w+),?  -- (.+)$", re.MULTILINE)
TYPES: Final = "SELECT typeof(COLUMNS(v.*)) FROM range(1) LEFT JOIN (FROM {view} LIMIT 0) v ON true"
"""One row, whose columns are the view's."""
MEMORY_MB: Final = 64


def pages() -> dict[str, str]:
    """Each page by its path."""
    made = {
        "commands": _commands,
        "settings": _settings,
        "views": _views,
        "routes": _routes,
        "refusals": _refusals,
    }
    return {f"{FOLDER}/{name}.md": page() for name, page in made.items()}


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """In Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    """A bar would end it, and a code span shows what escapes one."""
    if "|" in text:
        text = re.sub(r"`([^`]*)`", lambda code: f"<code>{html.escape(code[1])}</code>", text)
    return text.replace("|", "&#124;").replace("\n", " ")


# --- commands -----------------------------------------------------------------------------


def leaves(group: click.Group, words: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that runs, by what is typed after `sheepfold`."""
    for name, command in group.commands.items():
        typed = f"{words} {name}".strip()
        if isinstance(command, click.Group):
            yield from leaves(command, typed)
        else:
            yield typed, command


def _commands() -> str:
    parts = [
        "# Commands\n\n`sheepfold`, the same as `python -m hub`. Exit codes: 0 done, 1 refused "
        "(stderr says what to do), 2 wrong usage. How they find a hub, and what they are for, is "
        "said [to operators](../operator.md).\n"
    ]
    return "\n".join([*parts, *(_command(*leaf) for leaf in leaves(cli))])


def _command(typed: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"sheepfold {typed}")
    usage = command.get_usage(context).partition(": ")[2]
    rows = [_option(option, context) for option in command.params if not _hidden(option)]
    return "\n".join(
        [
            f"## {typed}\n",
            f"{inspect.cleandoc(command.help or '')}\n",
            f"```text\n{' '.join(usage.split())}\n```\n",
            table(("option", "default", "is"), rows) if rows else "",
            "```sh",
            *EXAMPLES[typed],
            "```\n",
        ]
    )


def _hidden(option: click.Parameter) -> bool:
    return isinstance(option, click.Argument)  # the usage shows them


def _option(option: click.Parameter, context: click.Context) -> tuple[str, str, str]:
    assert isinstance(option, click.Option)
    flag = ", ".join(f"`{name}`" for name in option.opts)
    if not option.is_flag:
        flag += f" `{option.make_metavar(context)}`"
    default = option.get_default(context)
    shown = default if isinstance(default, str | int | float) and default is not False else ""
    required = "required" if option.required else ""
    return flag, f"`{shown}`" if shown != "" else required, option.help or ""


# --- settings -----------------------------------------------------------------------------


def _settings() -> str:
    parts = [
        "# Settings\n\nDefaults, then the TOML file that `--config` names, then the environment, "
        "then flags: the later one counts. [deploy/hub.toml](../../deploy/hub.toml) has all of "
        "them to begin with.\n"
    ]
    for name, section in typing.get_type_hints(Settings).items():
        about = (inspect.getdoc(section) or "").partition("\n")[0].partition(": ")[2]
        rows = (
            (f"`{setting}`", f"`{json.dumps(default)}`", means)
            for setting, default, means in schemas.described(section)
        )
        variable = f"{ENVIRONMENT_PREFIX}{name.upper()}__…"
        parts.append(f"## [{name}] {{ #{name} }}\n\n{about[:1].upper()}{about[1:]} `{variable}`\n")
        parts.append(table(("setting", "default", "is"), rows))
    return "\n".join(parts)


# --- views --------------------------------------------------------------------------------


def _views() -> str:
    views = _made()
    parts = [
        "# SQL views\n\nAll that a query may name, in DuckDB's SQL; what to ask them is said [to "
        "analysts](../analyst.md), and how each is made is in "
        "[schemas/log.sql](../../schemas/log.sql). Times are UTC.\n"
    ]
    for view, columns in _columns().items():
        note, below = views[view]
        parts.append(f"## {view}\n\n{note}\n")
        rows = ((f"`{name}`", kind, below.get(name, "")) for name, kind in columns.items())
        parts.append(table(("column", "type", "is"), rows))
    return "\n".join(parts)


def _columns() -> dict[str, dict[str, str]]:
    """Types of the columns of each view, as an analyst's own database has them."""
    with tempfile.TemporaryDirectory(prefix="sheepfold-") as name:
        folder = Path(name)
        around = Surroundings("", folder, folder / "keys", folder / "spill", MEMORY_MB, threads=1)
        with closing(Instance.open(around, None, SealedFiles(folder).look())) as instance:
            return {view: _types(instance, TYPES.format(view=view)) for view in VIEWS}


def _types(instance: Instance, query: str) -> dict[str, str]:
    with closing(instance.statement()) as statement, closing(statement.run(query, rows=1)) as rows:
        (row,) = (row for batch in rows for row in batch.to_pylist())
        return dict(row)


def _made() -> dict[str, tuple[str, dict[str, str]]]:
    """What stands above each view, in sentences, and behind its columns."""
    views = {}
    for found in VIEW.finditer(VIEWS_SQL.read_text()):
        text = " ".join(line[3:] for line in found["above"].splitlines())
        said = text.removeprefix(f"{found['name']}: ")
        views[found["name"]] = said[:1].upper() + said[1:], dict(COLUMN.findall(found["made"]))
    return views


# --- routes -------------------------------------------------------------------------------


def _routes() -> str:
    described: dict[str, Any] = json.loads(openapi())
    rows = [
        (f"`{method.upper()} {path}`", operation["summary"], _keys(operation), _answers(operation))
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    return (
        "# HTTP routes\n\nBodies and answers are in "
        "[schemas/openapi.json](../../schemas/openapi.json), which the hub serves at "
        "`/schema/openapi.json` too; what is refused is an RFC 9457 problem document with one of "
        "the [refusal codes](refusals.md). How to use them is said to [those with legacy "
        "devices](../legacy.md), [analysts](../analyst.md) and [learners "
        "elsewhere](../remote-learner.md).\n\n" + table(("route", "does", "key", "answers"), rows)
    )


def _keys(operation: dict[str, Any]) -> str:
    ways = operation.get("security")
    if ways is None:
        return "none"
    return "if any" if {} in ways else "yes"


def _answers(operation: dict[str, Any]) -> str:
    return " ".join(sorted(operation["responses"]))


# --- refusals -----------------------------------------------------------------------------


def _refusals() -> str:
    meaning = schemas.notes_in(words.Code)
    rows = (
        (
            f"`{code}`",
            meaning[code.name],
            f"{STATUS[code].value} {HTTPStatus(STATUS[code]).phrase}",
            f"0x{OF_FAULT[code]:02X} {OF_FAULT[code].name.replace('_', ' ').lower()}",
        )
        for code in words.Code
    )
    return (
        "# Refusal codes\n\nOne word for each reason why the hub did not take what a device sent, "
        "and [what to do](../device-maker.md#when-something-is-wrong). MQTT 3.1.1 hears it on "
        "`err`, MQTT 5 as a reason of PUBACK and PUBREC, HTTP and WebSocket as a problem document. "
        "Each is an event of the kind `refused`, whose `reason` is the code.\n\n"
        + table(("code", "what happened", "HTTP", "MQTT 5"), rows)
    )
