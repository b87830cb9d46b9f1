"""Readers get every committed event once, in order, and nobody waits for them."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from hub.errors import HubFault
from hub.log.address import ADDRESS_BYTES_MAX, listen, unix_address
from hub.log.far import TOKEN_NAME
from hub.log.messages import Page, Subscribe, framed, socket_path
from hub.log.payload_keys import PREFIX
from hub.log.read import Closed, Fetcher, Reader, Remote
from hub.settings import LogSettings
from hub.words import Kind
from tests.log.events import floats, observation, steps, unnumbered
from tests.log.linked import WAIT_S, LinkedLog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hub.words import Event


PAGE_ROWS = 16_384
"""More than a first page has."""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LinkedLog]:
    log = LinkedLog(tmp_path, LogSettings(reader_events_max=1024))
    try:
        yield log.open()
    finally:
        log.close()


def received(reader: Reader, last: int) -> list[Event]:
    """Everything up to a seq."""
    events: list[Event] = []
    while reader.position < last:
        got = reader.receive(WAIT_S)
        assert got is not None, f"nothing came after {reader.position}"
        events += got
    return events


def test_a_reader_gets_the_past_and_then_what_is_new(log: LinkedLog) -> None:
    log.append(steps(1, 5))
    with log.reader() as reader:
        assert unnumbered(received(reader, 10)) == steps(1, 5)
        log.append(steps(6, 7))
        assert unnumbered(received(reader, 14)) == steps(6, 7)


def test_pages_join_while_the_log_grows(log: LinkedLog) -> None:
    """Start far behind and append all the while: replay must hand over to live without a seam."""
    log.append(steps(1, 2 * PAGE_ROWS))
    last = 4 * PAGE_ROWS + 400
    with log.reader() as reader:
        for step in range(200):
            log.append_later(steps(step, step))
        events = received(reader, last)
    assert [event.seq for event in events] == list(range(1, last + 1))


def test_a_reader_goes_on_at_its_position(log: LinkedLog) -> None:
    log.append(steps(1, 10))
    with log.reader(after=17) as reader:
        assert [event.seq for event in received(reader, 20)] == [18, 19, 20]


def test_caught_up_tells_when_all_is_there(log: LinkedLog) -> None:
    log.append(steps(1, 2 * PAGE_ROWS))
    with log.reader() as reader:
        events = received(reader, PAGE_ROWS)
        assert not reader.caught_up or len(events) == 4 * PAGE_ROWS
        received(reader, 4 * PAGE_ROWS)
        while not reader.caught_up:
            assert reader.receive(WAIT_S) is not None


def test_a_reader_of_one_agent_and_kind_sees_no_hole(log: LinkedLog) -> None:
    log.append([*steps(1, 3), observation(1, agent="heater")])
    with Reader(socket_path(log.data), 0, "walker", [Kind.OBSERVATION]) as reader:
        received(reader, 7)
        log.append([observation(2, agent="heater")])
        log.append([observation(9), observation(3, agent="heater")])
        (event,) = received(reader, 10)
        assert (event.seq, event.step) == (9, 9)


def test_fetched_pages_are_the_rows_as_they_are_stored(log: LinkedLog) -> None:
    said = observation(1, payload='{"name":"Ada"}')
    log.append([said, *steps(2, PAGE_ROWS)])
    with log.fetcher() as fetcher:
        pages = list(fetcher.pages(0))
        assert [page.live for page in pages] == [False] * (len(pages) - 1) + [True]
        assert pages[0].seq_first == 1
        assert len(pages) > 1
        assert pages[0].table.column("payload")[0].as_py().startswith(PREFIX)
        assert sum(page.table.num_rows for page in pages) == 2 * PAGE_ROWS - 1
        log.append([observation(1, agent="heater")])
        page = fetcher.fetch(pages[-1].seq_last, "heater")
        assert page.table.column("agent").to_pylist() == ["heater"]
        assert fetcher.fetch(page.seq_last).table.num_rows == 0


def test_a_reader_on_another_machine_shows_the_token(tmp_path: Path) -> None:
    log = LinkedLog(tmp_path, LogSettings(feed_port=0)).open()
    assert log.opened is not None
    assert log.opened.feed_port is not None
    token_file = tmp_path / TOKEN_NAME
    place = Remote("127.0.0.1", log.opened.feed_port, token_file.read_text())
    try:
        log.append(steps(1, 3))
        with Reader(place) as reader:
            assert unnumbered(received(reader, 6)) == steps(1, 3)
        with Fetcher(place) as fetcher:
            assert fetcher.fetch(2).table.num_rows == 4
        stranger = place._replace(token="guess")
        with Reader(stranger) as reader, pytest.raises(Closed):
            reader.receive(WAIT_S)
        with socket.create_connection(place[:2]) as connection:
            connection.sendall(framed(Subscribe(0)))
            connection.settimeout(WAIT_S)
            assert connection.recv(1) == b""
        assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    finally:
        log.close()


def test_readers_go_on_while_the_file_is_replaced(log: LinkedLog) -> None:
    log.append(steps(1, 1000))
    seal = [sys.executable, "-m", "hub.log.segments.seal", "--data", str(log.data)]
    subprocess.run([*seal, "--to", "1500", "--hub", log.hub], check=True)
    with log.reader() as reader:
        assert len(received(reader, 2000)) == 2000
        assert log.wait(log.link.rotate(1400)) == (1400, 2000)
        assert log.append(steps(1001, 1002)) == 2001
        assert len(received(reader, 2004)) == 4
    with log.reader(after=100) as behind:
        assert [event.seq for event in received(behind, 2004)] == list(range(101, 2005))
    assert log.wait(log.link.rotate(1600))[0] == 1400  # not sealed: nothing is done


def test_a_forgotten_device_can_be_read_by_nobody(log: LinkedLog) -> None:
    log.append([observation(1, payload='{"name":"Ada"}')])
    log.wait(log.link.forget("a"))
    with log.reader() as reader:
        (event,) = received(reader, 1)
        assert event.payload is None
        assert event.obs is not None


def test_a_reader_that_never_reads_delays_nobody(log: LinkedLog) -> None:
    """More than every buffer holds goes past a deaf reader; then it listens and misses nothing."""
    wide = [observation(step, obs=floats(*range(500))) for step in range(200)]
    with log.reader() as deaf, log.reader() as reader:
        for batch in range(20):
            assert log.append(wide) == 200 * batch + 1
            received(reader, 200 * (batch + 1))
        assert [event.seq for event in received(deaf, 4000)] == list(range(1, 4001))
        log.append([observation(1)])
        (event,) = received(deaf, 4001)
        assert event.seq == 4001


def test_a_dead_reader_is_forgotten(log: LinkedLog) -> None:
    with log.reader():
        log.append(steps(1, 2))
    with log.reader() as reader:
        assert len(received(reader, 4)) == 4


def test_nothing_in_time_is_none(log: LinkedLog) -> None:
    with log.reader() as reader:
        while not reader.caught_up:
            reader.receive(WAIT_S)
        assert reader.receive(0) is None
        assert reader.receive(0.01) is None


def test_iterating_gives_batches_until_the_process_is_gone(log: LinkedLog) -> None:
    log.append(steps(1, 2))
    with log.reader() as reader:
        batches = iter(reader)
        assert len(next(batches)) == 4
        assert log.link.pid is not None
        os.kill(log.link.pid, signal.SIGKILL)
        with pytest.raises(Closed):
            next(batches)
    assert log.append([observation(3)]) == 5
    with log.reader(after=3) as again:
        assert [event.seq for event in received(again, 5)] == [4, 5]


def test_no_process_is_closed(tmp_path: Path) -> None:
    with pytest.raises(Closed, match="no log process listens"), Reader(tmp_path / "log.sock"):
        pass


def test_a_position_beyond_the_log_is_turned_away(log: LinkedLog) -> None:
    with log.reader(after=99) as reader, pytest.raises(Closed):
        reader.receive(WAIT_S)


def test_nonsense_is_turned_away_and_others_go_on(log: LinkedLog) -> None:
    log.append(steps(1, 2))
    with socket.socket(socket.AF_UNIX) as stranger, log.reader() as reader:
        stranger.connect(str(socket_path(log.data)))
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        stranger.settimeout(WAIT_S)
        assert stranger.recv(1) == b""
        assert len(received(reader, 4)) == 4


def test_only_this_user_may_connect(log: LinkedLog) -> None:
    assert stat.S_IMODE(socket_path(log.data).stat().st_mode) == 0o600


def test_a_hole_is_noticed(tmp_path: Path) -> None:
    with listen(tmp_path / "log.sock") as listening, Reader(tmp_path / "log.sock") as reader:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(
                framed(Page(1, 3, [], live=True)) + framed(Page(5, 6, [], live=True))
            )
            with pytest.raises(HubFault, match=r"seq 5\.\.6 after 3"):
                reader.receive(WAIT_S)


def test_half_a_frame_waits_for_the_other(tmp_path: Path) -> None:
    page = framed(Page(1, 1, [observation(1)], live=True))
    with listen(tmp_path / "log.sock") as listening, Reader(tmp_path / "log.sock") as reader:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(page[:9])
            assert reader.receive(0) is None
            connection.sendall(page[9:])
            assert reader.receive(WAIT_S) == [observation(1)]


def test_a_path_longer_than_an_address_can_be_used(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 25)
    folder.mkdir()
    path = folder / "log.sock"
    assert len(str(path)) > ADDRESS_BYTES_MAX
    with listen(path) as listening:
        with Reader(path) as reader:
            connection, _ = listening.accept()
            with connection:
                assert connection.recv(100) == framed(Subscribe(0))
            assert reader.fileno() > 0
        with unix_address(path) as address:
            assert len(address) <= ADDRESS_BYTES_MAX
