"""The log's own process: one writer, one loop, one commit after the other.

    python -m hub.log.process --data DIR --fd N

`N` is the hub's socket pair. What is readable when the loop turns is one commit, so the commit
before it is the time in which a batch gathers: there is no timer and no tuning. It goes into the
journal; DuckDB is written to and read in threads beside the loop.

Rule 1: it says Committed only after the fdatasync, and shows readers only what is committed.
Rule 2: it never limps on. After any error of the database it ends, and the hub starts it again.
    A full disk inside a checkpoint is such an error, so it commits nothing while little is free.
    What was acknowledged and is not in the file yet is in the journal.
Rule 3: it does not outlive the hub: the end of the socket ends it at once, whatever it is doing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, assert_never, cast

import uvloop

from hub import garbage
from hub.clock import SystemClock
from hub.errors import HubFault
from hub.frames import Splitter, receive_frame
from hub.log import far, messages, resume
from hub.log.address import listen
from hub.log.duck import LogLocked
from hub.log.ending import crash, crash_on_faults, end_with_parent, report
from hub.log.feed import Feed
from hub.log.filing import Filing
from hub.log.rotate import Draft
from hub.log.store import DuckLog

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from msgspec import Raw

    from hub.clock import Clock
    from hub.settings import LogSettings
    from hub.words import Event

MEBIBYTE: Final = 1 << 20
LOG: Final = "log"
OPEN_S: Final = 5.0
"""A predecessor that was killed may hold the file's lock for a moment."""
OPEN_RETRY_S: Final = 0.05
DISK_RETRY_S: Final = 0.5
"""While the disk is full."""
SWITCH_S: Final = 0.0005
"""How long the threads that read and file may keep the loop from its turn; Python's own is 5 ms."""


def main() -> None:
    """Open the log and serve the hub until its socket ends."""
    parser = argparse.ArgumentParser(prog="hub.log.process")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fd", type=int, required=True)
    arguments = parser.parse_args()
    # The hub alone decides when the log ends: a Ctrl-C or SIGTERM to the whole group reaches us
    # too, and the hub still has steps to commit.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent()
    sys.setswitchinterval(SWITCH_S)
    hub = socket.socket(fileno=arguments.fd)
    first = receive_frame(hub)
    if first is None:
        return  # the hub ended before it had said anything
    message = messages.to_log.decode(first)
    assert isinstance(message, messages.Open), "the hub's first message is Open"
    try:
        log = _open(arguments.data, message.settings, SystemClock())
    except HubFault as fault:
        hub.sendall(messages.framed(messages.Failed(str(fault))))
        crash(LOG, str(fault))
    readers = listen(messages.socket_path(arguments.data))
    uvloop.run(_serve(hub, readers, log, message.settings, arguments.data))


def _open(data: Path, settings: LogSettings, clock: Clock) -> DuckLog:
    give_up = clock.monotonic() + OPEN_S
    while True:
        try:
            return DuckLog.open(data, settings, clock=clock)
        except LogLocked:
            if clock.monotonic() > give_up:
                raise
            time.sleep(OPEN_RETRY_S)


async def _serve(
    hub: socket.socket, readers: socket.socket, log: DuckLog, settings: LogSettings, data: Path
) -> None:
    loop = asyncio.get_running_loop()
    crash_on_faults(loop, LOG)
    state = log.state
    if state.damage is not None:
        report(LOG, "log damaged", state.damage)
    reading = ThreadPoolExecutor(1, "read")
    others = far.listen(data, settings)
    feed = Feed(
        log,
        end=state.next_seq - 1,
        reader_events_max=settings.reader_events_max,
        worker=reading,
        report=partial(report, LOG),
        token=None if others is None else far.token(data),
    )
    await feed.open(readers, others)
    port = None if others is None else int(others.getsockname()[1])
    process = LogProcess(log, feed, reading, settings, SystemClock(), data=data, feed_port=port)
    garbage.look_seldom()
    await loop.create_unix_connection(lambda: process, sock=hub)
    await process.ended.wait()


