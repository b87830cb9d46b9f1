"""What the documents name exists: make targets, commands with their options, links."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

import pytest
from click.testing import CliRunner

from hub.__main__ import cli
from tests.architecture.tree import ROOT, files, name

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTS: Final = list(files(".md"))
CODE: Final = re.compile(r"^```[^\n]*\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=name)


def code(document: Path) -> list[str]:
    """Lines of code in a document, inline or fenced; a line ending in a backslash goes on.

    Where a block shows commands after a `$`, its other lines are what they print.
    """
    lines: list[str] = []
    for found in CODE.findall(document.read_text()):
        block = "".join(found).replace("\\\n", " ").splitlines()
        lines += [line for line in block if line.startswith("$ ")] or block
    return lines


@documents
def test_every_make_target_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target for line in code(document) for target in re.findall(r"^(?:\$ )?make ([a-z-]+)", line)
    }
    assert named <= targets


@documents
def test_every_command_and_option_exists(document: Path) -> None:
    for line in code(document):
        found = re.match(r"(?:\$ )?(?:\S*/)?sheepfold((?: [a-z]+)*)(.*)", line)
        if found:
            shown = command_help(tuple(found[1].split()))
            options = re.findall(r"(?<=\s)--[a-z][a-z-]*", found[2])
            assert [option for option in options if option not in shown] == [], line


@functools.cache
def command_help(words: tuple[str, ...]) -> str:
    """What a command says of itself; an argument among the words does no harm."""
    done = CliRunner().invoke(cli, [*words, "--help"])
    assert done.exit_code == 0, f"sheepfold {' '.join(words)}: {done.output}"
    return done.output


@documents
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    text = CODE.sub("", document.read_text())
    for target in ("".join(found) for found in LINK.findall(text)):
        if re.match(r"[a-z]+:", target):
            continue  # another site
        path, _, anchor = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


EXAMPLES: Final = sorted(path for path in (ROOT / "firmware_examples").iterdir() if path.is_dir())


@pytest.mark.parametrize("example", EXAMPLES, ids=name)
def test_every_example_says_how_it_runs_on_a_desk_and_on_a_board(example: Path) -> None:
    assert anchors(example / "README.md") >= {"run-it-on-your-desk", "run-it-on-the-board"}


@pytest.mark.parametrize("example", EXAMPLES, ids=name)
def test_what_an_example_has_typed_is_found_by_who_begins_in_the_repository(example: Path) -> None:
    """The commands are in a `.venv`, and `sheepfold` finds the hub by its folder `data`."""
    typed = code(example / "README.md")
    first = next(i for i, line in enumerate(typed) if re.match("(sheepfold|pip|python3) ", line))
    before = " && ".join(typed[: first + 1])
    assert f"cd firmware_examples/{example.name} &&" in before
    assert "/bin/activate" in before
    asks = next(i for i, line in enumerate(typed) if re.match(r"\S*sheepfold agent ", line))
    assert "export SHEEPFOLD_DATA=../../data" in " && ".join(typed[:asks])


CREATED: Final = re.compile(
    r"agent create (\S+) --algorithm (\S+) --observations '([^']*)' --actions ('[^']*'|\S+)"
)


def test_examples_name_agents_alike_only_where_one_does_for_all_of_them() -> None:
    """Or the second that is tried on a hub is refused, and its devices do not fit the first's."""
    declared: dict[str, set[tuple[str, ...]]] = {}
    pages = [ROOT / "README.md", ROOT / "docs/emulated-board.md"]
    for document in [*pages, *(example / "README.md" for example in EXAMPLES)]:
        for agent, *wanted in CREATED.findall(document.read_text()):
            declared.setdefault(agent, set()).add(tuple(wanted))
    assert len(declared) > 10
    assert {agent: all_of for agent, all_of in declared.items() if len(all_of) > 1} == {}


def anchors(document: Path) -> set[str]:
    """The names of a document's headings, as a forge makes them."""
    headings = re.findall(r"^#+ +(.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
