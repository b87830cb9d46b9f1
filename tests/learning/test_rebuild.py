"""From the log alone, every policy version comes again, bit for bit, whatever had happened.

The log is a real one; devices step when they please; the trainer lags, is behind, takes more along
in an update, and is killed.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from hub.errors import OperatorFault
from hub.facts import Updated
from hub.learner.messages import policy_path
from hub.learner.training.rebuild import Rebuilt, rebuild
from hub.learner.training.train import KINDS as TRAINED
from hub.learner.versions.line import KINDS, line_of
from hub.learner.versions.policy import IMPORTED, read_policy, write_policy
from hub.log.replay import from_files
from hub.settings import LogSettings
from hub.words import Kind
from tests.learning.farm import Farm
from tests.learning.harness import StoppedClock, walk
from tests.learning.test_resume import (
    ADVISED,
    DQN,
    FLOCKS,
    HINDSIGHT,
    PPO,
    SAC,
    flock,
    scaled,
    small,
    task_of,
    title,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hub.log.replay import Replay
    from hub.words import Agent, Event

ALGORITHMS: Final = [PPO, DQN, SAC, HINDSIGHT, *FLOCKS]
DEVICES: Final = 4


def lived(farm: Farm, count: int) -> None:
    """That many steps of all devices; each time the devices boot anew."""
    begun = len(farm.log)
    for step, _ in enumerate(walk(Booted(farm, begun), task_of(farm.agent), DEVICES)):
        if step >= count:
            return


class Booted:
    """The farm as devices see it that count their steps anew."""

    def __init__(self, farm: Farm, boot: int) -> None:
        self.agent = farm.agent
        self._farm = farm
        self._boot = boot

    def answer(self, observation: Event, mask: bytes | None = None) -> Any:
        return self._farm.answer(replace(observation, boot=self._boot), mask)


@contextmanager
def logged(farm: Farm, folder: Path) -> Iterator[Replay]:
    """The farm's events in a log."""
    from hub.clock import SystemClock
    from hub.log.store import DuckLog

    folder.mkdir(parents=True)
    log = DuckLog.open(folder, LogSettings(), clock=SystemClock())
    log.append(farm.log)
    log.close()
    with from_files(folder, LogSettings()) as replay:
        yield replay


def rebuilt(log: Replay, farm: Farm, folder: Path, *, at: int | None = None) -> Rebuilt:
    name = farm.agent.name
    line = line_of(name, log.events(name, KINDS, after=0, upto=at))
    events = log.events(name, TRAINED, after=line.begins, upto=line.wanted.seq)
    return rebuild(line, events, folder, farm.folder, StoppedClock())


def policies(farm: Farm) -> list[Event]:
    return [event for event in farm.log if event.kind is Kind.POLICY]


