"""Trainers keep the hub's own priority while a core is left beside them, and give way else."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

import pytest

from hub.clock import SystemClock
from hub.learner.processes.child import Child
from hub.learner.processes.priority import Priorities
from tests.learner.test_child import OPENED_S, SETTINGS, context, opened_once
from tests.learner.test_quota import spin, until

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator
    from multiprocessing.context import ForkServerContext

__all__ = ["context"]

NICE: Final = 7
CLOCK: Final = SystemClock()


def wait(connection: socket.socket) -> None:
    """Take nothing, until the hub closes the socket."""
    connection.recv(1)


@pytest.fixture
async def children(context: ForkServerContext) -> AsyncIterator[list[Child]]:
    """Two that compute without rest and one that waits, all at priority 0."""
    several = [
        Child(f"child-{i}", lambda run=run: (run, ()), context, SETTINGS, CLOCK)  # type: ignore[misc]  # mypy can't see the default's type
        for i, run in enumerate((spin, spin, wait))
    ]
    for child in several:
        await opened_once(child)
    yield several
    for child in several:
        child.stop()
        await asyncio.wait_for(child.ended(), OPENED_S)


def priorities(children: list[Child]) -> list[int]:
    return [os.getpriority(os.PRIO_PROCESS, child.pid or 0) for child in children]


async def come_to(children: list[Child], expected: list[int]) -> None:
    await until(lambda: priorities(children) == expected)


def pids(children: list[Child]) -> list[int]:
    return [child.pid for child in children if child.pid is not None]


async def test_as_many_as_the_cores_give_way_and_who_waits_for_data_does_not(
    children: list[Child],
) -> None:
    Priorities(lambda: pids(children), NICE, CLOCK, cores=2).watch()
    await come_to(children, [NICE, NICE, 0])


async def test_fewer_than_the_cores_keep_their_priority(children: list[Child]) -> None:
    looks = 0

    def looked() -> list[int]:
        nonlocal looks
        looks += 1
        return pids(children)

    Priorities(looked, NICE, CLOCK, cores=3).watch()
    await until(lambda: looks >= 4)
    assert priorities(children) == [0, 0, 0]


async def test_whoever_is_left_gets_its_priority_back_where_the_system_allows_it(
    children: list[Child],
) -> None:
    awake = list(children)
    Priorities(lambda: pids(awake), NICE, CLOCK, cores=2).watch()
    await come_to(children, [NICE, NICE, 0])
    del awake[1]
    if os.geteuid() == 0:
        await come_to(awake, [0, 0])


async def test_nobody_looks_when_none_runs_and_again_when_one_does(children: list[Child]) -> None:
    awake: list[Child] = []
    several = Priorities(lambda: pids(awake), NICE, CLOCK, cores=1)
    several.watch()
    await until(lambda: several._timer is None)
    awake += children
    several.watch()
    await come_to(children, [NICE, NICE, 0])
