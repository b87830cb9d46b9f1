"""The actor process: observations in, actions out, and never a wait for training.

    recv ──▶ every frame that is there ──▶ one batch ──▶ one forward pass ──▶ one frame of replies

It keeps no state but the version it acts by, and what a recurrent policy remembers; killed and
started again, it answers the same, or says that the memory was begun anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import structs

from hub.errors import HubFault
from hub.frames import Splitter
from hub.learner.acting.flock import Choosing, open_chooser
from hub.learner.acting.guests import Guests
from hub.learner.messages import (
    Answers,
    Ask,
    Greedy,
    Invite,
    Load,
    Loaded,
    Question,
    decode_to_actor,
    framed,
)
from hub.learner.versions.policy import read_policy

if TYPE_CHECKING:
    import socket

    from hub.words import Agent

RECEIVE_BYTES_MAX: Final = 1 << 20
"""Of one batch; what is beyond it is the next batch."""


def act(connection: socket.socket, agent: Agent) -> None:
    """Answer every `Ask` by the newest version loaded, until the hub closes the socket."""
    splitter = Splitter()
    chooser: Choosing | None = None
    guests = Guests()
    greedy = not agent.learning
    while data := connection.recv(RECEIVE_BYTES_MAX):
        questions: list[Question] = []
        for body in splitter.feed(data):
            message = decode_to_actor(body)
            if isinstance(message, Ask):
                questions += message.questions
            elif isinstance(message, Load):
                chooser, loaded = _load(message, agent, chooser, guests)
                connection.sendall(framed(loaded))
            elif isinstance(message, Invite):
                guests.invite(message.guests)
            elif isinstance(message, Greedy):
                if greedy and not message.on and chooser is not None:
                    chooser.forget()  # as the trainer, who did not follow: begin together
                greedy = message.on
        if questions and chooser is not None:
            connection.sendall(framed(Answers(chooser.choose(questions, greedy=greedy))))


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
