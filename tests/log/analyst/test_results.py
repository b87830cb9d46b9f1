"""The four forms, byte for byte."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.log.analyst.results import TABLE_ROWS_MAX, WRITERS
from tests.log.analyst.asking import Asked
from tests.log.events import steps

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLE = """
    SELECT 1 AS whole, 0.5 AS half, 2::HUGEINT AS huge, 'say "hi", x' AS text, NULL AS nothing,
        [1.5::FLOAT, 2] AS list, TIMESTAMP '2026-11-01 10:00:00' AS time, true AS truth,
        'nan'::DOUBLE AS nan, {'a': 1} AS struct
"""


@pytest.fixture(scope="module")
def analyst(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    with Asked(tmp_path_factory.mktemp("data")) as analyst:
        analyst.append(steps(1, 3))
        yield analyst


def test_json_has_one_object_a_line(analyst: Asked) -> None:
    assert analyst.ask(SAMPLE, "json") == (
        b'{"whole":1,"half":0.5,"huge":2,"text":"say \\"hi\\", x","nothing":null,"list":[1.5,2.0],'
        b'"time":"2026-11-01T10:00:00","truth":true,"nan":null,"struct":{"a":1}}\n'
    )


def test_csv_has_a_header_and_quotes_what_needs_it(analyst: Asked) -> None:
    assert analyst.ask(SAMPLE, "csv") == (
        b"whole,half,huge,text,nothing,list,time,truth,nan,struct\r\n"
        b'1,0.5,2,"say ""hi"", x",,"[1.5,2.0]",2026-11-01T10:00:00,true,nan,"{""a"":1}"\r\n'
    )


def test_a_table_lines_up(analyst: Asked) -> None:
    sql = "SELECT kind, count(*) AS n FROM events GROUP BY kind ORDER BY kind"
    assert analyst.ask(sql, "table").decode().splitlines() == [
        "kind         n",
        "-----------  -",
        "action       3",
        "observation  3",
    ]


def test_a_long_table_says_that_it_is_cut(analyst: Asked) -> None:
    lines = analyst.ask("SELECT a FROM range(20000) AS r(a)", "table").decode().splitlines()
    assert len(lines) == 2 + TABLE_ROWS_MAX + 1
    assert lines[-2].strip() == "9999"
    assert lines[-1] == "… the first 10,000 rows; for more use csv, json or arrow"
    whole = analyst.ask("SELECT a FROM range(10000) AS r(a)", "table").decode().splitlines()
    assert whole == lines[:-1]


def test_arrow_is_a_stream_that_arrow_reads(analyst: Asked) -> None:
    stream = analyst.ask("SELECT seq, obs FROM events ORDER BY seq", "arrow")
    table = pa.ipc.open_stream(io.BytesIO(stream)).read_all()
    assert table.column("seq").to_pylist() == list(range(1, 7))
    assert table.column("obs").to_pylist()[:2] == [[1.0, -1.0], None]


@pytest.mark.parametrize(
    ("form", "nothing"),
    [("json", b""), ("csv", b"seq\r\n"), ("table", b"seq\n---\n")],
)
def test_no_rows_are_a_result_too(analyst: Asked, form: Any, nothing: bytes) -> None:
    assert analyst.ask("SELECT seq FROM events WHERE false", form) == nothing


def test_no_rows_of_arrow_are_a_stream(analyst: Asked) -> None:
    stream = analyst.ask("SELECT seq FROM events WHERE false", "arrow")
    assert pa.ipc.open_stream(io.BytesIO(stream)).read_all().num_rows == 0


FLOATS = """
    SELECT 0.1::FLOAT AS a, [0.1::FLOAT, NULL] AS b, [[0.3::FLOAT], NULL, []] AS c,
        {'x': 0.7::FLOAT, 'y': [0.2::FLOAT]} AS d, [0.1, 0.2]::FLOAT[2] AS e,
        NULL::FLOAT[] AS f, 1e-8::FLOAT AS g, [0.5, 0.25] AS h, [] AS i
    FROM range(2)
