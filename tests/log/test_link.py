"""The hub's end: durable once, in order, whatever happens to the process."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from hub.errors import HubFault, LogUnavailable
from hub.log.journal import FILE_NAME as JOURNAL
from hub.log.link import LogLink
from hub.log.messages import socket_path
from hub.log.read import Reader
from hub.log.salvage import FILE_NAME
from hub.settings import LogSettings
from tests.log.events import floats, observation, steps
from tests.log.linked import WAIT_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from hub.words import Event

SMALL = LogSettings(batch_rows_max=8, pending_rows_max=100, checkpoint_wal_mb=0.05)


@pytest.fixture
async def link(tmp_path: Path) -> AsyncIterator[LogLink]:
    link = LogLink(tmp_path, SMALL, restart_s_first=0.01)
    await link.open()
    yield link
    await link.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait on the loop until the condition holds."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - conditions are plain properties
            await asyncio.sleep(0.001)


def stored(data: Path) -> list[Event]:
    """All that a reader gets."""
    events: list[Event] = []
    with Reader(socket_path(data)) as reader:
        while not reader.caught_up:
            events += reader.receive(WAIT_S) or []
    return events


async def test_callbacks_come_in_order_with_their_seq(link: LogLink) -> None:
    seqs: list[int] = []
    for rows in (1, 3, 20, 2):
        link.append([observation(0)] * rows, seqs.append)
    await until(lambda: len(seqs) == 4)
    assert seqs == [1, 2, 5, 25]


async def test_the_end_is_what_was_called_back(link: LogLink) -> None:
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    link.append(steps(1, 5), done.set_result)
    assert link.last_seq == 0
    await done
    assert link.last_seq == 10
    assert link.appended_bytes > 0


async def test_an_event_that_fits_no_column_is_refused_alone(link: LogLink) -> None:
    seqs: list[int] = []
    with pytest.raises(HubFault, match=r"'boiler-2'.*64 bits"):
        link.append([observation(2**63, "boiler-2")], seqs.append)
    with pytest.raises(HubFault, match="5 bytes"):
        link.append([observation(1, obs=bytes(5))], seqs.append)
    link.append([observation(1)], seqs.append)
    await until(lambda: seqs == [1])


async def test_a_payload_that_is_nobodys_is_refused_alone(link: LogLink) -> None:
    """It would be kept by the key of a device that has no name, for which there is no file."""
    seqs: list[int] = []
    with pytest.raises(HubFault, match="no device is named"):
        link.append([observation(0, device="", payload="{}")], seqs.append)
    link.append(steps(0, 0), seqs.append)
    await until(lambda: seqs == [1])


async def test_a_callback_that_fails_costs_the_others_nothing(link: LogLink) -> None:
    errors: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
    seqs: list[int] = []

    def fail(seq: int) -> None:
        raise ValueError(seq)

    link.append([observation(1)], fail)
    link.append([observation(2)], seqs.append)
    await until(lambda: seqs == [2])
    assert [repr(error) for error in errors] == ["ValueError(1)"]


async def test_a_crowded_link_says_so_and_when_it_is_over(tmp_path: Path) -> None:
    relieved = asyncio.Event()
    link = LogLink(tmp_path, SMALL, on_relief=relieved.set)
    await link.open()
    crowded: list[bool] = []
    for step in range(SMALL.pending_rows_max + 1):
        link.append([observation(step)], lambda _: None)
        crowded.append(link.crowded)
    assert crowded == [False] * SMALL.pending_rows_max + [True]
    await asyncio.wait_for(relieved.wait(), WAIT_S)
    assert not link.crowded
    await link.close()


async def test_a_killed_process_is_replaced_and_nothing_is_lost_or_doubled(
    link: LogLink, tmp_path: Path
) -> None:
    """Kill at seeded moments of a stream; every event is called back once and there once."""
    seqs: list[int] = []
    sent = 0
    for kill_after in (3, 40, 90):
        pid = link.pid
        assert pid is not None
        while len(seqs) < kill_after:
            if not link.crowded:
                link.append([observation(sent), observation(sent)], seqs.append)
                sent += 1
            await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)
        for _ in range(20):
            link.append([observation(sent), observation(sent)], seqs.append)
            sent += 1
        await _replaced(link, pid)
    await until(lambda: len(seqs) == sent)
    assert seqs == list(range(1, 2 * sent, 2))
    found = await asyncio.to_thread(stored, tmp_path)
    assert [(event.seq, event.step) for event in found] == [
        (seq + 1, seq // 2) for seq in range(2 * sent)
    ]


async def _replaced(link: LogLink, pid: int) -> None:
    await until(lambda: link.pid not in (None, pid))


async def test_questions_fail_and_appends_wait_while_the_process_is_down(link: LogLink) -> None:
    assert link.pid is not None
    os.kill(link.pid, signal.SIGKILL)
    await until(lambda: not link.available)
    seqs: list[int] = []
    link.append([observation(1)], seqs.append)
    with pytest.raises(LogUnavailable):
        await link.recover()
    await until(lambda: seqs == [1])


async def test_a_log_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(LogUnavailable, match="directory"):
        await LogLink(tmp_path, SMALL).open()


async def test_damage_is_in_the_answer(tmp_path: Path) -> None:
    link = LogLink(tmp_path, SMALL)
    await link.open()
    seqs: list[int] = []
    link.append([observation(1)] * 4, seqs.append)
    await until(lambda: seqs == [1])
    await link.close()
    (tmp_path / FILE_NAME).unlink()
    (tmp_path / JOURNAL).unlink()
    opened = await link.open()
    assert (opened.last_seq, opened.next_seq, opened.epoch) == (0, 5, 2)
    assert "events 1 to 4" in str(opened.damage)
    link.append([observation(1)], seqs.append)
    await until(lambda: seqs == [1, 5])
    await link.close()


async def test_a_predecessor_that_still_holds_the_file_is_waited_for(tmp_path: Path) -> None:
    command = f"import duckdb; log = duckdb.connect({str(tmp_path / FILE_NAME)!r}); "
    command += "print('open', flush=True); input()"
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    await holder.stdout.readline()
    link = LogLink(tmp_path, SMALL)
    opening = asyncio.create_task(link.open())
    holder.stdin.write(b"\n")
    await holder.wait()
    assert (await opening).next_seq == 1
    await link.close()


async def test_signals_to_the_whole_group_leave_the_end_to_the_hub(link: LogLink) -> None:
    assert link.pid is not None
    os.kill(link.pid, signal.SIGINT)
    os.kill(link.pid, signal.SIGTERM)
    seqs: list[int] = []
    link.append([observation(1)], seqs.append)
    await until(lambda: seqs == [1])
    assert link.available


def test_the_hubs_and_the_trainers_end_import_nothing_heavy() -> None:
    command = (
        "import sys, hub.log.link, hub.log.read;"
        "sys.exit(not {'duckdb', 'pyarrow', 'numpy', 'torch'}.isdisjoint(sys.modules))"
    )
    subprocess.run([sys.executable, "-c", command], check=True)


async def test_large_vectors_go_through(link: LogLink, tmp_path: Path) -> None:
    seqs: list[int] = []
    big = floats(*range(100_000))
    for _ in range(20):
        link.append([observation(1, obs=big)], seqs.append)
    await until(lambda: len(seqs) == 20)
    found = await asyncio.to_thread(stored, tmp_path)
    assert [event.obs for event in found] == [big] * 20


async def test_a_full_disk_stalls_commits_and_freeing_it_resumes_them(tmp_path: Path) -> None:
    """The bound is above what the disk has: it is full until the process opens with a lower one."""
    space = os.statvfs(tmp_path)
    free_mb = space.f_bavail * space.f_frsize / 2**20
    link = LogLink(tmp_path, LogSettings(disk_free_mb_min=2 * free_mb), restart_s_first=0.01)
    await link.open()
    seqs: list[int] = []
    link.append([observation(1)], seqs.append)
    await until(lambda: link.stalled is not None)
    assert "is full" in str(link.stalled)
    assert seqs == []
    await link.close()
    freed = LogLink(tmp_path, LogSettings())
    assert (await freed.open()).last_seq == 0
    freed.append([observation(1)], seqs.append)
    await until(lambda: seqs == [1])
    await freed.close()


@pytest.mark.acceptance
def test_the_process_ends_with_the_hub(tmp_path: Path) -> None:
    hub = subprocess.Popen(
        [sys.executable, "-c", _HUB.format(data=str(tmp_path))], stdout=subprocess.PIPE
    )
    with hub:
        assert hub.stdout is not None
        log_pid = int(hub.stdout.readline())
        waiting = os.pidfd_open(log_pid)
        hub.kill()
    ended = _readable(waiting, 1.0)
    os.close(waiting)
    assert ended


_HUB = """
import asyncio
from pathlib import Path
from hub.log.link import LogLink
from hub.settings import LogSettings
async def main():
    link = LogLink(Path({data!r}), LogSettings())
    await link.open()
    print(link.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def _readable(fd: int, timeout_s: float) -> bool:
    return bool(select.select([fd], [], [], timeout_s)[0])


@pytest.mark.parametrize("gather_s", [0.001, 2 * WAIT_S])
async def test_what_waits_for_more_to_come_is_committed_with_it(
    tmp_path: Path, gather_s: float
) -> None:
    coming, seqs = True, list[int]()
    link = LogLink(tmp_path, SMALL, coming=lambda: coming, gather_s=gather_s)
    await link.open()
    try:
        link.append(steps(0, 0), seqs.append)
        link.append(steps(1, 1), seqs.append)
        coming = False
        link.append(steps(2, 2), seqs.append)
        await until(lambda: seqs == [1, 3, 5])
    finally:
        await link.close()


async def test_what_waits_for_more_to_come_goes_without_it_in_time(tmp_path: Path) -> None:
    seqs: list[int] = []
    link = LogLink(tmp_path, SMALL, coming=lambda: True, gather_s=0.01)
    await link.open()
    try:
        link.append(steps(0, 0), seqs.append)
        await until(lambda: seqs == [1])
    finally:
        await link.close()