class LogProcess(asyncio.Protocol):
    """The hub's connection, and all that happens on its behalf."""

    def __init__(
        self,
        log: DuckLog,
        feed: Feed,
        reading: ThreadPoolExecutor,
        settings: LogSettings,
        clock: Clock,
        *,
        data: Path,
        feed_port: int | None,
    ) -> None:
        self.ended = asyncio.Event()
        self._log = log
        self._feed = feed
        self._reading = reading
        self._settings = settings
        self._clock = clock
        self._data = data
        self._feed_port = feed_port
        self._splitter = Splitter()
        self._pending: deque[Raw | messages.Forget] = deque()
        """In the order of the hub: a device is forgotten with all that it sent before."""
        self._committing = False
        self._rotating = False
        """The file is being replaced: commits wait, a few ms."""
        self._stalled = False
        """The disk is full: commits wait until it is not."""
        self._retrying = False
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._filing = Filing(
            log,
            settings,
            reading,
            start=self._start,
            held=lambda: self._rotating or self._stalled,
        )
        self._transport: asyncio.Transport | None = None

    # --- the main path ---------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take what the hub says; a commit follows when all that is readable has been taken."""
        for body in self._splitter.feed(data):
            self._take(messages.to_log.decode(body))

    def _take(self, message: messages.ToLog) -> None:
        match message:
            case messages.Append(batches):
                self._pending.extend(batches)
                self._commit_soon()
            case messages.Recover(id):
                self._start(self._restore(id))
            case messages.Rotate(id, upto):
                self._start(self._rotate(id, upto))
            case messages.Forget():
                self._pending.append(message)
                self._commit_soon()
            case messages.Close():
                self._closing = True
                self._commit_soon()
            case messages.Open():
                raise HubFault("the hub opened the log twice")
            case _:
                assert_never(message)

    def _commit_soon(self) -> None:
        if not self._committing:
            self._committing = True
            asyncio.get_running_loop().call_soon(self._commit)

    def _commit(self) -> None:
        """One commit of whole batches, at most `batch_rows_max` rows where there are several."""
        self._committing = False
        if self._rotating:
            return  # its end goes on here
        self._forget_next()
        if self._pending and self._disk_is_full():
            if self._closing:
                self._close()  # nothing that waits was acknowledged
            return
        events, batches = self._take_batches()
        if batches:
            started = self._clock.monotonic()
            first = self._log.append(events)
            duration_us = int((self._clock.monotonic() - started) * 1_000_000)
            self._send(messages.Committed(first, batches, duration_us))
            self._feed.publish(first, events)
            self._filing.committed()
        if self._pending:
            self._commit_soon()
        elif self._closing:
            self._close()

    def _take_batches(self) -> tuple[list[Event], int]:
        """The next commit, and of how many batches it is."""
        events: list[Event] = []
        batches = 0
        while self._pending and not isinstance(self._pending[0], messages.Forget):
            batch = messages.events_of.decode(self._pending[0])
            if events and len(events) + len(batch) > self._settings.batch_rows_max:
                break
            self._pending.popleft()
            events += batch
            batches += 1
        return events, batches

    def _forget_next(self) -> None:
        """Destroy keys when all that came before is committed: a commit makes those it lacks."""
        while self._pending and isinstance(self._pending[0], messages.Forget):
            forget = self._pending[0]
            self._log.keys.destroy(forget.device)
            self._pending.popleft()
            self._send(messages.Forgotten(forget.id))

    def _disk_is_full(self) -> bool:
        """Whether too little is free to commit; looks again soon when it is."""
        space = os.statvfs(self._data)
        free_mb = space.f_bavail * space.f_frsize / MEBIBYTE
        full = free_mb < self._settings.disk_free_mb_min
        if full != self._stalled:
            self._stalled = full
            reason = (
                f"the disk of {self._data} is full: {free_mb:.0f} MB are free and "
                f"{self._settings.disk_free_mb_min:g} are needed. Free some; nothing is lost, and "
                "it goes on by itself"
            )
            self._send(messages.Stalled(reason if full else None))
            report(LOG, "disk full" if full else "disk has room again", reason if full else "")
        if full and not self._retrying:
            self._retrying = True
            asyncio.get_running_loop().call_later(DISK_RETRY_S, self._retry)
        return full

    def _retry(self) -> None:
        self._retrying = False
        self._commit_soon()

    # --- questions --------------------------------------------------------------------------

    async def _restore(self, id_: int) -> None:
        loop = asyncio.get_running_loop()
        recovered = await loop.run_in_executor(self._reading, resume.recover, self._log)
        self._send(messages.Restored(id_, recovered))

    async def _rotate(self, id_: int, upto: int) -> None:
        """Go on in a file that begins after `upto`: filled beside commits, swapped between two."""
        loop, log = asyncio.get_running_loop(), self._log
        try:
            draft = await loop.run_in_executor(self._reading, self._begin_draft, upto)
        except HubFault as fault:  # the disk is full, the manifest damaged: the file is as it was
            report(LOG, "rotation failed", str(fault))
            draft = None
        if draft is not None:
            self._rotating = True
            # In the thread that reads: nobody else may be reading the file that goes.
            await loop.run_in_executor(self._reading, draft.finish, log)
            self._rotating = False
            self._commit_soon()
        self._send(messages.Rotated(id_, log.begins, self._feed.position_min))

    def _begin_draft(self, upto: int) -> Draft | None:
        """In the reading thread; None when there is nothing to be gained."""
        self._log.history.refresh()
        if not self._log.begins < upto <= self._log.history.seq_last:
            return None
        return Draft.begin(self._log, upto, self._settings, stop=lambda: self._closing)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        task.result()  # an error that nobody expected ends the process

    # --- begin and end ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Tell the hub where the log stands."""
        self._transport = cast("asyncio.Transport", transport)
        state = self._log.state
        self._send(
            messages.Opened(
                self._log.hub,
                state.last_seq,
                state.next_seq,
                state.epoch,
                state.damage,
                self._feed_port,
            )
        )

    def connection_lost(self, error: Exception | None) -> None:
        """The hub is gone: end now. All that was acknowledged is on disk."""
        del error
        if not self.ended.is_set():
            os._exit(0)

    def _close(self) -> None:
        self._filing.close()
        self._feed.close()
        self._reading.shutdown(cancel_futures=True)
        self._log.close()
        self.ended.set()

    def _send(self, message: messages.ToHub) -> None:
        assert self._transport is not None, "connected"
        self._transport.write(messages.framed(message))


if __name__ == "__main__":
    main()
