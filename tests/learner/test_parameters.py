"""Parameters as text: what is taken, what is refused, and that the table is not stale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hub.errors import OperatorFault
from hub.learner.algorithms import parameters_table
from hub.learner.algorithms.libraries import ALGORITHMS
from hub.learner.algorithms.parameters import read_parameters
from hub.learner.algorithms.row import Fall
from hub.learner.sb3.drive import drive
from hub.learner.sb3.signatures import render
from hub.spaces import Discrete
from hub.words import Agent, AgentName


def agent(
    algorithm: str = "PPO", observations: Any = None, actions: Any = None, **parameters: str
) -> Agent:
    if actions is None:
        row = ALGORITHMS.get(algorithm)
        actions = [[1], -1.0, 1.0] if row and Discrete not in row.heads else 2
    return Agent(
        AgentName("walker"),
        algorithm,
        [[4], -1.0, 1.0] if observations is None else observations,
        actions,
        seed=2**63,
        parameters=parameters,
    )


def test_the_table_is_what_stable_baselines3_says_today() -> None:
    assert Path(parameters_table.__file__).read_text() == render()


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_the_defaults_make_a_learner(algorithm: str) -> None:
    declared = agent(algorithm)
    learner = drive(declared, read_parameters(declared))
    assert type(learner.model).__name__ == algorithm


@pytest.mark.parametrize("name", sorted({**parameters_table.TABLE["PPO"]}))
def test_every_parameter_in_the_table_has_a_reader(name: str) -> None:
    text = "true" if parameters_table.TABLE["PPO"][name] == "bool" else "2"
    text = "0.5" if name in ("gamma", "gae_lambda") else text
    declared = agent(actions=[[1], -1.0, 1.0], **{name: text})
    assert read_parameters(declared).arguments[name] is not None


def test_text_becomes_typed_arguments() -> None:
    read = read_parameters(
        agent(
            n_steps="64",
            learning_rate="lin_3e-4",
            clip_range="lin_0.2_0.1",
            target_kl="none",
            normalize_advantage="no",
            net_arch="32,16",
            activation_fn="relu",
            total_timesteps="1000",
        )
    )
    assert read.arguments["n_steps"] == 64
    assert read.arguments["learning_rate"] == Fall(3e-4, 0.0)
    assert read.arguments["clip_range"] == Fall(0.2, 0.1)
    assert read.arguments["target_kl"] is None
    assert read.arguments["normalize_advantage"] is False
    assert (read.net_arch, read.activation_fn, read.total_timesteps) == ((32, 16), "relu", 1000)


def test_sacs_entropy_coefficient_may_be_found_by_itself() -> None:
    assert read_parameters(agent("SAC", ent_coef="auto_0.1")).arguments["ent_coef"] == "auto_0.1"
    assert read_parameters(agent("SAC", ent_coef="0.2")).arguments["ent_coef"] == 0.2


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (agent("SARSA"), "algorithm 'SARSA' is unknown; take PPO, A2C, DQN, SAC"),
        (agent(norm_obs="maybe"), "norm_obs is true or false"),
        (agent(observations=6, norm_obs="true"), "norm_obs needs measurements"),
        (agent(observations=[[3], 0, 255], norm_obs="true"), "norm_obs needs measurements"),
        (agent("TD3", action_noise="0.1"), "action_noise is normal_0.1 (its standard deviation)"),
        (agent(use_sde="true"), "use_sde needs Box actions"),
        (
            agent(learning_rat="1"),
            "no parameter 'learning_rat'; it has activation_fn, advice.choice, batch_size",
        ),
        (agent("external", gamma="1"), "external has no parameter 'gamma'; it has none"),
        (agent(policy="CnnPolicy"), "no parameter 'policy'"),
        (agent(publish_every="3"), "no parameter 'publish_every'"),
        (agent("DQN", n_steps="3"), "no parameter 'n_steps'"),
        (agent(n_steps="2.5"), "n_steps is a whole number, not '2.5'"),
        (agent(n_steps="1"), "n_steps is between 2 and"),
        (agent(gamma="1.1"), "gamma is between 0 and 1"),
        (agent(learning_rate="nan"), "learning_rate is a finite number"),
        (agent(learning_rate="lin_x"), "learning_rate is a number, not 'x'"),
        (agent(normalize_advantage="maybe"), "normalize_advantage is true or false"),
        (agent(net_arch="64;64"), "net_arch is a whole number, not '64;64'"),
        (agent(net_arch="9000"), "net_arch is at most 8 widths of at most 4096"),
        (agent(activation_fn="sine"), "activation_fn is one of tanh, relu"),
        (agent("DQN", gradient_steps="0"), "gradient_steps 0 never learns"),
        (agent("SAC", ent_coef="automatic"), "ent_coef is a number"),
        (agent("SAC", target_entropy="auto_1"), "target_entropy is a number, or auto"),
        (agent("CrossQ", {"a": 2}), "CrossQ takes no dict of observations"),
        (agent("DQN", actions=[[1], 0.0, 1.0]), "DQN needs Discrete actions"),
        (agent("SAC", actions=3), "SAC needs Box actions, not 3; take one of PPO, A2C, DQN"),
        (agent("DQN", actions={"multi_binary": 3}), "take one of PPO, A2C, TRPO"),
        (agent("SAC", actions={"multi_discrete": [3, 2]}), "take one of PPO, A2C, TRPO"),
        (agent(actions={"a": 2}), "no algorithm takes those"),
        (agent(actions=[[1], "-inf", "inf"]), "actions need finite bounds"),
        (agent(observations=[[32, 64, 3], 0, 255]), "images of at least 36 x 36 pixels"),
        (agent(observations=[[64, 3, 64], 0, 255]), "is in the middle"),
        (agent(observations=[[240, 320, 3], 0, 255]), "more than 10 million weights"),
        (
            agent("RecurrentPPO", observations={"multi_discrete": [3, 4]}),
            "declare an object of ints instead",
        ),
        (agent("RecurrentPPO", n_steps="65", batch_size="64"), "leaves a batch of one"),
        (agent("RecurrentPPO", lstm_hidden_size="5000"), "lstm_hidden_size is at most 4096"),
        (agent("CrossQ", observations=[[64, 64, 3], 0, 255]), "CrossQ takes no images"),
        (agent("DQN", [[100_000], 0.0, 1.0]), "buffer_size 100000 of 100000 values"),
    ],
)
def test_a_refusal_says_what_to_do(declared: Agent, said: str) -> None:
    with pytest.raises(OperatorFault) as refused:
        read_parameters(declared)
    assert said in str(refused.value)
