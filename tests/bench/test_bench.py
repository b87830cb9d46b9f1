"""The harness works from end to end, so that `make bench` can't rot between releases."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import pytest

from hub.words import Protocol
from tests.bench.__main__ import main
from tests.bench.report import Results
from tests.bench.walk import walk

if TYPE_CHECKING:
    from pathlib import Path

QUICK_TIMEOUT_S = 180


@pytest.mark.acceptance
@pytest.mark.timeout(QUICK_TIMEOUT_S)
def test_a_quick_bench_measures_every_protocol_and_writes_its_results(tmp_path: Path) -> None:
    assert main(["--quick", "--out", str(tmp_path)]) == 0
    results = msgspec.json.decode((tmp_path / "results.json").read_bytes(), type=Results)
    assert {cell.protocol for cell in results.cells} == set(Protocol)
    for cell in results.cells:
        assert cell.actions_per_s > 0
        assert cell.refused == 0
        assert cell.cpu_us["hub"] > 0
        assert cell.pss_mib["trainer"] > 0
    assert [row.loop for row in results.hub_loads] == ["idle", "full"]
    assert all(row.commits for row in results.hub_loads)
    assert "| mqtt" in (tmp_path / "results.md").read_text()
    assert not list(tmp_path.glob("run-*"))


def test_the_walk_rewards_every_step_but_the_first_of_an_episode() -> None:
    steps = walk()
    assert steps == walk()
    assert sum(step.done for step in steps) > 50
    for before, step in pairwise(steps):
        assert (step.reward is None) == before.done
