"""The events of one agent from a log that may be in use: through its feed, else from its files.

with opened(data) as log:
    for event in log.events(agent, kinds, after=0, upto=log.last_seq): ...
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from hub.clock import SystemClock
from hub.log.messages import socket_path
from hub.log.read import Closed, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hub.log.store import DuckLog
    from hub.settings import LogSettings
    from hub.words import Event, Kind

PAGE_EVENTS: Final = 16_384


class Replay(Protocol):
    """A log to be read from one end to the other."""

    def events(
        self, agent: str, kinds: Sequence[Kind], *, after: int, upto: int | None
    ) -> Iterator[Event]:
        """The wanted events, in order; all that is there when `upto` is None."""
        ...


class FeedReplay:
    """Of a hub that runs."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def events(
        self, agent: str, kinds: Sequence[Kind], *, after: int, upto: int | None
    ) -> Iterator[Event]:
        """As `Replay` says.

        Raises:
            Closed: the log process has gone.
        """
        with Reader(socket_path(self._data), after, agent, kinds) as reader:
            while not reader.caught_up and (upto is None or reader.position < upto):
                for event in reader.receive(None) or ():
                    if upto is not None and event.seq > upto:
                        return
                    yield event


class FileReplay:
    """Of a folder on which no hub runs; the caller holds its lock."""

    def __init__(self, log: DuckLog) -> None:
        self._log = log

    def events(
        self, agent: str, kinds: Sequence[Kind], *, after: int, upto: int | None
    ) -> Iterator[Event]:
        """As `Replay` says."""
        from hub.log import columns

        end = self._log.last_seq if upto is None else min(upto, self._log.last_seq)
        while after < end:
            last = min(after + PAGE_EVENTS, end)
            yield from columns.to_events(self._log.rows(after + 1, last, agent, kinds))
            after = last


def is_running(data: Path) -> bool:
    """Whether a log process serves the folder."""
    try:
        with Reader(socket_path(data)):
            return True
    except Closed:
        return False


@contextmanager
def from_files(data: Path, settings: LogSettings) -> Iterator[FileReplay]:
    """The log of a folder that is this process's alone.

    Raises:
        LogUnavailable: it can't be opened.
    """
    from hub.log.store import DuckLog

    log = DuckLog.open(data, settings, clock=SystemClock())
    try:
        yield FileReplay(log)
    finally:
        log.close()
