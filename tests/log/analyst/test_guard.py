"""What SQL may do, and each way around the fences that was ever found."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import duckdb
import pytest

from hub.errors import OperatorFault
from hub.log.analyst.guard import FUNCTIONS_REFUSED, VIEWS
from hub.log.analyst.statement import DatabaseError
from hub.log.payload_keys import PayloadKeys
from hub.words import Event, Kind
from tests.log.analyst.asking import HUB, Asked
from tests.log.events import agent_made, observation, steps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = b"hidden"


@pytest.fixture(scope="module")
def analyst(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """An admin's: four events sealed, three newer."""
    with Asked(tmp_path_factory.mktemp("data")) as analyst:
        analyst.append([*steps(1, 1), agent_made(), Event(Kind.ADMIN, 0, secret=SECRET)])
        analyst.seal()
        analyst.append([*steps(2, 2), Event(Kind.ADMIN, 0, agent="walker", secret=SECRET)])
        yield analyst


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_be_read_and_none_has_the_secret(analyst: Asked, view: str) -> None:
    columns = [row["column_name"] for row in analyst.rows(f"DESCRIBE {view}")]
    assert "secret" not in columns
    assert SECRET.decode() not in analyst.ask(f"SELECT * FROM {view}", "csv").decode()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM events",
        "FROM events LIMIT 1",
        "FROM EVENTS SELECT count(*)",
        "WITH a AS (SELECT * FROM events) SELECT count(*) FROM a JOIN transitions USING (seq)",
        "WITH events AS (SELECT 1 AS a) SELECT a FROM events",
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) FROM n",
        "SELECT * FROM range(3) UNION ALL SELECT unnest([1, 2])",
        "SELECT * FROM (VALUES (1), (2)) AS t(a)",
        "SELECT list_transform(obs, lambda x: x * 2) FROM events",
        "SELECT e.payload ->> 'type' FROM events AS e",
        "PIVOT events ON kind IN ('action', 'observation') USING count(*)",
        "EXPLAIN SELECT * FROM events",
        "SUMMARIZE events",
        "SUMMARIZE SELECT agent FROM events",
        "DESCRIBE events",
        "SELECT 1;",
        "SELECT 1; -- and nothing else",
        "-- a comment\nSELECT 'log; DELETE FROM log'",
        "/* a /* nested */ comment */ SELECT '/etc/passwd'",
    ],
)
def test_reading_is_possible(analyst: Asked, sql: str) -> None:
    analyst.ask(sql)


