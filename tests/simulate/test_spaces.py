"""Any environment's spaces become an agent's words, or are refused; agents are held to them."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple

from hub import spaces
from hub.errors import OperatorFault
from hub.simulate.crowd import make
from hub.simulate.episode import Episode
from hub.simulate.spaces import check_fits, declared

GRID = MultiDiscrete(np.array([[2], [3]]))
SPACES: list[tuple[gymnasium.spaces.Space[Any], Any]] = [
    (Discrete(3), 3),
    (Discrete(3, start=-1), {"discrete": 3, "start": -1}),
    (MultiDiscrete([3, 4]), {"multi_discrete": [3, 4]}),
    (MultiBinary(5), {"multi_binary": 5}),
    (Box(-1, 1, (2,)), [[2], -1.0, 1.0, "float32"]),
    (
        Box(np.array([0, -1], np.float32), np.array([1, np.inf], np.float32)),
        [[2], [0.0, -1.0], [1.0, "inf"], "float32"],
    ),
    (Box(-np.inf, np.inf, (2, 3)), [[2, 3], "-inf", "inf", "float32"]),
    (Box(0, 255, (8, 8, 3), np.uint8), [[8, 8, 3], 0, 255, "uint8"]),
    (Box(0, 1, ()), [[1], 0.0, 1.0, "float32"]),
    (Dict({"a": Discrete(2), "b": Box(0, 1, (1,))}), {"a": 2, "b": [[1], 0.0, 1.0, "float32"]}),
]


@pytest.mark.parametrize(("space", "words"), SPACES, ids=str)
def test_a_space_is_declared_and_what_it_holds_is_taken(
    space: gymnasium.spaces.Space[Any], words: Any
) -> None:
    assert declared(space, "observations") == words
    parsed = spaces.parse(words)
    check_fits(parsed, parsed, "observations")
    space.seed(1)
    for _ in range(20):
        spaces.flatten(parsed, _plain(space.sample()))


@pytest.mark.parametrize(
    "space",
    [
        Tuple([Discrete(2), Discrete(3)]),
        Text(5),
        MultiBinary([2, 2]),
        GRID,
    ],
    ids=str,
)
def test_what_no_agent_can_have_is_refused_by_name(space: gymnasium.spaces.Space[Any]) -> None:
    with pytest.raises(OperatorFault, match="observations are"):
        declared(space, "observations")


@pytest.mark.parametrize(
    ("agent", "environment", "what"),
    [
        (2, 2, "actions"),
        (2, 3, "actions"),  # it chooses among fewer
        ([[1], -1, 1], [[1], -2, 2], "actions"),
        ([[4], "-inf", "inf"], [[4], -5, 5], "observations"),
    ],
)
def test_an_agent_may_see_more_and_do_less_than_there_is(
    agent: Any, environment: Any, what: str
) -> None:
    check_fits(spaces.parse(environment), spaces.parse(agent), what)


@pytest.mark.parametrize(
    ("agent", "environment", "what"),
    [
        (3, 2, "actions"),
        ([[1], -2, 2], [[1], -1, 1], "actions"),
        ([[1], -1, 1], 2, "actions"),
        ([[4], -1, 1], [[4], -5, 5], "observations"),
        ([[4], -1, 1], [[3], -1, 1], "observations"),
        ([[2, 2], -1, 1], [[4], -1, 1], "observations"),
        ({"a": 2}, {"b": 2}, "observations"),
        ({"a": 2}, 2, "observations"),
    ],
)
def test_an_agent_that_would_refuse_or_ask_too_much_is_refused_before(
    agent: Any, environment: Any, what: str
) -> None:
    with pytest.raises(OperatorFault, match=f"the {what} of the agent are"):
        check_fits(spaces.parse(environment), spaces.parse(agent), what)


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1", "Acrobot-v1"])
def test_a_device_in_any_environment_rests_acts_and_says_what_the_hub_takes(name: str) -> None:
    environment = make(name)
    observations = spaces.parse(declared(environment.observation_space, "observations"))
    actions = spaces.parse(declared(environment.action_space, "actions"))
    episode = Episode(environment, seed=1)
    for action in (None, spaces.unflatten(actions, spaces.neutral(actions))):
        episode.act(action)
        said = episode.say(1, 0, first=False)
        spaces.flatten(observations, said.o)
        assert (said.x is None) == (action is not None)


@pytest.mark.parametrize("name", ["Nothing-v0", "nothing", "no_module:Nothing-v0", ""])
def test_an_environment_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(OperatorFault, match="can't be made"):
        make(name)


def _plain(sample: Any) -> Any:
    if isinstance(sample, dict):
        return {name: _plain(part) for name, part in sample.items()}
    return np.asarray(sample).tolist()
