"""The README's ten lines are the example's, and they do what the README says they print."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

from tests.architecture.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.real_hub import RealHub

EXAMPLE: Final = ROOT / "firmware_examples" / "python_http" / "heater.py"
STEPS: Final = 200
RUN_S_MAX: Final = 60.0


def code_of_example() -> str:
    """Without the first line, which says what it is."""
    return EXAMPLE.read_text().split("\n", 1)[1]


def test_the_readme_shows_the_example_as_it_is() -> None:
    assert f"```python\n{code_of_example()}```" in (ROOT / "README.md").read_text()


def test_the_example_learns_on_a_real_hub(hub: RealHub, tmp_path: Path) -> None:
    key = hub.make_agent("heating", observations=[[1], -40, 80], actions=2)
    device = tmp_path / "heater.py"
    device.write_text(code_of_example().replace(":8000/", f":{hub.ready.http}/"))
    done = subprocess.run(
        [sys.executable, str(device), key],
        capture_output=True, text=True, timeout=RUN_S_MAX, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == STEPS
    assert all("°C  heat o" in line for line in lines)
    logged = hub.value("SELECT count(*) FROM events WHERE device = 'heater-1' AND kind = 'action'")
    assert logged == STEPS
