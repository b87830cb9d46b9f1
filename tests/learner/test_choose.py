"""The numpy policies say what Stable-Baselines3's own say, and draw as they should."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import gymnasium
import numpy as np
import pytest
import torch
from msgspec.structs import replace

from hub.learner.acting.choose import Chooser
from hub.learner.algorithms.libraries import ALGORITHMS
from hub.learner.algorithms.parameters import read_parameters
from hub.learner.columns import Question
from hub.learner.features import features
from hub.learner.messages import drawn_of
from hub.learner.sb3.drive import drive
from hub.learner.sb3.off_policy import OffPolicy
from hub.learner.sb3.on_policy import OnPolicy
from hub.learner.sb3.snapshot import acting_of, card_of, tensors_of
from hub.learner.sb3.spaces import gym_space, shaped
from hub.learner.versions.policy import PolicyFile
from hub.mask import allowed
from hub.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Space, parse, size
from hub.words import Agent, AgentName, Floats
from tests.learner.choices import action_of, chosen, numbers_of, sample_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hub.step import Choice

BATCH: Final = 32
NEAR: Final = 1e-5

SPACES: Final[dict[str, Any]] = {
    "box": [[4], "-inf", "inf"],
    "matrix": [[2, 3], -1.0, 1.0],
    "bytes": [[5], 0, 255],
    "discrete": 6,
    "shifted": {"discrete": 6, "start": -2},
    "several": {"multi_discrete": [3, 4, 2]},
    "binary": {"multi_binary": 5},
    "dict": {
        "z": 3,
        "d": {"multi_discrete": [2, 3]},
        "b": {"multi_binary": 2},
        "a": [[2], -1.0, 1.0],
        "m": [[2, 2], 0.0, 5.0],
    },
}
IMAGES: Final[dict[str, Any]] = {
    "rows first": [[36, 40, 2], 0, 255],
    "channels first": [[2, 36, 40], 0, 255],
    "dict": {"front": [[36, 36, 1], 0, 255], "z": 3, "a": [[2], -1.0, 1.0]},
}
ACTIONS: Final[dict[str, Any]] = {
    "choices": 3,
    "shifted": {"discrete": 3, "start": 5},
    "box": [[2], [-2.0, 0.0], [2.0, 1.0]],
    "several": {"multi_discrete": [3, 4, 1, 2]},
    "binary": {"multi_binary": 3},
}
OF_KIND: Final[dict[type[Space], tuple[str, ...]]] = {
    Discrete: ("choices", "shifted"),
    Box: ("box",),
    MultiDiscrete: ("several",),
    MultiBinary: ("binary",),
}
FIRST: Final = {"shifted": 5}
"""Of choices that are not counted from 0."""
CASES: Final[list[tuple[str, str, str]]] = [
    (algorithm, observations, actions)
    for algorithm, actions in [
        (row.name, actions)
        for row in ALGORITHMS.values()
        for space in row.heads
        for actions in OF_KIND[space]
    ]
    for observations in SPACES
    if ALGORITHMS[algorithm].dicts or observations != "dict"
    if not ALGORITHMS[algorithm].recurrent or observations not in ("dict", "several")
]


def opened(agent: Agent) -> tuple[OnPolicy | OffPolicy, PolicyFile]:
    """A learner with weights well away from where they begin, and its policy."""
    parameters = read_parameters(agent)
    learner = drive(agent, parameters)
    chance = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weights in learner.model.policy.parameters():
            weights.add_(0.1 * torch.randn(weights.shape, generator=chance))
        for name, buffer in learner.model.policy.named_buffers():
            if name.endswith(("ra_mean", "ra_var")):  # of batch normalisation
                buffer.add_(torch.rand(buffer.shape, generator=chance))
    card = card_of(learner, agent, parameters, version=3, parent=None, position=0)
    tensors = tensors_of(learner.model)
    return learner, PolicyFile(card, tensors | acting_of(agent, parameters, tensors), "")


def agent_of(algorithm: str, observations: str, actions: str, **parameters: str) -> Agent:
    """Its policy does not see which device it acts for; `test_slots.py` has those that do."""
    if ALGORITHMS[algorithm].family == "off_policy":
        parameters = {"buffer_size": "1000"} | parameters
    return Agent(
        AgentName("walker"),
        algorithm,
        SPACES[observations],
        ACTIONS[actions],
        seed=11,
        parameters=parameters,
        sharing="none",
    )


def observed(declared: Any) -> list[Floats]:
    """Random values of a space, as the log has them."""
    space = parse(declared)
    gym = gym_space(space)
    gym.seed(3)
    first = space.start if isinstance(space, Discrete) else 0
    return [flat(_flat(gym, gym.sample()) + first) for _ in range(BATCH)]


def flat(values: NDArray[Any]) -> Floats:
    return Floats(values.astype("<f4").tobytes())


def _flat(space: gymnasium.Space[Any], value: Any) -> NDArray[Any]:
    if isinstance(space, gymnasium.spaces.Dict):
        return np.concatenate([_flat(part, value[name]) for name, part in space.spaces.items()])
    return np.asarray(value).reshape(-1)


def questions(values: list[Floats]) -> list[Question]:
    return [Question(i, "heater", 0, 2 * i, one) for i, one in enumerate(values)]


def near_of(observations: str) -> float:
    """Bytes go in unscaled: sums of hundreds cancel, and leave that much less of float32."""
    return 10 * NEAR if observations == "bytes" else NEAR


def batch(declared: Any, values: list[Floats]) -> Any:
    rows: list[Any] = [shaped(parse(declared), one) for one in values]
    if isinstance(rows[0], dict):
        return {name: torch.as_tensor(np.concatenate([r[name] for r in rows])) for name in rows[0]}
    return torch.as_tensor(np.concatenate(rows))


@pytest.mark.parametrize(("algorithm", "observations", "actions"), CASES)
def test_greedy_actions_are_those_of_the_torch_policy(
    algorithm: str, observations: str, actions: str
) -> None:
    check_greedy(agent_of(algorithm, observations, actions), observations, actions)


@pytest.mark.parametrize("algorithm", [row.name for row in ALGORITHMS.values() if row.images])
@pytest.mark.parametrize("images", IMAGES)
def test_greedy_actions_on_images_are_those_of_the_torch_policy(
    algorithm: str, images: str
) -> None:
    actions = OF_KIND[next(iter(ALGORITHMS[algorithm].heads))][0]
    agent = agent_of(algorithm, "box", actions, net_arch="8")
    if "buffer_size" in agent.parameters:
        agent = replace(agent, parameters=agent.parameters | {"buffer_size": "10"})
    check_greedy(replace(agent, observations=IMAGES[images]), images, actions)


def check_greedy(agent: Agent, observations: str, actions: str) -> None:
    learner, policy = opened(agent)
    values = observed(agent.observations)
    choices = chosen(Chooser(policy, agent.seed), questions(values), greedy=True)
    rows: list[Any] = [shaped(parse(agent.observations), one) for one in values]
    for choice, row in zip(choices, rows, strict=True):
        wanted, _ = learner.model.policy.predict(row, deterministic=True)
        near = near_of(observations)
        wanted = wanted[0] + FIRST.get(actions, 0)
        assert numbers_of(choice) == pytest.approx(wanted, rel=near, abs=near)
        assert choice.logprob is None


@pytest.mark.parametrize("activation", ["tanh", "relu", "elu", "leaky_relu"])
@pytest.mark.parametrize("actions", list(ACTIONS))
@pytest.mark.parametrize("observations", list(SPACES))
def test_ppos_values_and_log_probabilities_are_those_of_the_torch_policy(
    observations: str, actions: str, activation: str
) -> None:
    agent = agent_of("PPO", observations, actions, activation_fn=activation, net_arch="16,8")
    learner, policy = opened(agent)
    values = observed(agent.observations)
    choices = chosen(Chooser(policy, agent.seed), questions(values), greedy=False)
    drawn = np.array([sample_of(choice) for choice in choices])
    drawn = drawn - np.float32(FIRST.get(actions, 0))
    given = torch.as_tensor(drawn[:, 0] if drawn.shape[1] == 1 else drawn)
    model: Any = learner.model
    with torch.no_grad():
        v, logprob, _ = model.policy.evaluate_actions(batch(agent.observations, values), given)
    near = near_of(observations)
    assert [choice.value for choice in choices] == pytest.approx(
        v[:, 0].tolist(), rel=near, abs=near
    )
    assert [choice.logprob for choice in choices] == pytest.approx(
        logprob.tolist(), rel=near, abs=near
    )
    assert {choice.policy for choice in choices} == {3}


def test_a_gaussian_action_stays_in_bounds_and_keeps_what_was_sampled() -> None:
    agent = agent_of("PPO", "box", "box")
    _, policy = opened(agent)
    choices = chosen(
        Chooser(policy, agent.seed), questions(observed(agent.observations)), greedy=False
    )
    assert any(drawn_of(choice.payload).raw is not None for choice in choices)
    for choice in choices:
        action = numbers_of(choice)
        sampled = sample_of(choice)
        assert np.array_equal(action, sampled.clip([-2.0, 0.0], [2.0, 1.0]))
        assert (drawn_of(choice.payload).raw is None) == np.array_equal(action, sampled)


def test_sacs_log_probability_is_that_of_the_torch_policy() -> None:
    agent = agent_of("SAC", "box", "box")
    learner, policy = opened(agent)
    learner.model._n_updates = 1
    card = card_of(learner, agent, read_parameters(agent), version=1, parent=0, position=0)
    values = observed(agent.observations)
    chooser = Chooser(PolicyFile(card, policy.tensors, ""), agent.seed)
    choices = chosen(chooser, questions(values), greedy=False)
    model: Any = learner.model
    actor = model.policy.actor
    for choice, one in zip(choices, values, strict=True):
        scaled = model.policy.scale_action(numbers_of(choice))
        with torch.no_grad():
            mean, log_std, _ = actor.get_action_dist_params(batch(agent.observations, [one]))
            density = actor.action_dist.proba_distribution(mean, log_std)
            wanted = density.log_prob(torch.as_tensor(scaled)[None])
        # Where tanh is flat its inverse has lost digits; compare where it has them.
        if np.abs(scaled).max() < 0.99:
            assert choice.logprob == pytest.approx(wanted.item(), abs=2e-3)


def test_before_sac_learns_it_draws_from_the_whole_action_space() -> None:
    agent = agent_of("SAC", "box", "box")
    _, policy = opened(agent)
    assert policy.card.exploration == 1.0
    choices = chosen(
        Chooser(policy, agent.seed), questions(observed(agent.observations) * 100), greedy=False
    )
    drawn = np.array([numbers_of(choice) for choice in choices])
    assert drawn.mean(axis=0) == pytest.approx([0.0, 0.5], abs=0.1)
    assert drawn.min(axis=0) == pytest.approx([-2.0, 0.0], abs=0.05)
    assert drawn.max(axis=0) == pytest.approx([2.0, 1.0], abs=0.05)


def test_a_categorical_action_is_drawn_as_often_as_its_probability_says() -> None:
    agent = agent_of("PPO", "discrete", "choices")
    learner, policy = opened(agent)
    value = flat(np.array([2.0]))
    count = 20_000
    choices = chosen(Chooser(policy, agent.seed), questions([value] * count), greedy=False)
    drawn = np.array([numbers_of(choice)[0] for choice in choices], dtype=int)
    model: Any = learner.model
    with torch.no_grad():
        density = model.policy.get_distribution(batch(agent.observations, [value]))
    wanted = density.distribution.probs[0].numpy()
    assert np.bincount(drawn, minlength=3) / count == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize("actions", ["several", "binary"])
def test_each_number_of_an_action_is_drawn_as_often_as_its_probability_says(actions: str) -> None:
    agent = agent_of("PPO", "discrete", actions)
    learner, policy = opened(agent)
    value = flat(np.array([2.0]))
    count = 20_000
    choices = chosen(Chooser(policy, agent.seed), questions([value] * count), greedy=False)
    drawn = np.array([numbers_of(choice) for choice in choices], dtype=int)
    model: Any = learner.model
    with torch.no_grad():
        density = model.policy.get_distribution(batch(agent.observations, [value])).distribution
    if actions == "binary":
        wanted = [torch.stack([1 - p, p]).numpy() for p in density.probs[0]]
    else:
        wanted = [part.probs[0].numpy() for part in density]
    for column, shares in zip(drawn.T, wanted, strict=True):
        found = np.bincount(column, minlength=len(shares)) / count
        assert found == pytest.approx(shares, abs=0.02)
    # They are drawn independently of each other.
    both = np.mean((drawn[:, 0] == 1) & (drawn[:, 1] == 1))
    assert both == pytest.approx(wanted[0][1] * wanted[1][1], abs=0.02)


MASKS: Final[dict[str, bytes]] = {
    "choices": b"\1\0\1",
    "shifted": b"\0\1\1",
    "several": b"\0\1\1\0\1\0\0\1\1\1",
    "binary": b"\1\1\0\1\1\0",
}


@pytest.mark.parametrize("actions", list(MASKS))
@pytest.mark.parametrize("greedy", [True, False])
def test_what_a_mask_forbids_is_never_chosen_and_the_rest_is_as_likely_as_in_torch(
    actions: str, greedy: bool
) -> None:
    agent = agent_of("MaskablePPO", "box", actions)
    learner, policy = opened(agent)
    values = observed(agent.observations) * 20
    # Every other question has no mask: both are in one batch.
    masks = [MASKS[actions] if i % 2 else None for i in range(len(values))]
    asked = [
        Question(i, "heater", 0, i, one, mask)
        for i, (one, mask) in enumerate(zip(values, masks, strict=True))
    ]
    chooser = Chooser(policy, agent.seed)
    choices = chosen(chooser, asked, greedy=greedy)
    alone = [chosen(chooser, [question], greedy=greedy)[0] for question in asked]
    assert [choice.action for choice in alone] == [choice.action for choice in choices]
    space = parse(agent.actions)
    drawn = np.array([numbers_of(choice) for choice in choices])
    for choice, mask in zip(choices, masks, strict=True):
        assert allowed(space, action_of(choice), mask) == choice.action
    assert any(
        allowed(space, action_of(choice), MASKS[actions]) != choice.action for choice in choices
    )
    given = torch.as_tensor(drawn - np.float32(FIRST.get(actions, 0)))
    everything = b"\1" * len(MASKS[actions])
    told = np.array([list(mask or everything) for mask in masks], dtype=bool)
    model: Any = learner.model
    rows = batch(agent.observations, values)
    if greedy:
        wanted, _ = model.policy.predict(rows.numpy(), action_masks=told, deterministic=True)
        assert np.array_equal(given.numpy().reshape(wanted.shape), wanted)
        return
    with torch.no_grad():
        given = given[:, 0] if given.shape[1] == 1 else given
        _, logprob, _ = model.policy.evaluate_actions(rows, given, action_masks=told)
    assert [choice.logprob for choice in choices] == pytest.approx(
        logprob.tolist(), rel=NEAR, abs=NEAR
    )


def test_epsilon_greedy_explores_at_the_versions_rate_and_knows_its_probability() -> None:
    agent = agent_of("DQN", "box", "choices", exploration_initial_eps="0.3")
    _, policy = opened(agent)
    values = observed(agent.observations)[:1] * 20_000
    chooser = Chooser(policy, agent.seed)
    best = chosen(chooser, questions(values[:1]), greedy=True)[0].action
    choices = chosen(chooser, questions(values), greedy=False)
    share = np.mean([choice.action == best for choice in choices])
    assert share == pytest.approx(0.8, abs=0.02)  # 0.7 greedy and a third of 0.3
    for choice in choices[:50]:
        wanted = np.log(0.8 if choice.action == best else 0.1)
        assert choice.logprob == pytest.approx(wanted, abs=NEAR)


BESIDE: Final[list[tuple[str, str]]] = [
    (row.name, actions)
    for row in ALGORITHMS.values()
    for space in row.heads
    for actions in OF_KIND[space]
]


@pytest.mark.parametrize("exploration", [0.3, 1.0])
@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize(("algorithm", "actions"), BESIDE)
def test_an_action_does_not_depend_on_who_else_asked(
    algorithm: str, actions: str, exploration: float, *, greedy: bool
) -> None:
    agent = agent_of(algorithm, "box", actions)
    _, policy = opened(agent)
    policy = replace(policy, card=replace(policy.card, exploration=exploration))
    values = observed(agent.observations)
    asked = [Question(i, f"heater-{i}", 0, 2 * i, one) for i, one in enumerate(values)]
    together = chosen(Chooser(policy, agent.seed), asked, greedy=greedy)
    chooser = Chooser(policy, agent.seed)
    alone = [chosen(chooser, [one], greedy=greedy)[0] for one in reversed(asked)]
    # Where tanh is flat, log(1 - tanh²) has lost digits of float32.
    near = 100 * NEAR if "squashed" in policy.card.kind else NEAR
    for choice, other in zip(together, alone[::-1], strict=True):
        assert _said(choice) == pytest.approx(_said(other), rel=near, abs=near)
        assert (choice.source, choice.policy) == (other.source, other.policy)


def _said(choice: Choice) -> list[float]:
    numbers = [choice.logprob, choice.value]
    said = [number for number in numbers if number is not None]
    return [*numbers_of(choice), *sample_of(choice), *said]


@pytest.mark.parametrize("algorithm", ["PPO", "SAC"])
def test_a_network_gone_wrong_acts_alone_as_in_a_batch(algorithm: str) -> None:
    agent = agent_of(algorithm, "box", "box")
    _, policy = opened(agent)
    assert policy.card.spread is not None, "of both"
    # exp(1e6) is no float: Python's raises, numpy's is infinite.
    name = policy.card.spread if algorithm == "PPO" else f"{policy.card.spread}.bias"
    far = np.full_like(policy.tensors[name], 1e6)
    if algorithm == "SAC":
        far = np.full_like(policy.tensors[name], np.nan)
    card = replace(policy.card, exploration=0.0)
    chooser = Chooser(PolicyFile(card, policy.tensors | {name: far}, ""), agent.seed)
    asked = questions(observed(agent.observations))
    with np.errstate(all="ignore"):
        together = chosen(chooser, asked, greedy=False)
        alone = [chosen(chooser, [one], greedy=False)[0] for one in asked]
    for choice, other in zip(together, alone, strict=True):
        assert np.array_equal(numbers_of(choice), numbers_of(other), equal_nan=True)
        assert choice.logprob == pytest.approx(other.logprob, nan_ok=True)


@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_a_choice_that_is_no_number_acts_alone_as_in_a_batch(
    algorithm: str, *, greedy: bool
) -> None:
    agent = agent_of(algorithm, "box", "choices")
    _, policy = opened(agent)
    name = f"{policy.card.action_layers[-1]}.bias"
    bias = policy.tensors[name].copy()
    bias[1] = np.nan
    card = replace(policy.card, exploration=0.0)
    chooser = Chooser(PolicyFile(card, policy.tensors | {name: bias}, ""), agent.seed)
    asked = questions(observed(agent.observations))
    together = chosen(chooser, asked, greedy=greedy)
    alone = [chosen(chooser, [one], greedy=greedy)[0] for one in asked]
    assert [choice.action for choice in alone] == [choice.action for choice in together]


@pytest.mark.parametrize("algorithm", ["SAC", "TD3"])
@pytest.mark.parametrize("greedy", [True, False])
def test_bounds_may_be_further_apart_than_float32_goes(algorithm: str, *, greedy: bool) -> None:
    agent = replace(agent_of(algorithm, "box", "box"), actions=[[2], -3e38, 3e38])
    _, policy = opened(agent)
    chooser = Chooser(replace(policy, card=replace(policy.card, exploration=0.1)), agent.seed)
    asked = questions(observed(agent.observations))
    together = [numbers_of(choice) / 3e38 for choice in chosen(chooser, asked, greedy=greedy)]
    alone = [numbers_of(chosen(chooser, [one], greedy=greedy)[0]) / 3e38 for one in asked]
    assert np.array(together) == pytest.approx(np.array(alone), abs=NEAR)
    assert np.abs(together).mean() < 0.99, "not all at a bound"


def test_features_are_in_the_order_of_names_with_choices_one_hot() -> None:
    space = parse(SPACES["dict"])
    assert size(space) == 11
    given = np.array([[0.1, 0.2, 1, 0, 1, 2, 1, 2, 3, 4, 2]], dtype=np.float32)
    wanted = [[0.1, 0.2, 1, 0, 0, 1, 0, 0, 1, 1, 2, 3, 4, 0, 0, 1]]
    assert features(space, given) == pytest.approx(np.array(wanted, dtype=np.float32))
