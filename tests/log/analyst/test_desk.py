"""Whose turn it is, what is waited for, and how queries end that do not end by themselves."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from hub.clock import SystemClock
from hub.errors import LogUnavailable, OperatorFault
from hub.log.analyst import desk as desks
from hub.log.analyst import instances
from hub.log.analyst.desk import WAITING_MAX, Desk
from hub.log.analyst.messages import Ask
from hub.log.messages import socket_path
from hub.settings import AnalystSettings
from tests.log.analyst.asking import HUB, drop, seal
from tests.log.events import observation, steps
from tests.log.linked import LinkedLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

WAIT_S = 20.0
SETTINGS = AnalystSettings(query_s=1.0, result_bytes_max=100_000, memory_mb=128)
ENDLESS = "SELECT sum(a * b) FROM range(1000000) AS r(a), range(1000000) AS s(b)"
COUNT = "SELECT count(*) AS n FROM events"


class Client:
    """Takes pieces; at its own pace when told so."""

    def __init__(self, *, reads: bool = True) -> None:
        self.taken: list[bytes] = []
        self.reads = asyncio.Event()
        if reads:
            self.reads.set()

    async def send(self, piece: bytes) -> None:
        """As the process has it."""
        self.taken.append(piece)
        await self.reads.wait()


@asynccontextmanager
async def opened(data: Path, hub: str = HUB, **changes: Any) -> AsyncIterator[Desk]:
    desk = Desk(data, hub, structs.replace(SETTINGS, **changes), SystemClock())
    yield desk
    await desk.close()


async def ask(desk: Desk, sql: str, form: Any = "json", after: int = 0, agents: Any = None) -> str:
    client = Client()
    await desk.answer(Ask(sql, form, after, agents), client.send)
    return b"".join(client.taken).decode()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(tmp_path) as desk:
        yield desk


async def test_what_is_sealed_needs_no_log(tmp_path: Path, desk: Desk) -> None:
    seal(tmp_path / "segments", steps(1, 2))
    assert await ask(desk, COUNT, after=4) == '{"n":4}\n'
    seal(tmp_path / "segments", steps(1, 3))
    assert await ask(desk, COUNT, after=6) == '{"n":6}\n'


async def test_what_takes_too_long_is_ended_and_the_next_has_its_place(tmp_path: Path) -> None:
    async with opened(tmp_path, queries_max=1) as desk:
        first = asyncio.create_task(ask(desk, ENDLESS))
        second = asyncio.create_task(ask(desk, "SELECT 1 AS a"))
        with pytest.raises(OperatorFault, match=r"longer than 1 s; ask for less"):
            await first
        assert await second == '{"a":1}\n'


BOMBS = {
    "cross join": ENDLESS,
    "recursion": "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) FROM n",
    "counting": (
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    ),
    "range of rows": "SELECT sum(a) FROM range(1000000000000) AS r(a)",
    "range of a list": "SELECT len(range(1000000000000))",
    "list of rows": "SELECT list(a) FROM range(100000000) AS r(a)",
    "sort": "SELECT a FROM range(1000000000) AS r(a) ORDER BY hash(a)",
    "distinct": "SELECT count(DISTINCT hash(a)) FROM range(1000000000) AS r(a)",
    "text doubled": (
        "WITH RECURSIVE r(s) AS (SELECT 'x' UNION ALL SELECT s || s FROM r) "
        "SELECT max(len(s)) FROM r"
    ),
    "text joined": "SELECT len(string_agg(repeat('x', 100000), '')) FROM range(100000)",
    "text repeated": "SELECT max(repeat('x', 10000000 + (a % 10)::INT)) FROM range(3000) AS r(a)",
    "JSON nested": "SELECT json_valid(repeat('[', 50000000))",
    "similar texts": (
        "SELECT sum(levenshtein(hash(a)::VARCHAR, hash(b)::VARCHAR)) "
        "FROM range(1000000) AS r(a), range(1000000) AS s(b)"
    ),
    "many rows": "SELECT * FROM range(1000000000)",
    "wide rows": "SELECT repeat('x', 100000) FROM range(10000)",
}


@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_bomb_costs_its_sender_only(desk: Desk, bomb: str) -> None:
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(OperatorFault, match=r"(?i)longer than|larger than|memory|2\^32"):
            await ask(desk, BOMBS[bomb], "csv")
    assert await ask(desk, "SELECT 1 AS a") == '{"a":1}\n'


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT regexp_matches(repeat('a', 10000), '(a*)*b') FROM range(1000)",
        "SELECT regexp_matches(repeat('a', 10000), '(.*)(.*)(.*)(.*)[0-9]{50}x') FROM range(100)",
    ],
)
async def test_regular_expressions_take_linear_time(tmp_path: Path, sql: str) -> None:
    async with opened(tmp_path, query_s=WAIT_S) as desk:
        await ask(desk, sql)


@pytest.mark.parametrize("form", ["json", "csv", "arrow", "table"])
async def test_a_result_that_is_too_large_is_cut_off(tmp_path: Path, form: Any) -> None:
    client = Client()
    sql = "SELECT repeat('x', 1000) AS a FROM range(9000)"
    async with opened(tmp_path, query_s=WAIT_S) as desk:
        with pytest.raises(OperatorFault, match="larger than 100000 bytes"):
            await desk.answer(Ask(sql, form, 0), client.send)
    assert sum(map(len, client.taken)) <= 100_000


async def test_large_rows_are_sent_in_small_pieces(tmp_path: Path) -> None:
    client = Client()
    async with opened(tmp_path, result_bytes_max=1 << 28, query_s=WAIT_S) as desk:
        await desk.answer(Ask("SELECT repeat('x', 1000000) FROM range(9)", "csv", 0), client.send)
    assert max(map(len, client.taken)) < 2_100_000
    assert sum(map(len, client.taken)) > 9_000_000


async def test_a_value_that_cannot_be_written_is_the_senders_fault(desk: Desk) -> None:
    with pytest.raises(OperatorFault, match=r"can't be written as json .*cast it to VARCHAR"):
        await ask(desk, "SELECT TIMESTAMP '294246-01-01'")


async def test_a_column_that_parquet_has_no_type_for_is_the_senders_fault(desk: Desk) -> None:
    client = Client()
    with pytest.raises(OperatorFault, match=r"can't be written as parquet .*cast it to VARCHAR"):
        await desk.answer(Ask("SELECT INTERVAL 1 MONTH AS a", "parquet", 0), client.send)


async def test_more_than_can_wait_are_turned_away(desk: Desk) -> None:
    count = SETTINGS.queries_max + WAITING_MAX + 1
    tasks = [asyncio.create_task(ask(desk, "SELECT 1")) for _ in range(count)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    turned_away = [isinstance(result, LogUnavailable) for result in results]
    assert turned_away.count(True) >= 1
    assert turned_away[: SETTINGS.queries_max] == [False] * SETTINGS.queries_max
    assert desk.busy == 0


async def test_a_slow_client_is_waited_for_and_not_counted(desk: Desk) -> None:
    client = Client(reads=False)
    asked = Ask("SELECT a FROM range(5000) AS r(a)", "csv", 0)
    answering = asyncio.create_task(desk.answer(asked, client.send))
    done, _ = await asyncio.wait([answering], timeout=2 * SETTINGS.query_s)
    assert not done
    client.reads.set()
    await answering
    assert len(b"".join(client.taken).splitlines()) == 5001


async def test_a_query_that_nobody_waits_for_is_ended(desk: Desk) -> None:
    answering = asyncio.create_task(desk.answer(Ask(ENDLESS, "csv", 0), Client().send))
    async with asyncio.timeout(WAIT_S):
        while not desk.busy:  # noqa: ASYNC110 - the desk has no event for it
            await asyncio.sleep(0)
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert desk.busy == 0
    assert await ask(desk, "SELECT 1 AS a") == '{"a":1}\n'


async def test_a_client_that_breaks_ends_its_query(desk: Desk) -> None:
    async def send(piece: bytes) -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await desk.answer(Ask("SELECT a FROM range(5000) AS r(a)", "csv", 0), send)
    assert desk.busy == 0


async def test_a_file_dropped_meanwhile_is_no_fault_of_the_query(
    tmp_path: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest looks as before, so it is read again only because a file was not there."""
    seal(tmp_path / "segments", [observation(1), observation(1, "b", agent="heater")])
    assert await ask(desk, COUNT) == '{"n":2}\n'
    stamp = desk._instances._files._look_at_manifest()
    monkeypatch.setattr(desk._instances._files, "_look_at_manifest", lambda: stamp)
    drop(tmp_path / "segments", "heater")
    assert await ask(desk, COUNT) == '{"n":1}\n'


