"""What no tool checks: the map, the glossary, dead files, sleeping tests, machine paths."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

import hub
from tests.architecture.tree import ROOT, files, module, name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CODE: Final = ("hub", "bridge")

ENTRIES: Final = {
    "hub.__main__": "`sheepfold` and `python -m hub`",
    "hub.learner.sb3.signatures": "makes `algorithms/parameters_table.py` for `make schemas`",
    "hub.remote.sb3": "for programs of Stable-Baselines3 elsewhere",
    "hub.log.memory": "the log as a list: what the others are compared with in tests",
}
"""Modules that nothing of ours imports, and why they stand."""

FUNCTION_LINES_MAX: Final = 70
FILE_LINES_MAX: Final = 450

# Put together here so that this file does not find itself.
ELSEWHERE: Final = re.compile(
    "|".join(
        [
            "(?<![\\w.])/(?:home|root|work|Users)/" + "\\w",
            "pypi" + "\\.org",
            "pythonhosted" + "\\.org",
            "registry\\.npm" + "js",
            "deb\\.debian" + "\\.org",
        ]
    )
)
SILENCED: Final = re.compile(r"# (?:type: ignore\[[\w, -]+\]|noqa(?:: [A-Z0-9, ]+)?)\s*$")
DOUBT: Final = re.compile("FIX" + "ME|TO" + "DO|XX" + "X")


def trees(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for path in files(".py", below=folder):
            yield path, ast.parse(path.read_text(), str(path))


def test_map_names_every_room_in_the_order_of_the_flow() -> None:
    text = hub.__doc__ or ""
    mapped = re.findall(r"^    ([a-z]+)  +\S.*$", text, re.MULTILINE)
    rooms = {path.parent.name for path in (ROOT / "hub").glob("*/__init__.py")}
    assert set(mapped) == rooms
    assert len(mapped) == len(rooms)


def test_each_word_of_the_glossary_has_one_class() -> None:
    words = {node.name for node in _classes(ROOT / "hub/words.py")}
    elsewhere = [
        f"{name(path)}: {node.name}"
        for path in files(".py", below="hub")
        if name(path) != "hub/words.py"
        for node in _classes(path)
        if node.name in words
    ]
    assert elsewhere == []


def test_every_module_is_imported_or_an_entry() -> None:
    named = {
        text
        for _, tree in trees(*CODE, "scripts")
        for node in ast.walk(tree)
        for text in _names(node)
    }
    modules = {module(path) for path in files(".py", below="hub") if path.name != "__init__.py"}
    modules |= {module(path) for path in files(".py", below="bridge") if path.name != "__init__.py"}
    assert sorted(modules - named - set(ENTRIES)) == []


def test_firmware_examples_know_nothing_of_our_code() -> None:
    ours = [
        f"{name(path)}: {text}"
        for path, tree in trees("firmware_examples")
        for node in ast.walk(tree)
        for text in _names(node)
        if text.split(".")[0] in CODE
    ]
    assert ours == []


def test_no_test_sleeps() -> None:
    """A test waits on a condition: a sleep stands only in the loop that asks for it again.

    `asyncio.sleep(0)` only lets others go first.
    """
    parsed = list(trees("tests"))
    polls = {
        id(node)
        for _, tree in parsed
        for loop in ast.walk(tree)
        if isinstance(loop, ast.While) and not isinstance(loop.test, ast.Constant)
        for node in ast.walk(loop)
    }
    sleeps = [
        f"{name(path)}:{node.lineno}"
        for path, tree in parsed
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).split(".")[-1] == "sleep"
        and ast.unparse(node.args[0]) != "0"
        and id(node) not in polls
    ]
    assert sleeps == []


def test_functions_fit_a_screen_and_files_a_sitting() -> None:
    long = [
        f"{name(path)}:{node.lineno} {node.name}"
        for path, tree in trees(*CODE)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES_MAX
    ]
    for path, tree in trees(*CODE):
        if tree.body and (tree.body[-1].end_lineno or 0) > FILE_LINES_MAX:
            long.append(name(path))
    assert long == []


def test_nothing_points_outside_the_repository() -> None:
    assert _lines_with(ELSEWHERE) == []


def test_a_doubt_is_an_issue_not_a_comment() -> None:
    assert _lines_with(DOUBT) == []


def test_every_silenced_check_says_why() -> None:
    assert [line for line in _lines_with(SILENCED) if line.startswith(CODE)] == []


def _lines_with(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # a picture or the like
        lines = enumerate(text.splitlines(), 1)
        found += [f"{name(path)}:{number}" for number, line in lines if pattern.search(line)]
    return found


def _classes(path: Path) -> list[ast.ClassDef]:
    return [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]


def _names(node: ast.AST) -> Iterator[str]:
    """Modules that a piece of syntax may mean: imported, or named in a string to be started."""
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=str() as origin, names=names):
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in names)
        case ast.Constant(value=str() as text):
            yield text.partition(":")[0]
