"""What every learner fulfils, whoever wrote it: transitions in, weights out.

    learner = open_learner(agent)                          # weights drawn from the agent's seed
    for transition in transitions:                         # as they stand in the log
        update = learner.learn(transition, version=version, behind=False)
        if update is not None:                             # the next version: a file, then events
            version = write(learner.card(agent, ...), learner.tensors())

    learner = open_learner(agent)                          # another process, after a kill
    learner.take_up(card, tensors)                         # of the newest version's file
    for transition in transitions_before:
        learner.remember(transition)                       # what its replay memory had held
    ...                                                    # `learn` goes on, and makes the same

Rule 1: what `learn` makes depends on what it was given and on nothing else: no clock, no chance but
    a generator of its own, whose state is a tensor.
Rule 2: `tensors`, the counts in the Card and the rows put back by `remember` are all there is to a
    learner at a version: nothing is pickled.
Rule 3: nothing is learnt from an action that is not known.

Stable-Baselines3's are learners by `sb3/library.py`; others derive from `Plain`, which has what
most would write alike. `docs/own-algorithm.md` is a whole one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np

from hub.errors import HubFault
from hub.learner.versions.policy import Card

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hub.facts import Advised, Guarded
    from hub.learner.algorithms.row import Activation, PolicyKind
    from hub.learner.experience.transitions import Transition
    from hub.learner.versions.policy import Tensors
    from hub.words import Agent, Event, Floats

REPLAY: Final = "replay_"
REPLAY_FROM: Final = REPLAY + "from"
REPLAY_FIRST: Final = REPLAY + "first"
REPLAY_ROW: Final = REPLAY + "row"
"""Counts by which a replay memory is filled again: seq to read from, seq of the oldest row, and the
place of that row in the ring. Without them nothing is read again."""
SINCE: Final = "since_"
"""Beginning of the names of counts that begin at 0 with each version of the learner's own."""


class Update(NamedTuple):
    """What an update made of which transitions."""

    transitions: int
    dropped: int
    """Transitions too old, or gradient steps skipped because the log was too far ahead."""
    seq_first: int
    seq_last: int
    metrics: dict[str, float]
    device: str | None = None
    """Whose network it changed; None = the one that all devices have."""
    critic: str | None = None
    """Whose critic it began with, where that was a peer's."""


class Unsound(ValueError):
    """What was to be learnt made numbers that are not finite; the version before stays."""


class Learner(Protocol):
    """One agent's learner, in the trainer's process. Made with the agent and its parameters."""

    @property
    def gradient_steps(self) -> int:
        """Steps of the optimizer since the agent began."""
        ...

    def see(self, event: Event, transition: Transition | None) -> bool | None:
        """Look at an event before the transition that it completed, if any, is learnt from.

        An observation that is too large to be learnt from has no values here (`largest.py`).

        Returns whether it is to be a version at once; then there was no transition.
        """
        ...

    def borrow_from(self, peers: Peers) -> None:
        """Replicas whose critics an update may begin with; those that it can't use are left out."""
        ...

    @property
    def takes_more(self) -> bool:
        """The next transition may complete an update that would take others along, if any wait."""
        ...

    def expect(self, *, more: bool) -> None:
        """Whether the update that the next transition may complete is to be put off.

        It may be where `takes_more`, and where it was is in the log.
        """
        ...

    def learn(self, transition: Transition, *, version: int, behind: bool) -> Update | None:
        """Take a transition in; the update that it completed, if any.

        Args:
            transition: the next in the log.
            version: the newest of the policy.
            behind: so much more is waiting that gradient steps should be left out where they can
                be. Where they were is in the log.

        Raises:
            Unsound: the trainer goes on from the newest version; anything else ends its process.
        """
        ...

    def remember(self, transition: Transition) -> bool:
        """Make it a row of the replay memory, untrained; False when there was no row to make."""
        ...

    def card(self, agent: Agent, *, version: int, parent: int | None, position: int) -> Card:
        """What the policy file says of the learner as it is now."""
        ...

    def tensors(self) -> Tensors:
        """Copies of everything that acts, and that later updates depend on.

        What only training needs has a name under `resume/`.
        """
        ...

    def restore(self, tensors: Tensors) -> None:
        """Put weights, optimizers and generators back to where `tensors` took them.

        Raises:
            HubFault: the tensors are of another network.
        """
        ...

    def take_up(self, card: Card, tensors: Tensors) -> None:
        """Be as the learner was that wrote this version; the replay memory is still empty.

        Raises:
            HubFault: the tensors are of another network; the learner is good for nothing now.
        """
        ...

    def go_on(self, tensors: Tensors) -> None:
        """After `take_up`: tensors of later, when nothing had changed yet that actors act by."""
        ...

    def published(self) -> None:
        """What it is now is a version: until the next one, actors act by it."""
        ...

    def advised(self) -> list[tuple[str, Advised | Guarded]]:
        """Devices and their episodes since it was asked last, where replicas take advice."""
        ...

    def inherit(self, before: Learner) -> None:
        """Take over the rows of the learner before, after a change of parameters or weights."""
        ...

    def see_as(self, before: Learner) -> None:
        """Scale what it sees as the learner before, whose version goes on acting."""
        ...

    def settle(self) -> None:
        """Explore as one that has learnt already: its weights came from outside."""
        ...

    def is_sound(self) -> bool:
        """Whether every weight is a finite number."""
        ...


Peers = Callable[[], Sequence[tuple[str, Learner]]]
"""Devices and their learners, when an update asks for them."""


