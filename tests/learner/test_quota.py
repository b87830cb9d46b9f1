"""A process is held to its share of a core by what it really used, and is never left standing."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pytest

from hub.clock import SystemClock
from hub.learner.processes.child import Child
from hub.learner.processes.proc import PROC, cpu_s
from hub.learner.processes.quota import Quota
from hub.settings import LearnerSettings
from tests.learner.test_child import OPENED_S, SETTINGS, context, opened_once

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable
    from multiprocessing.context import ForkServerContext

__all__ = ["context"]

PERCENT: Final = 5
"""Little, so that a machine with much else to do gives it too."""
CLOCK: Final = SystemClock()
WINDOW_S: Final = 3.0
UNIT_S: Final = 0.05
POLL_S: Final = 0.005


def spin(connection: socket.socket) -> None:
    """Use all the processor time there is, until the hub closes the socket."""
    connection.setblocking(False)
    while True:
        try:
            if not connection.recv(1):
                return
        except BlockingIOError:
            pass


@pytest.fixture
async def busy(context: ForkServerContext) -> AsyncIterator[Child]:
    """A process that computes without rest; all of it is gone at the end."""
    child = Child("busy", lambda: (spin, ()), context, SETTINGS, CLOCK)
    await opened_once(child)
    yield child
    child.stop()
    await asyncio.wait_for(child.ended(), OPENED_S)


def used_s(child: Child) -> float:
    assert child.pid is not None
    used = cpu_s(child.pid)
    assert used is not None
    return used


def stands(child: Child) -> bool:
    """Whether it was stopped by a signal."""
    return (PROC / str(child.pid) / "stat").read_text().rpartition(")")[2].split()[0] == "T"


async def share(child: Child) -> float:
    """Of one core, in a window of the wall's clock."""
    used, started = used_s(child), CLOCK.monotonic()
    await until(lambda: CLOCK.monotonic() - started > WINDOW_S)
    return (used_s(child) - used) / (CLOCK.monotonic() - started)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(OPENED_S):
        while not condition():
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), POLL_S)  # nobody sets it


async def test_a_busy_process_gets_its_share_and_no_more(busy: Child) -> None:
    quota = Quota(busy, CLOCK)
    quota.limit(PERCENT)
    await until(lambda: stands(busy))
    got = await share(busy)
    # Looks may come late on a machine that is busy otherwise, and it may give less.
    assert PERCENT / 400 < got < PERCENT / 100 + 0.1
    quota.limit(None)
    before = used_s(busy)
    await until(lambda: stands(busy) or used_s(busy) - before > 10 * UNIT_S)
    assert not stands(busy)


async def test_a_process_that_stands_still_ends_when_it_is_told_to(busy: Child) -> None:
    quota = Quota(busy, CLOCK)
    quota.limit(1)
    await until(lambda: stands(busy))
    started = CLOCK.monotonic()
    quota.limit(None)
    busy.stop()
    await asyncio.wait_for(busy.ended(), OPENED_S)
    assert CLOCK.monotonic() - started < OPENED_S / 2


async def test_a_process_that_stands_still_can_be_started_again(busy: Child) -> None:
    quota = Quota(busy, CLOCK)
    quota.limit(PERCENT)
    before = busy.pid
    await until(lambda: stands(busy))
    busy.restart()
    await until(lambda: busy.pid not in (None, before))
    await until(lambda: stands(busy))
    quota.limit(None)


async def test_what_was_not_used_is_not_saved_up_for_long(context: ForkServerContext) -> None:
    """A process that waits, then computes: it is stopped about as soon as one that never waited."""
    child = Child("sleeper", lambda: (wait_and_spin, ()), context, SETTINGS, CLOCK)
    await opened_once(child)
    quota = Quota(child, CLOCK)
    quota.limit(2 * PERCENT)
    await share(child)
    await share(child)  # twice WINDOW_S of waiting: at 10 % that were 0.6 s to be saved
    before = used_s(child)
    child.send(b"\0")
    await until(lambda: stands(child))
    assert used_s(child) - before < 0.1 + 4 * UNIT_S
    quota.limit(None)
    child.stop()
    await asyncio.wait_for(child.ended(), OPENED_S)


def wait_and_spin(connection: socket.socket) -> None:
    """Wait for a byte first."""
    connection.recv(1)
    spin(connection)


async def test_a_limit_may_change_while_the_process_waits_for_its_next_start(
    context: ForkServerContext, caplog: pytest.LogCaptureFixture
) -> None:
    slow = LearnerSettings(restart_s_first=3600.0, restart_s_max=3600.0)
    child = Child("slow", lambda: (spin, ()), context, slow, CLOCK)
    await opened_once(child)
    quota = Quota(child, CLOCK)
    quota.limit(PERCENT)
    child.restart()
    await until(lambda: "starts again in 3600.0 s" in caplog.text)
    quota.limit(2 * PERCENT)
    quota.limit(None)
    assert child.pid is None
    child.stop()
    await asyncio.wait_for(child.ended(), OPENED_S)
