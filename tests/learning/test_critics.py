"""Replicas that advise each other lend each other their critics, where those are better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from msgspec.structs import replace

from hub.learner.flock import LENDERS_MAX, Flock
from hub.learner.messages import policy_path
from hub.learner.open import open_learner, open_one
from hub.learner.sb3.critics import borrow
from hub.learner.versions.parts import own_tensors
from hub.learner.versions.policy import read_policy
from tests.learning.harness import Hub, cartpole
from tests.learning.sharing import AS_IT_COMES, CASES, Machine, Replica, agent_of, step_on
from tests.learning.test_resume import ADVISED, devices, flock

if TYPE_CHECKING:
    from pathlib import Path

    from hub.words import Agent

PPO: Final = replace(cartpole("PPO", seed=3, n_steps="32", batch_size="32"), sharing="advice")


def model(seed: int) -> Any:
    """Newly made, with a rollout whose returns are the second number that it saw."""
    made: Any = open_one(replace(PPO, seed=seed))
    buffer = made.inner.model.rollout_buffer
    chance = np.random.default_rng(0)
    for values in buffer.observations.values():
        values[:] = chance.normal(size=values.shape)
    buffer.returns[:] = next(iter(buffer.observations.values()))[:, :, 1]
    return made.inner.model


def foretelling(seed: int) -> Any:
    """One whose critic has learnt these returns."""
    made = model(seed)
    seen = {n: torch.as_tensor(v[:, 0]) for n, v in made.rollout_buffer.observations.items()}
    returns = torch.as_tensor(made.rollout_buffer.returns)
    optimizer = torch.optim.Adam(made.policy.parameters(), lr=0.01)
    for _ in range(50):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(made.policy.predict_values(seen), returns).backward()  # type: ignore[no-untyped-call]  # torch has no types there
        optimizer.step()
    return made


def weights(of: Any, *, critic: bool) -> dict[str, np.ndarray[Any, Any]]:
    named = of.policy.state_dict()
    return {n: t.numpy().copy() for n, t in named.items() if ("value" in n) == critic}


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    return all(np.array_equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_the_critic_that_foretells_the_returns_best_is_borrowed_and_nothing_else() -> None:
    ours, strange, good = model(1), model(2), foretelling(3)
    actor = weights(ours, critic=False)
    assert borrow(ours, [("strange", strange), ("good", good)]) == "good"
    assert same(weights(ours, critic=True), weights(good, critic=True))
    assert same(weights(ours, critic=False), actor)
    assert not ours.policy.optimizer.state
    buffer = ours.rollout_buffer
    assert np.square(buffer.values - buffer.returns).mean() < 0.5 * np.square(buffer.returns).mean()
    assert not same(actor, weights(good, critic=False))


def test_who_foretells_best_keeps_its_own_critic() -> None:
    good = foretelling(3)
    critic = weights(good, critic=True)
    assert borrow(good, [("strange", model(1)), ("alike", good)]) is None
    assert same(weights(good, critic=True), critic)


def test_a_critic_that_overflows_is_borrowed_by_nobody() -> None:
    ours, spoilt = model(1), model(2)
    for spoil in (np.inf, np.nan, 3e38):
        with torch.no_grad():
            spoilt.policy.value_net.bias.fill_(spoil)
        assert borrow(ours, [("spoilt", spoilt)]) is None
        assert borrow(spoilt, [("ours", ours)]) == "ours"


def test_the_log_says_whose_critic_an_update_began_with(tmp_path: Path) -> None:
    hub = devices(ADVISED[0], tmp_path)
    updates = [made.update for made in hub.versions if made.update is not None]
    lent = [(one.device, one.critic) for one in updates if one.critic is not None]
    assert len(lent) > len(updates) // 4
    assert all(device != lender for device, lender in lent)
    assert {lender for _, lender in lent} == {f"device-{i}" for i in range(4)}


def test_as_shepherd_does_it_and_without_advice_nobody_lends(tmp_path: Path) -> None:
    for agent in (flock(PPO), shepherds(PPO)):
        hub = devices(agent, tmp_path / agent.sharing, steps=400)
        updates = [made.update for made in hub.versions if made.update is not None]
        assert len(updates) > 4
        assert not any(update.critic for update in updates)


def shepherds(agent: Agent) -> Agent:
    return replace(agent, parameters=agent.parameters | {"advice.choice": "random"})


def test_who_is_paid_at_random_soon_lends_to_nobody(tmp_path: Path) -> None:
    case = replace(CASES["alike"], replicas=(AS_IT_COMES,) * 3 + (Replica(pay="random"),))
    machines = [Machine(number, case, 5) for number in range(4)]
    agent = agent_of(case, "advice", seed=5)
    hub = Hub(replace(agent, parameters=agent.parameters | {"n_steps": "128"}), tmp_path)
    step_on(hub, machines, 5, until=lambda: machines[0].steps > 1500)
    updates = [made.update for made in hub.versions if made.update is not None]
    lenders = [one.critic for one in updates if one.device != "device-3" and one.critic]
    late = lenders[len(lenders) // 2 :]
    assert len(late) > 6
    assert "device-3" not in late


def test_the_peers_that_learnt_last_are_asked_and_no_more_than_some() -> None:
    learner = open_learner(PPO)
    assert isinstance(learner, Flock)
    count = LENDERS_MAX + 4
    for i in range(count):
        learner._begin(f"device-{i}")
        learner._replicas[f"device-{i}"].changed = 100 - i if i % 2 else i
    lenders = [name for name, _ in learner._lenders("device-1")]
    newest = sorted(range(count), key=lambda i: -(100 - i if i % 2 else i))
    assert lenders == [f"device-{i}" for i in newest if i != 1][:LENDERS_MAX]


def test_a_lender_acts_and_learns_on_as_if_it_had_lent_nothing(tmp_path: Path) -> None:
    hub = devices(ADVISED[0], tmp_path)
    made = next(made for made in hub.versions[8:] if made.update and made.update.critic)
    assert made.update is not None
    lender = made.update.critic
    assert lender is not None
    before, after = (
        read_policy(policy_path(tmp_path, hub.agent.name, sha256))
        for sha256 in (hub.versions[made.version - 1].policy.sha256, made.policy.sha256)
    )
    theirs = own_tensors(lender, before.tensors)
    assert theirs
    assert same(theirs, own_tensors(lender, after.tensors))
