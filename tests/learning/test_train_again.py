"""A new agent is trained from another's log: on all that really happened, and twice the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from hub.errors import OperatorFault
from hub.learner.acting.choose import Chooser
from hub.learner.columns import Question
from hub.learner.experience.transitions import Follow
from hub.learner.messages import policy_path
from hub.learner.open import open_learner
from hub.learner.training.train_again import train_again
from hub.learner.versions.outline import check_fits, read_outline
from hub.learner.versions.policy import IMPORTED, read_policy
from hub.words import AgentName
from tests.learner.choices import chosen
from tests.learner.test_transitions import floats
from tests.learning.farm import Farm
from tests.learning.harness import cartpole
from tests.learning.test_rebuild import lived
from tests.learning.test_resume import PPO

if TYPE_CHECKING:
    from pathlib import Path

    from hub.words import Agent, Event

QUESTION = Question(1, "cart", 0, 0, floats(0, 0.1, -0.2, 0.3))
SMALL = {"learning_starts": "50", "train_freq": "4", "gradient_steps": "1", "net_arch": "16"}


def scholar(algorithm: str = "DQN", **parameters: str) -> Agent:
    return replace(cartpole(algorithm, seed=7, **parameters), name=AgentName("scholar"))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    """What four devices of a PPO agent went through."""
    farm = Farm(PPO, tmp_path_factory.mktemp("live"), seed=6)
    lived(farm, 600)
    return farm.log


def test_it_learns_from_every_transition_and_twice_the_same(
    tmp_path: Path, log: list[Event]
) -> None:
    heard: list[int] = []
    done = train_again(scholar(**SMALL), log, tmp_path / "a", told=heard.append)
    again = train_again(scholar(**SMALL), log, tmp_path / "b")
    other = train_again(scholar(**SMALL, gamma="0.9"), log, tmp_path / "c")
    assert done == again
    assert other.sha256 != done.sha256
    follow = Follow()
    assert done.transitions == sum(follow.fold(event) is not None for event in log) > 500
    assert done.gradient_steps == done.transitions // 4 - 50 // 4
    assert heard == [event.seq for event in log]


LEARNERS = [
    scholar(**SMALL),
    scholar(**SMALL, norm_obs="true", norm_reward="true"),
    scholar("BDPI", learning_starts="50", train_freq="64", net_arch="16"),
    replace(scholar("tabular", bins="4"), observations=[[4], -5.0, 5.0]),
]


@pytest.mark.parametrize("agent", LEARNERS, ids=["DQN", "scaled", "BDPI", "tabular"])
def test_what_comes_of_it_acts_for_the_new_agent(
    tmp_path: Path, log: list[Event], agent: Agent
) -> None:
    path = policy_path(tmp_path, agent.name, train_again(agent, log, tmp_path).sha256)
    check_fits(read_outline(path), agent)
    policy = read_policy(path)
    assert policy.card.version == IMPORTED
    (choice,) = chosen(Chooser(policy, agent.seed), [QUESTION], greedy=True)
    assert choice.policy == IMPORTED
    open_learner(agent).take_up(policy.card, policy.tensors)


def test_an_on_policy_algorithm_is_refused_before_anything_is_read(
    tmp_path: Path, log: list[Event]
) -> None:
    read: list[int] = []
    for algorithm in ("PPO", "A2C"):
        with pytest.raises(OperatorFault, match="only from actions that its own policy drew"):
            train_again(scholar(algorithm), log, tmp_path, told=read.append)
    assert read == []


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"learning_starts": "10000"}, "too few"),
        ({"learning_rate": "1e30"}, "no longer finite"),
    ],
)
def test_what_can_not_be_learnt_is_said(
    tmp_path: Path, log: list[Event], parameters: dict[str, str], why: str
) -> None:
    with pytest.raises(OperatorFault, match=why):
        train_again(scholar(**SMALL | parameters), log, tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))
