"""A policy goes out as a file of Stable-Baselines3 and comes back, and acts as before.

Files are opened as strangers would: by SB3 in a process that has none of our code.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any, Final

import gymnasium
import msgspec
import numpy as np
import pytest
from stable_baselines3 import DQN, PPO, SAC

from hub.errors import OperatorFault
from hub.learner.acting.choose import Chooser
from hub.learner.algorithms.libraries import ALGORITHMS
from hub.learner.columns import Question
from hub.learner.exchange.exporting import export_policy
from hub.learner.exchange.importing import Job, make_version
from hub.learner.messages import policy_path
from hub.learner.slots import LOG_FACTORS
from hub.learner.training.train import Trainer
from hub.learner.versions.policy import IMPORTED, read_policy, write_policy
from hub.learner.versions.scaling import MEAN, VARIANCE
from hub.spaces import Discrete
from tests.learner.choices import chosen, numbers_of
from tests.learner.test_transitions import floats
from tests.learning.harness import StoppedClock, agent_of, cartpole, pendulum
from tests.learning.test_resume import devices, scaled, small

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hub.words import Agent

BYTES_MAX: Final = 16 << 20
OBSERVATIONS: Final = [
    [0.04 * i - 0.3, 0.3 - 0.05 * i, 0.01 * i, -0.4 + 0.1 * i] for i in range(16)
]
AGENTS: Final = [
    cartpole("PPO", seed=5),
    cartpole("DQN", seed=5, net_arch="32"),
    pendulum("SAC", seed=5, net_arch="16,16"),
    pendulum("PPO", seed=5, activation_fn="relu"),
    *(
        (cartpole if Discrete in row.heads else pendulum)(row.name, seed=5)
        for row in ALGORITHMS.values()
        if row.name not in ("PPO", "DQN", "SAC")
    ),
]
NO_LAYER: Final = scaled(cartpole("PPO", seed=5, net_arch="", n_steps="128", batch_size="64"))
WITH_SDE: Final = scaled(pendulum("SAC", seed=5, **small("SAC").parameters, use_sde="true"))
STRANGER: Final = """
import json, sys
sys.modules["hub"] = None  # whoever needs it fails
import importlib
for line in sys.stdin:
    library, algorithm, file, observations = json.loads(line)
    model = getattr(importlib.import_module(library), algorithm).load(file, device="cpu")
    acted = [model.predict(o, deterministic=True)[0].tolist() for o in observations]
    print(json.dumps(acted), flush=True)
"""


def version(agent: Agent, folder: Path) -> Path:
    made = Trainer(agent, folder, StoppedClock(), policies_kept=4).open(None)
    assert made is not None
    return policy_path(folder, agent.name, made.policy.sha256)


def observations(agent: Agent) -> list[list[float]]:
    width = agent.observations[0][0]
    return [values[:width] for values in OBSERVATIONS]


def acted(path: Path, agent: Agent) -> np.ndarray[Any, Any]:
    """What the hub's own actor does, greedily."""
    chooser = Chooser(read_policy(path), agent.seed)
    questions = [Question(i, "d", 0, 2 * i, floats(*o)) for i, o in enumerate(observations(agent))]
    choices = chosen(chooser, questions, greedy=True)
    return np.array([numbers_of(choice) for choice in choices]).squeeze()


def imported(agent: Agent, file: Path, folder: Path) -> Path:
    done = make_version(Job(agent, str(file), str(folder), BYTES_MAX))
    return policy_path(folder, agent.name, done.sha256)


class Stranger:
    """A process with Stable-Baselines3 and none of our code; importing it takes seconds."""

    def __init__(self) -> None:
        command = [sys.executable, "-W", "ignore", "-c", STRANGER]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def close(self) -> None:
        """Have it end."""
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()

    def acted(self, agent: Agent, file: Path) -> np.ndarray[Any, Any]:
        """What SB3 does by this file."""
        pipes = self._process.stdin, self._process.stdout
        assert pipes[0] is not None
        assert pipes[1] is not None
        library = ALGORITHMS[agent.algorithm].library
        asked = library, agent.algorithm, str(file), observations(agent)
        pipes[0].write(msgspec.json.encode(asked) + b"\n")
        answer = pipes[1].readline()
        assert answer, "it could not open the file; stderr says why"
        return np.array(msgspec.json.decode(answer)).squeeze()


