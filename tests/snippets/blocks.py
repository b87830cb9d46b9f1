"""The fenced blocks of a document, and what an author said about running one.

What can't be run here is preceded by a comment that readers do not see, with the reason:

    <!-- not run: it installs packages as root -->

and what a test of its own runs, by a comment that names the test:

    <!-- run by tests/acceptance/test_readme.py -->

Where such a comment stands alone it is about the whole document.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LANGUAGES: Final = ("sh", "console", "sql", "python", "py", "toml", "json")
FENCE: Final = re.compile(
    r"(?:^<!-- (?P<said>[^>\n]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
OF_ALL: Final = re.compile(r"^<!-- (?P<said>run by [^>\n]+) -->\n\n", re.MULTILINE)
NOT_RUN: Final = "not run: "
RUN_BY: Final = "run by "
FILE: Final = re.compile(r"`([\w./-]+)`:?\n*\Z")
"""The last words before a block, where it is a file that the reader writes."""


class Block(NamedTuple):
    """One of them."""

    place: str
    """Document and line, as an editor finds it."""
    language: str
    text: str
    said: str
    """By the comment before it; empty = it is run as it stands."""
    file: str
    """The file that the text before it says to write; empty = none."""


def blocks(document: Path) -> Iterator[Block]:
    """Those of the languages that are run, in order."""
    text = document.read_text()
    of_all = OF_ALL.search(text)
    for found in FENCE.finditer(text):
        if found["language"] not in LANGUAGES:
            continue
        line = text.count("\n", 0, found.start("text"))
        named = FILE.search(text[: found.start()])
        yield Block(
            f"{document.name}:{line}",
            found["language"],
            found["text"],
            found["said"] or (of_all["said"] if of_all else ""),
            named[1] if named else "",
        )


class Command(NamedTuple):
    """What is typed, and what the document says is printed; None = it does not say."""

    typed: str
    printed: list[str] | None


def commands(text: str) -> Iterator[Command]:
    """Of a block of shell; where commands stand after a `$`, the other lines are what they print.

    A line that ends in a backslash goes on, and so does one within quotation marks.
    """
    shown = any(line.startswith("$ ") for line in text.splitlines())
    waiting, typed, printed = "", "", list[str]()
    for line in text.replace("\\\n", " ").splitlines():
        begins = line.startswith("$ ")
        if shown and not begins and not waiting:
            printed.append(line)
            continue
        waiting = f"{waiting}{line.removeprefix('$ ')}\n"
        if not _closed(waiting):
            continue
        if typed:
            yield Command(typed, printed if shown else None)
        typed, printed, waiting = waiting.strip(), [], ""
    if typed:
        yield Command(typed, printed if shown else None)


def _closed(typed: str) -> bool:
    """Every quotation mark has its other."""
    bare = re.sub(r"(?<!\S)#.*$", "", typed, flags=re.MULTILINE)
    return not {"'", '"'} & set(re.sub(r"\"[^\"]*\"|'[^']*'", "", bare))
