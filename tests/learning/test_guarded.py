"""A guarded policy: who trails gets a control, who lies is muted, and all of it resumes.

Devices are real tasks; one of four says the reverse of its rewards for a while, so that it trails
its peers, gets a network of its own, is muted, and is heard again.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from msgspec.structs import replace

from hub.facts import Guarded
from hub.learner.acting.choose import Chooser
from hub.learner.acting.flock import FlockChooser, open_chooser
from hub.learner.columns import Question
from hub.learner.guarded import GUARD, GuardedFlock
from hub.learner.messages import drawn_of
from hub.learner.open import open_learner
from hub.learner.versions.parts import SEEDLING
from hub.words import Agent, Floats, Kind
from tests.learner.choices import chosen
from tests.learning.bits import bits
from tests.learning.farm import Farm
from tests.learning.harness import Hub, file_of, walk
from tests.learning.test_rebuild import Booted, policies, rebuilt
from tests.learning.test_rebuild import logged as in_a_log
from tests.learning.test_resume import (
    DQN,
    OFF_POLICY,
    PPO,
    devices,
    logged,
    names,
    resumed,
    scaled,
    small,
    task_of,
    title,
)

if TYPE_CHECKING:
    from pathlib import Path

    from hub.learner.acting.flock import Choosing
    from hub.words import Event
    from tests.learning.harness import Answering

LIAR: Final = "device-1"
SOON: Final = {"guard_episodes": "5", "guard_forks": "2"}


def guarded(agent: Agent) -> Agent:
    """The same with updates often, and a guard that decides soon."""
    often = {"n_steps": "48", "batch_size": "16"}
    if "n_steps" not in agent.parameters:
        often = {"learning_starts": "30", "publish_every": "32"}
    return replace(agent, parameters=agent.parameters | often | SOON)


BITS: Final = bits("SAC", 6, seed=3, **OFF_POLICY | {"buffer_size": "400"})
AGENTS: Final = [
    guarded(agent) for agent in (PPO, DQN, BITS, scaled(PPO), scaled(DQN), small("RecurrentPPO"))
]
TITLES: Final = ["PPO", "DQN", "SAC with hindsight", "PPO scaled", "DQN scaled", "RecurrentPPO"]


class Lying:
    """A hub, to which one device says the reverse of its rewards for so many events."""

    def __init__(self, hub: Answering, log: list[Event], until: int) -> None:
        self.agent = hub.agent
        self._hub = hub
        self._log = log
        self._until = until

    def answer(self, observation: Event, mask: bytes | None = None) -> Any:
        """As the hub answers."""
        lies = observation.device == LIAR and len(self._log) < self._until
        if lies and observation.reward is not None:
            observation = replace(observation, reward=-observation.reward - 0.5)
        return self._hub.answer(observation, mask)


def lived(agent: Agent, folder: Path, *, steps: int = 3000, lies: int = 3500) -> Hub:
    """Four devices with a liar among them."""
    hub = Hub(agent, folder, handover_steps=4, policies_kept=1000)
    for _ in islice(walk(Lying(hub, hub.log, lies), task_of(agent), 4), steps):
        pass
    return hub


def decisions(hub: Hub) -> list[tuple[str, Guarded]]:
    told = [one for made in hub.versions for one in made.advised]
    return [(device, fact) for device, fact in told if isinstance(fact, Guarded)]


@pytest.mark.parametrize(
    "agent",
    [*AGENTS[:2], *(pytest.param(agent, marks=pytest.mark.slow) for agent in AGENTS[2:])],
    ids=TITLES,
)
def test_a_trainer_resumed_at_any_version_makes_the_same_bytes(
    tmp_path: Path, agent: Agent
) -> None:
    hub = lived(agent, tmp_path)
    said = {fact.decision for _, fact in decisions(hub)}
    assert {"control", "muted"} <= said
    count = len(hub.versions)
    forked = [i for i, made in enumerate(hub.versions) if file_of(hub, made).card.replicas]
    assert len(forked) > 4
    for i in sorted({forked[0] - 1, forked[0], forked[3], 2 * count // 3, count - 2}):
        _, versions = resumed(hub, logged(hub.versions[i]))
        assert names(versions) == names(hub.versions[i + 1 :]), f"from version {i} of {count}"
        assert [one.advised for one in versions] == [
            one.advised for one in hub.versions[i + 1 :]
        ], f"from version {i}"


@pytest.mark.parametrize(
    "agent", [*AGENTS[:2], pytest.param(AGENTS[2], marks=pytest.mark.slow)], ids=TITLES[:3]
)
def test_it_comes_again_from_the_log_alone_whatever_operators_did(
    tmp_path: Path, agent: Agent
) -> None:
    farm = Farm(agent, tmp_path / "live", seed=1, troubles=0.003)

    def live(steps: int) -> None:
        begun = len(farm.log)
        lying = Lying(Booted(farm, begun), farm.log, until=begun + steps)
        for _ in islice(walk(lying, task_of(agent), 4), steps):
            pass

    live(1500)
    assert guards(farm), "somebody was decided about"
    newest = policies(farm)[-1].policy
    assert newest is not None
    farm.roll_back(newest - 1)
    live(400)
    farm.change(parameters=agent.parameters | {"learning_rate": "1e-4"})
    live(300)
    farm.roll_back(2)  # of before there was a fork
    live(400)
    farm.change(parameters=agent.parameters | {"guard": "off"})
    live(200)
    farm.change(parameters=agent.parameters)
    live(300)
    assert farm.kills > 3
    with in_a_log(farm, tmp_path / "log") as log:
        done = rebuilt(log, farm, tmp_path / "again")
    assert done.equal, done
    assert done.versions == len(policies(farm))


def guards(farm: Farm) -> list[str]:
    """Devices with a network of their own at any time."""
    used = [e for e in farm.log if e.kind is Kind.ACTION and drawn_of(e.payload).own]
    return sorted({event.device for event in used})


@pytest.mark.parametrize("agent", [PPO, DQN, scaled(PPO)], ids=title)
def test_while_nobody_trails_the_policy_is_bit_for_bit_what_it_is_unguarded(
    tmp_path: Path, agent: Agent
) -> None:
    with_guard = devices(agent, tmp_path / "on")
    off = replace(agent, parameters=agent.parameters | {"guard": "off"})
    without = devices(off, tmp_path / "off")
    assert len(with_guard.versions) == len(without.versions) > 4
    for ours, theirs in zip(with_guard.versions, without.versions, strict=True):
        one, other = file_of(with_guard, ours), file_of(without, theirs)
        tensors = {name: t for name, t in one.tensors.items() if name != GUARD}
        assert tensors.keys() == other.tensors.keys()
        for name, tensor in tensors.items():
            assert np.array_equal(tensor, other.tensors[name]), name
        assert one.card == replace(other.card, parameters=one.card.parameters)


def test_a_device_with_a_control_takes_turns_and_each_action_says_whose(tmp_path: Path) -> None:
    hub = lived(guarded(PPO), tmp_path)
    by_episode: dict[str, list[set[bool]]] = {}
    for event in hub.log:
        episodes = by_episode.setdefault(event.device, [])
        if event.kind is Kind.OBSERVATION and event.first:
            episodes.append(set())
        elif event.kind is Kind.ACTION:
            episodes[-1].add(drawn_of(event.payload).own)
    networks = [one for episodes in by_episode.values() for one in episodes]
    assert all(len(one) <= 1 for one in networks), "one network for an episode"
    tried = {device for device, fact in decisions(hub) if fact.decision == "control"}
    assert {device for device, episodes in by_episode.items() if {True} in episodes} == tried
    assert sum(one == {True} for one in by_episode[LIAR]) > 5


def asked(device: str, step: int = 0, *, first: bool = False) -> Question:
    values = np.array([0.1, -0.2, 0.3, -0.4], dtype="<f4").tobytes()
    return Question(step, device, 0, step, Floats(values), first=first)


def is_own(chooser: Choosing, question: Question) -> bool:
    """Whether the device's own network chooses."""
    (choice,) = chosen(chooser, [question], greedy=False)
    return drawn_of(choice.payload).own


