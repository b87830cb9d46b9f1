"""A policy that all devices share knows which one it acts for, in torch and in numpy alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from hub.learner.acting.choose import Chooser
from hub.learner.algorithms.libraries import ALGORITHMS
from hub.learner.algorithms.parameters import read_parameters
from hub.learner.columns import Question
from hub.learner.experience.transitions import Transition
from hub.learner.flock import Flock
from hub.learner.messages import drawn_of
from hub.learner.open import open_one
from hub.learner.sb3.factors import log_factors, without_factors
from hub.learner.sb3.identity import Identity
from hub.learner.sb3.library import Library
from hub.learner.sb3.snapshot import with_second_names
from hub.learner.sb3.spaces import shaped
from hub.learner.slots import LOG_FACTORS, NOBODY, Slots, with_slot
from hub.learner.versions.parts import SEEDLING, own_name, own_tensors
from hub.learner.versions.policy import PolicyFile
from hub.spaces import Dict, parse
from hub.words import Event, Floats, Kind, Source
from tests.learner.choices import chosen, numbers_of
from tests.learner.test_choose import (
    FIRST,
    IMAGES,
    NEAR,
    OF_KIND,
    SPACES,
    agent_of,
    observed,
    opened,
)

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from hub.learner.interface import Update
    from hub.learner.versions.parts import Part
    from hub.learner.versions.policy import Tensors
    from hub.words import Agent

SLOTS: Final = 5
DEVICES: Final = ["c", "a", "b"]
"""In the order of their slots; `d` has none."""
ASKING: Final = ["a", "d", "c", "b"]
CASES: Final = [
    (row.name, actions, observations)
    for row in ALGORITHMS.values()
    if "device_slots" in row.defaults
    for actions in [OF_KIND[space][0] for space in row.heads]
    for observations in SPACES
    if not row.recurrent or observations not in ("dict", "several")
]


def shared(agent: Agent) -> Agent:
    parameters = agent.parameters | {"device_slots": str(SLOTS)}
    return replace(agent, sharing="shared", parameters=parameters)


def told_apart(agent: Agent) -> tuple[Any, PolicyFile]:
    """The model, and its policy."""
    learner, policy = opened(agent)
    return learner.model, replace(policy, card=replace(policy.card, devices=DEVICES))


def questions(values: list[Floats]) -> list[Question]:
    return [Question(i, ASKING[i % 4], 0, 2 * i, one) for i, one in enumerate(values)]


def rows(agent: Agent, values: list[Floats]) -> list[Any]:
    """What SB3 is given: the observation, and 1 to 3 for a device with a slot, else 0."""
    space = with_slot(parse(agent.observations), SLOTS)
    slots = [2, NOBODY, 1, 3]
    seen = [Floats(one + np.float32(slots[i % 4]).tobytes()) for i, one in enumerate(values)]
    return [shaped(space, one) for one in seen]


def joined(parts: list[Any]) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(np.concatenate([p[name] for p in parts])) for name in parts[0]}


@pytest.mark.parametrize(("algorithm", "actions", "observations"), CASES)
def test_an_action_is_that_of_the_torch_policy_for_the_same_device(
    algorithm: str, actions: str, observations: str
) -> None:
    check(shared(agent_of(algorithm, observations, actions)), actions)


@pytest.mark.parametrize("images", IMAGES)
def test_an_image_has_its_device_beside_it(images: str) -> None:
    agent = agent_of("PPO", "box", "choices", net_arch="8")
    check(shared(replace(agent, observations=IMAGES[images])), "choices")


@pytest.mark.parametrize("algorithm", ["PPO", "SAC", "DQN"])
def test_without_hidden_layers_too(algorithm: str) -> None:
    actions = OF_KIND[next(iter(ALGORITHMS[algorithm].heads))][0]
    check(shared(agent_of(algorithm, "box", actions, net_arch="")), actions)


def check(agent: Agent, actions: str) -> None:
    model, policy = told_apart(agent)
    values = observed(agent.observations)
    asked = questions(values)
    together = chosen(Chooser(policy, agent.seed), asked, greedy=True)
    alone = [chosen(Chooser(policy, agent.seed), [one], greedy=True)[0] for one in asked]
    for choices in (together, alone):
        for choice, row in zip(choices, rows(agent, values), strict=True):
            wanted, _ = model.policy.predict(row, deterministic=True)
            wanted = wanted[0] + FIRST.get(actions, 0)
            found = numbers_of(choice)
            assert found == pytest.approx(wanted, rel=10 * NEAR, abs=10 * NEAR)


@pytest.mark.parametrize("observations", list(SPACES))
def test_values_and_log_probabilities_are_those_of_the_torch_policy_for_the_same_device(
    observations: str,
) -> None:
    agent = shared(agent_of("PPO", observations, "choices", net_arch="16,8"))
    model, policy = told_apart(agent)
    values = observed(agent.observations)
    choices = chosen(Chooser(policy, agent.seed), questions(values), greedy=False)
    drawn = torch.as_tensor([numbers_of(choice)[0] for choice in choices])
    with torch.no_grad():
        v, logprob, _ = model.policy.evaluate_actions(joined(rows(agent, values)), drawn)
    near = 10 * NEAR
    assert [choice.value for choice in choices] == pytest.approx(
        v[:, 0].tolist(), rel=near, abs=near
    )
    assert [choice.logprob for choice in choices] == pytest.approx(
        logprob.tolist(), rel=near, abs=near
    )


def test_devices_are_given_slots_as_they_come_and_later_ones_share_slot_zero() -> None:
    slots = Slots(2)
    assert [slots.see(device) for device in ("b", "a", "b", "c")] == [1, 2, None, None]
    seen = [slots.seen(device, Floats(b"")) for device in ("a", "b", "c")]
    assert np.frombuffer(b"".join(seen), "<f4").tolist() == [2.0, 1.0, NOBODY]


@pytest.mark.parametrize("name", ["ü", "~device", "~"])
def test_the_slot_stands_behind_all_parts_whatever_they_are_called(name: str) -> None:
    agent = replace(agent_of("PPO", "box", "choices"), observations={"a": 3, name: 2})
    space = with_slot(parse(agent.observations), SLOTS)
    assert isinstance(space, Dict)
    assert list(space.spaces) == sorted(space.spaces)
    assert list(space.spaces)[:2] == ["a", name]
    check(shared(agent), "choices")


# --- the columns -----------------------------------------------------------------------------


def columns(learner: Library) -> np.ndarray[Any, Any]:
    """(out, slot) of the policy's first layer."""
    weights: Any = learner.tensors()["mlp_extractor.policy_net.0.weight"]
    return np.array(weights[:, -SLOTS - 1 :])