class Choices(NamedTuple):
    """Actions for a batch, in columns, as a chooser draws them."""

    actions: NDArray[np.float32]
    """float32 (batch, m), within the bounds."""
    logprobs: NDArray[np.float32] | None
    """(batch,); None when greedy."""
    values: NDArray[np.float32] | None
    """(batch,)."""
    raw: NDArray[np.float32] | None = None
    """(batch, m), before the bounds cut it."""


class OwnChooser(Protocol):
    """Draws actions in the actor's process where none of its own kinds does: numpy only.

    Made with a version's Card and tensors, by the class that the algorithm's row names.
    """

    uniforms: int
    """Random numbers that one action uses."""

    def choose(
        self, observations: NDArray[np.float32], uniforms: NDArray[np.float64] | None
    ) -> Choices:
        """An action for each row.

        Args:
            observations: float32 (batch, n), as devices sent them.
            uniforms: in (0, 1), (batch, `uniforms`); None = greedily.

        Returns:
            Actions float32 (batch, m), choices counted from 0, and their log-probabilities.
        """
        ...


class Acting(NamedTuple):
    """How an actor draws actions from a learner's tensors."""

    kind: PolicyKind
    """`own` = by the chooser that the algorithm's row names."""
    action_layers: tuple[str, ...] = ()
    """The linear layers from features to the action's parameters: `<name>.weight` and `.bias`."""
    value_layers: tuple[str, ...] = ()
    activation: Activation = "tanh"
    spread: str | None = None
    exploration: float = 0.0
    noise: float = 0.0


class Plain(ABC):
    """A Learner without the parts that most would write alike."""

    gradient_steps = 0
    takes_more = False

    @abstractmethod
    def learn(self, transition: Transition, *, version: int, behind: bool) -> Update | None:
        """As `Learner.learn`."""

    @abstractmethod
    def acting(self) -> Acting:
        """How actions are drawn by the weights as they are now."""

    @abstractmethod
    def tensors(self) -> Tensors:
        """As `Learner.tensors`."""

    @abstractmethod
    def restore(self, tensors: Tensors) -> None:
        """As `Learner.restore`."""

    def borrow_from(self, peers: Peers) -> None:  # noqa: B027 - it may have no critic
        """It borrows nothing."""

    def expect(self, *, more: bool) -> None:  # noqa: B027 - it takes none along
        """Never more."""

    def counts(self) -> dict[str, int]:
        """How far the training is: whole numbers that `count_on` is given after a resume."""
        return {}

    def count_on(self, counts: dict[str, int]) -> None:  # noqa: B027 - there may be no counts
        """Go on from these counts."""

    def remember(self, transition: Transition) -> bool:
        """Nothing is kept: a transition is used up when it is learnt from."""
        del transition
        return False

    def see(self, event: Event, transition: Transition | None) -> None:  # noqa: B027 - it need not
        """It sees what devices sent, as they sent it."""

    def go_on(self, tensors: Tensors) -> None:
        """By `restore`."""
        self.restore(tensors)

    def published(self) -> None:  # noqa: B027 - it need not know
        """It acts by its tensors alone."""

    def advised(self) -> list[tuple[str, Advised | Guarded]]:
        """Nobody takes advice."""
        return []

    def inherit(self, before: Learner) -> None:  # noqa: B027 - there may be no rows
        """Nothing was kept."""

    def see_as(self, before: Learner) -> None:  # noqa: B027 - nothing is scaled
        """It sees what devices sent, as they sent it."""

    def settle(self) -> None:  # noqa: B027 - it may explore by its weights alone
        """It explores by its weights alone."""

    def is_sound(self) -> bool:
        """Whether every number of every tensor is finite."""
        return all(np.isfinite(tensor).all() for tensor in self.tensors().values())

    def card(self, agent: Agent, *, version: int, parent: int | None, position: int) -> Card:
        """From `acting` and `counts`."""
        acting = self.acting()
        return Card(
            algorithm=agent.algorithm,
            kind=acting.kind,
            observations=agent.observations,
            actions=agent.actions,
            activation=acting.activation,
            action_layers=list(acting.action_layers),
            value_layers=list(acting.value_layers),
            spread=acting.spread,
            exploration=acting.exploration,
            version=version,
            parent=parent,
            position=position,
            learning=agent.learning,
            missing_reward=agent.missing_reward,
            noise=acting.noise,
            counts=self.counts(),
            parameters=agent.parameters,
            sharing=agent.sharing,
        )

    def take_up(self, card: Card, tensors: Tensors) -> None:
        """By `restore` and `count_on`, when the tensors are of the names and shapes of its own."""
        check_alike(self.tensors(), tensors)
        self.restore(tensors)
        self.count_on(card.counts)


def check_alike(ours: Tensors, theirs: Tensors) -> None:
    """Refuse weights of another network.

    What is under `resume/` may differ: an optimizer has no state before its first step.

    Raises:
        HubFault: it says what differs.
    """
    for name, tensor in ours.items():
        if name.startswith("resume/"):
            continue
        if name not in theirs:
            raise HubFault(f"the snapshot is of another network: it has no {name!r}")
        if theirs[name].shape != tensor.shape:
            shapes = f"{list(theirs[name].shape)} instead of {list(tensor.shape)}"
            raise HubFault(f"the snapshot is of another network: {name!r} is of {shapes}")


def executed(transition: Transition) -> Floats | None:
    """The action that the device really did, float32 (m,); None when that is not known."""
    return transition.executed or transition.action
