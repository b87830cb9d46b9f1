"""Networks and choices as single nodes of autograd say, and hand back, what SB3's own do."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any, Final

import gymnasium
import numpy as np
import pytest
import torch
from msgspec.structs import replace
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from torch.distributions import Categorical as Torchs
from torch.nn.utils import parameters_to_vector

from hub.learner.algorithms.parameters import read_parameters
from hub.learner.sb3.categorical import categorical
from hub.learner.sb3.model import ACTIVATIONS, open_model, seen_by
from hub.learner.sb3.trunk import IN_NUMPY, TrunkPolicy
from hub.learner.slots import LOG_FACTORS_BOUND, QUICKER
from tests.learner.test_choose import agent_of
from tests.learner.test_slots import shared

if TYPE_CHECKING:
    from hub.words import Agent

ROUNDING: Final = 2e-5
BATCH: Final = 48
CASES: Final = [
    ("PPO", "box", "choices", "tanh", "16,16"),
    ("PPO", "numbers", "choices", "relu", "16"),
    ("PPO", "box", "box", "elu", "24,16,8"),
    ("PPO", "numbers", "several", "leaky_relu", "16,16"),
    ("A2C", "box", "binary", "tanh", "24,16,8"),
    ("A2C", "numbers", "box", "relu", "16,16"),
    ("A2C", "box", "shifted", "leaky_relu", "16"),
]
NUMBERS: Final = {"z": {"multi_binary": 2}, "a": [[2], -1.0, 1.0], "m": [[2, 2], 0.0, 5.0]}


def policy_of(agent: Agent) -> Any:
    """As drawn, but for its factors and its slots' columns, which would all be the same."""
    parameters = read_parameters(agent)
    model = open_model(agent, parameters, seen_by(agent, parameters), None)
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.policy.named_parameters():
            if "log_factors" in name or "weight" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.policy