@pytest.fixture(scope="module")
def stranger() -> Iterator[Stranger]:
    """One for all files."""
    stranger = Stranger()
    yield stranger
    stranger.close()


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: f"{agent.algorithm}-{agent.actions}")
def test_an_exported_zip_acts_the_same_in_stable_baselines3(
    tmp_path: Path, agent: Agent, stranger: Stranger
) -> None:
    source, target = version(agent, tmp_path), tmp_path / "policy.zip"
    export_policy(source, agent, target)
    theirs = stranger.acted(agent, target)
    np.testing.assert_allclose(theirs, acted(source, agent), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "agent",
    [*(scaled(small(name)) for name in ("PPO", "DQN", "SAC", "TD3")), NO_LAYER, WITH_SDE],
    ids=["PPO", "DQN", "SAC", "TD3", "no hidden layer", "gSDE"],
)
def test_the_scale_of_observations_goes_into_an_exported_zip(
    tmp_path: Path, agent: Agent, stranger: Stranger
) -> None:
    source, target = learnt(agent, tmp_path), tmp_path / "policy.zip"
    export_policy(source, agent, target)
    theirs = stranger.acted(agent, target)
    np.testing.assert_allclose(theirs, acted(source, agent), rtol=1e-5, atol=1e-6)


def test_the_scale_of_observations_comes_with_a_policy_of_our_own_and_no_other(
    tmp_path: Path,
) -> None:
    agent = scaled(small("PPO"))
    source = learnt(agent, tmp_path / "here")
    elsewhere = msgspec.structs.replace(agent, seed=77)
    path = imported(elsewhere, source, tmp_path / "there")
    np.testing.assert_array_equal(acted(path, agent), acted(source, agent))
    export_policy(source, agent, tmp_path / "policy.zip")
    with pytest.raises(OperatorFault, match="no statistics of observations"):
        imported(elsewhere, tmp_path / "policy.zip", tmp_path / "there")
    with pytest.raises(OperatorFault, match="norm_obs True instead of False"):
        imported(small("PPO"), source, tmp_path / "there")
    crossq = scaled(small("CrossQ"))
    with pytest.raises(OperatorFault, match=r"export it as \.safetensors"):
        export_policy(version(crossq, tmp_path / "q"), crossq, tmp_path / "crossq.zip")


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        (MEAN, np.array([np.nan, 0.0, 0.0, 0.0])),
        (VARIANCE, np.array([-1.0, 1.0, 1.0, 1.0])),
        (VARIANCE, np.ones(3)),
        (MEAN, np.zeros(4, dtype=np.float32)),
    ],
    ids=["not finite", "negative", "of another width", "of another type"],
)
def test_statistics_that_are_none_are_refused(
    tmp_path: Path, name: str, harm: np.ndarray[Any, Any]
) -> None:
    agent = scaled(small("PPO"))
    sound = read_policy(version(agent, tmp_path / "here"))
    sha256 = write_policy(
        tmp_path / "harmed", agent.name, sound.card, {**sound.tensors, name: harm}
    )
    harmed = policy_path(tmp_path / "harmed", agent.name, sha256)
    with pytest.raises(OperatorFault, match=f"statistics {name} that do not fit"):
        imported(agent, harmed, tmp_path / "there")


@pytest.mark.parametrize("harm", [np.float32(1.0), np.zeros(4), np.zeros((65, 9))])
def test_factors_that_are_none_are_refused(tmp_path: Path, harm: np.ndarray[Any, Any]) -> None:
    agent = small("PPO")
    sound = read_policy(version(agent, tmp_path / "here"))
    tensors = {**sound.tensors, LOG_FACTORS: np.asarray(harm, dtype=np.float32)}
    sha256 = write_policy(tmp_path / "harmed", agent.name, sound.card, tensors)
    harmed = policy_path(tmp_path / "harmed", agent.name, sha256)
    for slots in ("64", "2"):
        parameters = agent.parameters | {"device_slots": slots}
        other = msgspec.structs.replace(agent, parameters=parameters)
        with pytest.raises(OperatorFault, match="the policy does not fit agent"):
            imported(other, harmed, tmp_path / "there")


def learnt(agent: Agent, folder: Path) -> Path:
    """A version that has seen four devices for a while."""
    made = devices(agent, folder, steps=400).versions[-1]
    return policy_path(folder, agent.name, made.policy.sha256)


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: f"{agent.algorithm}-{agent.actions}")
@pytest.mark.parametrize("suffix", [".zip", ".safetensors"])
def test_what_was_exported_can_be_imported_elsewhere(
    tmp_path: Path, agent: Agent, suffix: str
) -> None:
    source = version(agent, tmp_path / "here")
    target = tmp_path / f"policy{suffix}"
    export_policy(source, agent, target)
    if suffix == ".safetensors":
        assert target.read_bytes() == source.read_bytes()
    elsewhere = msgspec.structs.replace(agent, seed=77)
    path = imported(elsewhere, target, tmp_path / "there")
    np.testing.assert_array_equal(acted(path, agent), acted(source, agent))
    card = read_policy(path).card
    assert (card.version, card.parent, card.position) == (IMPORTED, None, 0)
    assert card.exploration < 0.1, "it is not to act at random"


