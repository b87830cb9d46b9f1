"""The instances of those who ask, each with what it may see; used by one thread.

statement = instances.ready({"walker"}, after=4711, give_up=clock.monotonic() + 5)
"""

from __future__ import annotations

import math
import shutil
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from hub.errors import LogUnavailable
from hub.log.analyst.instance import Instance, Surroundings
from hub.log.analyst.sealed import SealedFiles
from hub.log.messages import socket_path
from hub.log.payload_keys import FOLDER as KEYS
from hub.log.read import Closed, Fetcher
from hub.log.segments.manifest import FOLDER as SEGMENTS

if TYPE_CHECKING:
    from pathlib import Path

    from hub.clock import Clock
    from hub.log.analyst.statement import Statement
    from hub.log.read import Fetched
    from hub.settings import AnalystSettings

SPILL: Final = "analyst-tmp"
"""In the data folder; what an earlier process left there is removed."""
INSTANCES_MAX: Final = 4
"""Open at once; the one not asked for longest is closed for another."""
IDLE_S: Final = 600.0
"""One not asked for so long is closed."""
INSERT_ROWS: Final = 16_384
"""Taken in at once: 200,000 rows a second, one page at a time 100,000."""
RETRY_S: Final = 0.02
PULL_S: Final = 1.0
"""So long one instance is fed at once while nobody waits for it: then it is another's turn."""

Agents = frozenset[str] | None
"""Whose rows; None = all."""


class CatchingUp(LogUnavailable):
    """The log sends what is asked for, and there is more than could be read in time."""


class Instances:
    """Opened when somebody asks, kept a while, fed from the log.

    Args:
        data: the data folder.
        hub: id of its log.
        settings: `[analyst]`.
        clock: for waits.
    """

    def __init__(self, data: Path, hub: str, settings: AnalystSettings, clock: Clock) -> None:
        self._data = data
        self._hub = hub
        # All that can be busy at once stay within the limit; the others hold their tails only.
        self._memory_mb = settings.memory_mb // min(settings.queries_max, INSTANCES_MAX)
        self._threads = settings.threads
        self._clock = clock
        self._files = SealedFiles(data / SEGMENTS)
        self._open: dict[Agents, Instance] = {}
        """The one asked for last stands last."""
        self._asked: dict[Agents, float] = {}
        self._made = 0
        self._fetcher: Fetcher | None = None
        self._wait = threading.Event()
        shutil.rmtree(data / SPILL, ignore_errors=True)

    def ready(self, agents: Agents, after: int, give_up: float, *, again: bool) -> Statement:
        """A statement for these people that sees all up to `after`.

        Args:
            agents: whose rows.
            after: a seq.
            give_up: when to, on the clock.
            again: a sealed file was not there: look at the manifest whatever its date says.

        Raises:
            LogUnavailable: the log did not send it in time.
            CatchingUp: nor could it, so much is new.
            HubFault: the manifest is damaged.
            DatabaseError: the rows can't be taken in.
        """
        self._asked[agents] = started = self._clock.monotonic()
        instance = self._instance(agents, again=again)
        first = instance.position
        shelf = self._files.look()
        after = max(after, shelf.upto)
        while instance.position < after:
            ended = self._fetch_some(instance)
            if instance.position < after == shelf.upto and ended:
                instance.rely_on_files(shelf)  # the log is away, and has nothing that is asked for
            if instance.position < after and self._clock.monotonic() > give_up:
                if ended:
                    raise LogUnavailable(f"it is at {instance.position}, {after} is asked for")
                took_s = self._clock.monotonic() - started
                raise CatchingUp(_catching_up(first, instance.position, after, took_s))
            if instance.position < after and ended:
                self._wait.wait(RETRY_S)
        return instance.statement()

    def pull(self) -> None:
        """Fetch what is new for all, and close what nobody asks any more.

        Raises:
            HubFault, DatabaseError: as `ready`.
        """
        for agents in list(self._open):
            if self._clock.monotonic() - self._asked[agents] > IDLE_S:
                self._close(agents)
                continue
            instance, give_up = self._instance(agents), self._clock.monotonic() + PULL_S
            while not self._fetch_some(instance) and self._clock.monotonic() < give_up:
                pass

    def close(self) -> None:
        """Close all of them, and the connection to the log."""
        for agents in list(self._open):
            self._close(agents)
        self._forget_fetcher()

    def _instance(self, agents: Agents, *, again: bool = False) -> Instance:
        """With the sealed files as they are now."""
        shelf = self._files.look(again=again)
        instance = self._open.pop(agents, None)
        if instance is not None and not instance.reaches(shelf):
            instance.close()  # what runs on it goes on
            instance = None
        if instance is None:
            if len(self._open) >= INSTANCES_MAX:
                self._close(next(iter(self._open)))
            self._made += 1
            spill = self._data / SPILL / str(self._made)
            around = Surroundings(
                self._hub,
                self._data / SEGMENTS,
                self._data / KEYS,
                spill,
                self._memory_mb,
                self._threads,
            )
            instance = Instance.open(around, agents, shelf)
        self._open[agents] = instance
        instance.renew(shelf)
        return instance

    def _close(self, agents: Agents) -> None:
        self._open.pop(agents).close()
        self._asked.pop(agents, None)

    def _fetch_some(self, instance: Instance) -> bool:
        """Give the instance the next rows; whether the log has no more, or is away."""
        tables: list[pa.Table] = []
        rows, position, ended = 0, instance.position, False
        while rows < INSERT_ROWS and not ended:
            page = self._fetch(position)
            if page is None:
                ended = True
            else:
                tables.append(page.table)
                rows += page.table.num_rows
                position, ended = max(position, page.seq_last), page.live
        if tables:
            instance.add(pa.concat_tables(tables), position)
        return ended

    def _fetch(self, after: int) -> Fetched | None:
        """The next page; None when the log is away."""
        try:
            if self._fetcher is None:
                self._fetcher = Fetcher(socket_path(self._data)).__enter__()
            return self._fetcher.fetch(after)
        except Closed:
            self._forget_fetcher()
            return None
        except BaseException:
            self._forget_fetcher()
            raise

    def _forget_fetcher(self) -> None:
        if self._fetcher is not None:
            with suppress(OSError):
                self._fetcher.__exit__(None, None, None)
            self._fetcher = None


def _catching_up(first: int, position: int, after: int, took_s: float) -> str:
    """What to say to whoever needs all up to `after`, when it got from `first` to here."""
    left_s = (after - position) / max(1, position - first) * took_s
    return (
        f"what is not sealed yet is being read: it is at event {position:,} of {after:,}; ask "
        f"again in about {math.ceil(left_s)} s"
    )
