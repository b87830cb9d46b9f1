"""One life of the log process as the hub sees it: started, spoken to, gone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from typing import TYPE_CHECKING, Final, Self, cast

from hub.errors import LogUnavailable
from hub.frames import Splitter
from hub.log import messages

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable
    from pathlib import Path

    from hub.settings import LogSettings

ENDING_S: Final = 1.0
"""From the end of its socket to the end of the process; it takes a few ms."""


class Child(asyncio.Protocol):
    """The log process and the socket pair to it. It ends when the socket does, and the hub with it.

    Args:
        received: called with every message but the first.

    Attributes:
        gone: set once the socket is closed; what was sent and not answered is unknown then.
    """

    def __init__(self, received: Callable[[messages.ToHub], None]) -> None:
        self.gone = asyncio.Event()
        self._received = received
        self._splitter = Splitter()
        self._first: asyncio.Future[messages.ToHub] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._process: Process | None = None

    @classmethod
    async def start(
        cls, data: Path, settings: LogSettings, received: Callable[[messages.ToHub], None]
    ) -> tuple[Self, messages.Opened]:
        """Start the process and wait until it has opened the log.

        Raises:
            LogUnavailable: it could not; the message is the log's own.
        """
        child = cls(received)
        ours, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            command = ("-m", "hub.log.process", "--data", str(data), "--fd", str(fd))
            child._process = await asyncio.create_subprocess_exec(
                sys.executable, *command, pass_fds=(fd,), stdin=asyncio.subprocess.DEVNULL
            )
        await asyncio.get_running_loop().create_unix_connection(lambda: child, sock=ours)
        child.send(messages.Open(settings))
        try:
            first = await child._first
        except asyncio.CancelledError:
            await child.reap(after_s=0)
            raise
        if isinstance(first, messages.Opened):
            return child, first
        await child.reap()
        reason = first.message if isinstance(first, messages.Failed) else "it ended at once"
        raise LogUnavailable(f"the log can't be opened: {reason}")

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None, "started"
        return self._process.pid

    def send(self, message: messages.ToLog) -> None:
        """Hand a message to the socket; it never waits."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(messages.framed(message))

    async def reap(self, *, after_s: float = ENDING_S) -> None:
        """See the process end, by force if it has not within `after_s`."""
        assert self._process is not None, "started"
        try:
            await asyncio.wait_for(self._process.wait(), after_s)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        if self._transport is not None:
            self._transport.abort()

    # --- called by the loop -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to write."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Pass on every whole message."""
        for body in self._splitter.feed(data):
            message = messages.to_hub.decode(body)
            if self._first.done():
                self._received(message)
            else:
                self._first.set_result(message)

    def connection_lost(self, error: Exception | None) -> None:
        """The process has ended, whatever the reason."""
        del error
        if not self._first.done():
            self._first.set_result(messages.Failed("the process ended before it had opened it"))
        self.gone.set()