@pytest.mark.parametrize("algorithm", ["PPO", "SAC"])
@pytest.mark.parametrize(("had", "has"), [(64, 0), (0, 64), (64, 2)])
def test_a_policy_goes_to_an_agent_that_tells_more_or_fewer_devices_apart(
    tmp_path: Path, algorithm: str, had: int, has: int
) -> None:
    agent, other = (
        msgspec.structs.replace(agent, parameters=agent.parameters | {"device_slots": str(slots)})
        for agent in [small(algorithm)]
        for slots in (had, has)
    )
    source, target = learnt(agent, tmp_path / "here"), tmp_path / "policy.safetensors"
    export_policy(source, agent, target)
    path = imported(other, target, tmp_path / "there")
    found = acted(path, other)
    np.testing.assert_allclose(found, acted(source, agent), rtol=1e-5, atol=1e-6)
    card = read_policy(path).card
    assert (card.device_slots, card.devices) == (has, []), "its devices are strangers"


def test_a_network_that_looks_at_an_image_goes_out_alone_and_comes_back(tmp_path: Path) -> None:
    agent = agent_of("PPO", [[36, 36, 1], 0, 255], 3, seed=5, net_arch="8")
    source, target = version(agent, tmp_path), tmp_path / "policy.zip"
    export_policy(source, agent, target)
    image = np.random.default_rng(3).integers(0, 255, (36, 36, 1), dtype=np.uint8)
    theirs, _ = PPO.load(target).predict(np.moveaxis(image, -1, 0), deterministic=True)
    asked = [Question(0, "d", 0, 0, floats(*image.ravel().tolist()))]
    for path in (source, imported(agent, target, tmp_path / "there")):
        (choice,) = chosen(Chooser(read_policy(path), 5), asked, greedy=True)
        assert choice.action == floats(float(theirs))


def saved(model: Any, file: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(file)
    return model


@pytest.mark.parametrize("agent", AGENTS[:3], ids=lambda agent: agent.algorithm)
def test_a_policy_of_stable_baselines3_acts_as_it_does_there(tmp_path: Path, agent: Agent) -> None:
    environment = gymnasium.make("Pendulum-v1" if agent.algorithm == "SAC" else "CartPole-v1")
    kwargs = {"PPO": {}, "DQN": {"net_arch": [32]}, "SAC": {"net_arch": [16, 16]}}
    model_class: Any = {"PPO": PPO, "DQN": DQN, "SAC": SAC}[agent.algorithm]
    file = tmp_path / "theirs.zip"
    arguments = {"policy_kwargs": kwargs[agent.algorithm], "seed": 9, "device": "cpu"}
    model = saved(model_class("MlpPolicy", environment, **arguments), file)
    path = imported(agent, file, tmp_path)
    theirs = [model.predict(np.array(o), deterministic=True)[0] for o in observations(agent)]
    np.testing.assert_allclose(acted(path, agent), np.array(theirs).squeeze(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("agent", "says"),
    [
        (cartpole("PPO", seed=5, net_arch="32"), "of [64, 69] instead of [32, 69]"),
        (cartpole("PPO", seed=5, activation_fn="relu"), "activation_fn 'tanh' instead of 'relu'"),
        (cartpole("DQN", seed=5), "lacks q_net.q_net.0.weight"),
        (pendulum("PPO", seed=5), "of [2, 64] instead of [1, 64]"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_with_what_differs(
    tmp_path: Path, agent: Agent, says: str
) -> None:
    file = tmp_path / "policy.zip"
    export_policy(version(AGENTS[0], tmp_path), AGENTS[0], file)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OperatorFault, match="does not fit agent 'walker'") as refused:
        imported(agent, file, tmp_path)
    if agent.algorithm != "DQN":  # an activation is said first
        assert says in str(refused.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_action_space_of_other_bounds_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "policy.zip"
    export_policy(version(AGENTS[2], tmp_path), AGENTS[2], file)
    wider = msgspec.structs.replace(AGENTS[2], actions=[[1], -3.0, 3.0])
    with pytest.raises(OperatorFault, match=r"actions' low \[-2\.\] instead of \[-3\.0\]"):
        imported(wider, file, tmp_path)
    own = tmp_path / "policy.safetensors"
    export_policy(version(AGENTS[2], tmp_path), AGENTS[2], own)
    with pytest.raises(OperatorFault, match="actions"):
        imported(wider, own, tmp_path)


def test_an_entropy_coefficient_comes_with_the_weights(tmp_path: Path) -> None:
    file = tmp_path / "theirs.zip"
    arguments: dict[str, Any] = {"policy_kwargs": {"net_arch": [16, 16]}, "device": "cpu"}
    saved(SAC("MlpPolicy", gymnasium.make("Pendulum-v1"), ent_coef="auto_0.1", **arguments), file)
    tensors = read_policy(imported(AGENTS[2], file, tmp_path)).tensors
    assert tensors["resume/log_ent_coef"] == pytest.approx([np.log(0.1)])


def test_an_exported_file_of_our_own_is_the_version_s_own_bytes(tmp_path: Path) -> None:
    agent = small("PPO")
    source, target = learnt(agent, tmp_path), tmp_path / "policy.safetensors"
    export_policy(source, agent, target)
    assert target.read_bytes() == source.read_bytes()
