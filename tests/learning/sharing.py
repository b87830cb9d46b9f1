"""What replicas gain from learning together: steps of each device, beside learners of their own.

python -m tests.learning.sharing [--minutes M] [--seeds N] [--only CASE …] [--out DIR]

Everything but the wires is the hub's: trainer, policy files, actor (`harness.py`). Devices step at
the same mean pace, when they please. A device is done when the mean return of its last ten training
episodes is at the threshold; one that never gets there counts with all the steps it had.

Runs are kept in `sharing.json` and never made twice; the table goes to `sharing.md`, a picture
beside it. Runs of other parameters are left out.
"""

from __future__ import annotations

import hub.learner.one_thread  # noqa: F401 - before numpy and torch

# isort: split
import hashlib
import heapq
import sys
import tempfile
import time
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import numpy as np
from msgspec import Struct

from hub.learner.algorithms.parameters import read_parameters
from hub.learner.flock import LENDERS_MAX
from hub.learner.sb3.model import takes_factors
from hub.learner.slots import QUICKER
from tests.bench.table import table
from tests.learning.book import Runs, in_time, long_run
from tests.learning.harness import Device, Hub, cartpole, pendulum
from tests.learning.sharing_picture import draw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hub.words import Agent, Event, Floats, Sharing

EPISODES: Final = 10
"""In the mean return that counts."""
SEEDS: Final = 20
CONFIDENCE: Final = 0.90
RESAMPLES: Final = 10_000

Mode = Literal["lone", "shared", "guarded", "advice", "random advice"]
MODES: Final[tuple[Mode, ...]] = ("lone", "shared", "guarded", "advice", "random advice")
"""Learners of their own; one policy, without its guard and with it; and peers that advise each
other, by a bandit or as Shepherd draws them: any peer at each step."""

SHARING: Final[dict[Mode, Sharing]] = {
    "lone": "none",
    "shared": "shared",
    "guarded": "shared",
    "advice": "advice",
    "random advice": "advice",
}


class Replica(Struct, frozen=True):
    """How a machine differs from the others of its kind."""

    reversed: bool = False
    """Its motor is wired the wrong way round."""
    half_pole: float | None = None
    """Metres, of CartPole; None = as it comes, 0.5."""
    pay: Literal["true", "random", "flipped"] = "true"
    """What it says its reward was."""


AS_IT_COMES: Final = Replica()


class Case(Struct, frozen=True):
    """Replicas of one task."""

    environment: str
    agent_of: Any
    replicas: tuple[Replica, ...]
    steps_max: int
    """Of each device."""
    threshold: float
    parameters: dict[str, str] = {}
    beside: tuple[str, Mode] | None = None
    """What it is held against: another case; None = lone learners of its own."""


def _cartpole(*replicas: Replica) -> Case:
    return Case("CartPole-v1", cartpole, replicas, 12_000, 195.0)


def _beside(name: str, mode: Mode, *replicas: Replica) -> Case:
    return msgspec.structs.replace(_cartpole(*replicas), beside=(name, mode))


POISONED_BESIDE: Final = "three alike"
"""What those among whom one lies are held against."""
_ALIKE: Final = (AS_IT_COMES,) * 3
CASES: Final = {
    "alike": _cartpole(*_ALIKE, AS_IT_COMES),
    "one reversed": _cartpole(*_ALIKE, Replica(reversed=True)),
    "pole lengths": _cartpole(*(Replica(half_pole=metres) for metres in (0.1, 0.5, 1.0, 2.0))),
    "one reversed, not told apart": msgspec.structs.replace(
        _beside("one reversed", "lone", *_ALIKE, Replica(reversed=True)),
        parameters={"device_slots": "0"},
    ),
    "Pendulum": Case(
        "Pendulum-v1",
        pendulum,
        (AS_IT_COMES,) * 4,
        16_384,
        -600.0,
        {"gamma": "0.9", "gae_lambda": "0.95", "n_steps": "512", "batch_size": "128"},
    ),
    POISONED_BESIDE: _cartpole(*_ALIKE),
    "one paid at random": _beside(POISONED_BESIDE, "shared", *_ALIKE, Replica(pay="random")),
    "one paid the reverse": _beside(POISONED_BESIDE, "shared", *_ALIKE, Replica(pay="flipped")),
    "16 alike": _beside("alike", "lone", *(AS_IT_COMES,) * 16),
    "64 alike": _beside("alike", "lone", *(AS_IT_COMES,) * 64),
}
"""Ten episodes of 195 steps are 1,950: no device can be done much before, however many learn."""


