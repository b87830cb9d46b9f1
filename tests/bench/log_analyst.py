"""What analysts get from a log in segments, and what they cost the devices meanwhile."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import TYPE_CHECKING, Final

import uvloop
from msgspec import Struct

from hub.log.analyst import messages
from hub.log.analyst.ask import stream_blocking
from hub.log.analyst.link import AnalystLink
from hub.log.link import LogLink
from hub.settings import AnalystSettings, LogSettings
from tests.bench.log_load import steady

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.log_load import Steady

BESIDE_ROWS_PER_S: Final = 5_000
ASKED: Final = 20
"""Times that a question is asked after the first."""
QUESTIONS: Final = {
    "learning curve of one agent": """
        SELECT device, episode, avg("return") OVER (ORDER BY ended ROWS 99 PRECEDING) AS "return"
        FROM episodes WHERE agent = 'agent-3' ORDER BY ended
    """,
    "last 1,000 events of an agent": """
        SELECT * FROM events WHERE agent = 'agent-3' ORDER BY seq DESC LIMIT 1000
    """,
}
HEAVY: Final = """
    SELECT agent, device, quantile_cont(obs[1], 0.5), quantile_cont(value, 0.5), count(*)
    FROM events GROUP BY ALL
"""
"""Looks at all rows."""


class Question(Struct, frozen=True):
    """One query through the analyst process, with everything but the newest events sealed."""

    name: str
    first_ms: float
    """Asked for the first time."""
    p50_ms: float
    """Asked `ASKED` times more."""


class Beside(Struct, frozen=True):
    """Commits at 5,000 rows/s while an analyst asks a heavy query again and again."""

    ratio_p99: float
    """With to without, median of the runs'."""
    p99_ms: float
    p99_ms_alone: float
    queries: int
    """That were answered, of all runs together."""
    query_ms: float


def analyst(data: Path, seconds: float, runs: int) -> tuple[list[Question], Beside]:
    """Ask the log of a data folder, most of which is sealed.

    Args:
        data: the folder.
        seconds: of each stream beside the heavy query.
        runs: of each.
    """
    return uvloop.run(_analyst(data, seconds, runs))


async def _analyst(data: Path, seconds: float, runs: int) -> tuple[list[Question], Beside]:
    link = LogLink(data, LogSettings())
    opened = await link.open()
    process = AnalystLink(data, AnalystSettings())
    await process.open(opened.hub)
    desk = _Desk(data, link)
    questions = [
        await asyncio.to_thread(desk.question, name, sql) for name, sql in QUESTIONS.items()
    ]
    alone: list[Steady] = []
    beside: list[Steady] = []
    for _ in range(runs):  # in turn, so that both meet the same machine
        alone.append(await steady(link, seconds, BESIDE_ROWS_PER_S))
        desk.enough = False
        asking = asyncio.create_task(asyncio.to_thread(desk.ask_on))
        beside.append(await steady(link, seconds, BESIDE_ROWS_PER_S))
        desk.enough = True
        await asking
    await process.close()
    await link.close()
    return questions, Beside(
        ratio_p99=median(
            one.commit_p99_ms / other.commit_p99_ms
            for one, other in zip(beside, alone, strict=True)
        ),
        p99_ms=median(run.commit_p99_ms for run in beside),
        p99_ms_alone=median(run.commit_p99_ms for run in alone),
        queries=len(desk.heavy_ms),
        query_ms=median(desk.heavy_ms),
    )


class _Desk:
    """Asks, one question after the other, from a thread of its own."""

    def __init__(self, data: Path, link: LogLink) -> None:
        self._data = data
        self._link = link
        self.enough = False
        self.heavy_ms: list[float] = []

    def question(self, name: str, sql: str) -> Question:
        """Ask it once, and then as often as it takes for a median."""
        first_ms, *again_ms = (self._ask_ms(sql) for _ in range(1 + ASKED))
        return Question(name, first_ms, median(again_ms))

    def ask_on(self) -> None:
        """Ask the heavy query again and again, at least once, until it is enough."""
        while not self.enough or not self.heavy_ms:
            self.heavy_ms.append(self._ask_ms(HEAVY))

    def _ask_ms(self, sql: str) -> float:
        started = time.perf_counter()
        ask = messages.Ask(sql, "arrow", after=self._link.last_seq)
        for _ in stream_blocking(self._data, ask):
            pass
        return (time.perf_counter() - started) * 1000
