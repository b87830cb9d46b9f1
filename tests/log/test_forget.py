"""The log process forgets a device with all that was appended before, and nothing of after."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from msgspec import Raw

from hub.clock import SystemClock
from hub.frames import Splitter
from hub.log import messages
from hub.log.feed import Feed
from hub.log.payload_keys import FOLDER as KEYS
from hub.log.process import LogProcess
from hub.log.store import DuckLog
from hub.settings import LogSettings
from tests.log.events import observation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SAID = '{"name":"Ada"}'


def opened(folder: Path) -> DuckLog:
    return DuckLog.open(folder, LogSettings(), clock=SystemClock())


def payloads(log: DuckLog) -> list[str | None]:
    return [event.payload for event in log.read()]


class Hub(asyncio.Transport):
    """The hub's end of a log process that runs in the test: what it was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[messages.ToHub] = []
        self._splitter = Splitter()

    @property
    def answered(self) -> int:
        """Messages of the hub that were carried out."""
        return sum(
            message.batches if isinstance(message, messages.Committed) else 1
            for message in self.got
            if not isinstance(message, messages.Opened)
        )

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.got += [messages.to_hub.decode(body) for body in self._splitter.feed(bytes(data))]


@pytest.fixture
def reading() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


async def said(log: DuckLog, reading: ThreadPoolExecutor, *asked: messages.ToLog) -> list[str]:
    """What a process answers to messages that came all at once; the kinds, in order."""
    feed = Feed(log, end=log.last_seq, reader_events_max=100, worker=reading, report=print)
    settings, data = LogSettings(), log.file.path.parent
    process = LogProcess(log, feed, reading, settings, SystemClock(), data=data, feed_port=None)
    hub = Hub()
    process.connection_made(hub)
    process.data_received(b"".join(messages.framed(one) for one in asked))
    async with asyncio.timeout(10):
        while hub.answered < len(asked):  # noqa: ASYNC110 - the process is driven by this loop
            await asyncio.sleep(0)
    process._filing.close()
    return [type(message).__name__ for message in hub.got[1:]]


def append(*payloads: str) -> messages.Append:
    events = [observation(step, payload=payload) for step, payload in enumerate(payloads)]
    return messages.Append([Raw(messages.encode_events(events))])


async def test_forget_is_done_after_the_appends_before_it(
    tmp_path: Path, reading: ThreadPoolExecutor
) -> None:
    log = opened(tmp_path)
    answers = await said(log, reading, append(SAID), messages.Forget(1, "a"))
    assert answers == ["Committed", "Forgotten"]
    assert payloads(log) == [None]
    assert not (tmp_path / KEYS / "a").exists()
    log.close()


async def test_forget_leaves_what_is_appended_after_it(
    tmp_path: Path, reading: ThreadPoolExecutor
) -> None:
    log = opened(tmp_path)
    forget = messages.Forget(1, "a")
    answers = await said(log, reading, forget, append(SAID), append(SAID), forget, append("{}"))
    assert answers.count("Forgotten") == 2
    assert payloads(log) == [None, None, "{}"]
    log.close()
