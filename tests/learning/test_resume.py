"""A trainer killed at any version makes the same bytes again as one that was never killed."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from hub.facts import AgentMade, PolicyChosen
from hub.learner.algorithms.libraries import ALGORITHMS
from hub.learner.messages import LoggedPolicy, Made, policy_path
from hub.learner.sb3.larger import ROLLOUTS_MAX
from hub.learner.training.train import Trainer
from hub.learner.versions.parts import own_name
from hub.learner.versions.policy import read_policy, write_policy
from hub.spaces import Discrete
from hub.words import Agent, Event, Kind
from tests.learning.bits import bits, environment_of
from tests.learning.harness import Hub, StoppedClock, cartpole, dials, pendulum, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILES_KEPT: Final = 1000
SMALL: Final[dict[str, dict[str, str]]] = {
    "PPO": {"n_steps": "128", "batch_size": "64", "n_epochs": "3"},
    "A2C": {"n_steps": "64"},
    "TRPO": {"n_steps": "128", "batch_size": "64"},
    "RecurrentPPO": {
        "n_steps": "128",
        "batch_size": "64",
        "n_epochs": "2",
        "lstm_hidden_size": "8",
    },
    "MaskablePPO": {"n_steps": "128", "batch_size": "64", "n_epochs": "3"},
}
"""Parameters of small on-policy learners."""
OFF_POLICY: Final = {
    "buffer_size": "300",
    "learning_starts": "100",
    "train_freq": "8",
    "gradient_steps": "2",
    "batch_size": "32",
    "net_arch": "16,16",
    "publish_every": "64",
}


SMALL["QRDQN"] = OFF_POLICY | {"batch_size": "8"}
"""Its loss holds 200 quantiles of each row against 200."""


def small(algorithm: str) -> Agent:
    """An agent of CartPole-v1, or of Pendulum-v1 where the algorithm takes Box actions alone."""
    parameters = SMALL.get(algorithm, OFF_POLICY)
    make = cartpole if Discrete in ALGORITHMS[algorithm].heads else pendulum
    return make(algorithm, seed=3, **parameters)


def scaled(agent: Agent) -> Agent:
    """The same with statistics of observations and rewards."""
    return replace(agent, parameters=agent.parameters | {"norm_obs": "true", "norm_reward": "true"})


def flock(agent: Agent) -> Agent:
    """The same with a network for each device, and updates as often."""
    often = {"n_steps": "32", "batch_size": "16"}
    if "n_steps" not in agent.parameters:
        often = {"learning_starts": "20", "publish_every": "16"}
    return replace(agent, sharing="none", parameters=agent.parameters | often)


PPO: Final = small("PPO")
DQN: Final = small("DQN")
SAC: Final = small("SAC")
FLOCKS: Final = [flock(PPO), flock(DQN)]
ADVISED: Final = [replace(agent, sharing="advice") for agent in (*FLOCKS, flock(SAC))]
HINDSIGHT: Final = bits("DQN", 6, seed=3, **OFF_POLICY)


def devices(agent: Agent, folder: Path, *, steps: int = 900) -> Hub:
    """A log of four devices, and every version the trainer made of it."""
    hub = Hub(agent, folder, policies_kept=FILES_KEPT)
    run(hub, task_of(agent), devices=4, steps_max=steps, threshold=1e9)
    return hub


def task_of(agent: Agent) -> str:
    """The environment that the agent's spaces are of."""
    if isinstance(agent.actions, dict):
        return "Dials-v0"
    if "replay_buffer" in agent.parameters:
        return environment_of(agent)
    return "CartPole-v1" if agent.actions == 2 else "Pendulum-v1"


def title(agent: Agent) -> str:
    """Of a case."""
    hindsight = " with hindsight" if "replay_buffer" in agent.parameters else ""
    sharing = {"shared": "", "none": " in a flock", "advice": " with advice"}[agent.sharing]
    return agent.algorithm + hindsight + sharing


def logged(made: Made) -> LoggedPolicy:
    return LoggedPolicy(made.version, made.policy.sha256)


def resumed(hub: Hub, newest: LoggedPolicy | None) -> tuple[Trainer, list[Made]]:
    """Another trainer, from a version on, over the same log."""
    trainer = Trainer(hub.agent, hub.folder, StoppedClock(), policies_kept=FILES_KEPT)
    versions = [made] if (made := trainer.open(newest)) else []
    events = [event for event in hub.log if event.seq > trainer.read_after]
    versions += [made for event in events if (made := trainer.take(event))]
    return trainer, versions


