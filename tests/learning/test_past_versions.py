"""A hub's folder of every past version: its log opens, its agents go on from their policies.

`fixtures/` has them, each named for the commit whose hub wrote it before it was killed, by
`python -m tests.acceptance.earlier`. `make rehearse` tries the same with hubs that run.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from hub.clock import SystemClock
from hub.facts import PolicyMade
from hub.learner.messages import LoggedPolicy
from hub.learner.training.train import Trainer
from hub.log.store import DuckLog
from hub.registry.fold import Registry
from hub.settings import LogSettings
from hub.words import AgentName, Kind
from tests.learning.harness import StoppedClock

if TYPE_CHECKING:
    from hub.words import Event

FIXTURES: Final = sorted((Path(__file__).parent / "fixtures").glob("*.tar.xz"))


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.name)
def test_a_folder_of_a_past_version_opens_and_its_agents_go_on(
    tmp_path: Path, fixture: Path
) -> None:
    unpack(fixture, tmp_path)
    log = DuckLog.open(tmp_path, LogSettings(), clock=SystemClock())
    assert log.state.damage is None
    events = log.read(limit=1_000_000)
    assert [event.seq for event in events] == list(range(1, log.last_seq + 1))
    log.close()
    registry = Registry()
    for event in events:
        registry.apply(event)
    assert len(registry.agents) >= 2
    assert {key.device for key in registry.keys.values()} == {None, "stove"}
    assert list(registry.forgotten) == ["d-dqn"]
    said = {event.payload for event in events if event.device == "d-ppo" and event.obs is not None}
    assert '{"who":"Ada"}' in said
    for name, spec in registry.agents.items():
        made = newest_policy(events, name)
        trainer = Trainer(spec.agent, tmp_path, StoppedClock(), policies_kept=10)
        assert trainer.open(made) is None, f"{name} begins anew"
        assert trainer.version == made.version
        later = [event for event in events if event.agent == name and event.seq > trainer.position]
        assert all(trainer.take(event) is None for event in later[:10])


def unpack(fixture: Path, folder: Path) -> None:
    """Into the folder, which then is a hub's."""
    with tarfile.open(fixture) as archive:
        archive.extractall(folder, filter="data")


def newest_policy(events: list[Event], agent: AgentName) -> LoggedPolicy:
    """That the log knows of."""
    *_, event = (event for event in events if event.kind is Kind.POLICY and event.agent == agent)
    assert event.policy is not None
    assert event.payload is not None
    return LoggedPolicy(event.policy, msgspec.json.decode(event.payload, type=PolicyMade).sha256)
