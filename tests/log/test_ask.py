"""What SQL may do, and each way around the fences that was ever found."""

from __future__ import annotations

import asyncio
import io
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pytest

from hub.clock import SystemClock
from hub.errors import OperatorFault
from hub.log.ask import WAITING_MAX, Asker, Desk
from hub.log.duck import DuckLog
from hub.log.guard import VIEWS
from hub.settings import LogSettings
from hub.words import Event, Kind
from tests.log.events import steps

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = LogSettings(query_s=0.05, query_bytes_max=100_000)
ENDLESS = "SELECT sum(a * b) FROM range(1000000) AS r(a), range(1000000) AS s(b)"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckLog]:
    """One for all tests: what they append stands behind these seven events."""
    log = DuckLog.open(tmp_path_factory.mktemp("log"), SETTINGS, clock=SystemClock())
    log.append([*steps(1, 3), Event(Kind.ADMIN, 0, secret=b"hidden")])
    yield log
    log.close()


@pytest.fixture(scope="module")
def asker(log: DuckLog) -> Asker:
    return Asker(log.query_connection(memory_mb=32), SETTINGS)


def rows(asker: Asker, sql: str) -> list[Any]:
    return [msgspec.json.decode(line) for line in asker.answer(sql, "json").splitlines()]


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_be_read_and_none_has_the_secret(asker: Asker, view: str) -> None:
    columns = [row["column_name"] for row in rows(asker, f"DESCRIBE {view}")]
    assert "secret" not in columns
    assert "hidden" not in asker.answer(f"SELECT * FROM {view}", "csv").decode()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM events",
        "FROM events LIMIT 1",
        "WITH a AS (SELECT * FROM events) SELECT count(*) FROM a JOIN transitions USING (seq)",
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) FROM n",
        "SELECT * FROM range(3) UNION ALL SELECT unnest([1, 2])",
        "SELECT * FROM (VALUES (1), (2)) AS t(a)",
        "EXPLAIN SELECT * FROM events",
        "SUMMARIZE events",
        "SELECT 1;",
        "-- a comment\nSELECT 'log; DELETE FROM log'",
    ],
)
def test_reading_is_possible(asker: Asker, sql: str) -> None:
    asker.answer(sql, "json")


