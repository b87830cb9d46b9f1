"""Whether devices that step when they please learn as well as `learn()` does at equal transitions.

python -m tests.learning.noninferiority [--minutes M] [--seeds N] [--only ALGORITHM …] [--out DIR]

For each algorithm and seed: Stable-Baselines3's own `learn()` with one environment, and the hub's
trainer with 1, 4 and 8 devices of unequal speed and with 4 that come and go. Each run is evaluated
ten times on the way by greedy episodes; the mean of these is the area under its learning curve. An
arrangement is no worse where the one-sided 95 % bound of the paired differences is within the
margin, in shares of what `learn()` gained over a random policy.

Of an algorithm with enough runs of `learn()` the table says, too, what area 99 of 100 of these are
above, 95 % sure: what a test may ask of the hub in one run (`test_thresholds.py`).

Runs are kept in `learning.json` and never made twice: it goes on where it was stopped, one seed of
everything after the other, until each arrangement is decided or `--seeds` are done. Runs of other
parameters, since defaults change, are left out.
"""

from __future__ import annotations

import hub.learner.one_thread  # noqa: F401 - before numpy and torch

# isort: split
import hashlib
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any, Final

import gymnasium
import msgspec
import numpy as np
from msgspec import Struct
from stable_baselines3.common.callbacks import BaseCallback

from hub.learner.algorithms.parameters import read_parameters
from hub.learner.columns import Question
from hub.learner.sb3.drive import drive
from hub.learner.sb3.model import takes_factors
from hub.learner.slots import QUICKER
from hub.spaces import Discrete, parse
from hub.words import Floats, Kind
from tests.bench.table import table
from tests.learner.choices import chosen, numbers_of
from tests.learning.book import Runs, in_time, long_run
from tests.learning.harness import Hub, cartpole, pendulum, walk
from tests.learning.verdict import Verdict, floor, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from hub.words import Agent

EVALUATIONS: Final = 10
EPISODES: Final = 10
EVALUATION_SEED: Final = 10_000
SEEDS_MIN: Final = 5
"""Fewer say nothing of the spread."""
SEEDS_MAX: Final = 50
FLOOR_RUNS_MIN: Final = 30
"""From fewer a floor would be where nothing has been learnt."""
CHURN: Final = 1 / 400
"""Chance at each step that a device leaves for good and another joins."""


class Task(Struct, frozen=True):
    """What is learnt, and how much worse it may be."""

    environment: str
    agent_of: Any
    transitions: int
    random_return: float
    """Of a policy that chooses anything."""
    margin: float
    """Share of the gain of `learn()`."""
    handover_steps: int
    """Of all devices, from when a version is made to when it acts."""


TASKS: Final = {
    "PPO": Task("CartPole-v1", cartpole, 20_000, 22.0, 0.10, 64),
    "DQN": Task("CartPole-v1", cartpole, 20_000, 22.0, 0.20, 8),
    "SAC": Task("Pendulum-v1", pendulum, 8_000, -1_230.0, 0.20, 8),
    "TD3": Task("Pendulum-v1", pendulum, 10_000, -1_230.0, 0.10, 8),
}
"""In 4,000 steps of Pendulum TD3 learns nothing that could be compared."""
LEARN: Final = "learn()"
ARRANGEMENTS: Final[dict[str, tuple[int, float]]] = {
    "1 device": (1, 0.0),
    "4 devices": (4, 0.0),
    "8 devices": (8, 0.0),
    "4, some leave, some join": (4, CHURN),
}
"""How many devices, and their churn."""


class Run(Struct, frozen=True):
    """One learning curve."""

    algorithm: str
    arrangement: str
    seed: int
    area: float
    """Mean return of all its evaluations."""
    seconds: float
    parameters: str
    """Digest of what was learnt with: runs of other parameters are not counted."""


# --- the runs ---------------------------------------------------------------------------------


def run(algorithm: str, arrangement: str, seed: int, folder: Path) -> Run:
    """One learning curve, evaluated on the way."""
    task = TASKS[algorithm]
    agent = task.agent_of(algorithm, seed=seed, total_timesteps=str(task.transitions))
    began = time.process_time()
    if arrangement == LEARN:
        returns = _learnt(agent, task)
    else:
        devices, churn = ARRANGEMENTS[arrangement]
        hub = Hub(agent, folder, handover_steps=task.handover_steps)
        returns = farmed(hub, task, devices, churn)
    took_s = time.process_time() - began
    learnt_with = parameters_of(algorithm, arrangement)
    return Run(algorithm, arrangement, seed, mean(returns), took_s, learnt_with)


