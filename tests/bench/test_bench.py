"""The harness works from end to end, so that `make bench` can't rot between releases."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import msgspec
import pytest

from hub.facts import EpisodeEnded
from hub.words import Kind, Protocol
from tests.bench.__main__ import main
from tests.bench.log_analyst import QUESTIONS
from tests.bench.log_bench import LogFigures
from tests.bench.log_rows import walk_rows
from tests.bench.mapping_bench import measure as measure_mappings
from tests.bench.report import AgentsResults, LearnerResults, LogResults, Results
from tests.bench.sharing_bench import measure as measure_sharing
from tests.bench.walk import walk

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.agents_bench import AgentsFigures


def assert_measured(log: LogFigures) -> None:
    """Every figure came out; what they are is not a test's business."""
    assert log.commits is not None
    assert [row.rows for row in log.commits] == [1, 8, 64, 512, 4096]
    assert all(row.commits and row.ratio > 0 and row.bulk_share > 0 for row in log.commits)
    assert log.stall is not None
    assert log.stall.commits > 0
    assert log.hub_loads is not None
    assert [row.loop for row in log.hub_loads] == ["idle", "full"]
    assert all(row.commits for row in log.hub_loads)
    assert log.reading is not None
    assert log.reading.fetch_share > 0
    assert log.reading.push_events_per_s > 0
    assert log.long is not None
    assert log.long.hot_bytes_per_event > log.long.segment_bytes_per_event > 0
    assert [question.name for question in log.long.questions] == list(QUESTIONS)
    assert log.long.beside.queries > 0


def assert_agents(agents: AgentsFigures) -> None:
    """What fifty agents may cost is a promise, whatever the machine."""
    assert agents.defined == 50
    assert agents.processes["actor"] == agents.processes["trainer"] == 5
    assert agents.total_mib < 1536
    assert sum(agents.asleep_mib.values()) < agents.total_mib
    assert agents.asleep_mib["trainer"] == 0
    assert len(agents.wake_ms) == 5


@pytest.mark.acceptance
def test_fifty_agents_of_which_five_learn_fit_in_the_memory_that_is_promised(
    tmp_path: Path,
) -> None:
    assert main(["agents", "--quick", "--out", str(tmp_path)]) == 0
    results = msgspec.json.decode((tmp_path / "agents.json").read_bytes(), type=AgentsResults)
    assert_agents(results.agents)
    assert "cpu_percent 25" in (tmp_path / "agents.md").read_text()


@pytest.mark.acceptance
def test_a_quick_bench_measures_every_protocol_and_writes_its_results(tmp_path: Path) -> None:
    assert main(["--quick", "--out", str(tmp_path)]) == 0
    results = msgspec.json.decode((tmp_path / "results.json").read_bytes(), type=Results)
    assert {cell.protocol for cell in results.cells} == set(Protocol)
    for cell in results.cells:
        assert cell.actions_per_s > 0
        assert cell.refused == 0
        assert cell.cpu_us["hub"] > 0
        assert cell.pss_mib["trainer"] > 0
    assert_measured(results.log)
    assert_agents(results.agents)
    assert "| mqtt" in (tmp_path / "results.md").read_text()
    assert not list(tmp_path.glob("run-*"))


@pytest.mark.acceptance
def test_parts_of_the_log_are_measured_alone(tmp_path: Path) -> None:
    assert main(["log", "--quick", "--only", "commit", "--out", str(tmp_path)]) == 0
    results = msgspec.json.decode((tmp_path / "log.json").read_bytes(), type=LogResults)
    assert results.log.commits is not None
    assert results.log.long is None
    text = (tmp_path / "log.md").read_text()
    assert "| rows" in text
    assert "Readers" not in text


@pytest.mark.acceptance
def test_learners_are_measured_alone(tmp_path: Path) -> None:
    assert main(["learner", "--quick", "--out", str(tmp_path)]) == 0
    results = msgspec.json.decode((tmp_path / "learner.json").read_bytes(), type=LearnerResults)
    learner = results.learner
    costs = [(act.alone_us, act.batch_us, act.frames_us, act.predict_us) for act in learner.acts]
    assert min(map(min, costs)) > 0
    assert [late.training for late in learner.lateness] == ["nothing", "PPO"]
    assert [one.algorithm for one in learner.throughputs] == ["PPO", "DQN", "SAC"]
    assert all(one.ratio > 0 for one in learner.throughputs)
    assert all(one.equal and one.transitions for one in learner.refolded)
    assert "| PPO" in (tmp_path / "learner.md").read_text()


@pytest.mark.acceptance
def test_ways_of_sharing_are_measured_beside_each_other(tmp_path: Path) -> None:
    runs = measure_sharing(tmp_path, devices=2, seconds=0.3, turns=2)
    assert set(runs) == {"none", "shared", "advice"}
    for done in runs.values():
        assert len(done) == 2
        assert all(0 < run.p50_ms <= run.p99_ms for run in done)
        assert all(run.hub_us <= run.all_us for run in done)


def test_an_episode_of_the_bench_has_one_step_more_than_actions() -> None:
    events = [event for event in islice(walk_rows(), 60_000) if event.device == "device-3"]
    episodes = [event for event in events if event.kind is Kind.EPISODE]
    assert episodes
    for event in episodes:
        assert event.payload is not None
        fact = msgspec.json.decode(event.payload, type=EpisodeEnded)
        last = event.step
        assert last is not None
        steps = [e for e in events if e.step is not None and last - fact.steps <= e.step <= last]
        kinds = Counter(e.kind for e in steps)
        assert kinds[Kind.OBSERVATION] == kinds[Kind.ACTION] + 1 == fact.steps + 1
        assert sum(e.reward or 0.0 for e in steps) == fact.total_reward


def test_the_walk_rewards_every_step_but_the_first_of_an_episode() -> None:
    steps = walk()
    assert steps == walk()
    assert sum(step.done for step in steps) > 50
    for before, step in pairwise(steps):
        assert (step.reward is None) == before.done


def test_a_mapping_costs_what_is_promised() -> None:
    costs = {cost.name: cost for cost in measure_mappings(observations=300)}
    assert costs["tasmota"].us < 10, "names and places"
    assert costs["jmespath"].us < 30