async def test_a_damaged_manifest_is_said_to_be_so(tmp_path: Path, desk: Desk) -> None:
    seal(tmp_path / "segments", steps(1, 1))
    with (tmp_path / "segments" / "manifest.jsonl").open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(LogUnavailable, match="line 2"):
        await ask(desk, COUNT)


async def test_only_so_many_instances_are_open(desk: Desk) -> None:
    for number in range(instances.INSTANCES_MAX + 2):
        await ask(desk, "SELECT 1", agents=[f"agent-{number}"])
    newest = [f"agent-{number}" for number in range(2, instances.INSTANCES_MAX + 2)]
    assert [next(iter(agents or ())) for agents in desk._instances._open] == newest


# --- with a log -------------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LinkedLog]:
    log = LinkedLog(tmp_path).open()
    yield log
    log.close()


@pytest.fixture
async def live(log: LinkedLog) -> AsyncIterator[Desk]:
    """Fed by the log."""
    async with opened(log.data, log.hub) as desk:
        yield desk


async def test_a_query_sees_all_that_was_acknowledged_before_it(log: LinkedLog, live: Desk) -> None:
    for count in range(1, 6):
        await asyncio.to_thread(log.append, steps(1, 50))
        assert await ask(live, COUNT, after=log.last_seq) == f'{{"n":{100 * count}}}\n'


