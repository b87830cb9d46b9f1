"""Where queries wait for their turn, are made ready for, run, and are stopped.

    desk = Desk(data, hub, settings, clock)
    await desk.answer(ask, send)        # send: each piece of the result, at the client's pace

For a query to run, the instance of those who ask must have what they ask for: one thread looks at
the manifest and pulls from the log until it has, for all queries in turn. Each query then runs in a
thread of its own. Rule: what can't be stopped ends the process (`Stuck`).
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

from hub.errors import HubFault, LogUnavailable, OperatorFault
from hub.log.analyst.instances import CatchingUp, Instances
from hub.log.analyst.run import Run
from hub.log.analyst.statement import DatabaseError, FileGone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from hub.clock import Clock
    from hub.log.analyst.messages import Ask
    from hub.log.analyst.statement import Statement
    from hub.settings import AnalystSettings

WAITING_MAX: Final = 16
"""Queries that wait for one of the `queries_max` places; more are turned away."""
READY_S: Final = 5.0
"""So long a query may wait for the log to send what it asks for."""
TURN_S: Final = 2.0
"""Beside that, for its turn to be made ready for, and to be told why it is not."""
STOP_S: Final = 5.0
"""From the first attempt to stop a query to the end of the process."""
CHECK_S: Final = 0.05
"""Between two looks at how long a query has run, and two attempts to stop it."""


class Stuck(HubFault):
    """A query does not stop: DuckDB looks for interrupts between rows, and one may be endless."""


class Desk:
    """All queries of a process.

    Args:
        data: the data folder.
        hub: id of its log.
        settings: `[analyst]`.
        clock: for waits.
    """

    def __init__(self, data: Path, hub: str, settings: AnalystSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._instances = Instances(data, hub, settings, clock)
        self._pulling = ThreadPoolExecutor(1, "pull")
        self._running = ThreadPoolExecutor(settings.queries_max, "query")
        self._free = asyncio.Semaphore(settings.queries_max)
        self._waiting = 0
        self.busy = 0
        """Queries that have a place."""

    async def answer(self, ask: Ask, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Answer one query; cancelling it stops the query.

        Raises:
            OperatorFault: refused, wrong or over a limit; pieces may have been sent.
            LogUnavailable: not now.
            Stuck: the process must end.
        """
        if self._waiting >= WAITING_MAX:
            raise LogUnavailable("too many queries are waiting; ask again")
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        self.busy += 1
        try:
            await self._answer(ask, send)
        finally:
            self.busy -= 1
            self._free.release()

    async def pull(self) -> None:
        """Fetch what is new for all who have asked lately; what fails is tried again next time."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(HubFault, DatabaseError):
            await loop.run_in_executor(self._pulling, self._instances.pull)

    async def close(self) -> None:
        """Let go of everything; no query may be running."""
        await asyncio.get_running_loop().run_in_executor(self._pulling, self._instances.close)
        self._pulling.shutdown()
        self._running.shutdown()

    async def _answer(self, ask: Ask, send: Callable[[bytes], Awaitable[None]]) -> None:
        run = Run(ask, send, self._settings.result_bytes_max, self._clock)
        for again in (False, True):
            statement = await self._ready(ask, again=again)
            try:
                await self._attend(run, statement)
            except FileGone as error:
                if again or run.sent:
                    raise LogUnavailable("sealed files changed meanwhile; ask again") from error
            except DatabaseError as error:
                raise OperatorFault(str(error)) from error
            else:
                return

    async def _ready(self, ask: Ask, *, again: bool) -> Statement:
        """A statement that sees what is asked for.

        Raises:
            LogUnavailable: the log did not send it in time; `CatchingUp` says when it will have.
        """
        agents = None if ask.agents is None else frozenset(ask.agents)
        give_up = self._clock.monotonic() + READY_S
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(READY_S + TURN_S):
                return await loop.run_in_executor(
                    self._pulling,
                    partial(self._instances.ready, agents, ask.after, give_up, again=again),
                )
        except CatchingUp:
            raise
        except (OSError, HubFault, DatabaseError) as error:  # a timeout is an OSError
            reason = f" ({error})" if str(error) else ""
            raise LogUnavailable(f"the log is behind or away{reason}; ask again") from error

    async def _attend(self, run: Run, statement: Statement) -> None:
        """Wait for the thread; stop it when its time is over or nobody waits for it any more."""
        work = asyncio.get_running_loop().run_in_executor(self._running, run.go, statement)
        try:
            while not work.done():
                await asyncio.wait([work], timeout=CHECK_S)
                if run.worked_s > self._settings.query_s:
                    run.reason = (
                        f"the query took longer than {self._settings.query_s:g} s; "
                        "ask for less at once"
                    )
                    break
        except asyncio.CancelledError:
            run.reason = "cancelled"
            await self._stop(work, run, statement)
            work.exception()  # seen, and nobody's business any more
            raise
        await self._stop(work, run, statement)
        await work

    async def _stop(self, work: asyncio.Future[None], run: Run, statement: Statement) -> None:
        """See the thread end.

        Raises:
            Stuck: it does not.
        """
        give_up = self._clock.monotonic() + STOP_S
        while not work.done():
            if self._clock.monotonic() > give_up:
                raise Stuck(f"a query can't be stopped: {run.sql[:200]}")
            statement.interrupt()
            await asyncio.wait([work], timeout=CHECK_S)