def library() -> tuple[Library, Identity]:
    agent = shared(agent_of("PPO", "box", "choices"))
    learner = Library(agent, read_parameters(agent))
    assert learner.identity is not None
    return learner, learner.identity


def test_slot_zero_is_the_mean_of_the_devices_and_a_new_one_begins_there() -> None:
    learner, identity = library()
    drawn = columns(learner)
    assert not drawn[:, NOBODY].any()
    assert drawn[:, 1:].any(axis=0).all()
    identity.begin(1)
    identity.begin(2)
    assert np.array_equal(columns(learner), drawn), "at first nobody has learnt anything"
    identity.average(2)
    mean = drawn[:, 1:3].mean(axis=1)
    assert columns(learner)[:, NOBODY] == pytest.approx(mean)
    identity.begin(3)
    assert columns(learner)[:, 3] == pytest.approx(drawn[:, 3] + mean)
    assert np.array_equal(columns(learner)[:, 4:], drawn[:, 4:])


def learn_factors(learner: Library) -> None:
    """As if updates had: each slot's another, where there are any."""
    factors = log_factors(learner.inner.model)
    if factors is not None:
        factors.detach()[1:] = torch.linspace(-0.5, 0.5, factors[1:].numel()).reshape(
            factors[1:].shape
        )


def factors(learner: Library) -> np.ndarray[Any, Any]:
    """(slot, feature), as logarithms."""
    return learner.tensors()[LOG_FACTORS]