REFUSED = [
    ("SELECT * FROM log", "there is no view 'log'"),
    ("SELECT * FROM main.log", "there is no view 'main.log'"),
    ('SELECT * FROM "LOG"', "there is no view 'LOG'"),
    ("SELECT (SELECT max(secret) FROM log)", "there is no view 'log'"),
    ("SELECT 1 FROM events WHERE seq IN (SELECT seq FROM log)", "there is no view 'log'"),
    ("FROM events UNION ALL BY NAME FROM log", "there is no view 'log'"),
    ("SELECT [x FOR x IN (SELECT list(secret) FROM log)]", "there is no view 'log'"),
    ("DESCRIBE log", "there is no view 'log'"),
    ("SELECT * FROM query_table('log')", "table function 'query_table'"),
    ("SELECT * FROM query('SELECT * FROM log')", "table function 'query'"),
    (
        "FROM json_execute_serialized_sql(json_serialize_sql('FROM log'))",
        "table function 'json_execute_serialized_sql'",
    ),
    ("WITH log AS (SELECT 1) SELECT * FROM log", "WITH log"),
    ("SELECT (WITH log AS (SELECT 1) SELECT 1), * FROM log", "WITH log"),
    ("WITH meta AS (FROM meta) FROM meta", "WITH meta"),
    ("WITH duckdb_settings AS (SELECT 1) FROM duckdb_tables", "duckdb_"),
    ("SELECT * FROM duckdb_settings()", "table function 'duckdb_settings'"),
    ("SELECT * FROM information_schema.tables", "there is no view"),
    ("SHOW TABLES", "there is no view"),
    ("SELECT * FROM read_text('/etc/passwd')", "table function 'read_text'"),
    ("SELECT * FROM glob('*')", "table function 'glob'"),
    ("SELECT * FROM '/etc/passwd'", "there is no view"),
    ("COPY (SELECT 1) TO 'out.csv'", "not COPY"),
    ("EXPORT DATABASE 'out'", "not EXPORT"),
    ("ATTACH ':memory:' AS m", "not ATTACH"),
    ("INSTALL httpfs", "not "),
    ("LOAD httpfs", "not LOAD"),
    ("SET memory_limit = '10GB'", "not "),
    ("PRAGMA database_list", "not PRAGMA"),
    ("CALL duckdb_settings()", "not CALL"),
    ("CHECKPOINT", "not "),
    ("CREATE TEMP TABLE t AS SELECT 1", "not CREATE"),
    ("INSERT INTO log SELECT * FROM log", "not INSERT"),
    ("UPDATE log SET seq = 1", "not UPDATE"),
    ("DELETE FROM log", "not DELETE"),
    ("DROP TABLE log", "not DROP"),
    ("BEGIN", "not TRANSACTION"),
    ("COMMIT; DELETE FROM log", "one statement at a time, not 2"),
    ("SELECT 1; SELECT 2", "one statement at a time, not 2"),
    ("", "one statement at a time, not 0"),
    ("WITH d AS (DELETE FROM log RETURNING *) FROM d", "DELETE is not possible"),
    ("WITH d AS (INSERT INTO log FROM log RETURNING *) FROM d", "INSERT is not possible"),
    ("WITH d AS (UPDATE log SET seq = 1 RETURNING *) FROM d", "UPDATE is not possible"),
    ("EXPLAIN DELETE FROM log", "only a plain SELECT"),
    ("EXPLAIN ANALYZE DELETE FROM log", "only a plain SELECT"),
    ("EXPLAIN ANALYZE SELECT * FROM events", "only a plain SELECT"),
    ("EXPLAIN (ANALYZE) SELECT * FROM log", "only a plain SELECT"),
    ("EXPLAIN SELECT * FROM log", "there is no view 'log'"),
    ("PIVOT events ON kind", "one statement|only"),
    ("SELECT nothing FROM events", "nothing"),
    ("SELEC 1", "syntax error|Parser"),
    ("SELECT " + "(" * 3000 + "1" + ")" * 3000, "depth"),
    ("SELECT '" + "x" * 70_000 + "'", "longer than"),
]


@pytest.mark.parametrize(("sql", "why"), REFUSED, ids=[sql[:40] for sql, _ in REFUSED])
def test_everything_else_is_refused_and_says_why(
    asker: Asker, log: DuckLog, sql: str, why: str
) -> None:
    before = log.read()
    with pytest.raises(OperatorFault, match=why):
        asker.answer(sql, "json")
    assert rows(asker, "SELECT count(*) AS n FROM events") == [{"n": len(before)}]
    assert log.append(steps(1, 1)) == len(before) + 1
    assert log.read(limit=len(before)) == before


def test_the_transaction_alone_would_stop_a_change(asker: Asker) -> None:
    """The second fence holds without the others."""
    asker._connection.execute("BEGIN TRANSACTION READ ONLY").fetchall()
    with pytest.raises(Exception, match="read-only"):
        asker._connection.execute("WITH d AS (DELETE FROM log RETURNING *) FROM d").fetchall()
    asker._connection.execute("ROLLBACK").fetchall()


def test_settings_are_locked(asker: Asker) -> None:
    with pytest.raises(Exception, match="locked"):
        asker._connection.execute("SET memory_limit = '10GB'").fetchall()


def test_a_result_that_is_too_large_is_refused(asker: Asker) -> None:
    with pytest.raises(OperatorFault, match="larger than 100000 bytes"):
        asker.answer("SELECT * FROM range(1000000)", "csv")