async def test_owners_get_their_rows_only(log: LinkedLog, live: Desk) -> None:
    events = [observation(1, agent=name) for name in ("a", "b", "c", "a")]
    await asyncio.to_thread(log.append, events)
    sql = "SELECT string_agg(agent, '' ORDER BY seq) AS who FROM events"
    for agents, who in ((None, "abca"), (["a"], "aa"), (["c", "b"], "bc"), ([], "null")):
        answer = await ask(live, sql, after=4, agents=agents)
        assert answer.replace('"', "") == f"{{who:{who}}}\n"


async def test_what_the_log_does_not_send_is_not_waited_for_long(
    log: LinkedLog, live: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks, "READY_S", 0.2)
    await asyncio.to_thread(log.append, steps(1, 1))
    with pytest.raises(LogUnavailable, match=r"behind or away.*ask again"):
        await ask(live, COUNT, after=3)
    assert await ask(live, COUNT, after=2) == '{"n":2}\n'


async def test_who_asks_while_much_is_read_is_told_how_far_it_is_and_when_to_ask_again(
    log: LinkedLog, live: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "INSERT_ROWS", 1)  # a page at once
    monkeypatch.setattr(desks, "READY_S", 0.0)
    for _ in range(10):
        await asyncio.to_thread(log.append, steps(1, 1000))
    with pytest.raises(
        LogUnavailable, match=r"is at event [\d,]+ of 20,000; ask again in about \d"
    ):
        await ask(live, COUNT, after=20_000)
    monkeypatch.setattr(desks, "READY_S", 20.0)
    assert await ask(live, COUNT, after=20_000) == '{"n":20000}\n'


async def test_a_log_that_dies_and_comes_back_is_found_again(log: LinkedLog, live: Desk) -> None:
    await asyncio.to_thread(log.append, steps(1, 1))
    assert await ask(live, COUNT, after=2) == '{"n":2}\n'
    child = log.link._child
    assert child is not None
    child._process.kill()  # type: ignore[union-attr]  # it is started
    await asyncio.to_thread(log.append, steps(2, 2))
    assert await ask(live, COUNT, after=4) == '{"n":4}\n'


async def test_while_the_log_is_away_what_is_there_can_be_asked(
    log: LinkedLog, live: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(log.append, steps(1, 1))
    assert await ask(live, COUNT, after=2) == '{"n":2}\n'
    monkeypatch.setattr(desks, "READY_S", 0.2)
    await asyncio.to_thread(log.wait, log.link.close())
    log.opened = None
    socket_path(log.data).unlink()
    assert await ask(live, COUNT, after=2) == '{"n":2}\n'
    with pytest.raises(LogUnavailable, match="away"):
        await ask(live, COUNT, after=3)
    await live.pull()


async def test_between_queries_new_events_are_fetched(log: LinkedLog, live: Desk) -> None:
    assert await ask(live, COUNT) == '{"n":0}\n'
    await asyncio.to_thread(log.append, steps(1, 5000))
    await live.pull()
    assert await ask(live, COUNT) == '{"n":10000}\n'


def test_the_clients_and_the_hubs_ends_import_nothing_heavy() -> None:
    command = (
        "import sys, hub.log.analyst.link, hub.log.analyst.ask;"
        "sys.exit(not {'duckdb', 'pyarrow', 'numpy', 'torch'}.isdisjoint(sys.modules))"
    )
    subprocess.run([sys.executable, "-c", command], check=True)