TABLES = [
    "log",
    "tail",
    "unowned",
    "declared",
    "page",
    "main.log",
    "main.events",
    "memory.main.log",
    '"LOG"',
    '"log"',
    "duckdb_tables",
    "duckdb_views",
    "duckdb_settings",
    "duckdb_secrets",
    "sqlite_master",
    "pragma_database_list",
    "pg_catalog.pg_class",
    "information_schema.tables",
    "system.main.duckdb_logs",
    "temp.page",
    "'/etc/passwd'",
    "'/etc/passwd.csv'",
    "'*.parquet'",
    "'file:///etc/passwd'",
    "'https://example.org/a.parquet'",
    "'s3://bucket/a.parquet'",
    "data.parquet",
    '"data.csv"',
]
FROM = {
    "plain": "SELECT * FROM {}",
    "scalar": "SELECT (SELECT 1 FROM {})",
    "in": "SELECT 1 FROM events WHERE seq IN (SELECT seq FROM {})",
    "exists": "SELECT count(*) FILTER (WHERE EXISTS (FROM {})) FROM events",
    "union": "FROM events UNION ALL BY NAME FROM {}",
    "with": "WITH a AS (FROM {}) FROM a",
    "recursive": "WITH RECURSIVE a AS (FROM {} UNION ALL FROM a) FROM a",
    "lambda": "SELECT list_transform([1], lambda x: (SELECT 1 FROM {}))",
    "comprehension": "SELECT [x FOR x IN (SELECT list(seq) FROM {})]",
    "lateral": "SELECT * FROM events, LATERAL (FROM {})",
    "join": "SELECT * FROM events POSITIONAL JOIN {}",
    "limit": "FROM events LIMIT (SELECT 1 FROM {})",
    "window": "SELECT sum(seq) OVER (ORDER BY (SELECT 1 FROM {})) FROM events",
    "replace": "SELECT * REPLACE ((SELECT 1 FROM {}) AS seq) FROM events",
    "values": "VALUES ((SELECT 1 FROM {}))",
    "table": "TABLE {}",
    "describe": "DESCRIBE {}",
    "summarize": "SUMMARIZE {}",
    "pivot": "PIVOT {} ON seq IN (1) USING count(*)",
    "unpivot": "UNPIVOT {} ON seq",
    "sample": "SELECT * FROM {} TABLESAMPLE 1",
    "explain": "EXPLAIN SELECT * FROM {}",
    "range": "FROM range((SELECT 1 FROM {}))",
    "unnest": "FROM unnest((SELECT list(seq) FROM {}))",
    "try": "SELECT TRY((SELECT 1 FROM {}))",
}
TABLE_FUNCTIONS = [
    "query_table('log')",
    "query('SELECT * FROM log')",
    "json_execute_serialized_sql(json_serialize_sql('FROM log'))",
    "duckdb_settings()",
    "duckdb_secrets()",
    "duckdb_logs()",
    "duckdb_external_file_cache()",
    "read_text('/etc/passwd')",
    "read_blob('/etc/passwd')",
    "read_csv('/etc/passwd')",
    "sniff_csv('/etc/passwd')",
    "read_json('/etc/passwd')",
    "read_parquet('*')",
    "parquet_scan('*')",
    "parquet_metadata('*')",
    "parquet_kv_metadata('*')",
    "read_duckdb('log.duckdb')",
    "glob('*')",
    "repeat(1, 1000000000000)",
    "summary((SELECT 1))",
    "histogram('log', seq)",
    "test_all_types()",
    "checkpoint()",
    "enable_logging()",
    "pragma_database_size()",
    "which_secret('a', 's3')",
    "arrow_scan(1, 2, 3)",
    "python_map_function()",
    "seq_scan('log')",
    "create_external_resource('a')",
]


@pytest.mark.parametrize("table", TABLES)
def test_only_views_are_tables(analyst: Asked, table: str) -> None:
    with pytest.raises(OperatorFault, match=r"there is no view"):
        analyst.ask(f"SELECT * FROM {table}")


@pytest.mark.parametrize("place", FROM)
def test_wherever_a_table_can_stand_it_is_seen(analyst: Asked, place: str) -> None:
    for table in ("log", "main.log", "'/etc/passwd'"):
        with pytest.raises(OperatorFault, match="there is no view"):
            analyst.ask(FROM[place].format(table))


@pytest.mark.parametrize("call", TABLE_FUNCTIONS)
def test_only_harmless_table_functions_are_called(analyst: Asked, call: str) -> None:
    for sql in (
        f"SELECT * FROM {call}",
        f"SELECT (SELECT count(*) FROM {call})",
        f"WITH a AS (FROM {call}) FROM a",
    ):
        with pytest.raises(OperatorFault, match="the table function"):
            analyst.ask(sql)


@pytest.mark.parametrize(
    "call",
    [
        "reveal('a', payload)",
        "REVEAL('a', payload)",
        "\"ReVeal\"('a', payload)",
        "main.reveal('a', payload)",
        "memory.main.reveal('a', payload)",
        "'a'.reveal(payload)",
        "list_transform([payload], lambda p: reveal('a', p))",
        "TRY(reveal('a', payload))",
        "json_serialize_plan('FROM log')",
        "current_setting('allowed_directories')",
        "getenv('HOME')",
        "getvariable('a')",
        "nextval('a')",
        "pg_get_viewdef(1)",
        "write_log('a')",
        "sleep_ms(1)",
    ],
)
def test_functions_that_do_more_than_compute_are_refused(analyst: Asked, call: str) -> None:
    with pytest.raises(OperatorFault, match=r"the function .* is not allowed"):
        analyst.ask(f"SELECT {call} FROM events")