def parameters_of(algorithm: str, arrangement: str) -> str:
    """A digest of what is learnt with, defaults and all."""
    task = TASKS[algorithm]
    agent = task.agent_of(algorithm, seed=0, total_timesteps=str(task.transitions))
    parameters = read_parameters(agent)
    parts: list[object] = [parameters]
    if arrangement != LEARN:
        parts.append(task.handover_steps)
        parts += [QUICKER] if takes_factors(agent, parameters) else []
        # Since a device that is alone has no column: its earlier runs are of another network.
        parts += ["alone"] if ARRANGEMENTS[arrangement] == (1, 0.0) else []
    return hashlib.sha256("".join(map(repr, parts)).encode()).hexdigest()[:12]


def _learnt(agent: Agent, task: Task) -> list[float]:
    agent = msgspec.structs.replace(agent, sharing="none")
    model: Any = drive(agent, read_parameters(agent)).model
    env = gymnasium.make(task.environment)
    env.observation_space, env.action_space = model.observation_space, model.action_space
    model.set_env(model._wrap_env(env, verbose=0))
    model.env.seed(agent.seed * 100)

    def act(observations: NDArray[np.float32]) -> NDArray[Any]:
        actions: NDArray[Any] = model.predict(observations, deterministic=True)[0]
        return actions

    returns: list[float] = []

    class Evaluate(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps % (task.transitions // EVALUATIONS) == 0:
                returns.append(evaluated(act, task.environment))
            return True

    model.learn(task.transitions, callback=Evaluate())
    return returns[:EVALUATIONS]


def farmed(hub: Hub, task: Task, devices: int, churn: float) -> list[float]:
    """Of a hub that has seen nothing yet: the mean return at each evaluation."""
    discrete = isinstance(parse(hub.agent.actions), Discrete)

    def act(observations: NDArray[np.float32]) -> NDArray[Any]:
        assert hub._chooser is not None, "version 0 acts at once"
        asked = [Question(0, "", 0, 0, Floats(row.tobytes())) for row in observations]
        choices = chosen(hub._chooser, asked, greedy=True)
        actions = np.array([numbers_of(choice) for choice in choices])
        return actions[:, 0].astype(np.int64) if discrete else actions

    returns: list[float] = []
    taken = 0
    for _ in walk(hub, task.environment, devices, churn=churn):
        observation = hub.log[-1] if hub.log[-1].kind is Kind.OBSERVATION else hub.log[-2]
        taken += not observation.first
        if observation.first or taken % (task.transitions // EVALUATIONS):
            continue
        returns.append(evaluated(act, task.environment))
        if len(returns) == EVALUATIONS:
            break
    return returns


def evaluated(act: Callable[[NDArray[np.float32]], NDArray[Any]], environment: str) -> float:
    """Mean return of greedy episodes, the same ones each time, all at once."""
    envs = [gymnasium.make(environment) for _ in range(EPISODES)]
    seen = [env.reset(seed=EVALUATION_SEED + i)[0] for i, env in enumerate(envs)]
    returns = [0.0] * EPISODES
    running = list(range(EPISODES))
    while running:
        actions = act(np.array([seen[i] for i in running], dtype="<f4"))
        over = set()
        for i, action in zip(running, actions, strict=True):
            seen[i], reward, terminated, truncated, _ = envs[i].step(action)
            returns[i] += float(reward)
            if terminated or truncated:
                over.add(i)
        running = [i for i in running if i not in over]
    return mean(returns)


# --- the whole --------------------------------------------------------------------------------


class Book:
    """The runs so far, in a file."""

    def __init__(self, path: Path) -> None:
        now = {one: parameters_of(*one) for one in product(TASKS, [LEARN, *ARRANGEMENTS])}
        self._kept = Runs(
            path, Run, lambda made: made.parameters == now[made.algorithm, made.arrangement]
        )
        self.add = self._kept.add

    @property
    def runs(self) -> list[Run]:
        """In the order in which they were made."""
        return self._kept.made

    def area(self, algorithm: str, arrangement: str, seed: int) -> float | None:
        """Of a run that was made."""
        wanted = (algorithm, arrangement, seed)
        found = (r.area for r in self.runs if (r.algorithm, r.arrangement, r.seed) == wanted)
        return next(found, None)

    def areas(self, algorithm: str) -> list[float]:
        """Of all runs of `learn()`."""
        runs = [r for r in self.runs if (r.algorithm, r.arrangement) == (algorithm, LEARN)]
        return [run.area for run in runs]

    def verdict(self, algorithm: str, arrangement: str) -> Verdict | None:
        """None while there are fewer than two pairs."""
        seeds = sorted({r.seed for r in self.runs if r.algorithm == algorithm})
        pairs = [
            (one, other)
            for seed in seeds
            if (one := self.area(algorithm, LEARN, seed)) is not None
            and (other := self.area(algorithm, arrangement, seed)) is not None
        ]
        task = TASKS[algorithm]
        return verdict(pairs, task.random_return, task.margin) if len(pairs) > 1 else None

    def is_decided(self, algorithm: str, arrangement: str) -> bool:
        """Within the margin, from enough seeds."""
        found = self.verdict(algorithm, arrangement)
        return (
            found is not None
            and found.seeds >= max(SEEDS_MIN, min(found.seeds_wanted, SEEDS_MAX))
            and found.bound > -TASKS[algorithm].margin
        )

    def wanting(self, algorithms: Sequence[str], seeds: int) -> Iterator[tuple[str, str, int]]:
        """What is still to be run: one seed of everything after the other."""
        for seed in range(seeds):
            for algorithm in algorithms:
                open_ones = [a for a in ARRANGEMENTS if not self.is_decided(algorithm, a)]
                for arrangement in [LEARN, *open_ones] if open_ones else []:
                    if self.area(algorithm, arrangement, seed) is None:
                        yield algorithm, arrangement, seed


def report(book: Book) -> str:
    """A table of what is known."""
    heads = ["", "seeds", "learn()", "devices", "difference", "95 % bound", "margin", "", "wanted"]
    rows = []
    for algorithm, task in TASKS.items():
        for arrangement in ARRANGEMENTS:
            one = book.verdict(algorithm, arrangement)
            if one is not None:
                within = "no worse" if book.is_decided(algorithm, arrangement) else "not decided"
                if one.difference + (one.difference - one.bound) < -task.margin:
                    within = "worse"
                rows.append(
                    [
                        f"{algorithm}, {arrangement}",
                        str(one.seeds),
                        f"{one.learn_area:.0f}",
                        f"{one.area:.0f}",
                        f"{one.difference:+.1%}",
                        f"{one.bound:+.1%}",
                        f"{-task.margin:.0%}",
                        within,
                        str(one.seeds_wanted),
                    ]
                )
    return "\n".join(table(heads, rows)) if rows else "too few runs for a table"


def floors(book: Book) -> str:
    """A table of what `learn()` itself is above; empty while there are too few runs."""
    heads = ["learn() alone", "runs", "mean", "deviation", "99 % above"]
    rows = [
        [name, str(len(areas)), f"{mean(areas):.0f}", f"{stdev(areas):.0f}", f"{floor(areas):.0f}"]
        for name in TASKS
        if len(areas := book.areas(name)) >= FLOOR_RUNS_MIN
    ]
    return "\n".join(table(heads, rows)) if rows else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is wanting until the time is over; print and write the table."""
    parser = long_run("tests.learning.noninferiority", list(TASKS), seeds=SEEDS_MAX)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    book = Book(options.out / "learning.json")
    wanting = book.wanting(options.only, options.seeds)
    for algorithm, arrangement, seed in in_time(wanting, options.minutes):
        with tempfile.TemporaryDirectory() as folder:
            made = run(algorithm, arrangement, seed, Path(folder))
        book.add(made)
        sys.stderr.write(f"{algorithm}, {arrangement}, seed {seed}: {made.area:.1f}\n")
    text = f"{report(book)}\n\n{floors(book)}".strip()
    (options.out / "learning.md").write_text(f"# As good as learn()\n\n{text}\n")
    sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
