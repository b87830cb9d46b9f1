"""The trainer, THE LEARNER'S PATH: from committed events to policy versions.

    log ──feed──▶ follow ──transition──▶ learner ──update──▶ policy file ──Made──▶ hub

1. A trainer opens its newest version, or draws version 0 from the agent's seed.
2. It reads the agent's events from the seq where that version stopped (`position`).
3. Each event is folded; what was trained depends on the events alone. Where more waits, an
   on-policy update takes it along; where too much does, gradient steps are left out, or on-policy
   transitions. That depends on the clock, so the update says where.
4. Each update becomes a version: a file on disk, then a message, then two events in the log.
5. Killed at any point, it goes on from the newest version in the log, and by what that log says
   anybody gets the same bytes again.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from hub.errors import HubFault
from hub.facts import AgentMade, PolicyChosen, PolicyMade, Updated
from hub.learner.algorithms.parameters import algorithm_of
from hub.learner.experience.transitions import FOLLOWED, Follow, Transition
from hub.learner.interface import REPLAY_FIRST, REPLAY_FROM, Unsound, Update
from hub.learner.messages import Made, policy_path
from hub.learner.open import open_learner
from hub.learner.training.measure import Measure
from hub.learner.training.refill import Refill, fact_of
from hub.learner.training.reopen import begin_again, reopen, see_as
from hub.learner.training.spans import Spans
from hub.learner.versions.policy import (
    PolicyFile,
    as_bytes_tensor,
    newest_readable,
    prune,
    read_policy,
    write_policy,
)
from hub.words import Agent, Event, Kind

if TYPE_CHECKING:
    from pathlib import Path

    from hub.clock import Clock
    from hub.learner.messages import LoggedPolicy
    from hub.learner.versions.policy import Tensors

KINDS: Final = (Kind.OBSERVATION, Kind.ACTION, Kind.ADMIN)
"""What a trainer reads of its agent."""


class Trainer:
    """One agent's learner with its place in the log. No socket, no thread: events in, versions out.

        trainer = Trainer(agent, folder, clock, policies_kept=50)
        made = trainer.open(newest)
        for event in events_after(trainer.read_after):
            made = trainer.take(event)

    Attributes:
        version: the newest version, the one whose actions are being learnt from.
        version_next: number of the version after it.
        position: seq of the last event folded.
        read_after: where reading must begin; before `position` when a replay buffer is refilled.
    """

    def __init__(
        self,
        agent: Agent,
        folder: Path,
        clock: Clock,
        *,
        policies_kept: int,
        pinned: frozenset[str] = frozenset(),
    ) -> None:
        self.version = 0
        self.version_next = 0
        self.position = 0
        self.read_after = 0
        self._agent = agent
        self._folder = folder
        self._clock = clock
        self._policies_kept = policies_kept
        self._pinned = set(pinned)
        self._learner = open_learner(agent)
        self._follow = Follow(missing_reward=agent.missing_reward)
        self._measure = Measure(agent)
        self._refill = Refill(self._learner, self._measure, seq_first=0)
        self._sound: Tensors = {}
        self._newest_sha256: str | None = None
        self._told_apart: frozenset[str] = frozenset()
        """Devices that the newest version tells apart."""
        self._skipped, self._gathered = Spans(), Spans()
        self._since = 0
        self._dropped = 0
        self._busy_s = 0.0

    def open(self, newest: LoggedPolicy | None, *, after: int = 0, version: int = 0) -> Made | None:
        """Take up the newest version that can be read; when there is none, make one from the seed.

        Args:
            newest: of the versions that a trainer made in the log; None when there is none yet.
            after: seq of the event with which learning began.
            version: number of the first version made from it.
        """
        self.position = self.read_after = after
        self.version_next = version
        if newest is not None:
            self.version_next = newest.version + 1
            policy = self._find(newest)
            if policy is not None and self._resume(policy):
                self._newest_sha256 = newest.sha256
                return None
            _say(f"agent {self._agent.name!r} begins anew: none of its policies can be taken up")
        return self._publish(None, parent=None)

    @property
    def lag_max(self) -> int | None:
        """As the agent declares it."""
        return self._agent.lag_max

    @property
    def takes_more(self) -> bool:
        """An update that the next event may complete would take along what waits."""
        return self._learner.takes_more

    def take(self, event: Event, *, more: bool = False, behind: bool = False) -> Made | None:
        """Fold one event; the version that it completed, if any.

        Args:
            event: the next of this agent.
            more: an update that it completes is put off to take along what waits.
            behind: more waits than may be trained on in time.
        """
        if event.seq <= self.position:
            self._refill.fold(event)
            return None
        self.position = event.seq
        if event.kind is Kind.ADMIN:
            return self._obey(event)
        transition = self._follow.fold(event)
        if not self._agent.learning:
            return None
        event, transition = self._measure.learnable(event, transition)
        if self._learner.see(event, transition):  # a device came that has a network of its own now
            return self._publish_untrained()
        if transition is None:
            return None
        update = self._learn(transition, more=more, behind=behind)
        return None if update is None else self._publish(update, parent=self.version)

    def _learn(self, transition: Transition, *, more: bool, behind: bool) -> Update | None:
        self._since += 1
        self._gathered.note(self.position, on=more)
        self._skipped.note(self.position, on=behind)
        started = self._clock.monotonic()
        try:
            self._learner.expect(more=more)
            with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at
                update = self._learner.learn(transition, version=self.version, behind=behind)
        except Unsound as error:
            self._give_up(str(error))
            return None
        finally:
            self._busy_s += self._clock.monotonic() - started
        if update is not None and not self._learner.is_sound():
            self._give_up("the weights are no longer finite")
            return None
        return update

    def _publish(self, update: Update | None, *, parent: int | None) -> Made:
        """Write the learner as it is now as the next version; on disk when this returns."""
        version, parent_sha256 = self.version_next, self._newest_sha256
        card = self._learner.card(
            self._agent, version=version, parent=parent, position=self.position
        )
        self._sound = self._learner.tensors()
        self._learner.published()
        followed = as_bytes_tensor(self._follow.snapshot())
        tensors = {**self._sound, FOLLOWED: followed}
        sha256 = write_policy(self._folder, self._agent.name, card, tensors)
        prune(self._folder, self._agent.name, kept=self._policies_kept, pinned=self._pinned)
        self.version, self.version_next, self._newest_sha256 = version, version + 1, sha256
        metrics = {} if update is None else update.metrics
        newcomers = [device for device in card.devices if device not in self._told_apart]
        self._told_apart = frozenset(card.devices)
        policy = PolicyMade(sha256, parent, self.position, metrics, newcomers)
        updated = self._updated(update, sha256, parent)
        return Made(version, policy, updated, parent_sha256, self._learner.advised())

    def _publish_untrained(self) -> Made:
        """With an update of nothing: it says what was skipped before, and so why none came then."""
        nothing = Update(0, 0, self.position, self.position, {})
        return self._publish(nothing, parent=self.version)

    def _updated(self, update: Update | None, sha256: str, parent: int | None) -> Updated | None:
        if update is None or parent is None:
            return None
        dropped, busy_s = self._dropped + update.dropped, self._busy_s
        self._since, self._dropped, self._busy_s = 0, 0, 0.0
        return Updated(
            parent=parent,
            position_first=update.seq_first,
            position_last=update.seq_last,
            transitions=update.transitions,
            gradient_steps=self._learner.gradient_steps,
            sha256=sha256,
            duration_ms=1000.0 * busy_s,
            dropped=dropped,
            skipped=self._skipped.take(),
            device=update.device,
            critic=update.critic,
            gathered=self._gathered.take(),
        )

    def _give_up(self, why: str) -> None:
        """Back to the newest version's weights: after a restart the same data would fail again."""
        self._learner.restore(self._sound)
        _say(
            f"agent {self._agent.name!r}: an update from {self._since} transitions up to seq "
            f"{self.position} was dropped, version {self.version} stays: {why}"
        )
        self._dropped += self._since
        self._since = 0

    def _obey(self, event: Event) -> Made | None:
        """Take in what an operator did; the version that came of it, if any."""
        fact = fact_of(event)
        if isinstance(fact, PolicyChosen):
            self._take_chosen(fact)
        if not isinstance(fact, AgentMade):
            return None
        before, made = self._agent, fact.agent
        learning = made.learning and made.status == "active"
        self._agent = msgspec.structs.replace(made, learning=learning)
        self._follow.missing_reward = made.missing_reward
        if made.sharing != before.sharing:
            self._told_apart = frozenset()  # by slots is not by networks of their own
        other = (made.parameters, made.sharing) != (before.parameters, before.sharing)
        return self._change() if other else None

    def _change(self) -> Made | None:
        """Go on under other parameters; when they make another network, from its new weights."""
        card = self._learner.card(self._agent, version=0, parent=None, position=0)
        before = self._learner
        self._let_go()
        try:
            self._learner = reopen(before, self._agent, card, before.tensors())
            see_as(self._learner, before)
            self._sound = self._learner.tensors()
        except HubFault:
            _say(f"agent {self._agent.name!r} begins with new weights: its network is another now")
        else:
            return None
        self._learner = begin_again(self._learner, self._agent)
        return self._publish_untrained()

    def _take_chosen(self, chosen: PolicyChosen) -> None:
        """Go on from the version that an operator put in place; its number is the log's."""
        self._pinned.add(chosen.sha256)
        self.version, self.version_next = chosen.version, chosen.version + 1
        self._newest_sha256 = chosen.sha256
        self._let_go()
        try:
            policy = read_policy(policy_path(self._folder, self._agent.name, chosen.sha256))
            tensors = {n: tensor for n, tensor in policy.tensors.items() if n != FOLLOWED}
            card = msgspec.structs.replace(policy.card, version=chosen.version)
            self._learner = reopen(self._learner, self._agent, card, tensors)
            self._sound = self._learner.tensors()
            alike = policy.card.sharing in (None, self._agent.sharing)
            self._told_apart = frozenset(policy.card.devices if alike else ())
        except HubFault as error:
            # What the weights are now depends on how busy the machine was: nothing to go on from.
            self._learner = begin_again(self._learner, self._agent)
            self._sound = self._learner.tensors()
            self._told_apart = frozenset()
            _say(f"agent {self._agent.name!r} begins anew, not from {chosen.version}: {error}")

    def _let_go(self) -> None:
        """On-policy, what was gathered for the next update is of the policy before."""
        if algorithm_of(self._agent).family == "on_policy":
            self._dropped += self._since
            self._since = 0
        self._skipped.end()
        self._gathered.end()

    def _find(self, newest: LoggedPolicy) -> PolicyFile | None:
        """The newest version, or the one before if its file is damaged."""
        try:
            return read_policy(policy_path(self._folder, self._agent.name, newest.sha256))
        except HubFault as error:
            _say(f"agent {self._agent.name!r}, version {newest.version}: {error}")
            return newest_readable(self._folder, self._agent.name, below=newest.version)

    def _resume(self, policy: PolicyFile) -> bool:
        """Be as the trainer was that wrote this version; False when its network is another."""
        card = policy.card
        self.position = self.read_after = card.position
        agent = msgspec.structs.replace(
            self._agent,
            learning=card.learning,
            missing_reward=card.missing_reward,
            parameters=self._agent.parameters if card.parameters is None else card.parameters,
            sharing=self._agent.sharing if card.sharing is None else card.sharing,
        )
        tensors = dict(policy.tensors)
        followed = tensors.pop(FOLLOWED)
        try:
            self._learner = open_learner(agent)
            self._learner.take_up(card, tensors)
        except (HubFault, msgspec.DecodeError) as error:
            _say(f"agent {self._agent.name!r}, version {card.version}: {error}")
            # Not half of each.
            self._learner = open_learner(self._agent)
            return False
        self._agent = agent
        self._follow = Follow(missing_reward=card.missing_reward)
        try:
            self._follow.restore(followed.tobytes())
        except msgspec.DecodeError as error:  # an older Sheepfold wrote down other things
            _say(
                f"agent {self._agent.name!r}, version {card.version}: what its devices did can't "
                f"be read ({error}); their next observations follow none"
            )
        self._refill = Refill(
            self._learner,
            self._measure,
            seq_first=card.counts.get(REPLAY_FIRST, 0),
            missing_reward=card.missing_reward,
        )
        if card.counts.get(REPLAY_FROM):
            self.read_after = card.counts[REPLAY_FROM] - 1
        self.version, self._sound = card.version, tensors
        self._told_apart = frozenset(card.devices)
        return True


def _say(message: str) -> None:
    sys.stderr.write(f"trainer: {message}\n")
    sys.stderr.flush()
