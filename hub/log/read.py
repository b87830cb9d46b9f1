"""Committed events for other processes: followed as Events, or fetched as rows when asked.

    with Reader(socket_path(data), after=position, agent="walker") as reader:   # a trainer
        for events in reader:
            learn(events)
            position = reader.position      # keep it with the weights: both advance together

    with Fetcher(socket_path(data)) as log:                     # segments, the analyst, a backup
        for page in log.pages(after=0):
            write(page.table)               # Arrow, the log's columns, payloads still sealed

Rule 1: events come by seq, without hole or repeat, and only once they are durable.
Rule 2: a slow reader delays nobody; it gets pages of the file until it has caught up.
Rule 3: the reader keeps its own position; after `Closed`, a new one goes on from there.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from hub.errors import HubFault
from hub.frames import Splitter, receive_frame
from hub.log.address import unix_address
from hub.log.messages import Fetch, FromReader, Page, Rows, Subscribe, Token, framed, to_reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    import pyarrow as pa

    from hub.words import Event, Kind

RECEIVE_BYTES: Final = 1 << 18
CONNECT_S: Final = 10.0


class Closed(HubFault):
    """The log process is gone or not there yet. The hub restarts it: come again then."""


class Remote(NamedTuple):
    """A log on another machine (or this one, over TCP)."""

    host: str
    port: int
    token: str
    """The content of its `DATA/feed.token`."""


Place = Path | Remote
"""Of a log: its socket's path, or where it listens for other machines."""


class _Connection:
    """A blocking socket to a log, opened and closed by `with`."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._splitter = Splitter()
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            Closed: nobody listens there.
        """
        try:
            self._socket = _connect(self._place)
            self._greet()
        except OSError as error:
            if self._socket is not None:
                self._socket.close()
            raise Closed(f"no log process listens at {_named(self._place)}: {error}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connected().close()

    def _greet(self) -> None:
        """Say who we are, where that is asked."""
        if isinstance(self._place, Remote):
            self._send(Token(self._place.token))

    def _send(self, message: FromReader) -> None:
        self._connected().sendall(framed(message))

    def _connected(self) -> socket.socket:
        assert self._socket is not None, "used inside `with`"
        return self._socket


class Reader(_Connection):
    """A blocking subscription to the log.

    Args:
        place: of the log.
        after: seq of the last event not wanted again; 0 = from the beginning.
        agent: None = of all agents.
        kinds: None = of all kinds.

    Attributes:
        position: every wanted event up to this seq has been returned.
        caught_up: all that was committed when the last events were sent has been returned.
    """

    def __init__(
        self,
        place: Place,
        after: int = 0,
        agent: str | None = None,
        kinds: Sequence[Kind] | None = None,
    ) -> None:
        super().__init__(place)
        self._room = memoryview(bytearray(RECEIVE_BYTES))
        """What is received into: a new one each time leaves holes in the heap."""
        self.position = after
        self.caught_up = False
        self._wanted = Subscribe(after, agent, None if kinds is None else list(kinds))

    def _greet(self) -> None:
        super()._greet()
        self._send(self._wanted)

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
        return self._connected().fileno()

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
        connection = self._connected()
        connection.settimeout(timeout_s)
        while True:
            try:
                count = connection.recv_into(self._room)
            except (TimeoutError, BlockingIOError):
                return None
            except OSError as error:
                raise Closed(f"the connection to the log broke: {error}") from error
            if not count:
                raise Closed("the log process has ended")
            bodies = list(self._splitter.feed(self._room[:count]))
            if bodies:
                return [event for body in bodies for event in self._take(body)]

    def _take(self, body: bytes) -> list[Event]:
        page = to_reader.decode(body)
        if page.seq_first != self.position + 1:
            raise HubFault(
                f"the log sent seq {page.seq_first}..{page.seq_last} after {self.position}; "
                "open a new Reader there"
            )
        self.position = page.seq_last
        self.caught_up = page.live
        return page.events if isinstance(page, Page) else _events(page)


class Fetched(NamedTuple):
    """One page of rows."""

    seq_first: int
    seq_last: int
    table: pa.Table
    """The wanted rows among them, by seq; the log's columns."""
    live: bool
    """There was no more when this was sent."""


class Fetcher(_Connection):
    """Asks the log for pages of rows as they are stored."""

    _ahead: Fetch | None = None
    """Asked already: the log reads on while this end is busy with the page before."""

    def fetch(self, after: int, agent: str | None = None) -> Fetched:
        """The page that follows a seq.

        Raises:
            Closed: the log process is gone.
            HubFault: it sent something else.
        """
        wanted = Fetch(after, agent)
        if self._ahead is not None and self._ahead != wanted:
            self._receive()
        if self._ahead is None:
            self._ask(wanted)
        page = self._receive()
        if page.seq_first != after + 1:
            raise HubFault(f"the log answered with seq {page.seq_first} when asked after {after}")
        return Fetched(page.seq_first, page.seq_last, _table(page), page.live)

    def pages(
        self, after: int, agent: str | None = None, *, upto: int | None = None
    ) -> Iterator[Fetched]:
        """All pages after a seq until there is no more, or until `upto` is reached.

        The last page may go beyond `upto`.

        Raises:
            Closed, HubFault: as `fetch`.
        """
        while True:
            page = self.fetch(after, agent)
            after = page.seq_last
            last = page.live or (upto is not None and after >= upto)
            if not last:
                self._ask(Fetch(after, agent))
            yield page
            if last:
                return

    def _ask(self, wanted: Fetch) -> None:
        try:
            self._send(wanted)
        except OSError as error:
            raise Closed(f"the connection to the log broke: {error}") from error
        self._ahead = wanted

    def _receive(self) -> Rows:
        self._ahead = None
        try:
            body = receive_frame(self._connected())
        except OSError as error:
            raise Closed(f"the connection to the log broke: {error}") from error
        if body is None:
            raise Closed("the log process has ended")
        page = to_reader.decode(body)
        if not isinstance(page, Rows):
            raise HubFault("the log sent events to one who asked for rows")
        return page


# Arrow is imported when rows come: the hub has no use for it, and a trainer only to catch up.


def _table(page: Rows) -> pa.Table:
    from pyarrow import ipc

    return ipc.open_stream(page.rows).read_all()


def _events(page: Rows) -> list[Event]:
    from hub.log import columns

    return columns.to_events(_table(page))


def _connect(place: Place) -> socket.socket:
    if isinstance(place, Remote):
        connection = socket.create_connection((place.host, place.port), CONNECT_S)
        connection.settimeout(None)
        return connection
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with unix_address(place) as address:
            connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def _named(place: Place) -> str:
    return f"{place.host}:{place.port}" if isinstance(place, Remote) else str(place)