REFUSED = {
    "WITH takes a table's name": ("WITH log AS (SELECT 1) SELECT * FROM log", "WITH log"),
    "WITH in another place": ("SELECT (WITH log AS (SELECT 1) SELECT 1), * FROM log", "WITH log"),
    "WITH of itself": ("WITH tail AS (FROM tail) FROM tail", "WITH tail"),
    "WITH takes a system view's": ("WITH duckdb_views AS (SELECT 1) FROM duckdb_views", "WITH"),
    "WITH named as a file": (
        "SELECT (WITH \"/etc/passwd.csv\" AS (SELECT 1) SELECT 1) FROM '/etc/passwd.csv'",
        "no plain one",
    ),
    "WITH named as SHOW's own": (
        'SELECT (WITH "\\"tables\\"" AS (SELECT 1) SELECT 1) FROM (SHOW TABLES)',
        "there is no view|no plain one|Parser",
    ),
    "SHOW TABLES": ("SHOW TABLES", "there is no view"),
    "SHOW ALL TABLES": ("SHOW ALL TABLES", "there is no view"),
    "SHOW DATABASES": ("SHOW DATABASES", "there is no view"),
    "SHOW log": ("SHOW log", "there is no view"),
    "SHOW of a WITH": ("WITH a AS (SELECT 1) FROM (SHOW a)", "there is no view"),
    "recurring": (
        "WITH RECURSIVE a(x) USING KEY (x) AS (SELECT 1 UNION FROM recurring.a) FROM a",
        "there is no view",
    ),
    "COPY": ("COPY (SELECT 1) TO 'out.csv'", "not COPY"),
    "COPY FROM": ("COPY events FROM 'in.csv'", "not COPY"),
    "EXPORT": ("EXPORT DATABASE 'out'", "not EXPORT"),
    "IMPORT": ("IMPORT DATABASE 'out'", "not "),
    "ATTACH memory": ("ATTACH ':memory:' AS m", "not ATTACH"),
    "ATTACH a file": ("ATTACH 'log.duckdb' AS m (READ_ONLY)", "not ATTACH"),
    "DETACH": ("DETACH memory", "not "),
    "USE": ("USE memory", "not "),
    "INSTALL": ("INSTALL httpfs", "not "),
    "LOAD": ("LOAD httpfs", "not LOAD"),
    "SET": ("SET memory_limit = '10GB'", "not "),
    "SET search_path": ("SET search_path = 'main'", "not "),
    "SET VARIABLE": ("SET VARIABLE a = (SELECT 1 FROM log)", "not "),
    "RESET": ("RESET memory_limit", "not "),
    "PRAGMA": ("PRAGMA database_list", "not PRAGMA"),
    "PRAGMA as a function": ("PRAGMA json_execute_serialized_sql('')", "not PRAGMA"),
    "CALL": ("CALL duckdb_settings()", "not CALL"),
    "CHECKPOINT": ("CHECKPOINT", "not "),
    "VACUUM": ("VACUUM", "not "),
    "ANALYZE": ("ANALYZE", "not "),
    "PREPARE": ("PREPARE a AS SELECT * FROM log", "not PREPARE"),
    "EXECUTE": ("EXECUTE a", "not EXECUTE"),
    "DEALLOCATE": ("DEALLOCATE a", "not "),
    "CREATE TABLE": ("CREATE TEMP TABLE t AS SELECT 1", "not CREATE"),
    "CREATE VIEW": ("CREATE OR REPLACE VIEW events AS FROM log", "not CREATE"),
    "CREATE MACRO": ("CREATE MACRO f() AS TABLE FROM log", "not CREATE"),
    "CREATE FUNCTION": ("CREATE FUNCTION f(a) AS (SELECT 1 FROM log)", "not CREATE"),
    "CREATE SECRET": ("CREATE SECRET (TYPE s3)", "not CREATE"),
    "ALTER": ("ALTER TABLE tail ADD COLUMN a INT", "not ALTER"),
    "INSERT": ("INSERT INTO tail FROM tail", "not INSERT"),
    "UPDATE": ("UPDATE tail SET seq = 1", "not UPDATE"),
    "DELETE": ("DELETE FROM tail", "not DELETE"),
    "MERGE": ("MERGE INTO tail USING events ON true WHEN MATCHED THEN DELETE", "not MERGE"),
    "TRUNCATE": ("TRUNCATE tail", "not "),
    "DROP": ("DROP TABLE tail", "not DROP"),
    "COMMENT": ("COMMENT ON TABLE tail IS 'a'", "not "),
    "BEGIN": ("BEGIN", "not TRANSACTION"),
    "COMMIT, then more": ("COMMIT; DELETE FROM tail", "one statement at a time, not 2"),
    "ROLLBACK": ("ROLLBACK", "not TRANSACTION"),
    "two": ("SELECT 1; SELECT 2", "one statement at a time, not 2"),
    "two behind a comment": ("SELECT 1 -- ;\n; DELETE FROM tail", "not 2"),
    "none": ("", "one statement at a time, not 0"),
    "only a comment": ("-- nothing", "one statement at a time, not 0"),
    "only semicolons": (";;", "one statement at a time, not 0"),
    "DELETE in WITH": ("WITH d AS (DELETE FROM tail RETURNING *) FROM d", "DELETE is not possible"),
    "INSERT in WITH": (
        "WITH d AS (INSERT INTO tail FROM tail RETURNING *) FROM d",
        "INSERT is not possible",
    ),
    "UPDATE in WITH": (
        "WITH d AS (UPDATE tail SET seq = 1 RETURNING *) FROM d",
        "UPDATE is not possible",
    ),
    "DELETE in FROM": ("FROM (DELETE FROM tail RETURNING *)", "not possible|Parser"),
    "EXPLAIN DELETE": ("EXPLAIN DELETE FROM tail", "only a plain SELECT"),
    "EXPLAIN ANALYZE DELETE": ("EXPLAIN ANALYZE DELETE FROM tail", "only a plain SELECT"),
    "EXPLAIN ANALYZE": ("EXPLAIN ANALYZE SELECT * FROM events", "only a plain SELECT"),
    "EXPLAIN with options": ("EXPLAIN (ANALYZE) SELECT * FROM log", "only a plain SELECT"),
    "EXPLAIN COPY": ("EXPLAIN COPY (SELECT 1) TO 'out.csv'", "only a plain SELECT"),
    "EXPLAIN behind a comment": ("/**/ EXPLAIN SELECT * FROM log", "only a plain|no view"),
    "EXPLAIN EXPLAIN": ("EXPLAIN EXPLAIN DELETE FROM tail", "only a plain SELECT|Parser"),
    "PIVOT of what is there": ("PIVOT events ON kind", "one statement|only"),
    "no such column": ("SELECT nothing FROM events", "nothing"),
    "no SQL": ("SELEC 1", "syntax error|Parser"),
    "a parameter": ("SELECT $1", "(?i)parameter"),
    "a NUL": ("SELECT 1\0; DELETE FROM tail", ""),
    "nested brackets": ("SELECT " + "(" * 3000 + "1" + ")" * 3000, "depth|deep"),
    "nested lists": ("SELECT " + "[" * 900 + "]" * 900, "depth|deep"),
    "nested queries": ("FROM " + "(FROM " * 600 + "events" + ")" * 600, "depth|deep"),
    "a long sum": ("SELECT " + "+".join(["1"] * 9000), "depth|deep"),
    "too long": ("SELECT '" + "x" * 70_000 + "'", "longer than"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_everything_else_is_refused_and_says_why(analyst: Asked, name: str) -> None:
    sql, why = REFUSED[name]
    with pytest.raises((OperatorFault, DatabaseError), match=f"(?i){why}"):
        analyst.ask(sql)
    assert analyst.rows("SELECT count(*) AS n FROM events") == [{"n": 7}]


def test_a_question_costs_the_next_one_nothing(analyst: Asked) -> None:
    for _ in range(3):
        with pytest.raises(DatabaseError):
            analyst.ask("SELECT error('no')")
        assert analyst.rows("SELECT 1 AS a") == [{"a": 1}]


# --- the other fences, without the guard ------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("WITH d AS (DELETE FROM tail RETURNING *) FROM d", "read-only"),
        ("SET memory_limit = '10GB'", "locked"),
        ("SET enable_external_access = true", "locked|Cannot"),
        ("SET allowed_directories = ['/']", "locked|Cannot"),
        ("FROM read_text('/etc/passwd')", "disabled"),
        ("FROM '/etc/passwd'", "disabled|does not exist"),
        ("COPY (SELECT 1) TO '/tmp/out.csv'", "disabled"),
        ("ATTACH '/tmp/other.duckdb'", "disabled"),
        ("INSTALL httpfs", "disabled"),
        ("LOAD httpfs", "disabled|locked"),
    ],
)
def test_the_database_itself_refuses(analyst: Asked, sql: str, why: str) -> None:
    with closing(analyst.instance._connection.cursor()) as cursor:
        cursor.execute("BEGIN TRANSACTION READ ONLY").fetchall()
        with pytest.raises(duckdb.Error, match=why):
            cursor.execute(sql).fetchall()


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Asked]:
    """Of agent `walker`; `walker2` and events of no agent are there too."""
    with Asked(tmp_path, {"walker"}) as owner:
        for _ in range(2):
            owner.append([observation(1), observation(1, "b", agent="walker2")])
            owner.append([Event(Kind.ADMIN, 0, payload='{"type":"user_made"}', secret=SECRET)])
            owner.append([agent_made("walker2"), Event(Kind.ADMIN, 0, agent="walker")])
            if not owner.instance._number:
                owner.seal()
        yield owner