"""


def test_a_float32_is_its_shortest_text(analyst: Asked) -> None:
    line = (
        b'{"a":0.1,"b":[0.1,null],"c":[[0.3],null,[]],"d":{"x":0.7,"y":[0.2]},"e":[0.1,0.2],'
        b'"f":null,"g":1e-8,"h":[0.50,0.25],"i":[]}\n'
    )
    assert analyst.ask(FLOATS, "json") == 2 * line
    assert analyst.ask(FLOATS, "csv").splitlines()[1] == (
        b'0.1,"[0.1,null]","[[0.3],null,[]]","{""x"":0.7,""y"":[0.2]}","[0.1,0.2]",,1e-8,'
        b'"[0.50,0.25]",[]'
    )


@given(st.lists(st.none() | st.lists(st.none() | st.floats(width=32)), max_size=5), st.data())
def test_every_float32_reads_back_as_it_was(lists: list[Any], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(lists)))
    column = pa.array(lists, pa.list_(pa.float32())).slice(first)
    batch = pa.RecordBatch.from_arrays([column], ["a"])
    lines = WRITERS["json"](batch.schema).rows(batch).splitlines()
    for line, expected in zip(lines, lists[first:], strict=True):
        found = msgspec.json.decode(line)["a"]
        if expected is None:
            assert found is None
            continue
        for text, number in zip(found, expected, strict=True):
            if number is None or not np.isfinite(number):
                assert text is None
            else:
                assert np.float32(text) == np.float32(number)
                assert repr(float(text)) == repr(float(str(np.float32(number))))


ODD = [
    "INTERVAL 1 MONTH",
    "TIME '10:00'",
    "'10:00:00+02'::TIMETZ",
    "TIMESTAMPTZ '2026-01-01 10:00+02'",
    "uuid()",
    "'\\xFF'::BLOB",
    "'1010'::BIT",
    "MAP {'a': 1}",
    "union_value(a := 1)",
    "'a'::ENUM ('a', 'b')",
    "'{\"a\": 1}'::JSON",
    "'[1]'::VARIANT",
    "1::UHUGEINT",
    "'123456789012345678901234567890'::BIGNUM",
    "1::DECIMAL(38, 10)",
    "'inf'::FLOAT",
    "[NULL]",
    "NULL",
    "row(1, 2)",
    "{'a': []}",
    "'POINT(1 2)'::GEOMETRY",
    "chr(0)",
]
BEYOND = [
    "TIMESTAMP 'infinity'",
    "TIMESTAMP '294246-01-01'",
    "DATE '5000000-01-01'",
    "DATE '0044-03-15 (BC)'",
    "TIMESTAMP_NS '2026-01-01 10:00:00.123456789'",
]
"""Python has no such times; Arrow has."""


@pytest.mark.parametrize("rows", [0, 3, 40_000])
def test_parquet_is_read_back_as_it_was(analyst: Asked, rows: int) -> None:
    sql = f"SELECT range AS n, [range / 4] AS l, 'x' || range AS t FROM range({rows})"
    table = pq.read_table(io.BytesIO(analyst.ask(sql, "parquet")))
    assert table.column_names == ["n", "l", "t"]
    assert table["n"].to_pylist() == list(range(rows))
    assert table["t"].to_pylist() == [f"x{n}" for n in range(rows)]


@pytest.mark.parametrize("form", ["json", "csv", "table", "arrow"])
@pytest.mark.parametrize("value", ODD)
def test_odd_values_are_written(analyst: Asked, value: str, form: Any) -> None:
    assert analyst.ask(f"SELECT {value} AS a", form)


@pytest.mark.parametrize("value", BEYOND)
def test_times_beyond_python_are_in_arrow_only(analyst: Asked, value: str) -> None:
    sql = f"SELECT {value} AS a"
    assert analyst.ask(sql, "arrow")
    for form in ("json", "csv", "table"):
        with pytest.raises((ArithmeticError, ValueError)):
            analyst.ask(sql, form)