def test_factors_begin_as_one_and_a_new_device_has_the_mean_of_those_in_use() -> None:
    learner, identity = library()
    assert not factors(learner).any()
    identity.begin(1)
    identity.begin(2)
    learn_factors(learner)
    learnt = factors(learner)
    identity.average(2)
    mean = learnt[1:3].mean(axis=0)
    assert factors(learner)[NOBODY] == pytest.approx(mean)
    identity.arrange(["a", "b"], ["b", "new"])
    assert np.array_equal(factors(learner)[1], learnt[2])
    assert factors(learner)[2] == pytest.approx(mean)


def learn(learner: Library | Flock, agent: Agent, version: int = 0) -> Update | None:
    """What an update comes to of transitions by its own policy."""
    card = learner.card(agent, version=version, parent=None, position=0)
    chooser = Chooser(PolicyFile(card, learner.tensors(), ""), agent.seed)
    values = observed(agent.observations)
    update = None
    for i, observation in enumerate(values * 8):
        (choice,) = chosen(chooser, [Question(0, "a", 0, i, observation)], greedy=False)
        update = update or learner.learn(
            Transition(
                device="a",
                observation=observation,
                action=choice.action,
                executed=None,
                reward=float(i % 3),
                next_observation=values[(i + 1) % len(values)],
                terminated=False,
                truncated=False,
                source=Source.POLICY,
                policy=version,
                logprob=choice.logprob,
                value=choice.value,
                raw=drawn_of(choice.payload).raw,
                seq_first=2 * i + 1,
                seq_last=2 * i + 3,
            ),
            version=version,
            behind=False,
        )
    return update


def small() -> Agent:
    """Of few transitions an update."""
    return shared(agent_of("PPO", "box", "choices", n_steps="8", batch_size="8", n_epochs="2"))


def from_before(tensors: Tensors, model: BaseAlgorithm) -> Tensors:
    """As a version from before there were factors has them, all of them 1."""
    ones = {LOG_FACTORS: np.zeros_like(tensors[LOG_FACTORS])}
    return without_factors(tensors | ones, model, direct=False)


@pytest.mark.parametrize("actions", ["choices", "box"])
def test_a_version_from_before_there_were_factors_is_taken_up(actions: str) -> None:
    agent = shared(agent_of("PPO", "box", actions, n_steps="8", batch_size="8", n_epochs="2"))
    learner = Library(agent, read_parameters(agent))
    for device in DEVICES:
        learner._slots.see(device)
    assert learn(learner, agent) is not None
    assert factors(learner).any(), "they are learnt"
    tensors = learner.tensors()
    tensors[LOG_FACTORS] = np.zeros_like(tensors[LOG_FACTORS])
    before = from_before(tensors, learner.inner.model)
    again = learner.fitted(before, had=SLOTS)
    lacks = {name.rpartition("/")[2] for name in tensors if name not in again}
    assert lacks == {"step", "exp_avg", "exp_avg_sq"}, "the optimizer begins with factors anew"
    assert all(np.array_equal(tensors[name], again[name]) for name in again)
    learner.restore(before)
    steps = learner.gradient_steps
    assert learn(learner, agent) is not None
    assert learner.gradient_steps == 2 * steps
    learner.restore(dict(sorted(learner.tensors().items())))
    assert learner.gradient_steps == 2 * steps, "those of factors are fewer, and no matter"


def test_the_version_after_one_from_before_there_were_factors_is_whole_for_each_replica() -> None:
    agent = small()
    model = Library(agent, read_parameters(agent)).inner.model
    flock = Flock(agent, open_one, 1)
    flock.see(Event(Kind.OBSERVATION, ts=0, agent=agent.name, device="a", boot=0, step=0), None)
    written(flock, agent, version=0)
    assert learn(flock, agent) is not None
    card, tensors = written(flock, agent, version=1)
    before = {Flock.folded: tensors[Flock.folded]}
    for device in (SEEDLING, "a"):
        own = from_before(own_tensors(device, tensors), model)
        before |= {own_name(device, name): tensor for name, tensor in own.items()}
    upgraded = Flock(agent, open_one, 1)
    upgraded.take_up(card, before)
    again = Flock(agent, open_one, 1)
    again.take_up(*written(upgraded, agent, version=2))
    assert learn(again, agent, version=2) is not None


def written(flock: Flock, agent: Agent, *, version: int) -> Part:
    card = flock.card(agent, version=version, parent=None, position=0)
    tensors = flock.tensors()
    flock.published()
    return card, tensors


