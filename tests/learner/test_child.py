"""A process of ours: told to stop at any moment, it ends, and harms no other."""

from __future__ import annotations

import asyncio
import os
import signal
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Final

import pytest

from hub.clock import SystemClock
from hub.learner.messages import LastWords, decode_from_trainer
from hub.learner.processes.child import FAILURES, HEALTHY_S, Child, Trouble
from hub.learner.processes.start import last_words, learner_context
from hub.settings import LearnerSettings

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from multiprocessing.context import ForkServerContext

SETTINGS: Final = LearnerSettings(restart_s_first=0.01)
BEYOND_SOCKET_BYTES: Final = 4 << 20
OPENED_S: Final = 20.0
"""The first child waits for the fork server to import torch."""


def linger(connection: socket.socket) -> None:
    """Wait until the hub closes the socket."""
    connection.recv(1)


def leave(connection: socket.socket) -> None:
    """End at once."""
    connection.close()


@pytest.fixture(autouse=True)
def context() -> ForkServerContext:
    """With the fork server started by this thread, since it ends with the thread that did."""
    context = learner_context()
    forkserver.ensure_running()
    return context


@pytest.fixture
def child(context: ForkServerContext) -> Child:
    return Child("child", lambda: (linger, ()), context, SETTINGS, SystemClock())


async def opened_once(child: Child) -> None:
    opened = asyncio.Event()
    child.start(opened=opened.set, received=lambda _: None)
    await asyncio.wait_for(opened.wait(), OPENED_S)


def server_pid() -> int | None:
    return forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined,no-any-return]


def test_stopping_while_it_starts_leaves_the_fork_server_alive(
    context: ForkServerContext,
) -> None:
    async def go() -> None:
        before = server_pid()
        for turns in range(12):
            child = Child("child", lambda: (linger, ()), context, SETTINGS, SystemClock())
            child.start(opened=lambda: None, received=lambda _: None)
            for _ in range(turns):
                await asyncio.sleep(0)
            child.stop()
            await child.ended()
            assert child.pid is None
        last = Child("last", lambda: (linger, ()), context, SETTINGS, SystemClock())
        await opened_once(last)
        last.stop()
        await last.ended()
        assert server_pid() == before

    asyncio.run(go())


def test_it_starts_again_when_it_ended_until_it_is_stopped(child: Child) -> None:
    async def go() -> None:
        opened: asyncio.Queue[int | None] = asyncio.Queue()
        child.start(opened=lambda: opened.put_nowait(child.pid), received=lambda _: None)
        first = await asyncio.wait_for(opened.get(), OPENED_S)
        child.restart()
        second = await asyncio.wait_for(opened.get(), OPENED_S)
        assert None not in (first, second)
        assert first != second
        child.stop()
        await child.ended()
        assert opened.empty()

    asyncio.run(go())


def test_it_is_said_once_that_it_ends_again_and_again(context: ForkServerContext) -> None:
    async def go() -> None:
        quick = LearnerSettings(restart_s_first=0.001, restart_s_max=0.001)
        child = Child("child", lambda: (leave, ()), context, quick, SystemClock())
        opened: asyncio.Queue[None] = asyncio.Queue()
        said: list[int] = []
        child.start(
            opened=lambda: opened.put_nowait(None),
            received=lambda _: None,
            failing=lambda: said.append(opened.qsize()),
        )
        async with asyncio.timeout(OPENED_S):
            for _ in range(2 * FAILURES):
                await opened.get()
        child.stop()
        await child.ended()
        assert len(said) == 1

    asyncio.run(go())


def test_stopping_ends_the_wait_before_the_next_start(
    context: ForkServerContext, caplog: pytest.LogCaptureFixture
) -> None:
    async def go() -> None:
        slow = LearnerSettings(restart_s_first=3600.0, restart_s_max=3600.0)
        child = Child("child", lambda: (leave, ()), context, slow, SystemClock())
        await opened_once(child)
        async with asyncio.timeout(OPENED_S):
            while "starts again in 3600.0 s" not in caplog.text:  # noqa: ASYNC110 - no event to wait for
                await asyncio.sleep(0)
        child.stop()
        await asyncio.wait_for(child.ended(), OPENED_S)

    asyncio.run(go())


def test_what_it_does_not_read_is_known_until_it_is_gone(child: Child) -> None:
    async def go() -> None:
        lost = asyncio.Event()
        opened = asyncio.Event()
        child.start(opened=opened.set, received=lambda _: None, lost=lost.set)
        await asyncio.wait_for(opened.wait(), OPENED_S)
        child.signal(signal.SIGSTOP)
        child.send(bytes(BEYOND_SOCKET_BYTES))
        assert child.unread_bytes > 0
        child.signal(signal.SIGKILL)
        await asyncio.wait_for(lost.wait(), OPENED_S)
        assert child.unread_bytes == 0
        child.stop()
        await child.ended()

    asyncio.run(go())


def die(connection: socket.socket) -> None:
    """As of a bug."""
    with last_words(connection):
        raise RuntimeError("two\nlines")


def be_killed(_connection: socket.socket) -> None:
    """As by the kernel, for want of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("target", "why"), [(die, "RuntimeError: two lines"), (be_killed, "killed by signal 9")]
)
def test_what_it_died_of_is_known(
    context: ForkServerContext, target: Callable[[socket.socket], None], why: str
) -> None:
    async def go() -> None:
        slow = LearnerSettings(restart_s_first=3600.0, restart_s_max=3600.0)
        child = Child("child", lambda: (target, ()), context, slow, SystemClock())

        def received(body: bytes) -> None:
            said = decode_from_trainer(body)
            assert isinstance(said, LastWords)
            child.note(said.error)

        child.start(opened=lambda: None, received=received)
        async with asyncio.timeout(OPENED_S):
            while child.trouble is None:  # noqa: ASYNC110 - no event to wait for
                await asyncio.sleep(0)
        assert child.trouble == Trouble(1, why)
        child.stop()
        await child.ended()

    asyncio.run(go())


class Ages:
    """A clock on which every process has run for long when it ends."""

    def __init__(self) -> None:
        self._now = 0.0

    def now_us(self) -> int:
        return 0

    def monotonic(self) -> float:
        self._now += 2 * HEALTHY_S
        return self._now


async def test_one_that_is_at_fault_waits_longer_each_time_however_long_it_ran(
    context: ForkServerContext, caplog: pytest.LogCaptureFixture
) -> None:
    opened: asyncio.Queue[None] = asyncio.Queue()
    settings = LearnerSettings(restart_s_first=0.1)
    child = Child("child", lambda: (linger, ()), context, settings, Ages())
    child.start(opened=lambda: opened.put_nowait(None), received=lambda _: None)
    for at_fault in (True, True, True, False):
        await asyncio.wait_for(opened.get(), OPENED_S)
        child.restart(at_fault=at_fault)
    await asyncio.wait_for(opened.get(), OPENED_S)
    child.stop()
    await asyncio.wait_for(child.ended(), OPENED_S)
    waits = [record.args[-1] for record in caplog.records if isinstance(record.args, tuple)]
    assert waits == [0.1, 0.2, 0.4, 0.1]