def names(versions: list[Made]) -> list[tuple[int, str]]:
    return [(made.version, made.policy.sha256) for made in versions]


@pytest.mark.parametrize(
    "agent",
    [
        *map(small, ALGORITHMS),
        dials("PPO", seed=3, **SMALL["PPO"]),
        dials("MaskablePPO", seed=3, **SMALL["PPO"]),
        pendulum("PPO", seed=3, use_sde="true", **SMALL["PPO"]),
        pendulum("SAC", seed=3, use_sde="true", **OFF_POLICY),
        pendulum("TD3", seed=3, **OFF_POLICY, action_noise="ou_0.2"),
        scaled(PPO),
        scaled(DQN),
        scaled(SAC),
        HINDSIGHT,
        bits("SAC", 6, seed=3, **OFF_POLICY),
        bits("DQN", 6, seed=3, **OFF_POLICY | {"buffer_size": "120", "norm_reward": "true"}),
        *FLOCKS,
        *ADVISED,
        replace(flock(scaled(PPO)), sharing="advice"),
        flock(small("RecurrentPPO")),
        flock(scaled(PPO)),
        flock(scaled(DQN)),
        flock(HINDSIGHT),
    ],
    ids=[
        *ALGORITHMS,
        "PPO with several choices",
        "MaskablePPO with masks",
        "PPO with gSDE",
        "SAC with gSDE",
        "TD3 with drifting noise",
        "PPO scaled",
        "DQN scaled",
        "SAC scaled",
        "DQN with hindsight",
        "SAC with hindsight",
        "DQN with hindsight, scaled",
        "PPO in a flock",
        "DQN in a flock",
        "PPO with advice",
        "DQN with advice",
        "SAC with advice",
        "PPO scaled with advice",
        "RecurrentPPO in a flock",
        "PPO scaled in a flock",
        "DQN scaled in a flock",
        "DQN with hindsight in a flock",
    ],
)
def test_a_resumed_trainer_makes_the_same_bytes(tmp_path: Path, agent: Agent) -> None:
    hub = devices(agent, tmp_path)
    assert len(hub.versions) > 4
    for at in (0, 1, len(hub.versions) // 2, len(hub.versions) - 1):
        _, versions = resumed(hub, logged(hub.versions[at]))
        assert names(versions) == names(hub.versions[at + 1 :]), f"from version {at}"


def test_a_trainer_without_a_version_makes_all_of_them_again(tmp_path: Path) -> None:
    hub = devices(PPO, tmp_path)
    _, versions = resumed(hub, None)
    assert names(versions) == names(hub.versions)


@pytest.mark.parametrize("agent", [DQN, HINDSIGHT], ids=title)
def test_rewards_that_were_missing_are_filled_in_again(tmp_path: Path, agent: Agent) -> None:
    hub = devices(replace(agent, missing_reward=0.5), tmp_path / "before", steps=600)
    hub.folder = tmp_path
    hub.log = [replace(event, reward=None) if event.seq % 7 == 0 else event for event in hub.log]
    _, versions = resumed(hub, None)
    for at in (1, len(versions) // 2):
        _, again = resumed(hub, logged(versions[at]))
        assert names(again) == names(versions[at + 1 :]), f"from version {at}"


def test_no_event_is_used_twice_or_left_out(tmp_path: Path) -> None:
    hub = devices(DQN, tmp_path)
    updates = [made.update for made in hub.versions if made.update]
    for before, after in pairwise(updates):
        assert before.position_last < after.position_first
        assert after.parent == before.parent + 1
    used = sum(update.transitions for update in updates)
    steps = sum(event.reward is not None for event in hub.log[: updates[-1].position_last])
    assert used == steps


@pytest.mark.parametrize("harm", ["torn", "missing"])
def test_a_bad_file_makes_it_fall_back_to_the_version_before(
    tmp_path: Path, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = devices(PPO, tmp_path)
    newest, before = hub.versions[4], hub.versions[3]
    path = policy_path(tmp_path, hub.agent.name, newest.policy.sha256)
    path.write_bytes(path.read_bytes()[:100])
    if harm == "missing":
        path.unlink()
    trainer, versions = resumed(hub, logged(newest))
    assert trainer.read_after == before.policy.position
    assert (versions[0].version, versions[0].policy.parent) == (5, 3)
    assert "version 4: policy file" in capsys.readouterr().err


def test_without_any_readable_file_it_begins_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = devices(PPO, tmp_path, steps=300)
    trainer = Trainer(hub.agent, tmp_path / "elsewhere", StoppedClock(), policies_kept=4)
    made = trainer.open(logged(hub.versions[-1]))
    assert made is not None
    assert (made.version, made.policy.position, made.update) == (len(hub.versions), 0, None)
    assert "begins anew" in capsys.readouterr().err


def test_files_of_a_network_that_is_no_more_begin_anew_where_the_old_one_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = devices(PPO, tmp_path)
    found = read_policy(policy_path(tmp_path, hub.agent.name, hub.versions[2].policy.sha256))
    tensors = {**found.tensors, "action_net.bias": np.zeros(3, dtype=np.float32)}
    sha256 = write_policy(tmp_path, hub.agent.name, found.card, tensors)
    trainer = Trainer(hub.agent, tmp_path, StoppedClock(), policies_kept=FILES_KEPT)
    made = trainer.open(LoggedPolicy(2, sha256))
    assert made is not None
    assert (made.version, made.policy.parent) == (3, None)
    assert made.policy.position == hub.versions[2].policy.position
    assert "another network" in capsys.readouterr().err


def switched(hub: Hub, events: list[Event], *, at: int, **changes: Any) -> list[Event]:
    """The log with the agent declared anew after an event."""
    agent = msgspec.structs.replace(hub.agent, **changes)
    return said(AgentMade(agent, "admin"), events, at=at)


def said(fact: AgentMade | PolicyChosen, events: list[Event], *, at: int) -> list[Event]:
    """The log with one more event."""
    payload = msgspec.json.encode(fact).decode()
    switch = Event(Kind.ADMIN, ts=0, agent="walker", payload=payload)
    later = events[at:]
    if isinstance(fact, PolicyChosen):  # it acts, and what is made of it
        shift = fact.version - (fact.trained or 0)
        later = [
            event if event.policy is None else replace(event, policy=event.policy + shift)
            for event in later
        ]
    changed = [*events[:at], switch, *later]
    return [msgspec.structs.replace(event, seq=i) for i, event in enumerate(changed, 1)]


@pytest.mark.parametrize("agent", [PPO, DQN, HINDSIGHT, *FLOCKS], ids=title)
def test_while_learning_is_off_nothing_is_learnt_and_a_resume_knows_it(
    tmp_path: Path, agent: Agent
) -> None:
    hub = devices(agent, tmp_path / "before")
    hub.folder = tmp_path
    third = hub.versions[3].policy.position
    hub.log = switched(hub, hub.log, at=third, learning=False)
    hub.log = switched(hub, hub.log, at=third + 300, learning=True)
    _, versions = resumed(hub, None)
    for made in versions:
        assert not third < made.policy.position <= third + 301
    _, again = resumed(hub, logged(versions[3]))
    assert names(again) == names(versions[4:])
    _, again = resumed(hub, logged(versions[5]))
    assert names(again) == names(versions[6:])


def spoil(learner: Any) -> None:
    """As a step of the optimizer does that went too far: its next update has no finite weights."""
    next(learner.inner.model.policy.parameters()).data.fill_(float("inf"))


def test_an_update_that_fails_is_dropped_and_the_version_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = devices(PPO, tmp_path / "before")
    at = hub.versions[2].policy.position + 10
    trainer = Trainer(PPO, tmp_path, StoppedClock(), policies_kept=FILES_KEPT)
    versions = [made for made in [trainer.open(None)] if made]
    for event in hub.log:
        if event.seq == at:
            learner: Any = trainer._learner
            spoil(learner.shared)
        versions += [made for made in [trainer.take(event)] if made]
    assert "was dropped, version 2 stays" in capsys.readouterr().err
    assert versions[3].update is not None
    assert versions[3].update.dropped >= 128
    path = policy_path(tmp_path, hub.agent.name, versions[-1].policy.sha256)
    assert np.isfinite(read_policy(path).tensors["action_net.weight"]).all()


CHANGES: Final = {
    "another learning rate": {"learning_rate": "1e-4"},
    "another network": {"net_arch": "32"},
    "another network for its scale": {"norm_obs": "true"},
    "rewards scaled": {"norm_reward": "true"},
    "a smaller buffer": {"buffer_size": "150"},
    "a larger buffer": {"buffer_size": "600"},
    "a much smaller buffer": {"buffer_size": "40", "learning_starts": "30"},
    "other goals": {"goal_selection_strategy": "final", "n_sampled_goal": "1"},
    "another reward of goals": {"goal_reward": "-distance"},
    "goals no more": {"replay_buffer": "uniform", "goal_reward": "none"},
    "devices alike": {"device_slots": "0"},
    "fewer told apart": {"device_slots": "2"},
    "more told apart": {"device_slots": "100"},
}


def is_open_to(agent: Agent, change: str) -> bool:
    """Whether the agent has such a parameter; SAC is left out where DQN does as well."""
    if "goal" in change:
        return agent is HINDSIGHT
    if "for its scale" in change:
        return agent is not HINDSIGHT and agent is not SAC  # bits are no measurements
    return not (agent is PPO and "buffer" in change) and not (agent is SAC and "scale" in change)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Agent], Hub]:
    """What four devices of an agent lived through: once, for all tests that change it later on."""
    hubs: dict[str, Hub] = {}

    def lived(agent: Agent) -> Hub:
        if title(agent) not in hubs:
            hubs[title(agent)] = devices(agent, tmp_path_factory.mktemp("before"), steps=700)
        return copy.copy(hubs[title(agent)])

    return lived


@pytest.mark.parametrize(
    ("agent", "change"),
    [
        pytest.param(agent, change, id=f"{change}-{title(agent)}")
        for change in CHANGES
        for agent in (PPO, DQN, SAC, HINDSIGHT)
        if is_open_to(agent, change)
    ],
)
def test_other_parameters_count_from_where_the_log_has_them(
    tmp_path: Path, lived: Callable[[Agent], Hub], agent: Agent, change: str
) -> None:
    hub = lived(agent)
    hub.folder = tmp_path
    at = hub.versions[3].policy.position + 50
    parameters = {**agent.parameters, **CHANGES[change]}
    hub.log = switched(hub, hub.log, at=at, parameters=parameters)
    _, versions = resumed(hub, None)
    before = [made for made in versions if made.policy.position <= at]
    assert names(before) == names(hub.versions[: len(before)])
    anew = [made for made in versions if made.policy.position == at + 1]
    assert len(anew) == change.startswith("another network")
    assert all(made.policy.parent == made.version - 1 for made in versions[1:])
    for start in (len(before) - 1, len(before), len(versions) - 2):
        _, again = resumed(hub, logged(versions[start]))
        assert names(again) == names(versions[start + 1 :]), f"from version {start}"
    assert names(hub.versions)[len(before) :] != names(versions)[len(before) :]


def test_the_first_version_after_a_change_of_sharing_names_all_whom_it_tells_apart(
    tmp_path: Path,
) -> None:
    hub = devices(PPO, tmp_path / "before", steps=1000)
    hub.folder = tmp_path
    at = hub.versions[-2].policy.position
    hub.log = said(AgentMade(replace(hub.agent, sharing="none"), "ann"), hub.log, at=at)
    _, versions = resumed(hub, None)
    before: list[str] = []
    after: list[str] = []
    for made in versions:
        (after if made.policy.position > at else before).extend(made.policy.devices)
    assert sorted(after) == sorted(before) != []
    last = next(made for made in reversed(versions) if made.policy.position <= at)
    assert names(resumed(hub, logged(last))[1]) == names(versions[last.version + 1 :])


@pytest.mark.parametrize("agent", [PPO, DQN, SAC, HINDSIGHT, *FLOCKS], ids=title)
def test_training_goes_on_from_the_version_an_operator_chose(tmp_path: Path, agent: Agent) -> None:
    hub = devices(agent, tmp_path / "before", steps=1000)
    hub.folder = tmp_path
    _, versions = resumed(hub, None)
    # Of a flock, those before are of devices that came, and the others' updates come in between.
    old, newest = (versions[1], versions[4]) if agent.sharing == "shared" else versions[5:18:12]
    sha256 = old.policy.sha256
    chosen = PolicyChosen(
        newest.version + 1,
        sha256,
        "rolled_back",
        old.version,
        newest.version,
        newest.policy.sha256,
        "ann",
    )
    at = newest.policy.position + 9
    hub.log = said(chosen, hub.log, at=at)
    _, versions = resumed(hub, None)
    before, after = versions[: newest.version + 1], versions[newest.version + 1 :]
    assert [made.version for made in after[:2]] == [newest.version + 2, newest.version + 3]
    assert after[0].parent_sha256 == sha256
    assert after[0].policy.parent == newest.version + 1
    weights = read_policy(policy_path(tmp_path, hub.agent.name, after[0].policy.sha256)).tensors
    unlike = read_policy(policy_path(tmp_path, hub.agent.name, newest.policy.sha256)).tensors
    like = read_policy(policy_path(tmp_path, hub.agent.name, sha256)).tensors
    device = own_name("device-0", "") if agent.sharing == "none" else ""
    name = next(n for n in weights if n.startswith(device) and n.endswith("0.weight"))
    assert np.abs(weights[name] - like[name]).max() < np.abs(weights[name] - unlike[name]).max()
    for start in (before[-1], after[0], after[-2]):
        _, again = resumed(hub, logged(start))
        assert names(again) == names([made for made in versions if made.version > start.version])


def test_a_version_made_while_an_operator_chose_leaves_no_trace(tmp_path: Path) -> None:
    """The log's version 4 is the operator's, though the trainer had made one of that number."""
    hub = devices(PPO, tmp_path / "before", steps=700)
    hub.folder = tmp_path
    _, versions = resumed(hub, None)
    sha256 = versions[1].policy.sha256
    chosen = PolicyChosen(4, sha256, "promoted", 1, 3, versions[3].policy.sha256, "ann")
    hub.log = said(chosen, hub.log, at=versions[4].policy.position)
    _, first = resumed(hub, None)
    assert [made.version for made in first[:6]] == [0, 1, 2, 3, 4, 5]
    assert first[5].parent_sha256 == sha256
    _, again = resumed(hub, logged(first[3]))
    assert names(again) == names(first[4:])


@pytest.mark.parametrize("agent", [PPO, DQN, SAC, HINDSIGHT, *FLOCKS], ids=title)
def test_what_was_left_out_under_load_stands_in_the_update(tmp_path: Path, agent: Agent) -> None:
    hub = devices(agent, tmp_path / "before", steps=700)
    busy = Trainer(agent, tmp_path / "busy", StoppedClock(), policies_kept=FILES_KEPT)
    live = [made for made in [busy.open(None)] if made]
    for event in hub.log:
        made = busy.take(event, behind=300 < event.seq % 700 < 520 or event.seq % 90 < 20)
        live += [made] if made else []
    skipped = [run for made in live if made.update for run in made.update.skipped]
    assert len(skipped) > 3
    assert any(made.update.dropped for made in live if made.update)
    idle = Trainer(agent, tmp_path / "idle", StoppedClock(), policies_kept=FILES_KEPT)
    again = [made for made in [idle.open(None)] if made]
    for event in hub.log:
        behind = any(first <= event.seq <= last for first, last in skipped)
        again += [made for made in [idle.take(event, behind=behind)] if made]
    upto = len(again)
    assert upto >= len(live)
    assert names(again)[: len(live)] == names(live)


@pytest.mark.parametrize("agent", [PPO, small("A2C"), small("TRPO")], ids=title)
def test_an_update_takes_along_what_waits_and_says_where(tmp_path: Path, agent: Agent) -> None:
    hub = devices(agent, tmp_path / "before", steps=1400)
    busy = Trainer(agent, tmp_path / "busy", StoppedClock(), policies_kept=FILES_KEPT)
    live = [made for made in [busy.open(None)] if made]
    for event in hub.log:
        made = busy.take(event, more=event.seq % 1400 < 1100 and busy.takes_more)
        live += [made] if made else []
    updates = [made.update for made in live if made.update and made.update.transitions]
    rollout = int(agent.parameters["n_steps"])
    most = max(update.transitions for update in updates)
    assert min(update.transitions for update in updates) == rollout
    assert 2 * rollout < most <= ROLLOUTS_MAX * rollout
    if agent.algorithm == "PPO":  # as many as of one rollout
        steps = [update.gradient_steps for update in updates]
        assert len({after - before for before, after in pairwise([0, *steps])}) == 1
    gathered = [run for update in updates for run in update.gathered]
    idle = Trainer(agent, tmp_path / "idle", StoppedClock(), policies_kept=FILES_KEPT)
    again = [made for made in [idle.open(None)] if made]
    for event in hub.log:
        more = any(first <= event.seq <= last for first, last in gathered)
        again += [made for made in [idle.take(event, more=more)] if made]
    assert names(again)[: len(live)] == names(live)


def test_files_that_operators_chose_are_never_pruned(tmp_path: Path) -> None:
    hub = devices(PPO, tmp_path, steps=700)
    pinned = hub.versions[1].policy.sha256
    trainer = Trainer(PPO, tmp_path, StoppedClock(), policies_kept=2, pinned=frozenset({pinned}))
    trainer.open(logged(hub.versions[2]))
    for event in hub.log:
        trainer.take(event)
    left = {path.stem for path in policy_path(tmp_path, hub.agent.name, "x").parent.iterdir()}
    assert len(left) == 3
    assert pinned in left
