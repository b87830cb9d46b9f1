"""Exploration with a course of its own: SB3's densities, and nothing that a restart could lose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise

from hub.learner.acting.choose import Chooser
from hub.learner.acting.exploring import Drift
from hub.learner.algorithms.parameters import read_parameters
from hub.learner.columns import Question, Questions
from hub.learner.sb3.snapshot import card_of
from hub.learner.versions.policy import PolicyFile
from tests.learner.choices import chosen, numbers_of, sample_of
from tests.learner.test_choose import agent_of, batch, observed, opened, questions

if TYPE_CHECKING:
    from hub.words import Agent

WALK: Final = 200
SDE: Final = {"use_sde": "true", "net_arch": "16"}
ON_POLICY: Final = ["PPO", "A2C", "TRPO", "RecurrentPPO"]


def learnt(agent: Agent) -> tuple[Any, PolicyFile]:
    """A policy past the steps that are drawn from the whole action space."""
    learner, policy = opened(agent)
    learner.model._n_updates = 1
    card = card_of(learner, agent, read_parameters(agent), version=3, parent=2, position=0)
    return learner.model.policy, PolicyFile(card, policy.tensors, "")


@pytest.mark.parametrize("algorithm", ON_POLICY)
def test_the_log_probability_of_state_dependent_noise_is_sb3s(algorithm: str) -> None:
    agent = agent_of(algorithm, "box", "box", **SDE)
    policy, file = learnt(agent)
    values = observed(agent.observations)
    for choice, one in zip(
        chosen(Chooser(file, 5), questions(values), greedy=False), values, strict=True
    ):
        given = batch(agent.observations, [one])
        sampled = torch.from_numpy(sample_of(choice).copy())[None]
        with torch.no_grad():
            if algorithm == "RecurrentPPO":
                state = (torch.zeros(1, 1, 64), torch.zeros(1, 1, 64))
                density, _ = policy.get_distribution(given, state, torch.zeros(1))
            else:
                density = policy.get_distribution(given)
            wanted = density.log_prob(sampled).item()
        assert choice.logprob == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("algorithm", ["SAC", "TQC"])
def test_the_log_probability_of_squashed_state_dependent_noise_is_sb3s(algorithm: str) -> None:
    agent = agent_of(algorithm, "box", "box", **SDE)
    policy, file = learnt(agent)
    values = observed(agent.observations)
    compared = 0
    for choice, one in zip(
        chosen(Chooser(file, 5), questions(values), greedy=False), values, strict=True
    ):
        scaled = policy.scale_action(numbers_of(choice))
        with torch.no_grad():
            mean, log_std, more = policy.actor.get_action_dist_params(
                batch(agent.observations, [one])
            )
            density = policy.actor.action_dist.proba_distribution(mean, log_std, **more)
            wanted = density.log_prob(torch.as_tensor(scaled)[None]).item()
        if np.abs(scaled).max() < 0.99:  # where tanh is flat its inverse has lost digits
            assert choice.logprob == pytest.approx(wanted, abs=5e-3)
            compared += 1
    assert compared > 10


@pytest.mark.parametrize("algorithm", [*ON_POLICY, "SAC", "TQC"])
def test_greedily_there_is_no_noise(algorithm: str) -> None:
    agent = agent_of(algorithm, "box", "box", **SDE)
    policy, file = learnt(agent)
    values = observed(agent.observations)
    choices = chosen(Chooser(file, 5), questions(values), greedy=True)
    for choice, one in zip(choices, values, strict=True):
        wanted, _ = policy.predict(np.frombuffer(one, "<f4")[None], deterministic=True)
        assert numbers_of(choice) == pytest.approx(wanted[0], abs=1e-5)


def noise_of(file: PolicyFile, question: Question) -> Any:
    chooser = Chooser(file, 5)
    (drawn,), (mean,) = (chosen(chooser, [question], greedy=greedy) for greedy in (False, True))
    return sample_of(drawn) - numbers_of(mean)


def test_the_same_state_has_the_same_noise_for_as_long_as_the_matrix_stays() -> None:
    agent = agent_of("PPO", "box", "box", sde_sample_freq="8", **SDE)
    _, file = learnt(agent)
    (value,) = observed(agent.observations)[:1]
    question = Question(0, "heater", 3, 16, value)
    noise = noise_of(file, question)
    # Each time by a chooser that was made for it, as after a restart of the actor.
    assert np.array_equal(noise, noise_of(file, question._replace(step=23)))
    for change in ({"step": 24}, {"boot": 4}, {"device": "cooler"}):
        assert not np.allclose(noise, noise_of(file, question._replace(**change)))
    assert np.array_equal(
        noise, noise_of(PolicyFile(replace(file.card, version=4), file.tensors, ""), question)
    )


def test_without_a_frequency_the_matrix_stays_for_a_version() -> None:
    agent = agent_of("PPO", "box", "box", **SDE)
    _, file = learnt(agent)
    (value,) = observed(agent.observations)[:1]
    question = Question(0, "heater", 3, 16, value)
    noise = noise_of(file, question)
    assert np.array_equal(noise, noise_of(file, question._replace(step=999)))
    next_file = PolicyFile(replace(file.card, version=4), file.tensors, "")
    assert not np.allclose(noise, noise_of(next_file, question))


def test_over_all_matrices_noise_has_the_deviation_that_the_log_probability_says() -> None:
    agent = agent_of("PPO", "box", "box", sde_sample_freq="1", **SDE)
    policy, file = learnt(agent)
    (value,) = observed(agent.observations)[:1]
    asked = [Question(0, "heater", 0, step, value) for step in range(4000)]
    choices = chosen(Chooser(file, 5), asked, greedy=False)
    drawn = np.array([sample_of(choice) for choice in choices])
    with torch.no_grad():
        density = policy.get_distribution(batch(agent.observations, [value])).distribution
    assert drawn.std(axis=0) == pytest.approx(density.stddev[0].numpy(), rel=0.05)
    assert drawn.mean(axis=0) == pytest.approx(
        density.mean[0].numpy(), abs=0.05 * float(density.stddev.max())
    )


def walk(device: str = "d", *, start: int = 0) -> list[Question]:
    agent = agent_of("TD3", "box", "box")
    (value,) = observed(agent.observations)[:1]
    return [Question(0, device, 0, start + i, value) for i in range(WALK)]


def test_drifting_noise_is_that_of_sb3_drawn_from_the_same_numbers() -> None:
    theirs = OrnsteinUhlenbeckActionNoise(np.zeros(2), np.full(2, 0.3))
    drift = Drift(0.3)
    np.random.seed(3)  # what SB3 draws from
    drawn = np.random.RandomState(3).normal(size=(WALK, 2))
    for question, row in zip(walk(), drawn, strict=True):
        np.testing.assert_allclose(
            drift.walk(Questions.of([question]), row[None])[0], theirs(), rtol=1e-6
        )


def test_drifting_noise_begins_anew_where_a_step_does_not_follow() -> None:
    drift = Drift(1.0)
    ones, zeros = np.ones((1, 2)), np.zeros((1, 2))
    questions = walk()
    drift.walk(Questions.of(questions[:1]), ones)
    assert Drift(1.0, drift).walk(Questions.of([questions[1]]), zeros)[0, 0] > 0.09
    for gone in (questions[2]._replace(first=True), questions[5], questions[6]._replace(boot=1)):
        drift.walk(Questions.of([questions[1]]), ones)
        assert drift.walk(Questions.of([gone]), zeros)[0, 0] == 0.0


def test_a_deterministic_policy_explores_by_drifting_noise() -> None:
    agent = agent_of("TD3", "box", "box", action_noise="ou_0.5", net_arch="16")
    _, file = learnt(agent)
    chooser = Chooser(file, 5)
    asked = walk()
    together = [
        choice
        for i in range(0, WALK, 4)
        for choice in chosen(chooser, asked[i : i + 4], greedy=False)
    ]
    mean = numbers_of(chosen(Chooser(file, 5), asked[:1], greedy=True)[0])
    noise = np.array([numbers_of(choice) for choice in together]) - mean
    # A step's noise is a tenth of sigma (dt 0.01), and neighbours are alike.
    half = np.array([2.0, 0.5])  # of the bounds
    assert np.abs(np.diff(noise, axis=0) / half).mean() == pytest.approx(
        0.5 * 0.1 * np.sqrt(2 / np.pi), rel=0.3
    )
    assert np.corrcoef(noise[:-1, 0], noise[1:, 0])[0, 1] > 0.8
    one_by_one = Chooser(file, 5)
    assert together == [
        choice for one in asked for choice in chosen(one_by_one, [one], greedy=False)
    ]