def batch_of(policy: Any) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Observations of several devices, one of them without a slot, and actions."""
    policy.observation_space.seed(3)
    policy.action_space.seed(4)
    *parts, slots = policy.observation_space.spaces.items()
    observations = {
        name: torch.from_numpy(np.stack([part.sample() for _ in range(BATCH)]))
        for name, part in parts
    }
    observations[slots[0]] = torch.arange(BATCH)[:, None] % 5
    sampled = np.stack([np.asarray(policy.action_space.sample()) for _ in range(BATCH)])
    discrete = isinstance(policy.action_space, gymnasium.spaces.Discrete)
    actions = torch.from_numpy(sampled)  # as SB3's buffers give them
    return observations, actions if discrete else actions.float()


def evaluated(policy: Any, of: Any, observations: Any, actions: Any) -> list[torch.Tensor]:
    """What it says, and the gradients of a loss on all of that."""
    policy.zero_grad()
    values, logprobs, entropies = of(policy, observations, actions)
    weights = torch.linspace(-1.0, 2.0, BATCH)
    (values.flatten() * weights + logprobs * weights.flip(0) + 0.1 * entropies).sum().backward()
    return [values, logprobs, entropies, *(one.grad.clone() for one in policy.parameters())]


@pytest.mark.parametrize(("algorithm", "observations", "actions", "activation", "layers"), CASES)
def test_what_is_said_and_every_gradient_are_those_of_sb3(
    algorithm: str, observations: str, actions: str, activation: str, layers: str
) -> None:
    agent = agent_of(algorithm, "box", actions, net_arch=layers, activation_fn=activation)
    if observations == "numbers":
        agent = replace(agent, observations=NUMBERS)
    policy = policy_of(shared(agent))
    assert isinstance(policy, TrunkPolicy)
    batch = batch_of(policy)
    ours = evaluated(policy, TrunkPolicy.evaluate_actions, *batch)
    theirs = evaluated(policy, MultiInputActorCriticPolicy.evaluate_actions, *batch)
    for (name, _), one, other in zip(
        [("values", 0), ("logprobs", 0), ("entropies", 0), *policy.named_parameters()],
        ours,
        theirs,
        strict=True,
    ):
        assert one.shape == other.shape, name
        largest = other.abs().max().item()
        assert (one - other).abs().max().item() < ROUNDING * max(1.0, largest), name
        assert largest > 100 * ROUNDING, name


def updated(agent: Agent, of: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """All weights before and after an update on what the policy itself did; `of` evaluates it."""
    parameters = read_parameters(agent)
    model = open_model(agent, parameters, seen_by(agent, parameters), None)
    model.policy.evaluate_actions = MethodType(of.evaluate_actions, model.policy)
    before = parameters_to_vector(model.policy.parameters()).detach().clone()
    observations, _ = batch_of(model.policy)
    torch.manual_seed(6)
    chance = np.random.default_rng(7)
    for i in range(model.n_steps):
        seen = {name: part[i : i + 1] for name, part in observations.items()}
        with torch.no_grad():
            action, value, logprob = model.policy(seen)
        as_sent = {name: part.numpy() for name, part in seen.items()}
        reward, begins = chance.normal(size=1), np.array([i % 10 == 0])
        model.rollout_buffer.add(as_sent, action.numpy(), reward, begins, value, logprob)
    model.rollout_buffer.compute_returns_and_advantage(torch.zeros(1), np.array([True]))
    np.random.seed(8)  # SB3 shuffles by numpy's own generator
    model.train()
    return before, parameters_to_vector(model.policy.parameters()).detach()


@pytest.mark.parametrize("algorithm", ["PPO", "A2C"])
def test_an_update_moves_the_weights_as_with_sb3s_own_policy(algorithm: str) -> None:
    parameters = {"n_steps": str(BATCH)}
    if algorithm == "PPO":
        parameters |= {"batch_size": "16", "n_epochs": "5"}
    agent = shared(agent_of(algorithm, "box", "choices", net_arch="16,16", **parameters))
    before, ours = updated(agent, TrunkPolicy)
    begun, theirs = updated(agent, MultiInputActorCriticPolicy)
    assert torch.equal(before, begun)
    assert (ours - theirs).norm() < ROUNDING * (theirs - begun).norm()


def test_a_factor_beyond_its_bound_is_not_pushed_on() -> None:
    policy = policy_of(shared(agent_of("PPO", "box", "choices")))
    with torch.no_grad():
        policy.features_extractor.log_factors[1] = 2.0 * LOG_FACTORS_BOUND / QUICKER
        policy.features_extractor.log_factors[2] = -2.0 * LOG_FACTORS_BOUND / QUICKER
    observations, actions = batch_of(policy)
    evaluated(policy, TrunkPolicy.evaluate_actions, observations, actions)
    pushed = policy.features_extractor.log_factors.grad.abs().sum(dim=1)
    assert (pushed[[1, 2]] == 0.0).all()
    assert (pushed[[0, 3, 4]] > 0.0).all()
    assert (pushed[5:] == 0.0).all(), "nobody has these slots"


def test_every_activation_that_may_be_declared_has_one_in_numpy() -> None:
    assert set(IN_NUMPY) == set(ACTIVATIONS.values())


def test_a_batch_of_one_row_and_weights_that_were_loaded_are_seen() -> None:
    policy = policy_of(shared(agent_of("PPO", "box", "choices")))
    observations, actions = batch_of(policy)
    one = {name: part[:1] for name, part in observations.items()}
    before = policy.evaluate_actions(one, actions[:1])
    of_sb3: Any = MultiInputActorCriticPolicy.evaluate_actions
    weights = {name: 0.5 * tensor for name, tensor in policy.state_dict().items()}
    policy.load_state_dict(weights)
    for ours, theirs, old in zip(
        policy.evaluate_actions(one, actions[:1]),
        of_sb3(policy, one, actions[:1]),
        before,
        strict=True,
    ):
        assert torch.allclose(ours, theirs, rtol=ROUNDING, atol=ROUNDING)
        assert not torch.allclose(ours, old, rtol=ROUNDING, atol=ROUNDING)


def test_logits_that_are_no_numbers_end_an_update_as_they_do_in_sb3() -> None:
    policy = policy_of(shared(agent_of("PPO", "box", "choices")))
    batch = batch_of(policy)
    with torch.no_grad():
        policy.action_net.bias[0] = torch.nan
    for evaluate in (TrunkPolicy, MultiInputActorCriticPolicy):
        with pytest.raises(ValueError, match=r"(?s)no numbers|invalid values"):
            evaluate.evaluate_actions(policy, *batch)


@pytest.mark.parametrize("algorithm", ["MaskablePPO", "RecurrentPPO"])
def test_policies_of_other_kinds_are_left_to_their_library(algorithm: str) -> None:
    policy = policy_of(shared(agent_of(algorithm, "box", "choices")))
    assert not isinstance(policy, TrunkPolicy)


def test_noise_that_depends_on_the_state_is_left_to_sb3() -> None:
    policy = policy_of(shared(agent_of("PPO", "box", "box", use_sde="true")))
    assert isinstance(policy, TrunkPolicy)
    batch = batch_of(policy)
    ours = evaluated(policy, TrunkPolicy.evaluate_actions, *batch)
    theirs = evaluated(policy, MultiInputActorCriticPolicy.evaluate_actions, *batch)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("observations", "options"),
    [("several", {}), ("dict", {}), ("box", {"net_arch": ""})],
)
def test_what_it_is_not_made_for_is_left_to_sb3(observations: str, options: dict[str, str]) -> None:
    policy = policy_of(shared(agent_of("PPO", observations, "choices", **options)))
    assert not isinstance(policy, TrunkPolicy)


def theirs_of(drawn: Any, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return drawn.log_prob(actions), drawn.entropy()


def test_choices_are_weighed_as_torch_weighs_them() -> None:
    chance = torch.Generator().manual_seed(3)
    logits = (8.0 * torch.randn(64, 5, generator=chance)).requires_grad_()
    actions = torch.randint(0, 5, (64,), generator=chance)
    for weights in ((1.0, 0.0), (0.0, 1.0), (0.7, 0.3)):
        gradients = []
        for logprobs, entropies in (
            categorical(logits, actions),
            theirs_of(Torchs(logits=logits), actions),
        ):
            rising = torch.linspace(0.1, 1.0, 64)
            loss = (weights[0] * logprobs * rising + weights[1] * entropies * rising).sum()
            gradients.append((logprobs, entropies, *torch.autograd.grad(loss, logits)))
        for ours, theirs in zip(*gradients, strict=True):
            assert torch.allclose(ours, theirs, rtol=ROUNDING, atol=ROUNDING)