@pytest.mark.parametrize("relation", [*VIEWS, "log", "tail", "unowned", "declared"])
def test_no_relation_of_an_owner_has_rows_of_others(owner: Asked, relation: str) -> None:
    with closing(owner.instance._connection.cursor()) as cursor:
        rows = cursor.execute(f"SELECT * FROM {relation}").fetchall()
    assert "walker2" not in str(rows)
    assert "user_made" not in str(rows)


def test_an_owner_sees_all_of_the_own_agents(owner: Asked) -> None:
    rows = owner.rows("SELECT agent, count(*) AS n FROM events GROUP BY agent")
    assert rows == [{"agent": "walker", "n": 4}]


@pytest.mark.parametrize("agent", ["walker2", "_hub", "walker/../agent=walker2", "%77alker2", "*"])
def test_an_owners_database_reaches_no_file_of_others(owner: Asked, agent: str) -> None:
    with closing(owner.instance._connection.cursor()) as cursor:
        for name in ("*.parquet", "*.secrets", "**"):
            path = owner.segments / f"hub={HUB}" / f"agent={agent}" / "day=2023-11-14" / name
            try:
                rows = cursor.sql(f"FROM read_parquet('{path}')").fetchall()
            except duckdb.Error:
                continue
            assert agent == "*", "only what it may see"
            assert len(rows) == 2