class Run(Struct, frozen=True):
    """One seed of a case."""

    case: str
    mode: Mode
    seed: int
    steps: list[int]
    """Of each device that says the truth, to the threshold or its last one."""
    failed: list[int]
    """Numbers of those that did not get there."""
    seconds: float
    """CPU time."""
    parameters: str


class Machine(Device):
    """A replica, and how it is getting on.

    Attributes:
        action: the answer to its newest observation.
        steps: that it has made.
        done_at: steps when it was done; None before.
        returns: of its episodes.
        honest: it says what its reward was.
    """

    def __init__(self, number: int, case: Case, seed: int) -> None:
        super().__init__(f"device-{number}", case.environment, seed * 1000 + number, 1.0)
        self.action: Floats | None = None
        self.steps = 0
        self.done_at: int | None = None
        self.returns: list[float] = []
        self._replica = case.replicas[number % len(case.replicas)]
        self.honest = self._replica.pay == "true"
        self._chance = np.random.default_rng([seed, number])
        self._threshold = case.threshold
        if self._replica.half_pole is not None:
            cart: Any = self._env.unwrapped
            cart.length = self._replica.half_pole
            cart.polemass_length = cart.masspole * cart.length

    def observe(self, action: Floats | None) -> tuple[Event, float | None]:
        """Carry the action out, and see whether it is done."""
        observation, returned = super().observe(action)
        self.steps += not observation.first
        if returned is not None:
            self.returns.append(returned)
            last = self.returns[-EPISODES:]
            full = len(last) == EPISODES
            if self.done_at is None and full and mean(last) >= self._threshold:
                self.done_at = self.steps
        return observation, returned

    def _native(self, action: Floats) -> Any:
        native = super()._native(action)
        if not self._replica.reversed:
            return native
        return 1 - native if isinstance(native, int) else -native

    def _event(self, values: Any, **columns: Any) -> Event:
        if "reward" in columns and self._replica.pay == "random":
            columns["reward"] = float(self._chance.uniform(-1.0, 1.0))
        if "reward" in columns and self._replica.pay == "flipped":
            columns["reward"] = -columns["reward"]
        return super()._event(values, **columns)


# --- the runs ---------------------------------------------------------------------------------


def run(name: str, mode: Mode, seed: int, folder: Path) -> Run:
    """All devices of a case, until each is done or has had its steps."""
    case = CASES[name]
    machines = [Machine(number, case, seed) for number in range(len(case.replicas))]
    flocks = [[machine] for machine in machines] if mode == "lone" else [machines]
    began = time.process_time()
    for number, flock in enumerate(flocks):
        agent = agent_of(case, mode, seed=100 * seed + number)
        hub = Hub(agent, folder / str(number))
        step_on(hub, flock, seed, until=partial(_over, flock, case))
    return Run(
        name,
        mode,
        seed,
        [machine.done_at or machine.steps for machine in machines if machine.honest],
        [i for i, one in enumerate(machines) if one.honest and one.done_at is None],
        time.process_time() - began,
        parameters_of(name, mode),
    )


def agent_of(case: Case, mode: Mode, *, seed: int) -> Agent:
    """As a mode declares it."""
    chosen = {"shared": {"guard": "off"}, "random advice": {"advice.choice": "random"}}
    agent: Agent = case.agent_of("PPO", seed=seed, **case.parameters, **chosen.get(mode, {}))
    return msgspec.structs.replace(agent, sharing=SHARING[mode])


def _over(flock: Sequence[Machine], case: Case) -> bool:
    honest = [machine for machine in flock if machine.honest]
    return all(m.done_at is not None or m.steps >= case.steps_max for m in honest)


def step_on(hub: Hub, flock: Sequence[Machine], seed: int, *, until: Callable[[], bool]) -> None:
    """Let machines step, each after an exponential wait of the same mean."""
    chance = np.random.default_rng(seed)
    due = [(float(chance.exponential()), i) for i in range(len(flock))]
    heapq.heapify(due)
    while not until():
        now, i = due[0]
        observation, _ = flock[i].observe(flock[i].action)
        flock[i].action = hub.answer(observation)
        heapq.heapreplace(due, (now + float(chance.exponential()), i))


def parameters_of(name: str, mode: Mode) -> str:
    """A digest of what a case is learnt with, defaults and all."""
    case = CASES[name]
    named = msgspec.structs.replace(case, agent_of=case.agent_of.__name__)
    agent = agent_of(case, mode, seed=0)
    parameters = read_parameters(agent)
    factors = (QUICKER,) if takes_factors(agent, parameters) else ()
    lent = (LENDERS_MAX,) if mode == "advice" else ()
    return hashlib.sha256(repr((named, parameters, *factors, *lent)).encode()).hexdigest()[:12]


# --- what they come to ------------------------------------------------------------------------


