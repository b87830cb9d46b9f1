"""The real process, between a real log and clients that behave or don't."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hub.errors import LogUnavailable, OperatorFault
from hub.frames import frame, receive_frame
from hub.log.address import unix_address
from hub.log.analyst.ask import stream, stream_blocking
from hub.log.analyst.instances import SPILL
from hub.log.analyst.link import AnalystLink
from hub.log.analyst.messages import (
    Ask,
    Refused,
    ResultForm,
    framed,
    socket_path,
    to_client,
)
from hub.settings import AnalystSettings
from tests.log.analyst.asking import HUB, seal
from tests.log.events import steps
from tests.log.linked import LinkedLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.acceptance

WAIT_S = 60.0
SETTINGS = AnalystSettings(query_s=WAIT_S, queries_max=1, memory_mb=128, pull_s=0.05)
ENDLESS = "SELECT sum(a * b) FROM range(1000000) AS r(a), range(1000000) AS s(b)"
ENDLESS_ROW = """
    SELECT max(levenshtein(repeat('a', 5000) || a, repeat('b', 5000))) FROM range(2048) AS r(a)
"""
"""Half a minute without a look at interrupts."""


@asynccontextmanager
async def opened(data: Path, settings: AnalystSettings = SETTINGS) -> AsyncIterator[AnalystLink]:
    link = AnalystLink(data, settings, restart_s_first=0.01)
    await link.open(HUB)
    try:
        yield link
    finally:
        await link.close()


@pytest.fixture
async def link(tmp_path: Path) -> AsyncIterator[AnalystLink]:
    """The analyst of four sealed events, alone: what is sealed needs no log."""
    seal(tmp_path / "segments", steps(1, 2))
    async with opened(tmp_path) as link:
        yield link


async def ask(data: Path, sql: str, form: ResultForm = "json", after: int = 0) -> str:
    return b"".join([piece async for piece in stream(data, Ask(sql, form, after))]).decode()


async def ask_until_there(data: Path, sql: str, after: int = 0) -> str:
    """As a client that asks again when told to, or when a loaded machine took too long."""
    answer: str | None = None
    async with asyncio.timeout(WAIT_S):
        while answer is None:
            try:
                answer = await ask(data, sql, after=after)
            except (LogUnavailable, OperatorFault):
                await asyncio.sleep(0.01)
    return answer


async def test_a_client_gets_its_result(tmp_path: Path, link: AnalystLink) -> None:
    assert await ask(tmp_path, "SELECT count(*) AS n FROM events") == '{"n":4}\n'
    blocking = stream_blocking(tmp_path, Ask("SELECT 1 AS a", "csv", 0))
    assert await asyncio.to_thread(b"".join, blocking) == b"a\r\n1\r\n"
    with pytest.raises(OperatorFault, match="syntax error"):
        await ask(tmp_path, "SELEC")
    for characters in (70_000, 2_000_000):
        with pytest.raises(OperatorFault, match="long"):
            await ask(tmp_path, "SELECT 1".ljust(characters))
    refused = stream_blocking(tmp_path, Ask("FROM log", "csv", 0))
    with pytest.raises(OperatorFault, match="no view 'log'"):
        await asyncio.to_thread(list, refused)
    assert link.pid is not None
    assert stat.S_IMODE(socket_path(tmp_path).stat().st_mode) == 0o600


async def test_a_fault_after_some_pieces_is_told(tmp_path: Path, link: AnalystLink) -> None:
    # DuckDB works ahead of what is read, a million rows and more; the fault lies beyond.
    sql = "SELECT if(a < 9900000, a, ('no' || a)::INT) FROM range(10000000) AS r(a)"
    async with aclosing(stream(tmp_path, Ask(sql, "arrow", 0))) as pieces:
        for _ in range(3):
            await anext(pieces)
        with pytest.raises(OperatorFault, match="no"):
            await _last(pieces)


async def _last(pieces: AsyncIterator[bytes]) -> None:
    async for _ in pieces:
        pass


async def test_a_client_that_leaves_frees_its_place(tmp_path: Path) -> None:
    seal(tmp_path / "segments", steps(1, 2))
    forever = AnalystSettings(query_s=10 * WAIT_S, queries_max=1)
    async with opened(tmp_path, forever), asyncio.timeout(WAIT_S):
        waiting = asyncio.create_task(ask(tmp_path, ENDLESS))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(socket_path(tmp_path)))
            client.sendall(framed(Ask(ENDLESS, "csv", 0)))
        waiting.cancel()
        rows = stream(tmp_path, Ask("SELECT a FROM range(1000000000) AS r(a)", "csv", 0))
        async with aclosing(rows) as pieces:
            await anext(pieces)
        assert await ask(tmp_path, "SELECT 1 AS a") == '{"a":1}\n'


async def test_a_client_that_does_not_read_is_dropped(tmp_path: Path) -> None:
    settings = AnalystSettings(query_s=0.2, queries_max=1)
    async with opened(tmp_path, settings), asyncio.timeout(WAIT_S):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(socket_path(tmp_path)))
            client.sendall(framed(Ask("SELECT a FROM range(10000000) AS r(a)", "csv", 0)))
            assert await ask_until_there(tmp_path, "SELECT 1 AS a") == '{"a":1}\n'
            client.setblocking(True)
            while await asyncio.to_thread(client.recv, 1 << 20):
                pass


@pytest.mark.parametrize(
    "sent",
    [
        frame(b"\xc1"),
        frame(b""),
        frame(b"\x81\xa4type\xa5other"),
        struct.pack("<I", 1 << 31),
    ],
)
async def test_what_is_no_question_is_refused(
    tmp_path: Path, link: AnalystLink, sent: bytes
) -> None:
    def talk() -> bytes | None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(socket_path(tmp_path)))
            client.sendall(sent)
            return receive_frame(client)

    body = await asyncio.to_thread(talk)
    assert isinstance(to_client.decode(body or b""), Refused)
    assert await ask(tmp_path, "SELECT 1 AS a") == '{"a":1}\n'


async def test_a_killed_process_is_replaced_and_who_had_asked_hardly_notices(
    tmp_path: Path, link: AnalystLink
) -> None:
    for _ in range(2):
        pid = link.pid
        assert pid is not None
        asking = asyncio.create_task(ask(tmp_path, "SELECT 1 AS a"))
        os.kill(pid, signal.SIGKILL)
        assert await asking == '{"a":1}\n'
        assert link.pid != pid


async def test_a_query_that_ends_the_process_twice_is_given_up(tmp_path: Path) -> None:
    asked = 0

    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += len(await reader.read(1))
        writer.close()

    with unix_address(socket_path(tmp_path)) as address:
        server = await asyncio.start_unix_server(end, address)
    with pytest.raises(LogUnavailable, match="ask again"):
        await ask(tmp_path, "SELECT 1 AS a")
    assert asked == 2
    server.close()


async def test_what_an_earlier_process_spilled_is_removed(tmp_path: Path) -> None:
    left = tmp_path / SPILL / "1" / "left"
    left.parent.mkdir(parents=True)
    left.touch()
    async with opened(tmp_path):
        assert not left.exists()


async def test_signals_to_the_whole_group_leave_the_end_to_the_hub(
    tmp_path: Path, link: AnalystLink
) -> None:
    assert link.pid is not None
    os.kill(link.pid, signal.SIGINT)
    os.kill(link.pid, signal.SIGTERM)
    assert await ask(tmp_path, "SELECT 1 AS a") == '{"a":1}\n'


async def test_without_the_process_the_client_is_told_to_ask_again(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable, match="ask again"):
        await ask(tmp_path, "SELECT 1")
    with pytest.raises(LogUnavailable, match="ask again"):
        await asyncio.to_thread(list, stream_blocking(tmp_path, Ask("SELECT 1", "csv", 0)))


@pytest.mark.parametrize(
    "bomb",
    [
        "SELECT len(range(1000000000))",
        "SELECT len(repeat('x', 4000000000))",
        "SELECT len(printf('%2000000000d', 1))",
        "SELECT repeat('x', 1000000) FROM range(2048)",
        "SELECT list_sort(list_transform(range(200000000), lambda x: hash(x)))[1]",
    ],
)
async def test_what_the_database_does_not_count_the_kernel_does(tmp_path: Path, bomb: str) -> None:
    """One row of the first takes 8 GB, whatever `memory_limit` says."""
    brief = AnalystSettings(query_s=2.0, queries_max=1, memory_mb=128)
    async with opened(tmp_path, brief) as link:
        asking = ask(tmp_path, bomb, "csv")
        with pytest.raises((OperatorFault, LogUnavailable), match=r"(?i)memory|alloc|long|again"):
            await asking
        assert await ask_until_there(tmp_path, "SELECT 1 AS a") == '{"a":1}\n'
        assert link.pid is not None
        assert peak_mb(link.pid) < 2 * brief.memory_mb + 256 + 200


def peak_mb(pid: int) -> int:
    """Most memory the process ever had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


