"""Tasks with a goal: what hindsight experience replay needs to know, and the reward of any goal.

    hindsight = read_hindsight(agent, texts, n_sampled_goal=4)      # None where it is not asked for

Hindsight (Andrychowicz et al. 2017) replays an episode as if what it came to had been its goal. So
the trainer needs the reward for goals that no device had: `goal_reward`, an expression as in
`hub/expressions.py`, over `achieved[i]`, `desired[i]` and the Euclidean `distance` of the two.

    number  = … | distance | achieved[0] | desired[0] | sqrt(number)
            | number "if" truth "else" number

Pure and without numpy: the hub refuses here what `sb3/hindsight.py` could not compute.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Protocol

from msgspec import Struct

from hub.errors import OperatorFault
from hub.expressions import Combine, Reader
from hub.learner.algorithms.observed import is_image
from hub.spaces import Box, Dict, MultiBinary, parse, size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hub.spaces import Leaf, Space
    from hub.words import Agent

    Numbers = NDArray[np.float64] | float
    Truths = NDArray[np.bool_] | bool

Strategy = Literal["future", "final", "episode"]
GoalName = Literal["achieved", "desired"]
STRATEGIES: Final[dict[str, Strategy]] = {
    "future": "future",
    "final": "final",
    "episode": "episode",
}
"""Where a goal comes from: a later step of the same episode, its last, or any."""
OBSERVATION: Final = "observation"
ACHIEVED: Final = "achieved_goal"
DESIRED: Final = "desired_goal"
"""Names of Gymnasium's goal environments."""
GOAL_NAMES: Final[dict[str, GoalName]] = {"achieved": "achieved", "desired": "desired"}

Number = Callable[["Goals"], "Numbers"]
Truth = Callable[["Goals"], "Truths"]


class Hindsight(Struct, frozen=True):
    """How episodes are replayed with other goals."""

    n_sampled_goal: int
    """Replayed steps with another goal for each one with its own."""
    goal_selection_strategy: Strategy
    goal_reward: str


def read_hindsight(agent: Agent, texts: dict[str, str], *, n_sampled_goal: int) -> Hindsight | None:
    """The agent's hindsight, None where its replay buffer is a uniform one.

    Raises:
        OperatorFault: an ill-typed value, no goal in the observations, or a reward that can't be
            computed from it.
    """
    buffer, reward = texts.get("replay_buffer", "uniform"), texts.get("goal_reward", "none")
    if buffer not in ("uniform", "her"):
        raise OperatorFault(f"replay_buffer is uniform or her, not {buffer!r}")
    strategy = texts.get("goal_selection_strategy", "future")
    if strategy not in STRATEGIES:
        raise OperatorFault(
            f"goal_selection_strategy is one of {', '.join(STRATEGIES)}, not {strategy!r}"
        )
    if buffer == "uniform":
        if reward != "none":
            raise OperatorFault("goal_reward is for hindsight alone; set replay_buffer=her too")
        return None
    width = goal_width(parse(agent.observations))
    if reward == "none":
        raise OperatorFault(
            "replay_buffer=her needs a goal_reward, the device's reward for any goal, say "
            "'0 if distance < 0.05 else -1'"
        )
    try:
        read_reward(reward, width)
    except OperatorFault as fault:
        raise OperatorFault(f"goal_reward: {fault}") from fault
    return Hindsight(n_sampled_goal, STRATEGIES[strategy], reward)


def goal_width(space: Space) -> int:
    """Numbers in a goal.

    Raises:
        OperatorFault: the observations are not those of a task with a goal.
    """
    names = (OBSERVATION, ACHIEVED, DESIRED)
    if not isinstance(space, Dict) or not set(names) <= set(space.spaces):
        raise OperatorFault(
            f"replay_buffer=her needs observations that are an object of {', '.join(names)}, as "
            "Gymnasium's goal environments have"
        )
    achieved, desired = space.spaces[ACHIEVED], space.spaces[DESIRED]
    if not (_is_goal(achieved) and _is_goal(desired)) or _shape(achieved) != _shape(desired):
        raise OperatorFault(
            f"{ACHIEVED} and {DESIRED} must be of one shape, numbers or multi_binary, no images"
        )
    return size(achieved)


