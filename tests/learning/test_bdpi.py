"""BDPI: each equation by itself, and that it learns from few transitions.

Measured with the defaults, four devices, seeds 0 to 2: a mean return of 100 after 3,185, 3,264 and
3,086 transitions, of 195 after 6,453 and 6,232, and by seed 2 not within 9,000. DQN with its own
defaults: 100 after 4,769, 4,710 and 4,498, and 195 after 7,057, 8,929 and 14,515.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
import torch

from hub.learner.algorithms.parameters import read_parameters
from hub.learner.own.bdpi import BDPI
from tests.learning.harness import Hub, agent_of, cartpole, run

if TYPE_CHECKING:
    from pathlib import Path

    from hub.words import Agent

STEPS_MAX: Final = 8_000
NEAR: Final = 5e-3
"""Adam wavers by that much; what is to be seen is fifty times as large."""
RETURN: Final = 100.0
"""Of CartPole-v1, mean of 20 training episodes; drawing at random gets 22."""


def opened(agent: Agent) -> BDPI:
    return BDPI(agent, read_parameters(agent))


def small(**parameters: str) -> BDPI:
    """Three observations and two actions, a table as the network: one layer over one-hot."""
    usual = {"net_arch": "", "critics": "2", "batch_size": "3", "learning_rate": "0.01"}
    return opened(agent_of("BDPI", 3, 2, seed=1, **usual | parameters))


def batch() -> tuple[torch.Tensor, ...]:
    """For each of two critics: every observation once, action 1, and what came of it."""
    o = torch.eye(3).repeat(2, 1, 1)
    a = torch.ones(2, 3, 1, dtype=torch.int64)
    r = torch.tensor([[[1.0], [0.0], [-1.0]]]).repeat(2, 1, 1)
    o_next = torch.eye(3)[[1, 2, 0]].repeat(2, 1, 1)
    goes_on = torch.tensor([[[1.0], [1.0], [0.0]]]).repeat(2, 1, 1)
    return o, a, r, o_next, goes_on


def test_critics_reach_the_clipped_target_by_the_step_size_and_no_further() -> None:
    """Equations (1) and (2), against numpy; only the value of the action taken moves."""
    learner = small(critic_epochs="3000", alpha="0.25", gamma="0.5")
    o, a, r, o_next, goes_on = batch()
    with torch.no_grad():
        q_a, q_b = learner.q_a(o).numpy(), learner.q_b(o).numpy()
    wanted = q_a.copy()
    for i in range(2):
        for s, (reward, s_next, on) in enumerate(((1.0, 1, 1.0), (0.0, 2, 1.0), (-1.0, 0, 0.0))):
            best = q_a[i, s_next].argmax()
            v = min(q_a[i, s_next, best], q_b[i, s_next, best])
            wanted[i, s, 1] += 0.25 * (reward + 0.5 * on * v - q_a[i, s, 1])
    learner._train_critics(o, a, r, o_next, goes_on)
    with torch.no_grad():
        assert np.abs(learner.q_a(o).numpy() - wanted).max() < NEAR
        assert np.array_equal(learner.q_b(o).numpy(), q_b)


def test_the_actor_moves_by_lambda_towards_the_greedy_policy() -> None:
    """Equation (4)."""
    learner = small(actor_epochs="3000", **{"lambda": "0.2"})
    o = torch.eye(3)
    with torch.no_grad():
        before = learner.actor(o).softmax(dim=1).numpy()
    greedy = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], dtype=np.float32)
    learner._train_actor(o, torch.from_numpy(greedy))
    with torch.no_grad():
        after = learner.actor(o).softmax(dim=1).numpy()
    assert np.abs(after - (0.8 * before + 0.2 * greedy)).max() < NEAR


def test_the_two_halves_of_a_critic_take_turns() -> None:
    """Equation (3): after an odd number of updates they have changed places."""
    learner = small(critic_updates="3")
    learner.replay.a[:] = 1
    learner.replay._full = True
    q_a, q_b = learner.q_a, learner.q_b
    learner._train()
    assert (learner.q_a, learner.q_b) == (q_b, q_a)


def test_no_critic_sees_the_weights_or_the_sample_of_another() -> None:
    learner = small(critics="2", critic_epochs="1")
    o, a, r, o_next, goes_on = batch()
    alone = small(critics="2", critic_epochs="1")
    r_other = r.clone()
    r_other[1] = 9.0
    learner._train_critics(o, a, r, o_next, goes_on)
    alone._train_critics(o, a, r_other, o_next, goes_on)
    with torch.no_grad():
        ours, theirs = learner.q_a(o), alone.q_a(o)
    assert torch.equal(ours[0], theirs[0])
    assert not torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize("seed", range(2))
def test_bdpi_learns_to_balance_cartpole_from_few_transitions(tmp_path: Path, seed: int) -> None:
    hub = Hub(cartpole("BDPI", seed=seed), tmp_path)
    outcome = run(hub, "CartPole-v1", devices=4, steps_max=STEPS_MAX, threshold=RETURN)
    assert outcome.solved_at is not None, f"the last returns were {outcome.returns[-20:]}"


@pytest.mark.parametrize(
    ("declared", "actions"),
    [({"a": 2, "b": [[2], 0.0, 1.0]}, {"discrete": 3, "start": -1}), (6, 4)],
)
def test_dicts_and_choices_that_start_elsewhere_are_learnt(declared: Any, actions: Any) -> None:
    learner = opened(agent_of("BDPI", declared, actions, seed=1))
    width = 4 if declared != 6 else 6
    assert learner.actor[0].in_features == width
    assert learner.acting().action_layers == ("actor.0", "actor.2")
