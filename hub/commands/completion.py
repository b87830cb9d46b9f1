"""`sheepfold completion`: what a shell needs to complete commands, options and choices."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

SHELLS: Final = ("bash", "zsh", "fish")
PROGRAM: Final = "sheepfold"
VARIABLE: Final = "_SHEEPFOLD_COMPLETE"
"""Set by the script when it asks for completions; click's name for the program's."""


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes what is typed; your shell reads it at its start."""
    made = get_completion_class(shell)
    assert made is not None, "click knows all of SHELLS"
    click.echo(made(context.find_root().command, {}, PROGRAM, VARIABLE).source())
