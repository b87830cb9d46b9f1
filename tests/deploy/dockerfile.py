"""A Dockerfile, read as a builder reads it: stages of instructions."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class Copied(NamedTuple):
    """A COPY."""

    stage: str | None
    """Where it is taken from; None = the project."""
    sources: list[str]
    target: str


class Stage(NamedTuple):
    """From one FROM to the next."""

    image: str
    name: str
    lines: list[tuple[str, str]]
    """Instruction and the rest of its line."""

    @property
    def copied(self) -> list[Copied]:
        """What it takes from elsewhere."""
        return [_copied(rest) for word, rest in self.lines if word == "COPY"]

    @property
    def run(self) -> list[list[str]]:
        """The commands it runs, each in words."""
        shells = [rest for word, rest in self.lines if word == "RUN"]
        return [shlex.split(part) for shell in shells for part in shell.split("&&")]

    @property
    def environment(self) -> dict[str, str]:
        """What ENV sets."""
        words = shlex.split(self.said("ENV"))
        return {name: value for name, _, value in (word.partition("=") for word in words)}

    def said(self, instruction: str) -> str:
        """The last of an instruction; empty when there is none."""
        return ([rest for word, rest in self.lines if word == instruction] or [""])[-1]

    def words(self, instruction: str) -> list[str]:
        """The same in JSON form."""
        found = json.loads(re.sub(r"^.*?\[", "[", self.said(instruction)))
        assert isinstance(found, list)
        return found


def stages(file: Path) -> list[Stage]:
    """All of them, in order."""
    text = re.sub(r"^#.*\n", "", file.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: list[Stage] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            found.append(Stage(image, name, []))
        else:
            found[-1].lines.append((word, rest.strip()))
    return found


def _copied(rest: str) -> Copied:
    words = rest.split()
    stage = next((w.removeprefix("--from=") for w in words if w.startswith("--from=")), None)
    *sources, target = [word for word in words if not word.startswith("--")]
    return Copied(stage, sources, target)
