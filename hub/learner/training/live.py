"""The trainer process: the log's feed in, and word of each version to the hub.

    log ──feed──▶ in order ──event, more, behind──▶ Trainer ──Made──▶ hub

What a trainer knows of sockets is here; what it does by the clock, in `waiting.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.clock import SystemClock
from hub.learner.messages import framed
from hub.learner.training.train import KINDS, Trainer
from hub.learner.training.waiting import in_order
from hub.log.messages import socket_path
from hub.log.read import Reader

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from hub.learner.messages import Idle, LoggedPolicy, Waiting
    from hub.registry.fold import Begun
    from hub.settings import LearnerSettings


def train_from_feed(
    connection: socket.socket,
    begun: Begun,
    folder: Path,
    newest: LoggedPolicy | None,
    pinned: frozenset[str],
    settings: LearnerSettings,
) -> None:
    """Learn until the log or the hub is gone; each version is told through `connection`.

    Raises:
        HubFault: the log process went away; the hub starts both again.
    """
    agent, clock = begun.agent, SystemClock()
    trainer = Trainer(agent, folder, clock, policies_kept=settings.policies_kept, pinned=pinned)
    made = trainer.open(newest, after=begun.seq, version=begun.version)
    if made is not None:
        connection.sendall(framed(made))
    with Reader(socket_path(folder), trainer.read_after, agent=agent.name, kinds=KINDS) as feed:

        def tell(said: Idle | Waiting) -> None:
            connection.sendall(framed(said))

        def lag_max() -> int:
            return settings.lag_max if trainer.lag_max is None else trainer.lag_max

        for event, more, behind in in_order(feed, clock, lag_max=lag_max, tell=tell):
            made = trainer.take(event, more=more and trainer.takes_more, behind=behind)
            if made is not None:
                connection.sendall(framed(made))
