"""Committed events, in order, for a trainer in a process of its own.

    with Reader(socket_path(data), after=position, agent="walker") as reader:
        for events in reader:
            learn(events)
            position = reader.position      # keep it with the weights: both advance together

Rule 1: events come by seq, without hole or repeat, and only once they are durable.
Rule 2: a slow reader delays nobody; it gets pages of the file until it has caught up.
Rule 3: the reader keeps its own position; after `Closed`, a new Reader goes on from there.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final, Self

from hub.errors import HubFault
from hub.frames import Splitter
from hub.log.address import unix_address
from hub.log.messages import Subscribe, framed, to_reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from hub.words import Event, Kind

RECEIVE_BYTES: Final = 1 << 18


class Closed(HubFault):
    """The log process is gone or not there yet. The hub restarts it: open a new Reader then."""


class Reader:
    """A blocking subscription to the log.

    Args:
        path: the log's socket.
        after: seq of the last event not wanted again; 0 = from the beginning.
        agent: None = of all agents.
        kinds: None = of all kinds.

    Attributes:
        position: every wanted event up to this seq has been returned.
        caught_up: all that was committed when the last events were sent has been returned.
    """

    def __init__(
        self,
        path: Path,
        after: int = 0,
        agent: str | None = None,
        kinds: Sequence[Kind] | None = None,
    ) -> None:
        self.position = after
        self.caught_up = False
        self._path = path
        self._wanted = Subscribe(after, agent, None if kinds is None else list(kinds))
        self._splitter = Splitter()
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        """Connect and subscribe.

        Raises:
            Closed: nobody listens at the path.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with unix_address(self._path) as address:
                self._socket.connect(address)
            self._socket.sendall(framed(self._wanted))
        except OSError as error:
            self._socket.close()
            raise Closed(f"no log process listens at {self._path}: {error}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection().close()

    def __iter__(self) -> Iterator[list[Event]]:
        """Batches of at least one event, for ever.

        Raises:
            Closed: the log process is gone.
        """
        while True:
            if events := self.receive(None):
                yield events

    def fileno(self) -> int:
        """The socket, to be polled beside others; when it is readable, `receive` waits little."""
        return self._connection().fileno()

    def receive(self, timeout_s: float | None) -> list[Event] | None:
        """All events that have arrived, waiting for the first of them.

        Args:
            timeout_s: None = wait for ever, 0 = don't wait.

        Returns:
            None when nothing arrived in time; an empty list when only `position` or
            `caught_up` moved.

        Raises:
            Closed: the log process is gone.
            HubFault: a hole in what was sent.
        """
        connection = self._connection()
        connection.settimeout(timeout_s)
        while True:
            try:
                data = connection.recv(RECEIVE_BYTES)
            except (TimeoutError, BlockingIOError):
                return None
            except OSError as error:
                raise Closed(f"the connection to the log broke: {error}") from error
            if not data:
                raise Closed("the log process has ended")
            bodies = list(self._splitter.feed(data))
            if bodies:
                return [event for body in bodies for event in self._take(body)]

    def _connection(self) -> socket.socket:
        assert self._socket is not None, "used inside `with`"
        return self._socket

    def _take(self, body: bytes) -> list[Event]:
        page = to_reader.decode(body)
        if page.seq_first != self.position + 1:
            raise HubFault(
                f"the log sent seq {page.seq_first}..{page.seq_last} after {self.position}; "
                "open a new Reader there"
            )
        self.position = page.seq_last
        self.caught_up = page.live
        return page.events