async def test_a_query_that_cannot_be_stopped_ends_the_process(tmp_path: Path) -> None:
    settings = AnalystSettings(query_s=0.5)
    async with opened(tmp_path, settings) as link, asyncio.timeout(WAIT_S):
        pid = link.pid
        with pytest.raises(LogUnavailable, match="ended; ask again"):
            await _ask_until_it_runs(tmp_path, ENDLESS_ROW)
        assert await ask_until_there(tmp_path, "SELECT 1 AS a") == '{"a":1}\n'
        assert link.pid != pid


async def _ask_until_it_runs(data: Path, sql: str) -> None:
    while True:
        with contextlib.suppress(OperatorFault):  # stopped before it came to its first row
            await ask(data, sql)


async def test_the_log_and_the_analyst_go_on_without_each_other(tmp_path: Path) -> None:
    log = await asyncio.to_thread(LinkedLog(tmp_path).open)
    link = AnalystLink(tmp_path, SETTINGS, restart_s_first=0.01)
    await link.open(log.hub)
    count = "SELECT count(*) AS n FROM events"
    try:
        for round_ in range(1, 4):
            await asyncio.to_thread(log.append, steps(1, 10))
            seen = await ask_until_there(tmp_path, count, after=log.last_seq)
            assert seen == f'{{"n":{20 * round_}}}\n'
            victim = (log.link.pid, link.pid)[round_ % 2]
            assert victim is not None
            os.kill(victim, signal.SIGKILL)
            assert await ask_until_there(tmp_path, "SELECT 1 AS a") == '{"a":1}\n'
    finally:
        await link.close()
        await asyncio.to_thread(log.close)


def test_the_process_ends_with_the_hub(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HUB.format(data=str(tmp_path), hub=HUB)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as hub:
        assert hub.stdout is not None
        waiting = os.pidfd_open(int(hub.stdout.readline()))
        hub.kill()
    ended = bool(select.select([waiting], [], [], 1.0)[0])
    os.close(waiting)
    assert ended


_HUB = """
import asyncio
from pathlib import Path
from hub.log.analyst.link import AnalystLink
from hub.settings import AnalystSettings
async def main():
    link = AnalystLink(Path({data!r}), AnalystSettings())
    await link.open({hub!r})
    print(link.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
