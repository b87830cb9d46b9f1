"""What every learner owes, whoever wrote it: one suite, all implementations.

Each is judged through a Trainer, over the log of four devices that step when they please.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pytest
from msgspec.structs import replace

from hub.errors import HubFault
from hub.learner.experience.transitions import FOLLOWED, Follow
from hub.learner.messages import LoggedPolicy, Made, policy_path
from hub.learner.open import open_learner
from hub.learner.training.rebuild import rebuild
from hub.learner.training.train import KINDS as TRAINED
from hub.learner.training.train import Trainer
from hub.learner.versions.line import line_of
from hub.learner.versions.policy import read_policy
from hub.words import Kind
from tests.learning.farm import Farm
from tests.learning.harness import Hub, StoppedClock, cartpole, pendulum, run, walk
from tests.learning.lakes import lake

if TYPE_CHECKING:
    from pathlib import Path

    from hub.learner.experience.transitions import Transition
    from hub.learner.interface import Learner
    from hub.learner.versions.policy import Tensors
    from hub.words import Agent, Event, Floats

FILES_KEPT: Final = 1000
STEPS: Final = 700
OFF_POLICY: Final = {
    "buffer_size": "300",
    "learning_starts": "100",
    "train_freq": "8",
    "batch_size": "32",
    "net_arch": "16,16",
    "publish_every": "64",
}


class Case(NamedTuple):
    """A small agent, its task, a change of its parameters, and one that makes another network."""

    agent: Agent
    environment: str
    change: dict[str, str]
    another: dict[str, str]


CASES: Final = [
    Case(
        cartpole("PPO", seed=3, n_steps="128", batch_size="64", n_epochs="3"),
        "CartPole-v1",
        {"learning_rate": "1e-4"},
        {"net_arch": "24"},
    ),
    Case(
        cartpole("DQN", seed=3, gradient_steps="2", **OFF_POLICY),
        "CartPole-v1",
        {"learning_rate": "1e-4"},
        {"net_arch": "24"},
    ),
    Case(
        pendulum("SAC", seed=3, gradient_steps="2", **OFF_POLICY),
        "Pendulum-v1",
        {"buffer_size": "150"},
        {"net_arch": "24"},
    ),
    Case(
        replace(
            cartpole("tabular", seed=3, bins="4"),
            observations=[[4], [-5.0, -9.0, -0.5, -9.0], [5.0, 9.0, 0.5, 9.0]],
        ),
        "CartPole-v1",
        {"learning_rate": "0.3"},
        {"bins": "3"},
    ),
    Case(lake("tabular", seed=3), "StillLake-v0", {"gamma": "0.5"}, {}),
    Case(
        cartpole("BDPI", seed=3, critics="3", critic_updates="3", **OFF_POLICY),
        "CartPole-v1",
        {"buffer_size": "150"},
        {"critics": "2"},
    ),
]
cases = pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.agent.algorithm} on {case.environment}"
)


def devices(case: Case, folder: Path) -> Hub:
    hub = Hub(case.agent, folder, policies_kept=FILES_KEPT)
    run(hub, case.environment, devices=4, steps_max=STEPS, threshold=1e9)
    assert len(hub.versions) > 4
    return hub


def read(trainer: Trainer, events: list[Event]) -> list[tuple[int, str]]:
    """The versions that a trainer makes of events."""
    made = [trainer.take(event) for event in events if event.seq > trainer.read_after]
    return names([one for one in made if one is not None])


def names(versions: list[Made]) -> list[tuple[int, str]]:
    return [(made.version, made.policy.sha256) for made in versions]


def transitions(log: list[Event]) -> list[Transition]:
    follow = Follow()
    return [made for event in log if (made := follow.fold(event)) is not None]


def learnt(learner: Learner, some: list[Transition]) -> int:
    """How many updates come of the transitions, each the newest version's."""
    done = [learner.learn(replace(one, policy=0), version=0, behind=False) for one in some]
    return sum(update is not None for update in done)


def assert_same(ours: Tensors, theirs: Tensors) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert np.array_equal(tensor, theirs[name]), name