class Goals(Protocol):
    """Two goals of each step of a batch; numbers are float64 (batch,)."""

    def distance(self) -> Numbers:
        """The Euclidean norm of achieved - desired."""
        ...

    def component(self, name: GoalName, index: int) -> Numbers:
        """One number of a goal."""
        ...

    def called(self, name: str, numbers: list[Numbers]) -> Numbers:
        """By a function of `_Rewards.calls`."""
        ...

    def chosen(self, truth: Truths, one: Numbers, other: Numbers) -> Numbers:
        """The one where it is true, else the other."""
        ...

    def negated(self, truth: Truths) -> Truths:
        """False where it is true."""
        ...


def read_reward(text: str, width: int) -> Number:
    """The reward, ready to be computed for goals of `width` numbers.

    Raises:
        OperatorFault: it is none; the message says which part and why.
    """
    reader = _Rewards(text, width)
    return reader.number(reader.body)


class _Rewards(Reader[Number, Truth]):
    """Makes functions of a batch; all of a condition is computed, also behind a false `and`."""

    what = "a reward"
    valid = (
        "write numbers, achieved[0], desired[0], distance, + - * /, abs, sqrt, min, max, "
        "1 if distance < 0.1 else 0, comparisons, and, or, not"
    )
    calls: ClassVar[dict[str, tuple[int, int]]] = {**Reader.calls, "sqrt": (1, 1)}

    def __init__(self, text: str, width: int) -> None:
        super().__init__(text)
        self._width = width

    def place(self, node: ast.expr, depth: int) -> Number:
        """`distance`, `achieved[0]`, `desired[0]`, or one number or another by a condition."""
        match node:
            case ast.Name(id="distance"):
                return lambda goals: goals.distance()
            case ast.IfExp(test=test, body=body, orelse=other):
                truth = self.truth(test, depth - 1)
                return _chosen(truth, self.number(body, depth - 1), self.number(other, depth - 1))
            case ast.Subscript(
                value=ast.Name(id=name), slice=ast.Constant(value=int() as index)
            ) if name in GOAL_NAMES:
                return self._component(node, GOAL_NAMES[name], index)
        raise self.refusal(node)

    def _component(self, node: ast.expr, name: GoalName, index: int) -> Number:
        if isinstance(index, bool) or not 0 <= index < self._width:
            raise self.refusal(node, f"is not in the goal, whose last value is [{self._width - 1}]")
        return lambda goals: goals.component(name, index)

    def constant(self, value: float) -> Number:
        """Whatever the goals."""
        return lambda _: value

    def signed(self, number: Number, *, minus: bool) -> Number:
        """With a sign before it."""
        return (lambda goals: -number(goals)) if minus else number

    def combined(self, combine: Combine, one: Number, other: Number) -> Number:
        """For each of the batch."""
        return lambda goals: combine(one(goals), other(goals))

    def called(self, name: str, numbers: list[Number]) -> Number:
        """For each of the batch."""
        return lambda goals: goals.called(name, [number(goals) for number in numbers])

    def chained(self, comparisons: list[Combine], numbers: list[Number]) -> Truth:
        """`a < b < c` is `a < b and b < c`."""
        pairs = list(zip(comparisons, pairwise(numbers), strict=True))
        return self.all_of([self._compared(compare, *pair) for compare, pair in pairs])

    def _compared(self, compare: Combine, one: Number, other: Number) -> Truth:
        return lambda goals: compare(one(goals), other(goals))

    def all_of(self, parts: list[Truth]) -> Truth:
        """True where all are."""
        return lambda goals: reduce(operator.and_, [part(goals) for part in parts])

    def any_of(self, parts: list[Truth]) -> Truth:
        """True where one is."""
        return lambda goals: reduce(operator.or_, [part(goals) for part in parts])

    def negated(self, part: Truth) -> Truth:
        """False where it is true."""
        return lambda goals: goals.negated(part(goals))


def _chosen(truth: Truth, one: Number, other: Number) -> Number:
    return lambda goals: goals.chosen(truth(goals), one(goals), other(goals))


def _is_goal(space: Leaf) -> bool:
    return isinstance(space, Box | MultiBinary) and not is_image(space)


def _shape(space: Leaf) -> tuple[int, ...]:
    return space.shape if isinstance(space, Box) else (size(space),)
