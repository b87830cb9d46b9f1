"""The libraries' classes as learners: `drive.py` has how they learn, `snapshot.py` what is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from hub.learner.algorithms.parameters import algorithm_of
from hub.learner.interface import Unsound
from hub.learner.sb3 import snapshot
from hub.learner.sb3.advised import neutral
from hub.learner.sb3.drive import drive
from hub.learner.sb3.identity import WIDER, Identity, refitted
from hub.learner.sb3.model import is_advised
from hub.learner.sb3.normalise import take_over
from hub.learner.sb3.off_policy import OffPolicy
from hub.learner.sb3.on_policy import OnPolicy
from hub.learner.slots import Slots
from hub.learner.versions.parts import without_gathered
from hub.spaces import Dict, parse
from hub.words import Floats, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

    from hub.facts import Advised, Guarded
    from hub.learner.algorithms.row import Parameters
    from hub.learner.experience.transitions import Transition
    from hub.learner.interface import Learner, Peers, Update
    from hub.learner.versions.policy import Card, Tensors
    from hub.words import Agent, Event


class Library:
    """A `Learner` around a model of the library."""

    def __init__(self, agent: Agent, parameters: Parameters) -> None:
        self._agent = agent
        self._parameters = parameters
        self.inner = drive(agent, parameters)
        self._slots = Slots(parameters.device_slots)
        self._told_apart: list[str] = []
        """Devices with a column in the weights that `restore` puts back, in their order there."""
        self._neutral: Floats | None = None
        """What nobody advises; None where updates are not on advice."""
        if is_advised(agent, parameters):
            actions = parse(agent.actions)
            assert not isinstance(actions, Dict), "refused before"
            self._neutral = neutral(actions)
        self.identity: Identity | None = None
        """None where the policy does not see which device it is."""
        if parameters.device_slots:
            self.identity = Identity(
                self.inner.model,
                parameters.device_slots,
                direct=not parameters.net_arch,
                wider=WIDER[algorithm_of(agent).family],
            )

    @property
    def gradient_steps(self) -> int:
        """As the library's optimizer counts them."""
        return snapshot.gradient_steps(self.inner.model)

    def see(self, event: Event, transition: Transition | None) -> None:
        """Give a new device its slot; count what is seen in the statistics that scale it."""
        if event.kind is Kind.OBSERVATION:
            slot = self._slots.see(event.device)
            if slot is not None and self.identity is not None:
                self.identity.begin(slot)
        if self.inner.normal is not None:
            self.inner.normal.gather(self._seen_event(event), transition)

    def borrow_from(self, peers: Peers) -> None:
        """On-policy."""
        if isinstance(self.inner, OnPolicy):
            self.inner.peers = lambda: _models(peers())

    @property
    def takes_more(self) -> bool:
        """On-policy."""
        return isinstance(self.inner, OnPolicy) and self.inner.takes_more

    def expect(self, *, more: bool) -> None:
        """On-policy."""
        if isinstance(self.inner, OnPolicy):
            self.inner.expect(more=more)

    def learn(self, transition: Transition, *, version: int, behind: bool) -> Update | None:
        """In the order of the library's own `learn()`."""
        if self.identity is not None:
            self.identity.alone = len(self._slots.devices) < 2
        try:
            update = self.inner.learn(self._seen(transition), version=version, behind=behind)
        except ValueError as error:  # torch's distributions take no NaN
            raise Unsound(str(error)) from error
        if update is not None and self.identity is not None:
            self.identity.average(len(self._slots.devices))
        return update

    def remember(self, transition: Transition) -> bool:
        """A row of the replay buffer, off-policy."""
        return self.inner.remember(self._seen(transition))

    def card(self, agent: Agent, *, version: int, parent: int | None, position: int) -> Card:
        """By the head that the algorithm's row has for the agent's actions."""
        card = snapshot.card_of(
            self.inner,
            agent,
            self._parameters,
            version=version,
            parent=parent,
            position=position,
        )
        return structs.replace(card, devices=list(self._slots.devices))

    def tensors(self) -> Tensors:
        """By the library's own names, and what only actors need beside them."""
        self.inner.random.hold()
        tensors = snapshot.tensors_of(self.inner.model)
        acting = snapshot.acting_of(self._agent, self._parameters, tensors)
        normal = self.inner.normal
        return tensors | acting | self.inner.kept() | ({} if normal is None else normal.tensors())

    def restore(self, tensors: Tensors) -> None:
        """Weights, optimizers, both random generators, and the statistics of the last version."""
        self.inner.random.hold()
        snapshot.restore(self.inner.model, self.fitted(tensors, had=self._slots.count))
        if self.inner.normal is not None:
            self.inner.normal.fall_back()
        self._arrange()

    def take_up(self, card: Card, tensors: Tensors) -> None:
        """The same, and how far the model had come."""
        self.inner.random.hold()
        snapshot.take_up(self.inner, card, self.fitted(tensors, had=card.device_slots))
        if card.device_slots == self._slots.count:
            self._slots.go_on(card.devices)
            self._told_apart = card.devices

    def go_on(self, tensors: Tensors) -> None:
        """Statistics as they are now; what it sees stays scaled by those of the version."""
        self.inner.random.hold()
        snapshot.restore(self.inner.model, self.fitted(tensors, had=self._slots.count))
        self.inner.take_back(tensors)
        if self.inner.normal is not None:
            self.inner.normal.go_on(tensors)

    def fitted(self, tensors: Tensors, *, had: int) -> Tensors:
        """Those of the same network with `had` slots as this one's.

        Where it is not as many as there are here, all devices are alike to them.
        """
        return refitted(
            tensors,
            self.inner.model,
            direct=not self._parameters.net_arch,
            had=had,
            has=self._slots.count,
        )

    def published(self) -> None:
        """Until the next version, observations are scaled by the statistics of this one."""
        self._told_apart = list(self._slots.devices)
        if self.inner.normal is not None:
            self.inner.normal.freeze()

    def advised(self) -> list[tuple[str, Advised | Guarded]]:
        """One network takes no advice, or a flock knows of it."""
        return []

    def inherit(self, before: Learner) -> None:
        """The rows of its replay buffer, off-policy, or what it remembers of each device.

        Rows have slots in them: where there are more or fewer now, they are left behind.
        """
        if isinstance(before, Library):
            theirs = before._slots.devices
            others = [device for device in self._told_apart if device not in theirs]
            self._slots.go_on([*theirs, *others][: self._slots.count])
            self._arrange()
            self._told_apart = list(self._slots.devices)
            if before._slots.count == self._slots.count or isinstance(self.inner, OnPolicy):
                _carry_rows(before.inner, self.inner)
                self.inner.take_back(without_gathered(before.inner.kept()))

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

    def _seen(self, transition: Transition) -> Transition:
        """As the networks see it."""
        if self._neutral is not None:
            told = transition.advice
            advice = self._neutral if told is None else told.values
            return structs.replace(
                transition,
                observation=Floats(transition.observation + advice),
                next_observation=Floats(transition.next_observation + self._neutral),
            )
        if self.identity is None:
            return transition
        device, seen = transition.device, self._slots.seen
        return structs.replace(
            transition,
            observation=seen(device, transition.observation),
            next_observation=seen(device, transition.next_observation),
        )

    def _seen_event(self, event: Event) -> Event:
        if event.obs is None:
            return event
        if self._neutral is not None:
            return structs.replace(event, obs=Floats(event.obs + self._neutral))
        if self.identity is None:
            return event
        return structs.replace(event, obs=self._slots.seen(event.device, event.obs))

    def _arrange(self) -> None:
        """The weights are again the newest version's: to each device its own column of then."""
        if self.identity is not None:
            self.identity.arrange(self._told_apart, self._slots.devices)


def _models(peers: Sequence[tuple[str, Learner]]) -> Iterator[tuple[str, OnPolicyAlgorithm]]:
    """Those of the on-policy learners among them."""
    for name, peer in peers:
        if isinstance(peer, Library) and isinstance(peer.inner, OnPolicy):
            yield name, peer.inner.model


def _carry_rows(before: OnPolicy | OffPolicy, learner: OnPolicy | OffPolicy) -> None:
    """Put the newest rows of one replay buffer into another, oldest first; on-policy: nothing."""
    if isinstance(before, OffPolicy) and isinstance(learner, OffPolicy):
        learner.rows.inherit(before.rows)
