"""The analyst's own process: SQL of people, where nothing they ask can hold up a device.

    python -m hub.log.analyst.process --data DIR --fd N

`N` is the hub's socket pair; clients connect to `analyst.sock` in the data folder.

Rule 1: it does not outlive the hub: the end of the socket ends it at once, whatever it is doing.
Rule 2: it is the first to go. It has low priority, a bound on its memory from the kernel, and ends
    itself when a query can't be stopped or memory can't be had back. The hub starts it again; what
    it holds is a copy.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import pyarrow as pa
import uvloop

from hub.clock import SystemClock
from hub.errors import LogUnavailable, OperatorFault
from hub.frames import LENGTH, receive_frame
from hub.log.address import listen
from hub.log.analyst import messages
from hub.log.analyst.desk import Desk, Stuck
from hub.log.ending import crash, crash_on_faults, end_with_parent

if TYPE_CHECKING:
    from hub.settings import AnalystSettings

ANALYST: Final = "analyst"
NICE: Final = 10
MEBIBYTE: Final = 1 << 20
ROOM_BYTES: Final = 256 * MEBIBYTE
"""What DuckDB does not count in its own limit may take so much, beside as much again as the limit:
one row of `range(1000000000)` would take 8 GB."""
WORN: Final = 0.75
"""Above this share of the room between queries, memory is not coming back: the process ends."""
OOM_SCORE: Final = 500
"""proc(5): whom the kernel ends first when the machine has no memory left."""
ASK_S: Final = 5.0
"""From connecting to having asked."""
CLIENTS_MAX: Final = 64


def main() -> None:
    """Serve queries until the hub's socket ends."""
    parser = argparse.ArgumentParser(prog="hub.log.analyst.process")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fd", type=int, required=True)
    arguments = parser.parse_args()
    # A Ctrl-C or SIGTERM to the whole group is the hub's to answer; we end with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(NICE)
    end_with_parent()
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # some containers have it read-only
            Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    hub = socket.socket(fileno=arguments.fd)
    first = receive_frame(hub)
    if first is None:
        return  # the hub ended before it had said anything
    message = messages.from_hub.decode(first)
    clients = listen(messages.socket_path(arguments.data))
    uvloop.run(_serve(hub, clients, arguments.data, message))


async def _serve(
    hub: socket.socket, clients: socket.socket, data: Path, message: messages.Open
) -> None:
    loop = asyncio.get_running_loop()
    crash_on_faults(loop, ANALYST)
    memory = Memory(message.settings.memory_mb)
    desk = Desk(data, message.hub, message.settings, SystemClock())
    counter = Counter(desk, memory, message.settings)
    await asyncio.start_unix_server(counter.serve, sock=clients, backlog=CLIENTS_MAX)
    transport, _ = await loop.create_unix_connection(HubEnd, sock=hub)
    transport.write(messages.framed(messages.Listening()))
    while True:
        await asyncio.sleep(message.settings.pull_s)
        await desk.pull()


class HubEnd(asyncio.Protocol):
    """The hub's connection, which says nothing more."""

    def connection_lost(self, error: Exception | None) -> None:
        """The hub is gone (Rule 1)."""
        del error
        os._exit(0)


class Counter:
    """Where clients come with their queries, each with a connection of its own."""

    def __init__(self, desk: Desk, memory: Memory, settings: AnalystSettings) -> None:
        self._desk = desk
        self._memory = memory
        self._settings = settings
        self._clients = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client from its query to the end of the result."""
        self._clients += 1
        # A client that hangs up or does not read has cancelled its query, and is told nothing.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            end = await self._answer(reader, writer)
            writer.write(messages.framed(end))
            async with asyncio.timeout(ASK_S):
                await writer.drain()
        writer.close()
        self._clients -= 1
        if self._memory.worn and not self._desk.busy:
            crash(ANALYST, f"memory does not come back: {self._memory.taken_bytes // MEBIBYTE} MiB")

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> messages.End | messages.Refused:
        async with asyncio.timeout(ASK_S):
            (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            if length > messages.ASK_BYTES_MAX:
                return messages.Refused(f"a query of {length} bytes is too long")
            body = await reader.readexactly(length)
        if self._clients > CLIENTS_MAX or self._memory.worn:
            return messages.Refused("too much is asked at once; ask again", again=True)
        try:
            ask = messages.from_client.decode(body)
        except msgspec.DecodeError as error:
            return messages.Refused(f"not understood: {error}; is the client of this version?")
        try:
            await self._run(ask, reader, writer)
        except OperatorFault as fault:
            return messages.Refused(str(fault))
        except LogUnavailable as fault:
            return messages.Refused(str(fault), again=True)
        except Stuck as fault:
            crash(ANALYST, str(fault))
        return messages.End()

    async def _run(
        self, ask: messages.Ask, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer while the client is there.

        Raises:
            ConnectionError: it left.
        """

        async def send(piece: bytes) -> None:
            writer.write(messages.framed(messages.Chunk(piece)))
            async with asyncio.timeout(self._settings.query_s):
                await writer.drain()

        answering = asyncio.create_task(self._desk.answer(ask, send))
        leaving = asyncio.create_task(_left(reader))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                await answering
                return
            answering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await answering
            raise ConnectionAbortedError
        finally:
            leaving.cancel()


async def _left(reader: asyncio.StreamReader) -> None:
    """Until the client hangs up, in whatever way."""
    with contextlib.suppress(OSError):
        await reader.read(1)


class Memory:
    """What this process may take, as the kernel sees to it: an allocation beyond that fails.

    Args:
        memory_mb: limit of DuckDB's own counting.
    """

    def __init__(self, memory_mb: int) -> None:
        pa.set_memory_pool(pa.system_memory_pool())  # reserves nothing
        self._room = 2 * memory_mb * MEBIBYTE + ROOM_BYTES
        self._base = _data_bytes()
        if sys.platform == "linux":
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            if hard != resource.RLIM_INFINITY:
                self._room = min(self._room, hard - self._base)
            resource.setrlimit(resource.RLIMIT_DATA, (self._base + self._room, hard))

    @property
    def taken_bytes(self) -> int:
        """Since the start."""
        return _data_bytes() - self._base

    @property
    def worn(self) -> bool:
        """So little is left that good queries would fail too."""
        return self.taken_bytes > WORN * self._room


def _data_bytes() -> int:
    """What RLIMIT_DATA counts; 0 where nobody says."""
    if sys.platform != "linux":
        return 0
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
