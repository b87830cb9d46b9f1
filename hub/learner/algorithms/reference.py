"""The readable references, each a row like any from elsewhere; `pyproject.toml` names them.

`tabular` is what learning tests are judged by; `BDPI` is in no library. The hub reads this file, so
it imports neither torch nor numpy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from hub.errors import OperatorFault
from hub.learner.algorithms.row import Algorithm, Head
from hub.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, choices, parse

if TYPE_CHECKING:
    from hub.learner.algorithms.row import Parameters
    from hub.spaces import Space
    from hub.words import Agent

CELLS_MAX: Final = 4_000_000
"""Of one table, float32: 16 MB, and as much in each version's file."""


def cells(observations: Space, bins: int) -> tuple[int, ...]:
    """How many values of each number of an observation a table tells apart."""
    assert not isinstance(observations, Dict), "the row takes none"
    if isinstance(observations, Box):
        return (bins,) * len(observations.low)
    return choices(observations)


def _check_table(agent: Agent, parameters: Parameters) -> None:
    observations, actions = parse(agent.observations), parse(agent.actions)
    if isinstance(observations, Box) and not all(
        map(math.isfinite, observations.low + observations.high)
    ):
        raise OperatorFault(
            f"tabular cuts a Box into bins, so it needs finite bounds, not {agent.observations!r}"
        )
    bins = parameters.arguments["bins"]
    assert isinstance(bins, int), "the table says so"
    assert isinstance(actions, Discrete), "the row takes no other"
    rows = math.prod(cells(observations, bins))
    if rows * actions.n > CELLS_MAX:
        raise OperatorFault(
            f"a table of {rows} observations and {actions.n} actions has over {CELLS_MAX} cells; "
            "declare fewer values, or take DQN"
        )


TABULAR: Final = Algorithm(
    "tabular",
    "off_policy",
    {Discrete: Head("own")},
    {
        "learning_rate": "0.1",
        "gamma": "0.99",
        "bins": "8",
        "exploration_fraction": "0.5",
        "exploration_initial_eps": "1.0",
        "exploration_final_eps": "0.05",
        "total_timesteps": "20000",
        "publish_every": "64",
    },
    library="Sheepfold",
    learner="hub.learner.own.tabular:Tabular",
    parameters={
        "learning_rate": "schedule",
        "gamma": "float",
        "bins": "int",
        "exploration_fraction": "float",
        "exploration_initial_eps": "float",
        "exploration_final_eps": "float",
    },
    observations=(Discrete, MultiDiscrete, MultiBinary, Box),
    chooser="hub.learner.own.tabular:Greedy",
    check=_check_table,
)

BDPI: Final = Algorithm(
    "BDPI",
    "off_policy",
    {Discrete: Head("categorical")},
    {
        "learning_rate": "2e-3",
        "gamma": "0.99",
        "buffer_size": "20000",
        "learning_starts": "256",
        "batch_size": "64",
        "train_freq": "8",
        "critics": "8",
        "critic_updates": "4",
        "critic_epochs": "8",
        "alpha": "0.2",
        "actor_epochs": "4",
        "lambda": "0.1",
        "net_arch": "64",
        "activation_fn": "relu",
        "publish_every": "64",
    },
    library="Sheepfold",
    learner="hub.learner.own.bdpi:BDPI",
    parameters={
        "learning_rate": "float",
        "gamma": "float",
        "buffer_size": "int",
        "learning_starts": "int",
        "batch_size": "int",
        "train_freq": "int",
        "critics": "int",
        "critic_updates": "int",
        "critic_epochs": "int",
        "alpha": "float",
        "actor_epochs": "int",
        "lambda": "float",
    },
)
