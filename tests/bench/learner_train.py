"""What training costs beside Stable-Baselines3's own `learn()`, and how fast a log is folded again.

To be imported after `hub.learner.one_thread`: numpy and torch ask for threads when they are loaded.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final

import gymnasium
import msgspec

from hub.learner.algorithms.parameters import read_parameters
from hub.learner.sb3.drive import drive
from hub.learner.training.rebuild import rebuild
from hub.learner.training.train import KINDS as TRAINED
from hub.learner.training.train import Trainer
from hub.learner.versions.line import KINDS, line_of
from hub.settings import LearnerSettings
from tests.bench.learner_figures import Refolded, Throughput
from tests.learning.farm import Farm
from tests.learning.harness import Hub, ProcessClock, cartpole, pendulum, walk
from tests.learning.test_rebuild import lived, logged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hub.words import Agent

SETTINGS: Final[dict[str, tuple[str, dict[str, str], int]]] = {
    "PPO": (
        "CartPole-v1",
        {"n_steps": "2048", "n_epochs": "10", "batch_size": "64"},
        2,
    ),
    "DQN": ("CartPole-v1", {"train_freq": "4", "gradient_steps": "1", "learning_starts": "100"}, 1),
    "SAC": ("Pendulum-v1", {"learning_starts": "100"}, 1),
}
"""Environment, parameters, and transitions in thousands of 2,048 for PPO, of 1,000 else."""
SMALL: Final = {"net_arch": "16,16"}
"""Where only that it works is wanted to be known."""


def throughputs(folder: Path, *, quick: bool) -> Iterator[Throughput]:
    """Each algorithm, with SB3 beside it."""
    for name, (environment, parameters, thousands) in SETTINGS.items():
        steps = (2048 if name == "PPO" else 1000) * thousands
        if quick:
            steps, parameters = 256, parameters | SMALL
            parameters |= {"n_steps": "128"} if name == "PPO" else {}
        agent = (pendulum if name == "SAC" else cartpole)(name, seed=1, **parameters)
        trainer_s = _trainer_s(agent, environment, folder / f"train-{name}", steps)
        learn_s = _learn_s(agent, environment, steps)
        yield Throughput(name, steps, trainer_s, learn_s, learn_s / trainer_s)


def refolded(folder: Path, steps: int, *, quick: bool) -> Iterator[Refolded]:
    """PPO as the table has it, and SAC."""
    small = SMALL if quick else {}
    sac = pendulum("SAC", seed=1, learning_starts="100", **small)
    for agent in (cartpole("PPO", seed=1, **small), sac):
        count = steps if agent.algorithm == "PPO" else max(steps // 10, 400)
        farm = Farm(agent, folder / f"live-{agent.algorithm}", seed=1)
        lived(farm, count)
        with logged(farm, folder / f"log-{agent.algorithm}") as log:
            line = line_of(agent.name, log.events(agent.name, KINDS, after=0, upto=None))
            events = log.events(agent.name, TRAINED, after=line.begins, upto=line.wanted.seq)
            again = folder / f"again-{agent.algorithm}"
            done = rebuild(line, events, again, farm.folder, ProcessClock())
        rate = done.transitions / max(done.seconds, 1e-9)
        yield Refolded(agent.algorithm, done.transitions, rate, done.equal)


def _trainer_s(agent: Agent, environment: str, folder: Path, steps: int) -> float:
    """Of a trainer that is given a log which another has lived through."""
    quiet = msgspec.structs.replace(agent, learning=False)
    hub = Hub(quiet, folder / "live")
    hub.agent = agent  # it explores, and its trainer learns nothing
    for step, _ in enumerate(walk(hub, environment, 1)):
        if step >= steps + steps // 8:
            break
    trainer = Trainer(agent, folder / "timed", ProcessClock(), policies_kept=4)
    trainer.open(None)
    started, taken = time.process_time(), 0
    for event in hub.log:
        trainer.take(event)
        taken += event.obs is not None and not event.first
        if taken >= steps:
            break
    return time.process_time() - started


def _learn_s(agent: Agent, environment: str, steps: int) -> float:
    """Of SB3 itself, less what its environment took."""
    model = model_of(agent)
    timed = _Timed(gymnasium.make(environment), model.observation_space, model.action_space)
    model.set_env(model._wrap_env(timed, verbose=0))
    started = time.process_time()
    model.learn(steps)
    return time.process_time() - started - timed.seconds


class _Timed(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Counts what the environment below it takes; has the spaces that an agent declares."""

    def __init__(self, env: gymnasium.Env[Any, Any], observations: Any, actions: Any) -> None:
        super().__init__(env)
        self.observation_space = observations
        self.action_space = actions
        self.seconds = 0.0

    def step(self, action: Any) -> Any:
        started = time.process_time()
        result = super().step(action)
        self.seconds += time.process_time() - started
        return result


def model_of(agent: Agent) -> Any:
    """SB3's, which sees what an environment says and nothing else."""
    agent = msgspec.structs.replace(agent, sharing="none")
    return drive(agent, read_parameters(agent)).model


def train_without_pause(algorithm: str) -> None:
    """At the priority of trainers; says when it begins."""
    os.nice(LearnerSettings().nice)
    environment, parameters, _ = SETTINGS[algorithm]
    agent = (pendulum if algorithm == "SAC" else cartpole)(algorithm, seed=1, **parameters)
    model = model_of(agent)
    timed = _Timed(gymnasium.make(environment), model.observation_space, model.action_space)
    model.set_env(model._wrap_env(timed, verbose=0))
    model.learn(2048 if algorithm == "PPO" else 300)
    print("training", flush=True)
    while True:
        if algorithm == "PPO":
            model.train()
        else:
            model.train(gradient_steps=64, batch_size=model.batch_size)
