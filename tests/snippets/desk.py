"""Where a reader sits: a folder, a hub, a shell, and what was typed in it before."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from tests.acceptance.real_hub import HOST
from tests.architecture.tree import ROOT
from tests.commands.typed import Said, typed
from tests.snippets.blocks import commands

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.real_hub import RealHub

RUN_S_MAX: Final = 60
PASSWORD: Final = "correct horse\n"
SHELL: Final = re.compile(r"[|<>&]|\$\(")
NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?")
CAN_REFUSE: Final = ("sheepfold mapping try", "sheepfold doctor")
"""They exit with 1 when they have found something, which is what they are for."""
PROGRAMS: Final = {
    "sheepfold": '-m hub "$@"',
    # The command line of DuckDB comes apart from its Python package; both ask the same library.
    "duckdb": '-c "import duckdb, sys; print(duckdb.sql(sys.argv[2]))" "$@"',
}


class Desk:
    """Runs what documents show, with what stands for a place replaced by the place itself."""

    def __init__(self, folder: Path, hub: RealHub) -> None:
        self.folder = folder
        self.hub = hub
        self.key = ""
        """`$KEY`: what the last command printed that made one."""
        self.words: dict[str, str] = {}
        """What an author wrote for something that every reader has to look up."""
        (folder / "data").symlink_to(hub.data)
        (folder / "deploy").symlink_to(ROOT / "deploy")
        (folder / "password.txt").write_text(PASSWORD)
        (folder / "etc").mkdir()
        (folder / "etc/hub.toml").write_text("")
        programs = folder / "bin"
        programs.mkdir()
        for name, runs in PROGRAMS.items():
            (programs / name).write_text(f"#!/bin/sh\nexec {sys.executable} {runs}\n")
            (programs / name).chmod(0o755)

    def placed(self, text: str) -> str:
        """With this hub's addresses, folders and names."""
        text = re.sub(
            r"(?:127\.0\.0\.1|hub|hub\.local):8000", f"{HOST}:{self.hub.ready.http}", text
        )
        text = text.replace("/etc/sheepfold", str(self.folder / "etc"))
        text = text.replace("/var/lib/sheepfold", str(self.hub.data))
        text = text.replace("/mnt/backup", str(self.folder / "backup"))
        for word, stands_for in self.words.items():
            text = re.sub(rf"\b{re.escape(word)}\b", stands_for, text)
        return text

    def shell(self, text: str) -> None:
        """Every command of a block, which must succeed and print what it shows."""
        for command in commands(text):
            said = self._run(self.placed(command.typed))
            allowed = (0, 1) if command.typed.startswith(CAN_REFUSE) else (0,)
            assert said.code in allowed, f"{command.typed}\n{said.out}{said.err}"
            if command.printed is not None:
                shown = [_shape(line) for line in command.printed]
                assert [_shape(line) for line in said.out.splitlines()] == shown, command.typed

    def _run(self, line: str) -> Said:
        words = shlex.split(line, comments=True)
        if not words:
            return Said(0, "", "")
        if words[:1] == ["sheepfold"] and not SHELL.search(line.partition(" #")[0]):
            # In this process, which has all that is to be imported.
            words = [word.replace("$KEY", self.key) for word in words[1:]]
            said = typed(self.hub.data, *words, stdin=PASSWORD * 2)
        else:
            said = self._in_bash(line)
        made = re.search(r'"api_key":"([^"]+)"', said.out)
        self.key = made[1] if made else self.key
        return said

    def _in_bash(self, line: str) -> Said:
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", line],
            cwd=self.folder,
            env={
                "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
                "PYTHONPATH": str(ROOT),
                "SHEEPFOLD_DATA": str(self.hub.data),
                "KEY": self.key,
            },
            capture_output=True,
            text=True,
            timeout=RUN_S_MAX,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)


def _shape(line: str) -> str:
    """A printed line without its numbers; of the words of a plug, which is chance."""
    shape = NUMBER.sub("#", line.rstrip())
    return "ON or OFF" if shape in ("ON", "OFF") else shape
