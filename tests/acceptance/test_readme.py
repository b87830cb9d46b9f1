"""The README's ten lines are the example's, and they do what the README says they print."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import msgspec

from tests.acceptance.real_hub import until
from tests.architecture.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.real_hub import RealHub

EXAMPLE: Final = ROOT / "firmware_examples" / "python_http" / "heater.py"
STEPS: Final = 500
RUN_S_MAX: Final = 60.0


def commands() -> list[list[str]]:
    """What the README types after `sheepfold`, as words."""
    typed = (ROOT / "README.md").read_text().split("```console\n")[1].split("```")[0]
    typed = typed.replace("\\\n", " ")
    found = re.findall(r"^\$ \.venv/bin/sheepfold ((?:[^\"\n]|\"[^\"]*\")+)$", typed, re.MULTILINE)
    return [shlex.split(line) for line in found]


def code_of_example() -> str:
    """Without the first line, which says what it is."""
    return EXAMPLE.read_text().split("\n", 1)[1]


def test_the_readme_shows_the_example_as_it_is() -> None:
    assert f"```python\n{code_of_example()}```" in (ROOT / "README.md").read_text()


def test_the_example_learns_on_a_real_hub(hub: RealHub, tmp_path: Path) -> None:
    create, ask = commands()
    made = hub.command(*create)
    assert made.returncode == 0, made.stderr
    key = msgspec.json.decode(made.stdout)["api_key"]
    lines = run(hub, tmp_path, key, code_of_example())
    assert len(lines) == STEPS
    assert all("°C  heat o" in line for line in lines)
    logged = hub.value("SELECT count(*) FROM events WHERE device = 'heater-1' AND kind = 'action'")
    assert logged == STEPS
    newest = "SELECT max(version) FROM policies WHERE agent = 'heating'"
    until(lambda: hub.value(newest) >= 1, "it has learnt from what it did", timeout_s=RUN_S_MAX)
    assert hub.command(*ask).stdout.split()[:3] == ["hundred", "degrees_off", "policy"]
    starts_anew(hub, tmp_path, key)


def starts_anew(hub: RealHub, folder: Path, key: str) -> None:
    """Stopped after three steps, and started again on a warmer day: its steps are 0, 1, 2 again."""
    stopped = code_of_example().replace("range(500)", "range(3)").replace("heater-1", "heater-9")
    for start in ("17.0", "19.0"):
        assert len(run(hub, folder, key, stopped.replace("17.0", start))) == 3
    boots = "SELECT count(DISTINCT boot) FROM events WHERE device = 'heater-9' AND kind = "
    assert hub.value(f"{boots}'observation'") == 2


def run(hub: RealHub, folder: Path, key: str, code: str) -> list[str]:
    """The lines that a device prints."""
    device = folder / "heater.py"
    code = code.replace(":8000/", f":{hub.ready.http}/")
    device.write_text(code.replace("time.sleep(0.01)", "time.sleep(0)"))
    done = subprocess.run(
        [sys.executable, str(device), key],
        capture_output=True, text=True, timeout=RUN_S_MAX, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
