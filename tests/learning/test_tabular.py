"""The reference learner finds the answer that is known: Q* of a frozen lake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import gymnasium
import numpy as np
import pytest
from msgspec.structs import replace

from hub.errors import OperatorFault
from hub.learner.algorithms.parameters import read_parameters
from hub.learner.exchange.exporting import export_policy
from hub.learner.exchange.importing import Job, make_version
from hub.learner.experience.transitions import Transition
from hub.learner.messages import policy_path
from hub.learner.own.tabular import TABLE, Tabular, rows
from hub.learner.versions.policy import read_policy
from hub.spaces import parse
from hub.words import Floats, Source
from tests.learning.harness import Hub, agent_of, run
from tests.learning.lakes import STATES, lake, q_star, within

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DEVICES: Final = 4
GAMMA: Final = 0.9
EXACT: Final = 1e-6


def learned(hub: Hub, environment: str, steps: int) -> NDArray[np.float32]:
    run(hub, environment, devices=DEVICES, steps_max=steps, threshold=1e9)
    newest = hub.versions[-1].policy.sha256
    table: NDArray[np.float32] = read_policy(
        policy_path(hub.folder, hub.agent.name, newest)
    ).tensors[TABLE]
    return table


@pytest.mark.parametrize("seed", range(3))
def test_on_still_ice_the_table_is_exactly_q_star(tmp_path: Path, seed: int) -> None:
    """A step size of 1 is exact where nothing is left to chance; actions are drawn at random."""
    agent = lake(
        "tabular",
        seed=seed,
        learning_rate="1",
        gamma=str(GAMMA),
        exploration_final_eps="1",
        publish_every="1000",
    )
    q = learned(Hub(agent, tmp_path), "StillLake-v0", 20_000)
    some = within("StillLake-v0")
    assert np.abs(q - q_star("StillLake-v0", GAMMA))[some].max() < EXACT


@pytest.mark.parametrize("seed", range(3))
def test_on_slippery_ice_the_greedy_policy_is_nearly_the_best(tmp_path: Path, seed: int) -> None:
    """Judged by what the policy is worth at the start, computed, not sampled."""
    agent = lake(
        "tabular",
        seed=seed,
        learning_rate="lin_0.5_0.01",
        gamma="0.99",
        total_timesteps="30000",
        publish_every="1000",
        exploration_fraction="1",
        exploration_final_eps="0.2",
    )
    q = learned(Hub(agent, tmp_path), "SlipperyLake-v0", 30_000)
    best = q_star("SlipperyLake-v0", 0.99)[0].max()
    assert worth(q.argmax(axis=1), 0.99) > 0.9 * best


def worth(policy: NDArray[np.int64], gamma: float) -> float:
    """V(start) of a policy (Sutton & Barto 2018, eq. 4.4)."""
    model: Any = gymnasium.make("SlipperyLake-v0").unwrapped
    v = np.zeros(STATES)
    for _ in range(10_000):
        before = v.copy()
        for s in range(STATES):
            v[s] = sum(
                chance * (reward + (0.0 if over else gamma * before[s_next]))
                for chance, s_next, reward, over in model.P[s][int(policy[s])]
            )
        if np.abs(v - before).max() < 1e-10:
            break
    return float(v[0])


def floats(*numbers: float) -> Floats:
    return Floats(np.array(numbers, dtype="<f4").tobytes())


def transition(**columns: Any) -> Transition:
    given: dict[str, Any] = {
        "device": "d",
        "observation": floats(3),
        "action": floats(1),
        "executed": None,
        "reward": 2.0,
        "next_observation": floats(5),
        "terminated": False,
        "truncated": False,
        "source": Source.POLICY,
        "policy": 0,
        "logprob": None,
        "value": None,
        "raw": None,
        "seq_first": 1,
        "seq_last": 3,
    }
    return Transition(**given | columns)


@pytest.mark.parametrize(
    ("columns", "cell", "worth"),
    [
        ({}, (3, 1), 0.5 * (2.0 + 0.9 * 10.0)),
        ({"truncated": True}, (3, 1), 0.5 * (2.0 + 0.9 * 10.0)),
        ({"terminated": True}, (3, 1), 0.5 * 2.0),
        ({"executed": floats(2)}, (3, 2), 0.5 * (2.0 + 0.9 * 10.0)),
        ({"source": Source.FALLBACK, "policy": None}, (3, 1), 0.5 * (2.0 + 0.9 * 10.0)),
    ],
    ids=["on the way", "truncated", "terminated", "another was executed", "by the fallback"],
)
def test_one_step_is_equation_6_8(
    columns: dict[str, Any], cell: tuple[int, int], worth: float
) -> None:
    agent = lake("tabular", seed=1, learning_rate="0.5", gamma="0.9")
    learner = Tabular(agent, read_parameters(agent))
    learner.q[5] = (1.0, 10.0, 3.0, 2.0)
    learner.learn(transition(**columns), version=0, behind=False)
    changed = np.argwhere(learner.q != 0)
    assert learner.q[cell] == pytest.approx(worth)
    assert {tuple(one) for one in changed.tolist()} == {cell, *((5, i) for i in range(4))}


@pytest.mark.parametrize(
    ("declared", "values", "bins", "row"),
    [
        (6, [4], 8, 4),
        ({"discrete": 6, "start": -2}, [-2], 8, 0),
        ({"multi_discrete": [3, 4, 2]}, [2, 1, 1], 8, 2 * 8 + 1 * 2 + 1),
        ({"multi_binary": 3}, [1, 0, 1], 8, 5),
        ([[2], 0.0, 1.0], [0.0, 0.0], 4, 0),
        ([[2], [0.0, -1.0], [1.0, 3.0]], [0.5, 3.0], 4, 2 * 4 + 3),
        ([[2], [0.0, -1.0], [1.0, 3.0]], [0.24, -0.01], 4, 0 * 4 + 0),
    ],
)
def test_each_observation_has_its_own_row(
    declared: Any, values: list[float], bins: int, row: int
) -> None:
    agent = agent_of("tabular", declared, 2, seed=1, bins=str(bins))
    learner = Tabular(agent, read_parameters(agent))
    counts = learner.tensors()["cells"]
    found = rows(parse(declared), counts, np.array([values], dtype=np.float32))
    assert found.tolist() == [row]


def test_a_table_goes_out_as_a_file_and_comes_back(tmp_path: Path) -> None:
    hub = Hub(lake("tabular", seed=1, learning_rate="1"), tmp_path / "one")
    q = learned(hub, "StillLake-v0", 3000)
    source = policy_path(hub.folder, hub.agent.name, hub.versions[-1].policy.sha256)
    with pytest.raises(OperatorFault, match="not of Stable-Baselines3"):
        export_policy(source, hub.agent, tmp_path / "lake.zip")
    export_policy(source, hub.agent, tmp_path / "lake.safetensors")
    other = lake("tabular", seed=2, learning_rate="1")
    job = Job(other, str(tmp_path / "lake.safetensors"), str(tmp_path / "two"), 1 << 20)
    policy = read_policy(policy_path(tmp_path / "two", other.name, make_version(job).sha256))
    assert np.array_equal(policy.tensors[TABLE], q)
    assert policy.card.exploration == pytest.approx(0.05), "it has learnt already"
    bins = agent_of("tabular", [[1], 0.0, 1.0], 4, seed=2, bins="16")
    with pytest.raises(OperatorFault, match="observations 16 instead of"):
        make_version(replace(job, agent=bins))
