"""`--help` of every command, and what a shell completes."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from hub.__main__ import cli
from hub.commands.examples import EXAMPLES
from hub.commands.operate import NO_JSON

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHELL: Final = ("|", "<", ">", "&&")
FILES: Final = ("boiler.toml", "heating-12.zip")
"""That examples name and a command wants to be there."""


def leaves(group: click.Group, *words: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, *words, name)
        else:
            yield " ".join((*words, name)), command


COMMANDS: Final = dict(leaves(cli))


def test_every_command_has_examples_and_no_example_is_of_another() -> None:
    assert set(EXAMPLES) == set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS)
def test_examples_stand_in_the_help_and_can_be_typed(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        (tmp_path / name).touch()
    said = CliRunner().invoke(cli, [*words.split(), "--help"]).output
    for example in EXAMPLES[words]:
        assert example in said
        assert_can_be_typed(words, example)


def assert_can_be_typed(words: str, example: str) -> None:
    """As click reads it, without running anything."""
    typed = shlex.split(example)
    end = min((typed.index(word) for word in SHELL if word in typed), default=len(typed))
    typed = typed[typed.index("sheepfold") + 1 : end]
    count = len(words.split())
    assert typed[:count] == words.split()
    COMMANDS[words].make_context(words, typed[count:], resilient_parsing=False)


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("doc", {"doctor"}),
        ("agent pa", {"pause"}),
        ("sql --format ", {"table", "csv"}),
        ("user add ann --ro", {"--role"}),
    ],
)
def test_a_shell_completes_commands_options_and_choices(typed: str, found: set[str]) -> None:
    args, _, last = typed.rpartition(" ")
    completes = BashComplete(cli, {}, "sheepfold", "_SHEEPFOLD_COMPLETE")
    offered = {item.value for item in completes.get_completions(args.split(), last)}
    assert found <= offered


def test_every_command_takes_json_but_those_that_print_no_lines() -> None:
    with_json = {
        words
        for words, command in COMMANDS.items()
        if any("--json" in p.opts for p in command.params)
    }
    assert set(COMMANDS) - with_json == set(NO_JSON)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_a_script_that_asks_for_completions(shell: str) -> None:
    said = CliRunner().invoke(cli, ["completion", shell])
    assert (said.exit_code, said.stderr) == (0, "")
    assert f"_SHEEPFOLD_COMPLETE={shell}_complete" in said.stdout


def test_bash_completes_what_is_typed(tmp_path: Path) -> None:
    program = tmp_path / "sheepfold"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hub "$@"\n')
    program.chmod(0o755)
    asked = (
        'eval "$(sheepfold completion bash)"; COMP_WORDS=(sheepfold agent pa); COMP_CWORD=2; '
        '_sheepfold_completion sheepfold; echo "${COMPREPLY[*]}"'
    )
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-c", asked], env={"PATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["pause"]