@cases
def test_it_resumes_to_the_same_bytes_at_any_version(tmp_path: Path, case: Case) -> None:
    hub = devices(case, tmp_path)
    for at in (0, len(hub.versions) // 2, len(hub.versions) - 2):
        newest = hub.versions[at]
        trainer = Trainer(hub.agent, tmp_path, StoppedClock(), policies_kept=FILES_KEPT)
        assert trainer.open(LoggedPolicy(newest.version, newest.policy.sha256)) is None
        assert read(trainer, hub.log) == names(hub.versions[at + 1 :]), f"from version {at}"


@cases
def test_it_is_rebuilt_to_the_same_bytes_whatever_had_happened(tmp_path: Path, case: Case) -> None:
    """Killed, behind, given other parameters, another network, an old version, and no learning."""
    farm = Farm(case.agent, tmp_path / "live", seed=2, troubles=0.005)

    def lived(count: int) -> None:
        begun = len(farm.log)
        for step, _ in enumerate(walk(Anew(farm, begun), case.environment, 4)):
            if step >= count:
                return

    lived(400)
    farm.change(parameters=case.change)
    lived(150)
    newest = [event for event in farm.log if event.kind is Kind.POLICY][-1].policy
    assert newest
    farm.roll_back(newest - 1)
    lived(150)
    if case.another:
        farm.change(parameters=case.another)
    lived(200)
    farm.change(learning=False)
    lived(20)
    farm.change(learning=True)
    lived(200)
    line = line_of(farm.agent.name, farm.log)
    events = [event for event in farm.log if event.seq > line.begins and event.kind in TRAINED]
    done = rebuild(line, events, tmp_path / "again", farm.folder, StoppedClock())
    assert done.equal, done
    assert done.versions > 5


class Anew:
    """A farm as devices see it that begin to count anew."""

    def __init__(self, farm: Farm, boot: int) -> None:
        self.agent = farm.agent
        self._farm = farm
        self._boot = boot

    def answer(self, observation: Event, mask: bytes | None = None) -> Floats | None:
        return self._farm.answer(replace(observation, boot=self._boot), mask)


@cases
def test_nothing_is_learnt_from_an_action_that_is_not_known(tmp_path: Path, case: Case) -> None:
    some = transitions(devices(case, tmp_path).log)
    learner = open_learner(case.agent)
    before = learner.tensors()
    unknown = [replace(one, action=None, source=None, logprob=None, value=None) for one in some]
    assert learnt(learner, unknown) == 0
    assert not any(learner.remember(one) for one in unknown)
    assert_same(learner.tensors(), before)
    assert learnt(learner, some) > 0, "the same with their actions"


@cases
def test_what_it_remembers_of_before_is_not_learnt_from(tmp_path: Path, case: Case) -> None:
    some = transitions(devices(case, tmp_path).log)
    learner = open_learner(case.agent)
    before = learner.tensors()
    for one in some:
        learner.remember(one)
    assert_same(learner.tensors(), before)
    assert learner.gradient_steps == 0


@cases
def test_tensors_and_card_are_all_that_it_is(tmp_path: Path, case: Case) -> None:
    hub = devices(case, tmp_path)
    made = hub.versions[-2]
    policy = read_policy(policy_path(tmp_path, hub.agent.name, made.policy.sha256))
    tensors = {name: tensor for name, tensor in policy.tensors.items() if name != FOLLOWED}
    learner = open_learner(case.agent)
    learner.take_up(policy.card, tensors)
    assert_same(learner.tensors(), tensors)
    assert made.update is not None
    assert learner.gradient_steps == made.update.gradient_steps > 0
    assert learner.is_sound()


@cases
def test_the_weights_it_gives_out_are_copies(tmp_path: Path, case: Case) -> None:
    some = transitions(devices(case, tmp_path).log)
    learner = open_learner(case.agent)
    given = learner.tensors()
    kept = {name: tensor.copy() for name, tensor in given.items()}
    assert learnt(learner, some) > 0
    assert_same(given, kept)
    learner.restore(given)
    now = learner.tensors()
    assert_same({name: now[name] for name in kept}, kept)


@cases
def test_the_seed_draws_its_weights(case: Case) -> None:
    first, again = open_learner(case.agent).tensors(), open_learner(case.agent).tensors()
    assert_same(first, again)
    other = open_learner(replace(case.agent, seed=4)).tensors()
    tabular = case.agent.algorithm == "tabular"  # begins with zeros
    assert tabular == all(np.array_equal(other[name], first[name]) for name in first)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.another], ids=lambda case: case.agent.algorithm
)
def test_tensors_of_another_network_are_refused(case: Case) -> None:
    parameters = case.agent.parameters | case.another
    other = open_learner(replace(case.agent, parameters=parameters))
    card = other.card(case.agent, version=0, parent=None, position=0)
    with pytest.raises(HubFault, match="another network"):
        open_learner(case.agent).take_up(card, other.tensors())


@cases
def test_weights_that_are_not_finite_are_noticed(case: Case) -> None:
    learner = open_learner(case.agent)
    tensors = learner.tensors()
    weights = [n for n, t in tensors.items() if t.dtype == np.float32 and "resume/" not in n]
    name = weights[0]
    tensors[name] = np.full_like(tensors[name], np.nan)
    learner.restore(tensors)
    assert not learner.is_sound()
