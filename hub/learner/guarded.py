"""One policy for all devices, guarded: a device that it fails gets a network of its own beside it.

    flock = GuardedFlock(agent, open_one, GuardRule(episodes=20, forks=4))

A flock whose seedling learns: it is the policy that devices share, and leads for good. Whoever the
guard (`guard/decide.py`) says has a network beside it, a fork: a copy of what the shared policy
was by then, trained from then on by its own device alone.

Rule 1: while there is no fork, the shared policy learns what it would learn unguarded, bit for bit.
Rule 2: on-policy, a transition trains the network that acted; off-policy both. What a muted device
    went through trains its own fork at most.
Rule 3: networks come and go at the first event after the decision that completes no transition, and
    are a version at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

import msgspec
from msgspec import structs

from hub.learner.algorithms.parameters import algorithm_of
from hub.learner.flock import NEWEST, Flock, Own, whole
from hub.learner.guard.decide import SHARED_EVERY, Guard
from hub.learner.interface import REPLAY_FIRST
from hub.learner.versions.parts import GOES_ON, OWN, SEEDLING, alone
from hub.learner.versions.policy import as_bytes_tensor
from hub.spaces import Discrete, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.facts import Advised, Guarded
    from hub.learner.algorithms.row import GuardRule
    from hub.learner.experience.transitions import Transition
    from hub.learner.interface import Learner, Update
    from hub.learner.versions.policy import Card, Tensors
    from hub.words import Agent, Event

GUARD: Final = "resume/guard"


class GuardedFlock(Flock):
    """A `Learner` of one shared policy and few forks.

    Args:
        agent: as declared.
        open_one: a learner of one network.
        rule: of the guard.
    """

    folded: ClassVar[str] = GUARD

    def __init__(self, agent: Agent, open_one: Callable[[Agent], Learner], rule: GuardRule) -> None:
        super().__init__(agent, open_one, rule.forks)
        actions = parse(agent.actions)
        self._guard = Guard(rule, actions.n if isinstance(actions, Discrete) else 0)
        self._on_policy = algorithm_of(agent).family == "on_policy"
        self._wrote = 0
        """Number of the version taken up, as its file has it."""
        self._learnt: list[Own] = [self._seedling]
        """Networks that took the last transition in; before the first one, that which acts."""

    @property
    def shared(self) -> Learner:
        """The policy of all devices that have no fork."""
        return self._seedling.learner

    @property
    def gradient_steps(self) -> int:
        """Of the shared policy."""
        return self.shared.gradient_steps

    # --- learning -------------------------------------------------------------------------------

    def see(self, event: Event, transition: Transition | None) -> bool:
        """Fold, let the networks look, and do what the guard decided."""
        if transition is not None:
            self._guard.fold(transition)
        heard = None if transition is None or self._is_muted(transition) else transition
        self.shared.see(event, heard)
        fork = self._replicas.get(event.device)
        if fork is not None:
            fork.learner.see(event, transition)
        return transition is None and self._obey()

    @property
    def takes_more(self) -> bool:
        """The shared policy."""
        return self.shared.takes_more

    def expect(self, *, more: bool) -> None:
        """Of the shared policy; forks take none along."""
        self.shared.expect(more=more)

    def learn(self, transition: Transition, *, version: int, behind: bool) -> Update | None:
        """By the shared policy, by the device's fork, or off-policy by both."""
        self._version = version
        self._learnt = []
        update = None
        if not self._is_muted(transition) and not (self._on_policy and transition.own):
            update = self._learn_shared(transition, version=version, behind=behind)
        fork = self._replicas.get(transition.device)
        if fork is None or (self._on_policy and not transition.own):
            return update
        self._learnt.append(fork)
        mine = structs.replace(transition, policy=fork.drawn_by(transition.policy))
        own = fork.learner.learn(mine, version=NEWEST, behind=behind)
        if own is None:
            return update
        fork.is_new = fork.moved = True
        # Where both had their update of one transition, the version has both.
        return own._replace(device=transition.device) if update is None else update

    def _learn_shared(self, transition: Transition, *, version: int, behind: bool) -> Update | None:
        one = self._seedling
        self._learnt.append(one)
        if one.changed is None:  # every version is its own
            return one.learner.learn(transition, version=version, behind=behind)
        mine = structs.replace(transition, policy=one.drawn_by(transition.policy))
        update = one.learner.learn(mine, version=NEWEST, behind=behind)
        if update is not None:
            one.is_new = one.moved = True
        return update

    def _is_muted(self, transition: Transition) -> bool:
        return self._guard.is_muted(transition.device, transition.seq_last)

    def _obey(self) -> bool:
        """Open and close forks as the guard decided; whether anything is to be told."""
        stages = self._guard.stages
        gone = [device for device in self._replicas if device not in stages]
        come = [device for device in stages if device not in self._replicas]
        for device in gone:
            del self._replicas[device]
        if come and self._seedling.changed is None:
            self._seedling.before = self._version
            self._seedling.is_new = self._seedling.moved = True
        for device in come:
            fork = self._replicas[device] = Own(self._open(self._agent))
            self._copy(self.shared, fork.learner)
            fork.learner.published()  # its first version has seen nothing yet
            fork.tensors = fork.learner.tensors()
        if not self._replicas:
            self._seedling.before = self._seedling.changed = None
            self._seedling.is_new = self._seedling.moved = False
        return bool(gone or come) or self._guard.has_decided

    def advised(self) -> list[tuple[str, Advised | Guarded]]:
        """What was decided since the version before."""
        return [*self._guard.decided()]

    def remember(self, transition: Transition) -> bool:
        """A row of the shared policy's replay memory, of its device's fork, or of both."""
        in_fork = super().remember(transition)
        one = self._seedling
        if transition.seq_last < one.first_seq or self._is_muted(transition):
            return in_fork
        return one.learner.remember(transition) or in_fork

    def is_sound(self) -> bool:
        """Of the networks that learnt last."""
        return all(one.learner.is_sound() for one in self._learnt)

    # --- versions -------------------------------------------------------------------------------

    def card(self, agent: Agent, *, version: int, parent: int | None, position: int) -> Card:
        """Of the shared policy, with what is to be known of forks."""
        one = self._seedling
        now = one.learner.card(agent, version=version, parent=parent, position=position)
        self._guard.forget_before(now.counts.get(REPLAY_FIRST, position))
        if not self._replicas:
            self._version = version
            return now
        if one.card is not None and one.card.devices != now.devices:
            one.is_new = one.moved = True  # a device came that it can tell apart now
        card = super().card(agent, version=version, parent=parent, position=position)
        assert one.card is not None, "made with the version"
        assert card.replicas is not None, "it is a flock's"
        stages = self._guard.stages
        replicas = {
            device: structs.replace(replica, shared_every=SHARED_EVERY[stages[device]])
            if device in stages
            else replica
            for device, replica in card.replicas.items()
        }
        return structs.replace(card, devices=one.card.devices, replicas=replicas)

    def tensors(self) -> Tensors:
        """Those of the shared policy and, of forks, as in any flock."""
        if self._replicas:
            return super().tensors()
        return self.shared.tensors() | {GUARD: as_bytes_tensor(self._snapshot())}

    def published(self) -> None:
        """The networks that changed are in a version now."""
        if self._replicas:
            super().published()
        else:
            self.shared.published()

    def restore(self, tensors: Tensors) -> None:
        """Put the networks that learnt last back to where they were."""
        for device, one in self._all().items():
            if one in self._learnt:
                is_flock = bool(self._replicas)
                one.learner.restore(whole(device, tensors) if is_flock else _alone(tensors))
                one.is_new, one.moved = one.changed is None and is_flock, False

    def take_up(self, card: Card, tensors: Tensors) -> None:
        """Be the one that wrote the version; of a policy by itself, share it."""
        if card.replicas is not None and GUARD in tensors:
            super().take_up(card, tensors)
            return
        if GUARD in tensors:
            self._restore(tensors[GUARD].tobytes())
        card, tensors = alone(card, tensors, None)
        one = self._seedling
        one.learner.take_up(card, _alone(tensors))
        one.first_seq = card.counts.get(REPLAY_FIRST, 0)
        self._version = card.version

    def inherit(self, before: Learner) -> None:
        """The rows of each replay memory, and all that is known of devices."""
        if not isinstance(before, Flock):
            self.shared.inherit(before)
        if not isinstance(before, GuardedFlock):
            return
        self._guard.go_on(before._guard)
        self.shared.inherit(before.shared)
        for device in self._guard.stages:
            if device not in self._replicas:
                self._guard.start_again(device)
            elif device in before._replicas:
                self._replicas[device].learner.inherit(before._replicas[device].learner)

    def unguarded(self) -> Learner:
        """The shared policy for one that knows nothing of who was muted.

        A resume puts rows of a replay memory back from the log, and would put back those of the
        muted with them. So where a memory lacks some, it is left behind.
        """
        if self._on_policy or not self._guard.has_muted:
            return self.shared
        without_rows = self._open(self._agent)
        self._copy(self.shared, without_rows)
        return without_rows

    def see_as(self, before: Learner) -> None:
        """Each as its own before."""
        if not isinstance(before, Flock):
            self.shared.see_as(before)
        elif isinstance(before, GuardedFlock):
            super().see_as(before)

    def _leader(self) -> str:
        return SEEDLING

    def _snapshot(self) -> bytes:
        return msgspec.msgpack.encode((self._version, self._guard.snapshot()))

    def _restore(self, snapshot: bytes) -> None:
        self._wrote, guard = msgspec.msgpack.decode(snapshot, type=tuple[int, bytes])
        self._guard.restore(guard)

    def _written(self, newest: int) -> int:
        del newest  # where a fork was closed, nothing may have changed
        return self._wrote


def _alone(tensors: Tensors) -> Tensors:
    """The shared policy's own."""
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name != GUARD and not name.startswith((OWN, GOES_ON))
    }
