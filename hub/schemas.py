"""Everything generated: `schemas/`, `deploy/hub.toml` and `docs/algorithms.md`.

    run(root, check=False)   # after a change of a word, a topic, a setting, a view or a route
    run(root, check=True)    # 1 when what is there is not what the code says

What stands below `schemas/examples/` is written by hand.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import json
import sys
import textwrap
import typing
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Meta, Struct

from hub import facts, mappings, payloads, topics, words
from hub.federation import payloads as between_hubs
from hub.intake.observation import LONG_NAMES
from hub.learner.algorithms.describe import algorithms_page
from hub.settings import Settings

OPENAPI: Final = "bridge.openapi:document"
"""Describes the HTTP routes; by name, for the hub imports no bridge."""

LOG: Final = Path(__file__).parent / "log"
SQL_SHOWN: Final = ("sql/table.sql", "analyst/views.sql")
"""What a query may see; the rest is the log's own."""

WORDS: Final[dict[str, tuple[Any, str]]] = {
    "observation": (words.Message, "topics `obs` and `obs/mp`, `POST /v1/step`"),
    "hello": (words.Hello, "topic `hello`"),
    "act": (payloads.Act, "topics `act` and `act/mp`, the answer of `POST /v1/step`"),
    "err": (payloads.Err, "topic `err`"),
    "cfg": (payloads.Cfg, "topic `cfg`"),
    "state": (payloads.State, "topic `state`"),
    "agent": (words.Agent, "`sheepfold agent show`"),
    "announcement": (between_hubs.Announcement, "topic `policy/<hub>` of a broker of hubs"),
    "want": (between_hubs.Want, "topic `want/<hub>` there"),
    "gains": (between_hubs.Gains, "topic `advice/<hub>` there"),
    "mapping": (mappings.Mapping, "`sheepfold mapping try`, as TOML or JSON"),
    "fact": (facts.Fact, "column `payload` of the view `events`, by kind"),
}
"""File name, type, and where an outsider meets it."""


def run(root: Path, *, check: bool) -> int:
    """Write everything, or only say what is stale; the exit code for a command line."""
    openapi = describe_http()
    if not check:
        write(root, openapi=openapi)
        return 0
    wrong = stale(root, openapi=openapi)
    if wrong:
        print(f"stale: {', '.join(wrong)}; run `make schemas`", file=sys.stderr)
    return 1 if wrong else 0


def describe_http() -> bytes:
    """The bridge's OpenAPI document."""
    module, _, function = OPENAPI.partition(":")
    document: bytes = getattr(importlib.import_module(module), function)()
    return document


def write(root: Path, *, openapi: bytes | None = None) -> None:
    """Write all generated files below the repository's root.

    Args:
        root: the folder that holds `schemas/` and `deploy/`.
        openapi: the bridge's own description; None leaves the one there alone.
    """
    for name, content in generate(openapi).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def stale(root: Path, *, openapi: bytes | None = None) -> list[str]:
    """Names of the files that are not what the code says now, or that nothing generates."""
    expected = generate(openapi)
    wrong = [name for name, content in expected.items() if _read(root / name) != content]
    present = {f"schemas/{path.name}" for path in (root / "schemas").glob("*.*")}
    return sorted({*wrong, *(present - set(expected) - {"schemas/openapi.json"})})


def generate(openapi: bytes | None = None) -> dict[str, bytes]:
    """Path below the root and content of every generated file."""
    files = {f"schemas/{name}.json": schema(name) for name in WORDS}
    files["schemas/topics.md"] = _topics().encode()
    files["schemas/log.sql"] = _sql().encode()
    files["schemas/README.md"] = _index().encode()
    files["deploy/hub.toml"] = settings_toml().encode()
    files["docs/algorithms.md"] = algorithms_page().encode()
    if openapi is not None:
        files["schemas/openapi.json"] = openapi
    return files


def schema(name: str) -> bytes:
    """The JSON Schema (2020-12) of one of the WORDS."""
    document = msgspec.json.schema(WORDS[name][0])
    for title, part in document.get("$defs", {}).items():
        if "description" in part:
            part["description"] = " ".join(part["description"].split())
        for field, note in _notes(title).items():
            part["properties"][field]["description"] = note
    if name == "observation":
        document = _as_received(document)
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": name} | document
    return json.dumps(document, indent=2).encode() + b"\n"


