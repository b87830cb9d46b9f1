"""Starts the two processes of an agent; the hub imports this file, so torch waits for the child.

    context = learner_context()                      # once: a fork server with torch preloaded
    ours, theirs = socket.socketpair()
    context.Process(target=run_actor, args=(theirs, agent)).start()
    theirs.close()

No child outlives the hub: the end of its socket is noticed by a thread, even in the middle of an
update, and the process is gone at once. Nothing is lost by that, since all it knew is in the log.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hub.errors import SheepfoldError
from hub.learner.messages import LastWords, framed
from hub.learner.processes.parent import FORK_SERVER, HUB_PID, tie_to

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from multiprocessing.context import ForkServerContext

    from hub.learner.messages import LoggedPolicy
    from hub.registry.fold import Begun
    from hub.settings import LearnerSettings
    from hub.words import Agent

PRELOAD: Final = (
    "hub.learner.processes.tether",
    "hub.learner.one_thread",
    "hub.learner.processes.preload",
)
"""Imported once by the fork server, shared by all children: a restart takes 30 ms, not 3 s."""
HUB_ENDED: Final = (BrokenPipeError, ConnectionResetError)
"""What a child meets that was about to say something when the hub was killed."""
ERROR_CHARACTERS_MAX: Final = 500
"""Of the error that an operator is shown; the whole of it is in what the hub prints."""


def learner_context() -> ForkServerContext:
    """The multiprocessing context whose `Process` starts actors and trainers.

    A child imports the program's main module again, so `__main__` should import little.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    os.putenv(HUB_PID, str(os.getpid()))
    return context


def run_actor(connection: socket.socket, agent: Agent) -> None:
    """Process target: choose actions for an agent's devices until the hub closes the socket."""
    end_with(connection)
    from hub.learner.acting.act import act

    with contextlib.suppress(*HUB_ENDED), last_words(connection):
        act(connection, agent)


def run_trainer(
    connection: socket.socket,
    begun: Begun,
    folder: str,
    newest: LoggedPolicy | None,
    pinned: frozenset[str],
    settings: LearnerSettings,
) -> None:
    """Process target: learn from the log until the hub closes the socket.

    Args:
        connection: the child's end of a socketpair; only `Made` goes through it.
        begun: where the agent's learning began, in the log.
        folder: the hub's data folder; the feed is its `log.sock`.
        newest: the newest version of a trainer in the log; None when there is none.
        pinned: hashes of policy files that are never removed.
        settings: the `learner` section.
    """
    os.nice(settings.nice)
    end_with(connection)
    tie_to(FORK_SERVER)
    from hub.learner.training.live import train_from_feed

    try:
        with contextlib.suppress(*HUB_ENDED), last_words(connection):
            train_from_feed(connection, begun, Path(folder), newest, pinned, settings)
    except SheepfoldError as error:  # the log has ended, say: the hub starts this again
        sys.stderr.write(f"trainer of {begun.agent.name!r}: {error}\n")
        sys.exit(1)


@contextlib.contextmanager
def last_words(connection: socket.socket) -> Iterator[None]:
    """Tell the hub of the error that the block ends with, which goes on."""
    try:
        yield
    except HUB_ENDED:
        raise
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        connection.sendall(framed(LastWords(text[:ERROR_CHARACTERS_MAX])))
        raise


def end_with(connection: socket.socket) -> None:
    """End this process within milliseconds of the hub's end, whatever the main thread does."""
    threading.Thread(target=_watch, args=(connection.fileno(),), daemon=True).start()


def _watch(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, 0)  # only what can't be masked: POLLHUP and POLLERR
    poll.poll()
    os._exit(0)