def test_no_factor_overflows_whatever_was_learnt() -> None:
    learner, identity = library()
    agent = shared(agent_of("PPO", "box", "choices"))
    identity.begin(1)
    learnt = log_factors(learner.inner.model)
    assert learnt is not None
    learnt.detach()[1] = torch.tensor([100.0, -100.0, 100.0, 0.0])
    identity.average(1)
    card = replace(learner.card(agent, version=0, parent=None, position=0), devices=["a"])
    chooser = Chooser(PolicyFile(card, learner.tensors(), ""), agent.seed)
    values = np.array([0.0, 1.0, -0.5, 2.0], dtype="<f4")
    (choice,) = chosen(chooser, [Question(0, "a", 0, 0, Floats(values.tobytes()))], greedy=True)
    policy: Any = learner.inner.model.policy
    row = {"observation": torch.from_numpy(values[None]), "~device": torch.tensor([1])}
    with torch.no_grad():
        wanted = policy.predict_values(row)
    assert torch.isfinite(wanted).all()
    assert choice.value == pytest.approx(wanted.item(), rel=NEAR)


def test_a_device_that_is_alone_learns_as_without_slots() -> None:
    agent = shared(agent_of("PPO", "box", "choices", n_steps="8", batch_size="8", n_epochs="2"))
    learner = Library(agent, read_parameters(agent))
    identity = learner.identity
    assert identity is not None
    drawn = columns(learner)
    first = learner._slots.see("a")
    assert first is not None
    identity.begin(first)
    assert not columns(learner)[:, :2].any(), "nothing tells it apart"
    assert learn(learner, agent) is not None
    assert not factors(learner).any()
    learnt = columns(learner)
    second = learner._slots.see("b")
    assert second is not None
    identity.begin(second)
    assert np.array_equal(columns(learner)[:, 1], learnt[:, 1]), "what it has learnt stays"
    assert columns(learner)[:, 2] == pytest.approx(drawn[:, 2] + learnt[:, NOBODY])
    assert learn(learner, agent) is not None
    assert factors(learner)[1].any()


def test_columns_follow_their_devices_into_another_order_of_slots() -> None:
    learner, identity = library()
    for slot in (1, 2, 3):
        identity.begin(slot)
    identity.average(3)
    before = columns(learner)
    identity.arrange(["a", "b", "c"], ["c", "new", "a"])
    after = columns(learner)
    assert np.array_equal(after[:, 1], before[:, 3])
    assert np.array_equal(after[:, 2], before[:, NOBODY]), "it begins as the average one"
    assert np.array_equal(after[:, 3], before[:, 1])


@pytest.mark.parametrize("algorithm", ["PPO", "SAC"])
def test_a_policy_without_slots_treats_all_devices_as_the_average_one(algorithm: str) -> None:
    agent = shared(agent_of(algorithm, "box", "box"))
    learner = Library(agent, read_parameters(agent))
    assert learner.identity is not None
    for slot in (1, 2):
        learner.identity.begin(slot)
    learn_factors(learner)
    learner.identity.average(2)
    buffer = {"buffer_size": "10"} if algorithm == "SAC" else {}
    agent = replace(agent, sharing="none", parameters=buffer)
    alone = Library(agent, read_parameters(agent))
    narrow = alone.fitted(learner.tensors(), had=SLOTS)
    alone.restore(narrow)
    observation = np.array([[0.1, -0.2, 0.3, 0.4]], dtype=np.float32)
    wide, _ = learner.inner.model.predict(
        {"observation": observation, "~device": np.array([NOBODY])}, deterministic=True
    )
    assert alone.inner.model.predict(observation, deterministic=True)[0] == pytest.approx(
        wide, abs=NEAR
    )
    weights = {name: tensor for name, tensor in narrow.items() if not name.startswith("resume/")}
    wider = learner.fitted(weights, had=0)
    model = learner.inner.model
    given = {name: torch.from_numpy(tensor) for name, tensor in wider.items()}
    model.policy.load_state_dict(with_second_names(model, given))
    for slot in (1, 5):
        again, _ = learner.inner.model.predict(
            {"observation": observation, "~device": np.array([slot])}, deterministic=True
        )
        assert again == pytest.approx(wide, abs=NEAR)