def settings_toml() -> str:
    """Every setting with its default, and above it what it is for."""
    sections = (
        _section(name, section) for name, section in typing.get_type_hints(Settings).items()
    )
    return (
        "# Every setting, with its default. Each may also be given as SHEEPFOLD__SECTION__KEY in\n"
        "# the environment. Generated by `make schemas`.\n\n" + "\n".join(sections)
    )


def _as_received(document: dict[str, Any]) -> dict[str, Any]:
    """A device may also send long names, 0 and 1 for flags, null for absent, or the bare values."""
    message = document["$defs"]["Message"]
    fields = message["properties"]
    for name, field in fields.items():
        if field.get("type") == "boolean":
            fields[name] = {"enum": [True, False, 1, 0, None], "default": False}
    fields |= {long: {"$ref": f"#/$defs/Message/properties/{o}"} for long, o in LONG_NAMES.items()}
    del message["required"]
    message["anyOf"] = [{"required": ["o"]}, {"required": ["obs"]}]
    forms = [{"$ref": "#/$defs/Message"}, {"type": "array"}, {"type": "number"}]
    return {"anyOf": forms, "$defs": document["$defs"]}


def _notes(title: str) -> dict[str, str]:
    """What stands below each field of a Struct, which only its source still knows."""
    rooms = (payloads, between_hubs, facts, mappings, words)
    struct = next(vars(room)[title] for room in rooms if title in vars(room))
    parts = [part for part in struct.__mro__ if part.__module__ == struct.__module__]
    return {name: note for part in parts for name, note in _notes_in(part).items()}


def _notes_in(struct: type) -> dict[str, str]:
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(struct))).body
    notes = {}
    for field, below in itertools.pairwise(getattr(body, "body", [])):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str())):
                notes[name] = " ".join(ast.literal_eval(below.value).split())
    return notes


def _section(name: str, section: type[Struct]) -> str:
    lines = [f"[{name}]"]
    hints = typing.get_type_hints(section, include_extras=True)
    for field in msgspec.structs.fields(section):
        metas = [part for part in hints[field.name].__metadata__ if isinstance(part, Meta)]
        lines.append(f"# {_about(metas)}")
        lines.append(f"{field.name} = {json.dumps(field.default)}")
    return "\n".join(lines) + "\n"


def _about(metas: list[Meta]) -> str:
    description = " ".join(meta.description for meta in metas if meta.description)
    words_of = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    bounds = [
        f"{word} {getattr(meta, bound)}"
        for meta in metas
        for bound, word in words_of.items()
        if getattr(meta, bound) is not None
    ]
    return f"{description} ({', '.join(bounds)})" if bounds else description


def _topics() -> str:
    base, device = Settings().mqtt.base, "<device>"
    rows = [
        (leaves, who)
        for leaves, who in (
            (topics.DEVICE_PUBLISHES, "the device"),
            (topics.HUB_PUBLISHES, "the hub"),
            (topics.OPERATOR_PUBLISHES, "an operator"),
        )
    ]
    lines = ["# Topics", "", "Generated by `make schemas`.", "", "| topic | published by |"]
    lines.append("|---|---|")
    for leaves, who in rows:
        lines += [f"| `{topics.device_topic(base, device, leaf)}` | {who} |" for leaf in leaves]
    lines.append(f"| `{topics.hub_status(base)}` | the hub, retained, and its will |")
    lines += [
        f"| `{topics.agent_topic(base, '<agent>', leaf)}` | a hub, to others (`[federation]`) |"
        for leaf in topics.FEDERATION
    ]
    return "\n".join(lines) + "\n"


def _sql() -> str:
    head = (
        "-- The hot file's table, and the views over the whole log. Generated by `make schemas`.\n"
    )
    return "\n".join([head, *((LOG / name).read_text() for name in SQL_SHOWN)])


def _index() -> str:
    lines = [
        "# Schemas",
        "",
        "What crosses the hub's walls, generated from the code by `make schemas`; a test fails",
        "when it is stale. `examples/` holds golden payloads, one a file, named for their schema:",
        "tests and firmware read the same files.",
        "",
        "| file | met at |",
        "|---|---|",
        *(f"| [{name}.json]({name}.json) | {where} |" for name, (_, where) in WORDS.items()),
        "| [topics.md](topics.md) | every MQTT topic |",
        "| [log.sql](log.sql) | the table and the views that queries see |",
        "| [openapi.json](openapi.json) | every HTTP route |",
    ]
    return "\n".join(lines) + "\n"


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
