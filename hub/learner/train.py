"""The trainer process, THE LEARNER'S PATH: from committed events to policy versions.

    log ──feed──▶ follow ──transition──▶ learner (SB3) ──update──▶ policy file ──Made──▶ hub

1. A trainer opens its newest version, or draws version 0 from the agent's seed.
2. It reads the agent's events from the seq where that version stopped (`position`).
3. Each event is folded; what was trained depends on the events alone, never on the clock.
4. Each update becomes a version: a file on disk, then a message, then two events in the log.
5. Killed at any point, it does the same again from the version before, and gets the same bytes.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import numpy as np

from hub.clock import SystemClock
from hub.errors import HubFault
from hub.learner.messages import Made, framed, policy_path
from hub.learner.parameters import read_parameters
from hub.learner.policy import (
    PolicyFile,
    as_bytes_tensor,
    newest_readable,
    prune,
    read_policy,
    write_policy,
)
from hub.learner.sb3 import OffPolicy, OnPolicy, Update, open_learner
from hub.learner.snapshot import (
    REPLAY_FIRST,
    REPLAY_FROM,
    acting_of,
    card_of,
    gradient_steps,
    is_sound,
    restore,
    take_up,
    tensors_of,
)
from hub.learner.transitions import Follow, Transition
from hub.log.messages import socket_path
from hub.log.read import Reader
from hub.words import Agent, AgentMade, Event, Kind, PolicyMade, Updated

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from hub.clock import Clock
    from hub.learner.messages import LoggedPolicy
    from hub.learner.policy import Tensors
    from hub.settings import LearnerSettings

KINDS: Final = (Kind.OBSERVATION, Kind.ACTION, Kind.ADMIN)
"""What a trainer reads of its agent."""
BEHIND_EVENTS_MAX: Final = 16_384
"""Off-policy training is left out while more than this is known to wait (about 8,000 steps)."""
LOOK_AHEAD_EVENTS: Final = 64
"""How many events are folded between two looks at what else has arrived."""
FOLLOWED: Final = "resume/followed"

_decode_fact: Final = msgspec.json.Decoder(AgentMade).decode


def train_from_feed(
    connection: socket.socket,
    agent: Agent,
    folder: Path,
    newest: LoggedPolicy | None,
    settings: LearnerSettings,
) -> None:
    """Learn until the log or the hub is gone; each version is told through `connection`.

    Raises:
        HubFault: the log process went away; the hub starts both again.
    """
    trainer = Trainer(agent, folder, SystemClock(), policies_kept=settings.policies_kept)
    made = trainer.open(newest)
    if made is not None:
        connection.sendall(framed(made))
    with Reader(socket_path(folder), trainer.read_after, agent=agent.name, kinds=KINDS) as feed:
        for event, behind in in_order(feed):
            made = trainer.take(event, behind=behind)
            if made is not None:
                connection.sendall(framed(made))


class Trainer:
    """One agent's learner with its place in the log. No socket, no thread: events in, versions out.

        trainer = Trainer(agent, folder, clock, policies_kept=50)
        made = trainer.open(newest)
        for event in events_after(trainer.read_after):
            made = trainer.take(event)

    Attributes:
        version: the newest version, the one whose actions are being learnt from.
        position: seq of the last event folded.
        read_after: where reading must begin; before `position` when a replay buffer is refilled.
    """

    def __init__(self, agent: Agent, folder: Path, clock: Clock, *, policies_kept: int) -> None:
        self.version = 0
        self.position = 0
        self.read_after = 0
        self._agent = agent
        self._folder = folder
        self._clock = clock
        self._policies_kept = policies_kept
        self._parameters = read_parameters(agent)
        self._learner = open_learner(agent, self._parameters)
        self._follow = Follow(missing_reward=agent.missing_reward)
        self._refill = Refill(self._learner, seq_first=0)
        self._version_next = 0
        self._sound: Tensors = {}
        self._since = 0
        self._dropped = 0
        self._busy_s = 0.0

    def open(self, newest: LoggedPolicy | None) -> Made | None:
        """Take up the newest version that can be read; when there is none, make one from the seed.

        Args:
            newest: of the versions in the log; None when there is none yet.
        """
        if newest is not None:
            self._version_next = newest.version + 1
            policy = self._find(newest)
            if policy is not None and self._resume(policy):
                return None
            _say(f"agent {self._agent.name!r} begins anew: none of its policies can be taken up")
        return self._publish(None)

    def take(self, event: Event, *, behind: bool = False) -> Made | None:
        """Fold one event; the version that it completed, if any.

        Args:
            event: the next of this agent.
            behind: more waits than may be trained on in time.
        """
        if event.seq <= self.position:
            self._refill.fold(event)
            return None
        self.position = event.seq
        if event.kind is Kind.ADMIN:
            self._configure(event)
        transition = self._follow.fold(event)
        if transition is None or not self._agent.learning:
            return None
        update = self._learn(transition, behind=behind)
        return None if update is None else self._publish(update)

    def _learn(self, transition: Transition, *, behind: bool) -> Update | None:
        self._since += 1
        started = self._clock.monotonic()
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at
                update = self._learner.learn(transition, version=self.version, behind=behind)
        except ValueError as error:  # torch's distributions take no NaN
            self._give_up(str(error))
            return None
        finally:
            self._busy_s += self._clock.monotonic() - started
        if update is not None and not is_sound(self._learner.model):
            self._give_up("the weights are no longer finite")
            return None
        return update

    def _publish(self, update: Update | None) -> Made:
        """Write the learner as it is now as the next version; on disk when this returns."""
        version, parent = self._version_next, None if update is None else self.version
        card = card_of(
            self._learner,
            self._agent,
            self._parameters,
            version=version,
            parent=parent,
            position=self.position,
        )
        self._sound = tensors_of(self._learner.model)
        followed = as_bytes_tensor(self._follow.snapshot())
        acting = acting_of(self._agent, self._parameters, self._sound)
        tensors = {**self._sound, **acting, FOLLOWED: followed}
        sha256 = write_policy(self._folder, self._agent.name, card, tensors)
        prune(self._folder, self._agent.name, kept=self._policies_kept)
        self.version, self._version_next = version, version + 1
        metrics = {} if update is None else update.metrics
        policy = PolicyMade(sha256, parent, self.position, metrics)
        return Made(version, policy, self._updated(update, sha256, parent))

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
            gradient_steps=gradient_steps(self._learner.model),
            sha256=sha256,
            duration_ms=1000.0 * busy_s,
            dropped=dropped,
        )

    def _give_up(self, why: str) -> None:
        """Back to the newest version's weights: after a restart the same data would fail again."""
        restore(self._learner.model, self._sound)
        _say(
            f"agent {self._agent.name!r}: an update from {self._since} transitions up to seq "
            f"{self.position} was dropped, version {self.version} stays: {why}"
        )
        self._dropped += self._since
        self._since = 0

    def _configure(self, event: Event) -> None:
        """Learning may be switched off and on; what else is declared anew takes a new trainer."""
        made = agent_made(event)
        if made is not None:
            learning = made.learning and made.status == "active"
            self._agent = msgspec.structs.replace(
                self._agent, learning=learning, missing_reward=made.missing_reward
            )
            self._follow.missing_reward = made.missing_reward

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
        tensors = dict(policy.tensors)
        followed = tensors.pop(FOLLOWED)
        try:
            take_up(self._learner, card, tensors)
        except HubFault as error:
            _say(f"agent {self._agent.name!r}, version {card.version}: {error}")
            self._learner = open_learner(self._agent, self._parameters)  # not half of each
            return False
        self._agent = msgspec.structs.replace(
            self._agent, learning=card.learning, missing_reward=card.missing_reward
        )
        self._follow = Follow(missing_reward=card.missing_reward)
        self._follow.restore(followed.tobytes())
        self._refill = Refill(self._learner, seq_first=card.counts.get(REPLAY_FIRST, 0))
        if card.counts.get(REPLAY_FROM):
            self.read_after = card.counts[REPLAY_FROM] - 1
        self.version, self._sound = card.version, tensors
        return True


