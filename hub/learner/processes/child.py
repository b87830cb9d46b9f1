"""A process of ours at the other end of a socketpair, started again whenever it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from hub.errors import HubFault
from hub.frames import Splitter

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkServerContext, ForkServerProcess

    from hub.clock import Clock
    from hub.settings import LearnerSettings

log: Final = logging.getLogger("hub.learner")

HEALTHY_S: Final = 60.0
"""Having run so long, a process is started again without a wait."""
FAILURES: Final = 5
"""So many ends in a row are no accident: an operator is told."""
END_S_MAX: Final = 1.0
"""A process that was told to end is killed after this."""


class Trouble(Struct, frozen=True):
    """That a process ends again and again, or has just done so."""

    ends: int
    """In a row."""
    reason: str
    """Of the last: its error, or its signal or exit code where it could say no more."""


class Child:
    """One process, its socket, and the waits between its restarts."""

    def __init__(
        self,
        name: str,
        target: Callable[[], tuple[Callable[..., None], tuple[object, ...]]],
        context: ForkServerContext,
        settings: LearnerSettings,
        clock: Clock,
    ) -> None:
        self.name = name
        self._target = target
        self._context = context
        self._settings = settings
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._process: ForkServerProcess | None = None
        self._pipe: _Pipe | None = None
        self._at_fault = False
        self._wanted = False
        """We ended it ourselves, and not for what it did."""
        self._began = 0.0
        """When it was started last, seconds on the monotonic clock."""
        self._last_words: str | None = None
        self._trouble: Trouble | None = None
        self._stopping = asyncio.Event()

    def start(
        self,
        *,
        opened: Callable[[], None],
        received: Callable[[bytes], None],
        lost: Callable[[], None] = lambda: None,
        failing: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep the process running.

        Args:
            opened: called at each start.
            received: called with each frame it sends.
            lost: called as soon as it is gone, after each `opened` once.
            failing: called when it has ended `FAILURES` times in a row without being healthy.
        """
        keeping = self._keep(opened, received, lost, failing)
        self._task = asyncio.get_running_loop().create_task(keeping)

    @property
    def pid(self) -> int | None:
        """Process id, None while it does not run."""
        return None if self._process is None or self._pipe is None else self._process.pid

    @property
    def trouble(self) -> Trouble | None:
        """What is the matter with it; None when it has run for `HEALTHY_S`, or never ended."""
        runs_s = self._clock.monotonic() - self._began
        return None if self.pid is not None and runs_s > HEALTHY_S else self._trouble

    def note(self, last_words: str) -> None:
        """It is about to end, and this is why."""
        self._last_words = last_words

    def send(self, frame: bytes) -> None:
        """To the process; lost when it does not run: `opened` tells it again all it must know."""
        if self._pipe is not None:
            self._pipe.write(frame)

    @property
    def unread_bytes(self) -> int:
        """Of what it was sent: those that wait here, since it has not read what came before."""
        return 0 if self._pipe is None else self._pipe.unread_bytes

    def signal(self, number: signal.Signals) -> None:
        """To the process; nothing when it does not run."""
        if self.pid is not None:
            with suppress(ProcessLookupError):  # it has just ended, and we hear of it next
                os.kill(self.pid, number)

    def restart(self, *, at_fault: bool = False) -> None:
        """End the process; it starts again after the shortest wait.

        Args:
            at_fault: it would come to the same again: the wait doubles, however long it ran.
        """
        self._at_fault, self._wanted = at_fault, not at_fault
        if self._pipe is not None:
            self._pipe.close()
            self.signal(signal.SIGCONT)  # one that stands still would not notice

    def stop(self) -> None:
        """Close the socket: the process ends by itself, and is not started again.

        A start under way is not cut short, since the fork server dies of a half-sent request: the
        process ends as soon as it stands.
        """
        self._stopping.set()
        self.restart()

    async def ended(self) -> None:
        """Returns when the process is gone and will not come back."""
        if self._task is not None:
            await self._task

    async def _keep(
        self,
        opened: Callable[[], None],
        received: Callable[[bytes], None],
        lost: Callable[[], None],
        failing: Callable[[], None],
    ) -> None:
        wait_s = 0.0
        failures = 0
        while not self._stopping.is_set():
            self._began = self._clock.monotonic()
            self._wanted, self._last_words = False, None
            ended = await self._run(opened, received, lost)
            if self._stopping.is_set():
                return
            if self._clock.monotonic() - self._began > HEALTHY_S and not self._at_fault:
                wait_s, failures = 0.0, 0
            self._at_fault = False
            failures += 1
            if not self._wanted:
                self._trouble = Trouble(failures, self._last_words or ended)
            if failures == FAILURES:
                failing()
            wait_s = min(
                max(2 * wait_s, self._settings.restart_s_first), self._settings.restart_s_max
            )
            why = self._last_words or ended
            log.warning("%s ended (%s); it starts again in %.1f s", self.name, why, wait_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait_s)

    async def _run(
        self,
        opened: Callable[[], None],
        received: Callable[[bytes], None],
        lost: Callable[[], None],
    ) -> str:
        """From its start to its end; how it ended."""
        ours, theirs = socket.socketpair()
        function, arguments = self._target()
        process = self._context.Process(
            target=function, args=(theirs, *arguments), name=self.name, daemon=True
        )
        try:
            # In a thread: the first start waits for the fork server to import torch (3 s).
            await asyncio.to_thread(process.start)
        except (OSError, EOFError) as error:
            log.error("%s can't be started: %s", self.name, error)  # noqa: TRY400 - no traceback needed
            ours.close()
            return f"it can't be started: {error}"
        finally:
            theirs.close()
        self._process = process
        loop = asyncio.get_running_loop()
        _, pipe = await loop.create_unix_connection(lambda: _Pipe(received), sock=ours)
        self._pipe = pipe
        if self._stopping.is_set():
            pipe.close()
        opened()
        await pipe.lost.wait()
        self._pipe = None
        lost()
        return await asyncio.to_thread(_reap, process)


class _Pipe(asyncio.Protocol):
    """Frames from and to the process."""

    def __init__(self, received: Callable[[bytes], None]) -> None:
        self._received = received
        self._splitter = Splitter()
        self._transport: asyncio.WriteTransport | None = None
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._splitter.feed(data):
                self._received(body)
        except HubFault:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._transport = None
        self.lost.set()

    def write(self, frame: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame)

    @property
    def unread_bytes(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _reap(process: ForkServerProcess) -> str:
    """How it ended."""
    process.join(END_S_MAX)
    if process.is_alive():
        process.kill()
        process.join(END_S_MAX)
    code = process.exitcode
    with suppress(ValueError):
        process.close()
    if code is None:
        return "it could not be ended"
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
