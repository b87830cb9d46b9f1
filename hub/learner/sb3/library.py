"""The libraries' classes as learners: `drive.py` has how they learn, `snapshot.py` what is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.learner.interface import Unsound
from hub.learner.sb3 import snapshot
from hub.learner.sb3.drive import OffPolicy, drive
from hub.learner.sb3.normalise import take_over

if TYPE_CHECKING:
    from hub.learner.algorithms.row import Parameters
    from hub.learner.experience.transitions import Transition
    from hub.learner.interface import Learner, Update
    from hub.learner.sb3.drive import OnPolicy
    from hub.learner.versions.policy import Card, Tensors
    from hub.words import Agent, Event


class Library:
    """A `Learner` around a model of the library."""

    def __init__(self, agent: Agent, parameters: Parameters) -> None:
        self._agent = agent
        self._parameters = parameters
        self.inner = drive(agent, parameters)

    @property
    def gradient_steps(self) -> int:
        """As the library's optimizer counts them."""
        return snapshot.gradient_steps(self.inner.model)

    def see(self, event: Event, transition: Transition | None) -> None:
        """Count the observation, and the reward, in the statistics that scale them."""
        if self.inner.normal is not None:
            self.inner.normal.gather(event, transition)

    def learn(self, transition: Transition, *, version: int, behind: bool) -> Update | None:
        """In the order of the library's own `learn()`."""
        try:
            return self.inner.learn(transition, version=version, behind=behind)
        except ValueError as error:  # torch's distributions take no NaN
            raise Unsound(str(error)) from error

    def remember(self, transition: Transition) -> bool:
        """A row of the replay buffer, off-policy."""
        return self.inner.remember(transition)

    def card(self, agent: Agent, *, version: int, parent: int | None, position: int) -> Card:
        """By the head that the algorithm's row has for the agent's actions."""
        return snapshot.card_of(
            self.inner,
            agent,
            self._parameters,
            version=version,
            parent=parent,
            position=position,
        )

    def tensors(self) -> Tensors:
        """By the library's own names, and what only actors need beside them."""
        tensors = snapshot.tensors_of(self.inner.model)
        acting = snapshot.acting_of(self._agent, self._parameters, tensors)
        normal = self.inner.normal
        return tensors | acting | self.inner.kept() | ({} if normal is None else normal.tensors())

    def restore(self, tensors: Tensors) -> None:
        """Weights, optimizers, both random generators, and the statistics of the last version."""
        snapshot.restore(self.inner.model, tensors)
        if self.inner.normal is not None:
            self.inner.normal.fall_back()

    def take_up(self, card: Card, tensors: Tensors) -> None:
        """The same, and how far the model had come."""
        snapshot.take_up(self.inner, card, tensors)

    def published(self) -> None:
        """Until the next version, observations are scaled by the statistics of this one."""
        if self.inner.normal is not None:
            self.inner.normal.freeze()

    def inherit(self, before: Learner) -> None:
        """The rows of its replay buffer, off-policy, or what it remembers of each device."""
        if isinstance(before, Library):
            _carry_rows(before.inner, self.inner)
            self.inner.take_back(before.inner.kept())

    def see_as(self, before: Learner) -> None:
        """By the other's statistics, where both have some."""
        if isinstance(before, Library):
            take_over(before.inner.normal, self.inner.normal)

    def settle(self) -> None:
        """Explore as at the end of the schedules; on-policy there is nothing to do."""
        snapshot.settle(self.inner.model, self._parameters)

    def is_sound(self) -> bool:
        """Of the model's policy."""
        return snapshot.is_sound(self.inner.model)


def _carry_rows(before: OnPolicy | OffPolicy, learner: OnPolicy | OffPolicy) -> None:
    """Put the newest rows of one replay buffer into another, oldest first; on-policy: nothing."""
    if isinstance(before, OffPolicy) and isinstance(learner, OffPolicy):
        learner.rows.inherit(before.rows)
