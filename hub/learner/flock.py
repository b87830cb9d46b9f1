"""A network for each device: replicas that share nothing, or advice (`sharing` none and advice).

    flock = Flock(agent, open_one, count=64)
    flock.see(event, transition)              # True: a device came, and has a network now
    flock.learn(transition, version=7, …)     # by its own device's learner

A learner like any other, made of learners: versions, resume and rebuild know no difference. A
version of it has the networks of all, and one of them leads: a device without a network (it came a
moment ago, or after `count` others) acts by that, and so does whoever takes the version for a
policy by itself.

Rule 1: each replica learns what it would learn alone, bit for bit. Where they advise each other,
    its updates may begin with a peer's critic (`sb3/critics.py`).
Rule 2: an action's `policy` is the flock's version. A replica counts only those in which its own
    network changed, so nobody's actions grow old because others learn.
Rule 3: what goes wrong with a replica's update costs that replica.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from msgspec import structs

from hub.errors import HubFault
from hub.learner.experience.standing import Standing
from hub.learner.interface import REPLAY, REPLAY_FIRST, REPLAY_FROM, SINCE
from hub.learner.versions.parts import GOES_ON, SEEDLING, own_name, own_tensors, without_gathered
from hub.learner.versions.policy import Replica, as_bytes_tensor
from hub.words import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hub.facts import Advised, Guarded
    from hub.learner.algorithms.row import AdviceChoice
    from hub.learner.experience.transitions import Transition
    from hub.learner.interface import Learner, Peers, Update
    from hub.learner.versions.policy import Card, Tensors
    from hub.words import Agent, Event

STANDING: Final = GOES_ON + "standing"
PLANTED: Final = "planted"
"""Count in the Card: 1 where the seedling's weights were put in place."""
FORGOTTEN, BEFORE, NEWEST = -1, 0, 1
"""Which of its networks a replica's action was drawn by, in place of the flock's versions."""


LENDERS_MAX: Final = 8
"""Whose critics are tried for an update: each is a forward pass of its whole rollout."""


class Own:
    """A replica: its learner, and how its network stands in the flock's versions."""

    def __init__(
        self, learner: Learner, *, before: int | None = None, changed: int | None = None
    ) -> None:
        self.learner = learner
        self.before = before
        self.changed = changed
        """As in `Replica`; None = there is no such version yet."""
        self.is_new = changed is None
        """Its network is in no version yet."""
        self.moved = False
        """Its network is not that of `tensors` any more."""
        self.card: Card | None = None
        self.tensors: Tensors = {}
        """Both as when its network changed."""
        self.first_seq = 0
        """Rows that ended before have left its replay memory."""

    def drawn_by(self, version: int | None) -> int | None:
        """In place of the flock's version, that of the replica's own."""
        if version is None:
            return None
        if self.changed is not None and version >= self.changed:
            return NEWEST
        return BEFORE if self.before is not None and version >= self.before else FORGOTTEN

    def stands(self, version: int) -> tuple[int, int]:
        """`before` and `changed` in this version, the next."""
        if not self.is_new:
            assert self.before is not None, "it is in a version"
            assert self.changed is not None, "it is in a version"
            return self.before, self.changed
        before = self.before if self.changed is None else self.changed
        return version if before is None else before, version


