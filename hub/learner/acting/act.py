"""The actor process: observations in, actions out, and never a wait for training.

    recv ──▶ every frame that is there ──▶ one batch ──▶ one forward pass ──▶ one frame of answers

It keeps no state but the version it acts by, and what a recurrent policy remembers; killed and
started again, it answers the same, or says that the memory was begun anew. A question that somebody
elsewhere is asked about waits, and no other with it (`consults.py`).
"""

from __future__ import annotations

import select
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import structs

from hub.clock import SystemClock
from hub.errors import HubFault
from hub.frames import Splitter
from hub.learner.acting.consults import Consults
from hub.learner.acting.flock import Choosing, open_chooser
from hub.learner.acting.guests import Guests
from hub.learner.columns import Questions, joined
from hub.learner.messages import (
    Answers,
    Counsel,
    Greedy,
    Invite,
    Load,
    Loaded,
    decode_to_actor,
    framed,
)
from hub.learner.versions.policy import read_policy

if TYPE_CHECKING:
    import socket

    from hub.learner.columns import Question
    from hub.learner.messages import ToActor
    from hub.words import Agent

GONE: Final = 0
"""Read from a socket whose other end is closed."""
RECEIVE_BYTES_MAX: Final = 1 << 20
"""Of one batch; what is beyond it is the next batch."""


def act(connection: socket.socket, agent: Agent) -> None:
    """Answer all `Questions` by the newest version loaded, until the hub closes the socket."""
    splitter = Splitter()
    actor = _Actor(connection, agent)
    # Made once: a new one for each batch leaves holes in the heap, 20 MB of them in some hours.
    room = memoryview(bytearray(RECEIVE_BYTES_MAX))
    while (count := _receive(connection, room, actor.wait_s)) != GONE:
        for body in splitter.feed(room[: count or 0]):
            actor.take(decode_to_actor(body))
        actor.answer()


def _receive(connection: socket.socket, room: memoryview, wait_s: float | None) -> int | None:
    """Bytes that have come; None when none have by then, and `GONE` when none will any more."""
    if wait_s is not None and not select.select([connection], [], [], wait_s)[0]:
        return None
    return connection.recv_into(room)


class _Actor:
    """What it acts by, and the questions of one batch."""

    def __init__(self, connection: socket.socket, agent: Agent) -> None:
        self._connection = connection
        self._agent = agent
        self._chooser: Choosing | None = None
        self._guests = Guests()
        self._consults = Consults(self._guests, SystemClock())
        self._greedy = not agent.learning
        self._fresh: list[Questions] = []
        self._ready: list[Question] = []
        """Those that have waited for somebody elsewhere."""

    @property
    def wait_s(self) -> float | None:
        """Until a question has waited long enough; None when none does."""
        return self._consults.wait_s

    def take(self, message: ToActor) -> None:
        """Questions are answered together, when all that has come is taken."""
        match message:
            case Questions():
                self._fresh.append(message)
            case Counsel():
                self._ready += self._consults.hear(message)
            case Load():
                self._chooser, loaded = _load(message, self._agent, self._chooser, self._guests)
                self._connection.sendall(framed(loaded))
            case Invite():
                self._consults.invite(message)
            case Greedy(on):
                if self._greedy and not on and self._chooser is not None:
                    self._chooser.forget()  # as the trainer, who did not follow: begin together
                self._greedy = on

    def answer(self) -> None:
        """Choose what can be chosen now, in one forward pass."""
        asked, self._fresh = self._fresh, []
        ready, self._ready = self._ready + self._consults.late(), []
        if self._chooser is None:
            return
        if asked and not self._greedy:
            asked, consults = self._consults.hold(self._chooser, asked)
            for consult in consults:
                self._connection.sendall(framed(consult))
        if ready:
            asked.append(Questions.of(ready))
        if asked:
            questions = joined(asked)
            choices = self._chooser.choose(questions, greedy=self._greedy)
            self._guests.said.clear()
            self._connection.sendall(framed(Answers(questions.ids, choices)))


def _load(
    load: Load, agent: Agent, before: Choosing | None, guests: Guests
) -> tuple[Choosing | None, Loaded]:
    """The version asked for; the one before, and why, when its file can't be read."""
    try:
        known = {} if before is None else before.networks
        policy = read_policy(Path(load.path), known, acting=True)
        # The log numbers versions: one that was put in place again has an older one in its file.
        card = structs.replace(policy.card, version=load.version)
        policy = structs.replace(policy, card=card)
        return open_chooser(policy, agent.seed, before, guests), Loaded(load.version)
    except HubFault as error:
        return before, Loaded(load.version, str(error))
