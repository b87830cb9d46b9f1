"""What goes wrong with one reader of the feed is that reader's trouble alone."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from hub.log.address import listen
from hub.log.feed import UNKNOWN_MAX, Feed
from hub.log.read import Closed, Reader, Remote
from tests.log.events import observation
from tests.log.linked import WAIT_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from hub.words import Kind

TOKEN = "t" * 32


class Torn:
    """A log whose pages raise what no one expected."""

    def rows(
        self,
        first: int,
        last: int,
        agent: str | None,
        kinds: Sequence[Kind] | None,
        *,
        reveal: bool = True,
    ) -> pa.Table:
        raise KeyError(first)


class Told:
    """A feed at its end, seq 5, and what it reported."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "feed.sock"
        self.said: list[tuple[str, str]] = []
        self.feed = Feed(
            Torn(),
            end=5,
            reader_events_max=100,
            worker=ThreadPoolExecutor(1),
            report=lambda event, message: self.said.append((event, message)),
            token=TOKEN,
        )
        self.far = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.far.getsockname()[1]


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[Told]:
    told = Told(tmp_path)
    await told.feed.open(listen(told.path), told.far)
    yield told
    told.feed.close()


async def test_a_page_that_fails_in_any_way_closes_its_reader(told: Told) -> None:
    def read() -> None:
        with Reader(told.path) as reader:
            reader.receive(WAIT_S)

    with pytest.raises(Closed):
        await asyncio.to_thread(read)
    assert told.said == [("reader dropped", "KeyError(1)")]


async def test_a_live_reader_of_a_quiet_agent_does_not_hold_the_log_back(told: Told) -> None:
    with Reader(told.path, 5, "heater") as reader:
        await asyncio.to_thread(reader.receive, WAIT_S)
        told.feed.publish(6, [observation(step) for step in range(1000)])
        assert told.feed.position_min == 1005


async def test_strangers_take_no_place_from_readers(told: Told) -> None:
    strangers = [
        await asyncio.open_connection("127.0.0.1", told.port) for _ in range(2 * UNKNOWN_MAX)
    ]
    with Reader(told.path, 5) as reader:
        assert await asyncio.to_thread(reader.receive, WAIT_S) == []
    for stranger, writer in strangers:  # the surplus at once, the others when their time is over
        assert await asyncio.wait_for(stranger.read(), WAIT_S) == b""
        writer.close()
    with Reader(Remote("127.0.0.1", told.port, TOKEN), 5) as reader:
        assert await asyncio.to_thread(reader.receive, WAIT_S) == []