def test_a_query_that_needs_too_much_memory_is_refused(asker: Asker) -> None:
    with pytest.raises(OperatorFault, match=r"[Mm]emory"):
        asker.answer("SELECT list(a) FROM range(100000000) AS r(a)", "json")
    assert rows(asker, "SELECT 1 AS a") == [{"a": 1}]


def test_a_query_that_takes_too_long_is_ended_and_commits_go_on(asker: Asker, log: DuckLog) -> None:
    said: list[str] = []

    def ask() -> None:
        with pytest.raises(OperatorFault) as fault:
            asker.answer(ENDLESS, "json")
        said.append(str(fault.value))

    thread = threading.Thread(target=ask)
    thread.start()
    last = log.last_seq
    for seq in range(last + 1, last + 21):
        assert log.append(steps(1, 1)[:1]) == seq
    while thread.is_alive():
        asker.interrupt()
        thread.join(0.01)
    assert said == ["the query took longer than 0.05 s; ask for less at once"]


async def test_the_desk_ends_what_takes_too_long_and_goes_on(asker: Asker) -> None:
    desk = Desk(asker, SETTINGS)
    first = asyncio.create_task(desk.answer(ENDLESS, "json"))
    second = asyncio.create_task(desk.answer("SELECT 1 AS a", "json"))
    with pytest.raises(OperatorFault, match=r"longer than 0\.05 s"):
        await first
    assert await second == b'{"a":1}\n'


async def test_the_desk_refuses_more_than_can_wait(asker: Asker) -> None:
    desk = Desk(asker, SETTINGS)
    tasks = [asyncio.create_task(desk.answer("SELECT 1", "json")) for _ in range(WAITING_MAX + 1)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(result, OperatorFault) for result in results] == [False] * WAITING_MAX + [
        True
    ]


SAMPLE = """
    SELECT 1 AS whole, 0.5 AS half, 2::HUGEINT AS huge, 'say "hi", x' AS text, NULL AS nothing,
        [1.5::FLOAT, 2] AS list, TIMESTAMP '2026-11-01 10:00:00' AS time, true AS truth,
        'nan'::DOUBLE AS nan, {'a': 1} AS struct
"""


def test_json_has_one_object_a_line(asker: Asker) -> None:
    assert asker.answer(SAMPLE, "json") == (
        b'{"whole":1,"half":0.5,"huge":2,"text":"say \\"hi\\", x","nothing":null,"list":[1.5,2.0],'
        b'"time":"2026-11-01T10:00:00","truth":true,"nan":null,"struct":{"a":1}}\n'
    )


def test_csv_has_a_header_and_quotes_what_needs_it(asker: Asker) -> None:
    assert asker.answer(SAMPLE, "csv") == (
        b"whole,half,huge,text,nothing,list,time,truth,nan,struct\r\n"
        b'1,0.5,2,"say ""hi"", x",,"[1.5,2.0]",2026-11-01T10:00:00,true,nan,"{""a"":1}"\r\n'
    )


def test_a_table_lines_up(asker: Asker) -> None:
    sql = "SELECT kind, count(*) AS n FROM events WHERE seq <= 7 GROUP BY kind ORDER BY kind"
    table = asker.answer(sql, "table")
    assert table.decode().splitlines() == [
        "kind         n",
        "-----------  -",
        "action       3",
        "admin        1",
        "observation  3",
    ]


def test_arrow_is_a_stream_that_arrow_reads(asker: Asker) -> None:
    stream = asker.answer("SELECT seq, obs FROM events WHERE seq <= 7 ORDER BY seq", "arrow")
    table = pa.ipc.open_stream(io.BytesIO(stream)).read_all()
    assert table.column("seq").to_pylist() == list(range(1, 8))
    assert table.column("obs").to_pylist()[:2] == [[1.0, -1.0], None]


@pytest.mark.parametrize("form", ["json", "csv", "table", "arrow"])
def test_no_rows_are_a_result_too(asker: Asker, form: Any) -> None:
    asker.answer("SELECT seq FROM events WHERE false", form)
