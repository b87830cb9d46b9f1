"""Replicas with networks of their own: each learns as it would alone, and costs the others none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from msgspec.structs import replace

from hub.learner.acting.choose import Chooser
from hub.learner.acting.flock import FlockChooser, open_chooser
from hub.learner.columns import Question
from hub.learner.experience.transitions import Follow
from hub.learner.flock import whole
from hub.learner.messages import policy_path
from hub.learner.open import open_learner, open_one
from hub.learner.training.train import Trainer
from hub.learner.versions.parts import PARTS_FOLDER, SEEDLING, own_tensors
from hub.learner.versions.policy import part_path, read_policy
from hub.words import Agent, Floats, Kind, Source
from tests.learner.choices import chosen
from tests.learning.harness import Hub, StoppedClock, cartpole, file_of, run
from tests.learning.test_learners import OFF_POLICY as SOME
from tests.learning.test_resume import (
    DQN,
    PPO,
    SAC,
    devices,
    flock,
    logged,
    names,
    resumed,
    scaled,
    small,
    spoil,
    title,
)

if TYPE_CHECKING:
    from pathlib import Path

    from hub.learner.versions.policy import Tensors

DEVICES: Final = [f"device-{i}" for i in range(4)]


def asked(device: str, step: int = 0) -> Question:
    values = np.array([0.1, -0.2, 0.3, -0.4], dtype="<f4").tobytes()
    return Question(step, device, 0, step, Floats(values))


def assert_same(ours: Tensors, theirs: Tensors) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert np.array_equal(tensor, theirs[name]), name


@pytest.mark.parametrize("agent", [flock(PPO), flock(DQN), flock(scaled(PPO))], ids=title)
def test_a_replica_learns_bit_for_bit_what_it_would_learn_alone(
    tmp_path: Path, agent: Agent
) -> None:
    hub = Hub(agent, tmp_path, handover_steps=4, policies_kept=1000)
    run(hub, "CartPole-v1", devices=4, steps_max=900, threshold=1e9)
    version = file_of(hub, hub.versions[-1])
    came = [made.version for made in hub.versions if made.policy.devices]
    events = [event for event in hub.log if event.seq <= hub.versions[-1].policy.position]
    order = list(dict.fromkeys(e.device for e in events if e.kind is Kind.OBSERVATION))
    assert version.card.devices == order
    for i, device in enumerate(order):
        learner = open_one(replace(agent, seed=agent.seed + i))
        follow = Follow()
        updates = (made for made in hub.versions if made.update and made.update.device == device)
        changed = came[i]
        for event in events:
            if event.device != device:
                continue
            transition = follow.fold(event)
            learner.see(event, transition)
            if transition is None:
                continue
            # What it did before its own network acted, it drew from another.
            drawn = (transition.policy or 0) >= came[i] or i == 0
            newest = (transition.policy or 0) >= changed  # else by its own as it was before
            own = replace(transition, policy=(0 if newest else -1) if drawn else -9)
            if learner.learn(own, version=0, behind=False) is not None:
                learner.published()
                changed = next(updates).version
        alone, ours = learner.tensors(), whole(device, version.tensors)
        weights = {n: t for n, t in alone.items() if not n.startswith("resume/")}
        assert weights
        for name, tensor in weights.items():
            assert np.array_equal(tensor, ours[name]), (device, name)


@pytest.mark.parametrize(
    "agent",
    [
        cartpole("BDPI", seed=3, critics="2", critic_updates="2", **SOME),
        replace(
            cartpole("tabular", seed=3, bins="4", publish_every="50"),
            observations=[[4], [-5.0, -9.0, -0.5, -9.0], [5.0, 9.0, 0.5, 9.0]],
        ),
    ],
    ids=["BDPI", "tabular"],
)
def test_a_resumed_flock_of_any_learner_makes_the_same_bytes(tmp_path: Path, agent: Agent) -> None:
    hub = devices(replace(agent, sharing="none"), tmp_path)
    assert len(hub.versions) > 8
    for at in (4, len(hub.versions) // 2, len(hub.versions) - 2):
        _, versions = resumed(hub, logged(hub.versions[at]))
        assert names(versions) == names(hub.versions[at + 1 :]), f"from version {at}"


def test_an_update_of_one_replica_writes_one_network(tmp_path: Path) -> None:
    hub = devices(flock(PPO), tmp_path)
    before, after = (file_of(hub, made).card.replicas for made in hub.versions[-2:])
    assert before is not None
    assert after is not None
    changed = [device for device, one in after.items() if one.sha256 != before[device].sha256]
    assert len(changed) == 1
    assert after[changed[0]].changed == hub.versions[-1].version
    assert after[changed[0]].before == before[changed[0]].changed


def test_each_device_acts_by_its_own_network_and_a_strange_one_by_the_best(tmp_path: Path) -> None:
    hub = devices(flock(PPO), tmp_path)
    policy = file_of(hub, hub.versions[-1])
    chooser = open_chooser(policy, 1)
    assert isinstance(chooser, FlockChooser)
    together = chosen(chooser, [asked(d, i) for i, d in enumerate(DEVICES)], greedy=False)
    alone = [chosen(chooser, [asked(d, i)], greedy=False)[0] for i, d in enumerate(DEVICES)]
    assert together == alone
    assert len({choice.value for choice in together}) == len(DEVICES)
    (strange,) = chosen(chooser, [asked("stranger")], greedy=True)
    bests = [chosen(chooser, [asked(device)], greedy=True)[0].value for device in DEVICES]
    assert strange.value in bests
    assert {choice.policy for choice in together} == {policy.card.version}


def test_a_version_keeps_the_networks_that_did_not_change(tmp_path: Path) -> None:
    hub = devices(flock(PPO), tmp_path)
    first, second = (file_of(hub, made) for made in hub.versions[-2:])
    before = FlockChooser(first, 1)
    after = FlockChooser(second, 1, before)
    kept = [device for device in DEVICES if after._own[device] is before._own[device]]
    assert len(kept) == len(DEVICES) - 1
    assert {chosen(after, [asked(d)], greedy=True)[0].policy for d in DEVICES} == {after.version}
    path = policy_path(hub.folder, hub.agent.name, second.sha256)
    again = read_policy(path, before.networks)
    assert_same(again.tensors, second.tensors)
    acting = FlockChooser(read_policy(path, before.networks, acting=True), 1, before)
    asking = [asked(device, i) for i, device in enumerate(DEVICES)]
    assert chosen(acting, asking, greedy=False) == chosen(after, asking, greedy=False)


def test_a_device_beyond_the_count_acts_and_is_not_learnt_from(tmp_path: Path) -> None:
    few = flock(PPO)
    hub = Hub(replace(few, parameters=few.parameters | {"device_slots": "2"}), tmp_path)
    run(hub, "CartPole-v1", devices=4, steps_max=400, threshold=1e9)
    replicas = file_of(hub, hub.versions[-1]).card.replicas
    assert replicas is not None
    assert len(replicas) == 3
    assert SEEDLING in replicas
    without = {e.device for e in hub.log} - set(replicas)
    assert len(without) == 2
    acted = [event for event in hub.log if event.kind is Kind.ACTION and event.device in without]
    assert all(event.source is Source.POLICY for event in acted)


def test_what_spoils_one_replicas_update_costs_that_replica(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = flock(SAC)
    hub = devices(agent, tmp_path / "well")
    trainer = Trainer(agent, tmp_path, StoppedClock(), policies_kept=1000)
    trainer.open(None)
    before, after = hub.log[:900], hub.log[900:]
    made = [one for event in before if (one := trainer.take(event)) is not None]
    learner: Any = trainer._learner
    spoil(learner._replicas["device-1"].learner)
    made += [one for event in after if (one := trainer.take(event)) is not None]
    assert "was dropped" in capsys.readouterr().err
    policy = read_policy(policy_path(tmp_path, agent.name, made[-1].policy.sha256))
    well = file_of(hub, hub.versions[-1])
    for device in ("device-0", "device-2", "device-3"):
        assert_same(own_tensors(device, policy.tensors), own_tensors(device, well.tensors))
    harmed = own_tensors("device-1", policy.tensors)
    assert all(np.isfinite(tensor).all() for tensor in harmed.values())


@pytest.mark.parametrize("agent", [PPO, DQN, small("RecurrentPPO")], ids=title)
def test_going_over_to_own_networks_and_back_goes_on_from_what_was_learnt(
    tmp_path: Path, agent: Agent
) -> None:
    hub = devices(agent, tmp_path)
    shared = file_of(hub, hub.versions[-1])
    own = open_learner(flock(agent))
    own.take_up(shared.card, {n: t for n, t in shared.tensors.items() if n != "resume/followed"})
    for event in hub.log[-200:]:
        own.see(event, None)
    card = own.card(flock(agent), version=9, parent=8, position=1)
    tensors = own.tensors()
    weights = {n: t for n, t in own_tensors(SEEDLING, tensors).items() if "resume" not in n}
    assert set(card.devices) == set(DEVICES)
    for device in DEVICES:
        theirs = own_tensors(device, tensors)
        for name, tensor in weights.items():
            assert np.array_equal(theirs[name], tensor), name


def test_networks_that_no_version_has_any_more_are_removed(tmp_path: Path) -> None:
    agent = flock(PPO)
    hub = Hub(agent, tmp_path, handover_steps=4, policies_kept=3)
    run(hub, "CartPole-v1", devices=4, steps_max=1200, threshold=1e9)
    home = policy_path(tmp_path, agent.name, "x").parent
    paths = list(home.glob("*.safetensors"))
    assert len(paths) == 3
    cards = [read_policy(path).card for path in paths]
    files = {one.sha256 for card in cards for one in (card.replicas or {}).values()}
    files |= {card.goes_on for card in cards}
    wanted = {part_path(paths[0], sha256).name for sha256 in files}
    assert {path.name for path in (home / PARTS_FOLDER).iterdir()} == wanted


def test_a_network_that_is_missing_or_damaged_makes_its_version_unreadable(tmp_path: Path) -> None:
    hub = devices(flock(PPO), tmp_path)
    newest = hub.versions[-1]
    replicas = file_of(hub, newest).card.replicas
    assert replicas is not None
    path = policy_path(tmp_path, hub.agent.name, newest.policy.sha256)
    harmed = next(one for one in replicas.values() if one.changed == newest.version)
    part_path(path, harmed.sha256).write_bytes(b"no policy")
    trainer = Trainer(hub.agent, tmp_path, StoppedClock(), policies_kept=1000)
    assert trainer.open(logged(newest)) is None
    assert trainer.version == hub.versions[-2].version


def test_a_chooser_of_one_network_is_as_it_was(tmp_path: Path) -> None:
    hub = devices(PPO, tmp_path, steps=200)
    assert isinstance(open_chooser(file_of(hub, hub.versions[-1]), 1), Chooser)