def test_an_admins_database_reaches_no_secrets(analyst: Asked) -> None:
    assert list(analyst.segments.rglob("*.secrets")), "there are some"
    with closing(analyst.instance._connection.cursor()) as cursor:
        for path in analyst.segments.rglob("agent=_hub/*/*"):
            with pytest.raises(duckdb.Error, match="disabled"):
                cursor.sql(f"FROM read_parquet('{path}')").fetchall()


def test_a_payload_of_another_is_not_revealed_to_an_owner(owner: Asked) -> None:
    sealed = PayloadKeys(owner.data / "keys").seal("b", '{"name":"Ann"}')
    for sql in (f"SELECT reveal('b', '{sealed}')", f"SELECT main.reveal('b', '{sealed}')"):
        with pytest.raises(OperatorFault, match="not allowed"):
            owner.ask(sql)


# --- what a new DuckDB brings -----------------------------------------------------------------

HARMLESS = {
    "current_catalog", "current_connection_id", "current_database", "current_date",
    "current_query", "current_query_id", "current_schema", "current_schemas",
    "current_transaction_id", "error", "format_type", "gen_random_uuid", "get_current_time",
    "get_current_timestamp", "in_search_path", "now", "random", "setseed", "stats", "today",
    "transaction_timestamp", "txid_current", "uuid", "uuidv4", "uuidv7", "vector_type",
}  # fmt: skip


def test_every_function_that_does_more_than_compute_was_looked_at(analyst: Asked) -> None:
    """A new version of DuckDB brings new ones: refuse them, or say here that they are harmless."""
    with closing(analyst.instance._connection.cursor()) as cursor:
        rows = cursor.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE "
            "(function_type = 'scalar' AND (has_side_effects OR stability <> 'CONSISTENT')) OR "
            "(function_type = 'macro' AND macro_definition ILIKE '%select%')"
        ).fetchall()
    assert {name for (name,) in rows} <= HARMLESS | FUNCTIONS_REFUSED
