"""The log process as a plain, waiting `Log`: its link on a loop of its own, in a thread."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

from hub.log.link import LogLink
from hub.log.messages import socket_path
from hub.log.read import Closed, Fetcher, Reader
from hub.settings import LogSettings

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from pathlib import Path

    from hub.log.messages import Opened
    from hub.log.recover import Recovered
    from hub.words import Event, Seq

Result = TypeVar("Result")
WAIT_S = 60.0


class LinkedLog:
    """Everything the link does, one call at a time."""

    def __init__(self, data: Path, settings: LogSettings | None = None) -> None:
        self.data = data
        self.committed: list[int] = []
        """Seqs of the first events of all batches that were called back."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.link = LogLink(data, settings or LogSettings(), restart_s_first=0.01)
        self.opened: Opened | None = None

    def open(self) -> Self:
        """Start the loop and the process."""
        self._thread.start()
        self.opened = self.wait(self.link.open())
        return self

    def wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run it on the loop and return what it does."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S)

    @property
    def hub(self) -> str:
        """The log's hub."""
        assert self.opened is not None
        return self.opened.hub

    @property
    def last_seq(self) -> int:
        """As was called back."""
        return self.link.last_seq

    def append(self, events: Sequence[Event]) -> Seq:
        """Append and wait for the commit."""
        return self.wait(self._append(events))

    async def _append(self, events: Sequence[Event]) -> Seq:
        done: asyncio.Future[Seq] = asyncio.get_running_loop().create_future()
        self.link.append(events, done.set_result)
        return await done

    def append_later(self, events: Sequence[Event]) -> None:
        """Append without waiting."""
        self._loop.call_soon_threadsafe(self.link.append, events, self.committed.append)

    def read(self, after: int = 0, *, limit: int = 16_384, agent: str | None = None) -> list[Event]:
        """As a reader gets it, until it has caught up."""
        events: list[Event] = []
        with self.reader(after, agent) as reader:
            while not reader.caught_up and len(events) < limit:
                events += reader.receive(WAIT_S) or []
        return events[:limit]

    def reader(self, after: int = 0, agent: str | None = None) -> Reader:
        """A new reader."""
        return Reader(socket_path(self.data), after, agent)

    def recover(self) -> Recovered:
        """What the hub needs at start."""
        return self.wait(self.link.recover())

    def fetcher(self) -> Fetcher:
        """A new reader of stored rows."""
        return Fetcher(socket_path(self.data))

    def close(self) -> None:
        """End the process and the loop."""
        if self.opened is not None:
            self.wait(self.link.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()


__all__ = ["WAIT_S", "Closed", "LinkedLog"]