class Flock:
    """A `Learner` of learners.

    Args:
        agent: as declared.
        open_one: a learner of one network.
        count: devices that get one.
        advice_choice: how they choose whom to ask; None = they do not advise each other.
    """

    def __init__(
        self,
        agent: Agent,
        open_one: Callable[[Agent], Learner],
        count: int,
        advice_choice: AdviceChoice | None = None,
    ) -> None:
        self._advice_choice = advice_choice
        self._agent = agent
        self._open = open_one
        self._count = count
        self._seedling = Own(open_one(agent))
        self._planted = False
        """The seedling has weights that somebody put in place, and not only drawn ones."""
        self._replicas: dict[str, Own] = {}
        self._standing = Standing(advises=advice_choice is not None)
        self._lends = advice_choice == "bandit"
        """Shepherd's replicas lend each other nothing."""
        self._touched: Own | None = None
        """The last that learnt."""
        self._version = 0
        """The newest that there is a Card of."""

    folded: ClassVar[str] = STANDING
    """Name of the tensor by which a version is known to be one of its own."""

    # --- learning -------------------------------------------------------------------------------

    @property
    def gradient_steps(self) -> int:
        """Of all replicas."""
        return sum(one.learner.gradient_steps for one in self._replicas.values())

    def see(self, event: Event, transition: Transition | None) -> bool:
        """Give a new device its network, and let its own learner look."""
        began = event.kind is Kind.OBSERVATION and self._begin(event.device)
        if transition is not None:
            self._standing.fold(transition)
        one = self._replicas.get(event.device)
        if one is not None:
            one.learner.see(event, transition)
        return began

    def borrow_from(self, peers: Peers) -> None:
        """Nobody's: its replicas have each other."""

    @property
    def takes_more(self) -> bool:
        """Networks of 64 devices would gather too much between them."""
        return False

    def expect(self, *, more: bool) -> None:
        """Never more."""

    def learn(self, transition: Transition, *, version: int, behind: bool) -> Update | None:
        """By the learner of the transition's device; nothing from one that has none."""
        del version  # Rule 2
        one = self._replicas.get(transition.device)
        if one is None:
            return None
        self._touched = one
        mine = structs.replace(transition, policy=one.drawn_by(transition.policy))
        update = one.learner.learn(mine, version=NEWEST, behind=behind)
        if update is None:
            return None
        one.is_new = one.moved = True
        return update._replace(device=transition.device)

    def advised(self) -> list[tuple[str, Advised | Guarded]]:
        """Since the version before."""
        return [*self._standing.judged()]

    def remember(self, transition: Transition) -> bool:
        """A row of the device's own replay memory."""
        one = self._replicas.get(transition.device)
        if one is None or not one.first_seq or transition.seq_last < one.first_seq:
            return False
        return one.learner.remember(transition)

    def is_sound(self) -> bool:
        """Of the replica that learnt last."""
        return self._touched is None or self._touched.learner.is_sound()

    def settle(self) -> None:
        """Its weights came from outside: all that come begin with them."""
        self._planted = True
        for one in self._all().values():
            one.learner.settle()

    def _begin(self, device: str) -> bool:
        """Open the device's own learner, if it has none and may."""
        if device in self._replicas or len(self._replicas) >= self._count:
            return False
        seed = self._agent.seed + len(self._replicas)
        learner = self._open(structs.replace(self._agent, seed=seed))
        leads = self._all()[self._leader()]
        # Advised by peers that began alike, replicas need two thirds of the steps that they need
        # when each began by itself.
        model = self._seedling if self._advice_choice is None else leads
        if self._planted or model is not self._seedling:
            self._copy(model.learner, learner)
        # Until the version with its network, a device acts by the one that leads, which may be the
        # same as its own.
        alike = not self._replicas or model is leads
        before = leads.changed if alike else None
        one = self._add(device, Own(learner, before=before))
        learner.published()  # as alone: its first version has seen nothing yet
        one.tensors = learner.tensors()
        return True

    def _add(self, device: str, one: Own) -> Own:
        self._replicas[device] = one
        if self._lends:
            one.learner.borrow_from(partial(self._lenders, device))
        return one

    def _lenders(self, device: str) -> list[tuple[str, Learner]]:
        """The device's peers whose networks changed last: their critics know of the others'."""
        others = [it for it in self._replicas.items() if it[0] != device]
        others.sort(key=lambda it: it[1].changed or 0, reverse=True)
        return [(name, one.learner) for name, one in others[:LENDERS_MAX]]

    def _copy(self, model: Learner, learner: Learner) -> None:
        """Begin with the model's weights, and nothing of what it has gathered."""
        card = model.card(self._agent, version=0, parent=None, position=0)
        counts = {n: 0 if n.startswith((SINCE, REPLAY)) else c for n, c in card.counts.items()}
        own = structs.replace(card, counts=counts)
        learner.take_up(own, without_gathered(model.tensors()))

    # --- versions -------------------------------------------------------------------------------

    def card(self, agent: Agent, *, version: int, parent: int | None, position: int) -> Card:
        """Of the replica that leads, with what is to be known of the others."""
        self._version = version
        replicas = {}
        for device, one in self._all().items():
            now = one.learner.card(agent, version=version, parent=None, position=0)
            if one.is_new:
                one.card = structs.replace(now, counts={})
            before, changed = one.stands(version)
            replicas[device] = Replica(before, changed, now.counts, card=one.card)
        lead = replicas[self._leader()]
        assert lead.card is not None, "made above"
        counts = lead.counts | {PLANTED: int(self._planted)}
        for name in (REPLAY_FROM, REPLAY_FIRST):  # from where the log is read again for any of them
            if name in lead.counts:
                told = [replica.counts[name] for replica in replicas.values()]
                counts[name] = min((seq for seq in told if seq), default=0)
        return structs.replace(
            lead.card,
            version=version,
            parent=parent,
            position=position,
            learning=agent.learning,
            missing_reward=agent.missing_reward,
            parameters=agent.parameters,
            sharing=agent.sharing,
            devices=list(self._replicas),
            advisers=self._standing.advisers(self._replicas),
            trust=self._standing.trusted(self._replicas),
            advice_choice=self._advice_choice or "bandit",
            counts=counts,
            replicas=replicas,
        )

    def tensors(self) -> Tensors:
        """Those of the replica that leads, and of all, under their devices' names."""
        leader = self._leader()
        tensors: Tensors = {self.folded: as_bytes_tensor(self._snapshot())}
        for device, one in self._all().items():
            now = one.learner.tensors()
            if one.moved or not one.tensors:
                one.tensors = now
            changed = {n: t for n, t in now.items() if not _equal(t, one.tensors.get(n))}
            tensors |= {own_name(device, name): tensor for name, tensor in one.tensors.items()}
            tensors |= {f"{GOES_ON}{device}/{name}": tensor for name, tensor in changed.items()}
            if device == leader:
                tensors |= one.tensors
        return tensors

    def go_on(self, tensors: Tensors) -> None:
        """Each replica by its own."""
        for device, one in self._all().items():
            one.learner.go_on(whole(device, tensors))

    def published(self) -> None:
        """The networks that changed are in a version now."""
        for one in self._all().values():
            if one.moved:
                one.learner.published()
            if one.is_new:
                one.before, one.changed = one.stands(self._version)
            one.is_new = one.moved = False

    def restore(self, tensors: Tensors) -> None:
        """Put the replica that learnt last back to where it was; the others have done no wrong."""
        for device, one in self._replicas.items():
            if one is self._touched:
                one.learner.restore(whole(device, tensors))
                one.is_new, one.moved = one.changed is None, False

    def take_up(self, card: Card, tensors: Tensors) -> None:
        """Be the flock that wrote the version; of a policy by itself, begin with it everywhere."""
        if card.replicas is None:
            self._seedling.learner.take_up(card, tensors)
            self._planted = True
            return
        self._planted = bool(card.counts.get(PLANTED))
        self._restore(tensors[self.folded].tobytes())
        newest = self._written(max(replica.changed for replica in card.replicas.values()))
        for device, replica in card.replicas.items():
            learner = self._seedling.learner if device == SEEDLING else self._open(self._agent)
            if replica.card is None:
                raise HubFault(f"the network of device {device!r} was not read with the version")
            own = structs.replace(replica.card, counts=replica.counts)
            learner.take_up(own, own_tensors(device, tensors))
            # As it has them, not as they were read: a version from before may lack some.
            written = learner.tensors()
            learner.go_on(whole(device, tensors))
            one = Own(learner, before=replica.before, changed=replica.changed)
            if card.version > newest:  # it was put in place again: all are as old as that
                one.before, one.changed = card.version - 1, card.version
            one.card, one.tensors = replica.card, written
            one.first_seq = replica.counts.get(REPLAY_FIRST, 0)
            if device == SEEDLING:
                self._seedling = one
            else:
                self._add(device, one)
        self._version = card.version

    def inherit(self, before: Learner) -> None:
        """The rows of each replica's replay memory, and replicas that were not there yet."""
        if not isinstance(before, Flock):
            return
        self._standing.go_on(before._standing)
        for device, theirs in before._replicas.items():
            self._begin(device)
            if device in self._replicas:
                self._replicas[device].learner.inherit(theirs.learner)

    def see_as(self, before: Learner) -> None:
        """Each as its own before."""
        if not isinstance(before, Flock):
            return
        for device, one in self._all().items():
            theirs = before._all().get(device)
            if theirs is not None:
                one.learner.see_as(theirs.learner)

    def _snapshot(self) -> bytes:
        """Of what was folded."""
        return self._standing.snapshot()

    def _restore(self, snapshot: bytes) -> None:
        self._standing.restore(snapshot)

    def _written(self, newest: int) -> int:
        """Number of the version that was taken up, as it was written; `newest` is the last change.

        A flock's versions each change a network.
        """
        return newest

    def _all(self) -> dict[str, Own]:
        return {SEEDLING: self._seedling, **self._replicas}

    def _leader(self) -> str:
        """Whose network stands for the flock: the best device's, else the one that came first."""
        return self._standing.leader(self._replicas) or SEEDLING


def whole(device: str, tensors: Tensors) -> Tensors:
    """All of a replica's tensors as they were at a version."""
    prefix = f"{GOES_ON}{device}/"
    since = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    return own_tensors(device, tensors) | since


def _equal(one: NDArray[Any], other: NDArray[Any] | None) -> bool:
    return other is not None and np.array_equal(one, other)