class Verdict(Struct, frozen=True):
    """A case learnt together, beside lone learners or another."""

    seeds: int
    lone_steps: float
    """Mean of all devices."""
    steps: float
    share: float
    bound: float
    """The share is below it, at 90 %."""
    lone_failed: int
    failed: int


def verdict(lone: Sequence[Run], together: Sequence[Run]) -> Verdict:
    """Of runs of the same seeds; the bound is a bootstrap's over them (Efron & Tibshirani 1993)."""
    ours = np.array([mean(run.steps) for run in together])
    theirs = np.array([mean(run.steps) for run in lone])
    picked = np.random.default_rng(0).integers(len(ours), size=(RESAMPLES, len(ours)))
    shares = ours[picked].mean(axis=1) / theirs[picked].mean(axis=1)
    return Verdict(
        len(ours),
        float(theirs.mean()),
        float(ours.mean()),
        float(ours.mean() / theirs.mean()),
        float(np.quantile(shares, CONFIDENCE)),
        sum(len(run.failed) for run in lone),
        sum(len(run.failed) for run in together),
    )


def modes_of(name: str) -> tuple[Mode, ...]:
    """Advice is looked at beside lone learners, and not for those with false pay."""
    if name == POISONED_BESIDE:
        return ("lone", "shared")
    return MODES if CASES[name].beside is None else ("shared", "guarded")


class Book:
    """The runs so far, in a file."""

    def __init__(self, path: Path) -> None:
        now = {(name, mode): parameters_of(name, mode) for name in CASES for mode in MODES}
        self._kept = Runs(path, Run, lambda it: now.get((it.case, it.mode)) == it.parameters)
        self.runs = {(made.case, made.mode, made.seed): made for made in self._kept.made}

    def add(self, made: Run) -> None:
        """Keep a run."""
        self._kept.add(made)
        self.runs[made.case, made.mode, made.seed] = made

    def wanting(self, names: Sequence[str], seeds: int) -> Iterator[tuple[str, Mode, int]]:
        """What is still to be run: one seed of everything after the other."""
        for seed in range(seeds):
            for name in names:
                for mode in modes_of(name):
                    if (name, mode, seed) not in self.runs:
                        yield name, mode, seed

    def verdict(self, name: str, together: Mode = "shared") -> Verdict | None:
        """None without runs of both."""
        beside = CASES[name].beside or (name, "lone")
        seeds = [
            seed
            for case, mode, seed in self.runs
            if (case, mode) == (name, together) and (*beside, seed) in self.runs
        ]
        lone = [self.runs[*beside, seed] for seed in seeds]
        return verdict(lone, [self.runs[name, together, s] for s in seeds]) if seeds else None


def report(book: Book) -> str:
    """A table of what is known."""
    heads = [
        "",
        "",
        "beside",
        "seeds",
        "steps there",
        "steps",
        "share",
        "90 % bound",
        "failed there",
        "failed",
    ]
    rows = []
    for name, together in product(CASES, MODES[1:]):
        case, one = CASES[name], book.verdict(name, together)
        if one is not None:
            honest = sum(replica.pay == "true" for replica in case.replicas)
            rows.append(
                [
                    name,
                    together,
                    "lone" if case.beside is None else ", ".join(case.beside),
                    str(one.seeds),
                    f"{one.lone_steps:,.0f}",
                    f"{one.steps:,.0f}",
                    f"{one.share:.0%}",
                    f"{one.bound:.0%}",
                    f"{one.lone_failed}",
                    f"{one.failed} of {one.seeds * honest}",
                ]
            )
    return "\n".join(table(heads, rows)) if rows else "too few runs for a table"


def _label(name: str) -> str:
    beside = CASES[name].beside
    return name if beside is None else f"{name}\n(of {', '.join(beside)})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is wanting until the time is over; print and write the table."""
    parser = long_run("tests.learning.sharing", list(CASES), seeds=SEEDS)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    book = Book(options.out / "sharing.json")
    wanting = book.wanting(options.only, options.seeds)
    for name, mode, seed in in_time(wanting, options.minutes):
        with tempfile.TemporaryDirectory() as folder:
            made = run(name, mode, seed, Path(folder))
        book.add(made)
        steps = f"{mean(made.steps):,.0f}"
        sys.stderr.write(f"{name}, {mode}, seed {seed}: {steps}, {len(made.failed)} failed\n")
    verdicts = {name: one for name in CASES if (one := book.verdict(name)) is not None}
    if verdicts:
        shares = {_label(name): (one.share, one.bound) for name, one in verdicts.items()}
        draw(shares, options.out)
    text = report(book)
    (options.out / "sharing.md").write_text(f"# What replicas gain from each other\n\n{text}\n")
    sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
