"""docs/emulated-board.md, followed to the letter in a folder that has nothing but the project."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.acceptance.boards import RUN_S_MAX, steps
from tests.acceptance.real_hub import until
from tests.architecture.tree import ROOT

if TYPE_CHECKING:
    from tests.acceptance.boards import Workbench
    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

PAGE: Final = (ROOT / "docs/emulated-board.md").read_text()
BLOCKS: Final = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
DEVICE: Final = "dimmer-1"
OFF: Final = f"SELECT avg(-reward) FROM transitions WHERE device = '{DEVICE}' AND step"


@pytest.mark.parametrize(
    "many",
    [
        pytest.param(150, id="makes its steps"),
        pytest.param(2500, id="learns", marks=pytest.mark.slow),  # half a minute: `make firmware`
    ],
)
def test_whoever_follows_the_page_has_a_board_that(
    fresh_hub: RealHub, workbench: Workbench, tmp_path: Path, many: int
) -> None:
    tools, serve, declare, board, ask = BLOCKS
    for tool in ("avr-gcc", "gcc"):
        workbench.tool(tool, " ".join(re.findall(r"\S*gcc\S*|\S*avr\S*", tools)))
    if not Path("/usr/include/simavr/sim_avr.h").exists():
        workbench.missing("simavr", "libsimavr-dev")
    folder, _, served = serve.partition("\n")
    assert served == "make hub > build/board/hub.log &\n", "a hub on free ports takes its place"
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    (tmp_path / "firmware_examples").symlink_to(ROOT / "firmware_examples")
    begin = f"set -e\ncd {tmp_path}\nexport SHEEPFOLD_DATA={fresh_hub.data}\n"
    said = workbench.run("bash", "-c", f"{begin}{folder}\n{declare}")
    assert said.startswith('{"agent":"dimmers","api_key":"')
    *build, run = board.strip().rpartition("\n")
    assert run.endswith(" 1883 &"), "the block ends with the lamp, in the background"
    in_front = f"exec {run.removesuffix(' 1883 &')} {fresh_hub.ready.mqtt}"
    with workbench.running("bash", "-c", begin + "".join(build) + in_front) as lamp:
        until(
            lambda: steps(fresh_hub, DEVICE) > many or lamp.poll() is not None,
            f"{many} steps",
            timeout_s=2 * RUN_S_MAX,
        )
        assert lamp.poll() is None, (workbench.folder / "says.txt").read_text()
        shown = workbench.run("bash", "-c", begin + ask)
    assert re.match(r"from_step +off +policy\n-+  -+  -+\n +0 +0\.", shown), shown
    if many > 1000:
        assert fresh_hub.value(f"{OFF} > {many - 500}") < fresh_hub.value(f"{OFF} < 500") / 2
