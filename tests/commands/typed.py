"""A command as it is typed, run in this process: starting Python anew takes longer than it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from click.testing import CliRunner

from hub.__main__ import cli
from hub.errors import SheepfoldError

if TYPE_CHECKING:
    from pathlib import Path


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, object]]:
        """Its answer: one JSON object a line."""
        return [msgspec.json.decode(line, type=dict[str, object]) for line in self.out.splitlines()]


def typed(data: Path, *arguments: str, stdin: str | bytes | None = None) -> Said:
    """Run it for a data folder, with a person's or a program's words on stdin."""
    runner = CliRunner(env={"SHEEPFOLD_DATA": str(data)})
    result = runner.invoke(cli, arguments, input=stdin)
    if isinstance(result.exception, SheepfoldError):  # as `main` says it
        return Said(1, result.stdout, f"{result.stderr}sheepfold: {result.exception}")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)