class Refill:
    """Puts a replay buffer's rows back from the log; the snapshot holds everything else.

    Reading begins before the oldest row, at the observation it started from. What ended before
    `seq_first` had left the buffer already.
    """

    def __init__(self, learner: OnPolicy | OffPolicy, *, seq_first: int) -> None:
        self._learner = learner
        self._seq_first = seq_first
        self._follow = Follow()
        self._learning = True

    def fold(self, event: Event) -> None:
        """Take the row in that this event completed, if it was one."""
        made = agent_made(event) if event.kind is Kind.ADMIN else None
        if made is not None:
            self._learning = made.learning and made.status == "active"
            self._follow.missing_reward = made.missing_reward
        transition = self._follow.fold(event)
        if transition is None or transition.seq_last < self._seq_first or not self._learning:
            return
        self._learner.remember(transition)


class Feed(Protocol):
    """Events from the log, as `hub.log.read.Reader` gives them."""

    def receive(self, timeout_s: float | None) -> list[Event] | None:
        """What has arrived; None when nothing did in time (None = for ever)."""
        ...


def in_order(feed: Feed) -> Iterator[tuple[Event, bool]]:
    """Each event, and whether more is waiting behind it than training can keep up with."""
    waiting: deque[Event] = deque()
    while True:
        if len(waiting) <= BEHIND_EVENTS_MAX:
            waiting.extend(feed.receive(0.0 if waiting else None) or ())
        for _ in range(min(LOOK_AHEAD_EVENTS, len(waiting))):
            yield waiting.popleft(), len(waiting) > BEHIND_EVENTS_MAX


def agent_made(event: Event) -> Agent | None:
    """The agent as this event declares it, None when it is about something else."""
    if event.payload is None:
        return None
    try:
        return _decode_fact(event.payload).agent
    except msgspec.ValidationError:
        return None


def _say(message: str) -> None:
    sys.stderr.write(f"trainer: {message}\n")
    sys.stderr.flush()
