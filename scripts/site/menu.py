"""Where a reader finds what: the menu, by who reads, and the settings of the site."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MENU: Final[dict[str, Any]] = {
    "Start": "index.md",
    "Make a device": {
        "From nothing, emulated": "docs/emulated-board.md",
        "Any device, over MQTT": "docs/device-maker.md",
        "What no policy may do": "docs/safety.md",
        "Examples that run": {},
    },
    "Connect what there is": {
        "HTTP, mappings, Shepherd": "docs/legacy.md",
        "Mappings to begin with": "deploy/mappings/index.md",
        "Homes: Home Assistant": "docs/home-assistant.md",
        "A learner elsewhere": "docs/remote-learner.md",
    },
    "Ask the log": {
        "SQL": "docs/analyst.md",
        "Views and their columns": "docs/reference/views.md",
    },
    "Run a hub": {
        "Operate": "docs/operator.md",
        "Install to stay": "docs/deploy.md",
        "Watch": "docs/watching.md",
        "Several hubs": "docs/hubs.md",
        "Threat model": "docs/threat-model.md",
        "Report a weakness": "SECURITY.md",
    },
    "Learning": {
        "Algorithms": "docs/algorithms.md",
        "An algorithm of your own": "docs/own-algorithm.md",
        "What sharing brings": "docs/sharing.md",
        "Figures": "bench/results.md",
    },
    "Reference": {
        "Commands": "docs/reference/commands.md",
        "Settings": "docs/reference/settings.md",
        "MQTT topics": "schemas/topics.md",
        "HTTP routes": "docs/reference/routes.md",
        "SQL views": "docs/reference/views.md",
        "Refusal codes": "docs/reference/refusals.md",
        "Payloads": "schemas/index.md",
    },
    "Decisions": {"All of them": "docs/decisions/index.md"},
    "More": {},
    "Project": {"Contribute": "CONTRIBUTING.md", "What is new": "CHANGELOG.md"},
}
EXAMPLE: Final = re.compile(r"firmware_examples/\w+/index\.md")
DECISION: Final = re.compile(r"docs/decisions/\d+-.*\.md")
DOCUMENT: Final = re.compile(r"docs/[\w-]+\.md")
HEADING: Final = re.compile(r"^# (.+)$", re.MULTILINE)

SITE: Final[dict[str, Any]] = {
    "site_name": "Sheepfold",
    "site_description": "Devices send observations, get actions back, and learn live.",
    "docs_dir": "pages",
    "site_dir": "html",
    "use_directory_urls": False,  # can be opened from a disk, by its index.html
    "theme": {
        "language": "en",
        "font": False,  # or a reader's browser asks a font server
        "features": [
            "content.code.copy",
            "navigation.footer",
            "navigation.tabs",
            "navigation.top",
            "search.highlight",
            "toc.follow",
        ],
        "palette": [
            {
                "media": "(prefers-color-scheme: light)",
                "scheme": "default",
                "toggle": {"icon": "lucide/sun", "name": "Dark, please"},
            },
            {
                "media": "(prefers-color-scheme: dark)",
                "scheme": "slate",
                "toggle": {"icon": "lucide/moon", "name": "Light, please"},
            },
        ],
    },
    "extra": {"generator": False},
    "markdown_extensions": {
        "attr_list": {},
        "tables": {},
        # Anchors as code hosts make them, so that one link is good in both places.
        "toc": {
            "permalink": True,
            "slugify": {"object": "pymdownx.slugs.slugify", "kwds": {"case": "lower"}},
        },
        "pymdownx": {"highlight": {}, "superfences": {}},
    },
}


def settings(found: Mapping[str, str | bytes]) -> str:
    """The site's settings in TOML, for the pages there are."""
    lines = (f"{name} = {toml(value)}" for name, value in (SITE | {"nav": entries(found)}).items())
    return "\n".join(["[project]", *lines, ""])


def entries(found: Mapping[str, str | bytes]) -> list[dict[str, Any]]:
    """The menu with every example and decision; a document that has no place yet is under More."""
    named = set(_pages(MENU))
    more = [path for path in found if DOCUMENT.fullmatch(path) and path not in named]
    whole = {
        name: dict(below) if isinstance(below, dict) else below for name, below in MENU.items()
    }
    whole["Make a device"]["Examples that run"] = _by_heading(found, EXAMPLE)
    whole["Decisions"] |= _by_heading(found, DECISION)
    whole["More"] = {_heading(found[path]): path for path in sorted(more)}
    return _entries({name: below for name, below in whole.items() if below})


def toml(value: object) -> str:
    """A value as TOML has it, on one line."""
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)


def _entries(below: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{name: _entries(to) if isinstance(to, dict) else to} for name, to in below.items()]


def _pages(below: Mapping[str, Any]) -> Iterator[str]:
    for to in below.values():
        if isinstance(to, dict):
            yield from _pages(to)
        else:
            yield to


def _by_heading(found: Mapping[str, str | bytes], kind: re.Pattern[str]) -> dict[str, str]:
    return {_heading(found[path]): path for path in sorted(found) if kind.fullmatch(path)}


def _heading(text: str | bytes) -> str:
    found = HEADING.search(text if isinstance(text, str) else text.decode())
    assert found is not None, "every page has a title"
    return found[1].replace("`", "")