@pytest.mark.parametrize(
    "agent", [*ALGORITHMS, *ADVISED, small("RecurrentPPO"), flock(small("RecurrentPPO"))], ids=title
)
def test_every_version_comes_again_though_the_trainer_was_killed(
    tmp_path: Path, agent: Agent
) -> None:
    farm = Farm(agent, tmp_path / "live", seed=1, troubles=0.01)
    lived(farm, 900)
    assert farm.kills > 3
    versions = policies(farm)
    assert len(versions) > 4
    logs = [event.payload for event in farm.log if event.kind is Kind.UPDATE and event.payload]
    updates = [msgspec.json.decode(text, type=Updated) for text in logs]
    assert any(update.skipped for update in updates)
    assert any(update.gathered for update in updates) == (agent is PPO)
    with logged(farm, tmp_path / "log") as log:
        done = rebuilt(log, farm, tmp_path / "whole")
        assert (done.equal, done.version) == (True, versions[-1].policy)
        assert done.versions == len(versions)
        at = versions[len(versions) // 2]
        done = rebuilt(log, farm, tmp_path / "half", at=at.seq + 1)
    assert (done.equal, done.version, done.seq) == (True, at.policy, at.seq)
    assert f'"{done.sha256}"' in (at.payload or "")


@pytest.mark.parametrize(
    "agent",
    [*ALGORITHMS, scaled(PPO), scaled(DQN)],
    ids=[*map(title, ALGORITHMS), "PPO scaled", "DQN scaled"],
)
def test_what_operators_did_in_between_comes_again(tmp_path: Path, agent: Agent) -> None:
    farm = Farm(agent, tmp_path / "live", seed=2, troubles=0.004)
    lived(farm, 400)
    farm.change(parameters={"learning_rate": "1e-4"})
    lived(farm, 150)
    newest = policies(farm)[-1].policy
    assert newest is not None
    farm.roll_back(newest - 1)
    lived(farm, 200)
    farm.change(parameters={"net_arch": "24"})
    lived(farm, 250)
    farm.change(learning=False)
    lived(farm, 30)
    farm.change(learning=True)
    lived(farm, 200)
    with logged(farm, tmp_path / "log") as log:
        done = rebuilt(log, farm, tmp_path / "again")
    assert done.equal, done
    assert done.versions == len(policies(farm))


@pytest.mark.parametrize("agent", ALGORITHMS, ids=title)
def test_it_begins_at_the_newest_restart_and_takes_what_was_imported(
    tmp_path: Path, agent: Agent
) -> None:
    farm = Farm(agent, tmp_path / "live", seed=3, troubles=0.002)
    lived(farm, 300)
    before = policies(farm)[-1]
    farm.restart()
    assert farm.agent.name not in farm.registry.policies
    lived(farm, 300)
    own = msgspec.json.decode(before.payload or "")["sha256"]
    old = read_policy(policy_path(farm.folder, agent.name, own))
    card = replace(old.card, version=IMPORTED, parent=None)
    farm.put(write_policy(farm.folder, agent.name, card, old.tensors))
    lived(farm, 250)
    with logged(farm, tmp_path / "log") as log:
        done = rebuilt(log, farm, tmp_path / "again")
        assert done.equal, done
        assert 3 < done.versions < len(policies(farm))
        first = rebuilt(log, farm, tmp_path / "first", at=before.seq)
        assert (first.equal, first.version) == (True, before.policy)
        (imported,) = farm.registry.chosen[agent.name].values()
        policy_path(farm.folder, agent.name, imported.sha256).unlink()
        with pytest.raises(OperatorFault, match="came from outside"):
            rebuilt(log, farm, tmp_path / "without")


def test_another_event_makes_another_policy_and_the_first_that_differs_is_named(
    tmp_path: Path,
) -> None:
    farm = Farm(PPO, tmp_path / "live", seed=4)
    lived(farm, 900)
    third = policies(farm)[2]
    position = msgspec.json.decode(third.payload or "")["position"]
    at = next(i for i in range(position - 60, position) if farm.log[i].reward is not None)
    farm.log[at] = replace(farm.log[at], reward=0.5)
    with logged(farm, tmp_path / "log") as log:
        done = rebuilt(log, farm, tmp_path / "again")
    assert (done.equal, done.version, done.versions) == (False, third.policy, 3)
    assert done.sha256 != done.logged


def test_without_a_policy_or_its_beginning_it_is_refused(tmp_path: Path) -> None:
    farm = Farm(PPO, tmp_path / "live", seed=5)
    with pytest.raises(OperatorFault, match="no policy in the log"):
        line_of("walker", farm.log)
    lived(farm, 400)
    kept = [event for event in farm.log if event.kind is not Kind.POLICY or event.policy != 0]
    with pytest.raises(OperatorFault, match="retain_days"):
        line_of("walker", kept)


def troubled(agent: Agent, folder: Path, seed: int) -> Farm:
    """A life with five acts of operators, chosen by the seed; also such as the hub would refuse."""
    chance = np.random.default_rng(seed)
    farm = Farm(agent, folder, seed=seed, troubles=0.01)
    sizes = {} if agent.algorithm == "PPO" else {"buffer_size": ("100", "300", "1000")}
    values = {"learning_rate": ("1e-3", "1e-4"), "net_arch": ("16", "16,16", "24"), **sizes}
    for _ in range(5):
        lived(farm, int(chance.integers(50, 250)))
        act = chance.integers(6)
        if act <= 2:
            name = list(values)[act % len(values)]
            farm.change(parameters={name: str(chance.choice(values[name]))})
        elif act == 3:
            farm.change(learning=bool(chance.integers(2)))
        elif act == 4 and farm.agent.name in farm.registry.policies:
            versions = [event.policy for event in policies(farm)]
            farm.roll_back(int(chance.choice([v for v in versions if v is not None])))
        elif act == 5 and chance.random() < 0.5:
            farm.restart()
    lived(farm, 250)
    return farm


def prove(agent: Agent, folder: Path, seed: int) -> None:
    farm = troubled(agent, folder / "live", seed)
    with logged(farm, folder / "log") as log:
        done = rebuilt(log, farm, folder / "again")
    assert done.equal, f"seed {seed}: {done}"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("agent", ALGORITHMS, ids=title)
def test_any_life_comes_again(tmp_path: Path, agent: Agent, seed: int) -> None:
    prove(agent, tmp_path, seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("agent", ALGORITHMS, ids=title)
def test_a_hundred_lives_come_again(tmp_path: Path, agent: Agent) -> None:
    for seed in range(100, 200):
        prove(agent, tmp_path / str(seed), seed)