def with_fork(hub: Hub) -> int:
    """Number of the last version with a fork."""
    return max(i for i, made in enumerate(hub.versions) if file_of(hub, made).card.replicas)


def test_a_device_always_has_a_policy_whether_its_fork_comes_or_goes(tmp_path: Path) -> None:
    hub = lived(guarded(PPO), tmp_path)
    policy = file_of(hub, hub.versions[with_fork(hub)])
    assert set(policy.card.replicas or {}) > {SEEDLING}
    forked = list(policy.card.replicas or {})[1]
    chooser = open_chooser(policy, 1)
    assert isinstance(chooser, FlockChooser)
    shared = open_chooser(file_of(hub, hub.versions[0]), 1)
    assert isinstance(shared, Chooser)
    asking = [asked(forked, 0, first=True), asked("device-0", 1), asked("stranger", 2)]
    choices = chosen(chooser, asking, greedy=False)
    assert [drawn_of(choice.payload).own for choice in choices] == [True, False, False]
    assert is_own(chooser, asked(forked, 1)), "in the same episode"
    assert not is_own(chooser, asked(forked, 9, first=True))
    # After a restart in mid-episode nobody knows whose turn it was.
    anew = open_chooser(policy, 1)
    assert not is_own(anew, asked(forked, 10))
    after = open_chooser(file_of(hub, hub.versions[0]), 1, chooser)
    assert isinstance(after, Chooser)
    assert not is_own(after, asked(forked, 11))


def test_what_a_muted_device_says_does_not_train_the_shared_policy(tmp_path: Path) -> None:
    hub = lived(guarded(DQN), tmp_path, lies=10**9)
    muted = next(f for d, f in decisions(hub) if (d, f.decision) == (LIAR, "muted"))
    assert muted.relation is not None
    assert muted.relation < 0.2
    assert muted.peers is not None
    assert muted.peers > 0.7
    learner = hub.trainer._learner
    assert isinstance(learner, GuardedFlock)
    rows = learner.shared.inner.rows  # type: ignore[attr-defined]  # a Library's
    liars = [e.seq for e in hub.log if e.device == LIAR and e.kind is Kind.OBSERVATION]
    late = [seq for seq in liars if seq > muted.seq]
    assert len(late) > 50
    assert not set(late) & set(rows.ended.tolist())
    assert {d for d, f in decisions(hub) if f.decision == "muted"} == {LIAR}


def test_who_was_muted_is_heard_again_once_its_rewards_are_its_peers(tmp_path: Path) -> None:
    hub = lived(guarded(PPO), tmp_path, steps=7000, lies=2500)
    said = [fact for device, fact in decisions(hub) if device == LIAR]
    assert [f.decision for f in said if "muted" in f.decision] == ["muted", "unmuted"]
    unmuted = next(fact for fact in said if fact.decision == "unmuted")
    assert unmuted.relation is not None
    assert unmuted.relation > 0.5


def test_a_restarted_agent_has_forgotten_forks_and_muting(tmp_path: Path) -> None:
    learner = open_learner(guarded(PPO))
    assert isinstance(learner, GuardedFlock)
    card = learner.card(PPO, version=0, parent=None, position=0)
    assert card.replicas is None
    assert learner._guard.stages == {}
