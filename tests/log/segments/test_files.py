"""What is written comes back as it was, and lies where the path says."""

from __future__ import annotations

import hashlib
import stat
import struct
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.log import columns
from hub.log.segments import files
from hub.log.segments import write as write_module
from hub.log.segments.write import Writing, write
from hub.words import Event, Floats, Kind
from tests.log.events import NOW_US, agent_made, observation, steps
from tests.log.segments.made import DAY_US, HUB_ID, events, table_of

if TYPE_CHECKING:
    from hub.log.segments.manifest import Segment

EVENTS = [*steps(1, 3), observation(1, agent="heater"), agent_made(), Event(Kind.ADMIN, NOW_US)]
DAY = "2023-11-14"


def read_back(folder: Path, segments: list[Segment]) -> pa.Table:
    """All rows by seq, with their secrets."""
    tables, secrets = [columns.SCHEMA.empty_table()], {}
    for segment in segments:
        if files.is_secrets(segment):
            rows = pq.read_table(folder / segment.path).to_pylist()
            secrets = {row["seq"]: row["secret"] for row in rows}
        else:
            file = files.read(folder / segment.path)
            tables.append(files.rows(file, files.agent_of(segment.path)))
    table = pa.concat_tables(tables)
    table = table.take(pc.sort_indices(table.column("seq")))
    column = [secrets.get(seq) for seq in table.column("seq").to_pylist()]
    at = table.schema.get_field_index("secret")
    return table.set_column(at, "secret", pa.array(column, pa.binary()))


def bits(event: Event) -> tuple[object, ...]:
    """All of it, comparable where a number is none."""
    values = (getattr(event, name) for name in columns.FIELDS)
    return tuple(struct.pack("<d", v) if isinstance(v, float) else v for v in values)


@given(st.lists(events, max_size=9))
def test_any_events_come_back_as_they_were(log: list[Event]) -> None:
    table = table_of(log)
    with TemporaryDirectory() as name:
        folder = Path(name)
        back = read_back(folder, write(table, folder, HUB_ID))
    assert back.schema == columns.SCHEMA
    assert [bits(event) for event in columns.to_events(back)] == [
        bits(event) for event in columns.to_events(table)
    ]


@given(st.lists(events, min_size=1, max_size=24), st.data())
def test_rows_that_come_page_by_page_make_the_same_files(
    log: list[Event], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(log)))) | {0, len(log)})
    table = table_of(log)
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(write_module, "GROUP_ROWS", 4)
        folder = Path(name)
        writing = Writing(folder / "paged", HUB_ID)
        for first, end in pairwise(cuts):
            writing.add(table.slice(first, end - first))
        paged = writing.finish()
        at_once = write(table, folder / "whole", HUB_ID)
    assert writing.rows == len(log)
    assert sorted(paged, key=by_path) == sorted(at_once, key=by_path)


def by_path(segment: Segment) -> str:
    return segment.path


@given(st.lists(events, min_size=1, max_size=9))
def test_each_file_holds_one_agent_and_one_day(log: list[Event]) -> None:
    table = table_of(log)
    with TemporaryDirectory() as name:
        folder = Path(name)
        for segment in write(table, folder, HUB_ID):
            if files.is_secrets(segment):
                continue
            rows = files.rows(files.read(folder / segment.path), "")
            seqs = rows.column("seq").to_pylist()
            assert {log[seq - 1].agent for seq in seqs} == {files.agent_of(segment.path)}
            assert {files.day_of(log[seq - 1].ts) for seq in seqs} == {segment.day}
            extent = (segment.rows, segment.seq_first, segment.seq_last)
            assert extent == (len(seqs), seqs[0], seqs[-1])


@pytest.mark.parametrize(
    ("ts", "day"),
    [
        (NOW_US, DAY),
        (0, "1970-01-01"),
        (-1, "1969-12-31"),
        (-DAY_US, "1969-12-31"),
        (DAY_US - 1, "1970-01-01"),
        (253_402_300_800_000_000, "10000-01-01"),
    ],
)
def test_a_day_is_of_utc_at_any_time(ts: int, day: str) -> None:
    assert files.day_of(ts) == day


@pytest.mark.parametrize("agent", ["", "walker", "_hub", "a/b", "..", "day=1", "ü %5F"])
def test_a_path_says_the_agent_again(agent: str) -> None:
    path = f"hub={HUB_ID}/agent={files.in_path(agent)}/day={DAY}/1-2.parquet"
    assert len(Path(path).parts) == 4
    assert files.agent_of(path) == agent


def test_paths_and_columns_are_those_of_the_contract(tmp_path: Path) -> None:
    segments = write(table_of(EVENTS), tmp_path, HUB_ID)
    assert [segment.path for segment in segments] == [
        f"hub={HUB_ID}/agent=walker/day={DAY}/{1:020d}-{8:020d}.parquet",
        f"hub={HUB_ID}/agent=heater/day={DAY}/{7:020d}-{7:020d}.parquet",
        f"hub={HUB_ID}/agent=_hub/day={DAY}/{9:020d}-{9:020d}.parquet",
    ]
    assert [(s.agent, s.rows) for s in segments] == [("walker", 7), ("heater", 1), ("_hub", 1)]
    row = pq.ParquetFile(tmp_path / segments[0].path).read().slice(1, 1).to_pylist()[0]
    assert row["kind"] == "action"
    assert row["source"] == "policy"
    assert row["action"] == [2.0]
    assert tuple(row) == files.COLUMNS
    assert not {"hub", "agent", "day", "secret"} & set(row)


def test_a_segment_tells_size_and_hash_of_its_file(tmp_path: Path) -> None:
    for segment in write(table_of(EVENTS), tmp_path, HUB_ID):
        data = (tmp_path / segment.path).read_bytes()
        assert segment.bytes == len(data)
        assert segment.sha256 == hashlib.sha256(data).hexdigest()


def test_secrets_of_all_agents_stand_in_one_file_of_their_own(tmp_path: Path) -> None:
    log = [observation(1), agent_made(), Event(Kind.HELLO, NOW_US, "walker", secret=b"\1" * 32)]
    *rows, secrets = write(table_of([*log, *log]), tmp_path, HUB_ID)
    assert secrets.path == f"hub={HUB_ID}/agent=_hub/day={DAY}/{3:020d}-{6:020d}.secrets"
    assert (secrets.agent, secrets.rows) == ("_hub", 2)
    for segment in rows:
        assert b"\1" * 32 not in (tmp_path / segment.path).read_bytes()


def test_only_this_user_may_read_them(tmp_path: Path) -> None:
    for segment in write(table_of(EVENTS), tmp_path, HUB_ID):
        assert stat.S_IMODE((tmp_path / segment.path).stat().st_mode) == 0o600


def test_a_row_group_has_so_many_rows(tmp_path: Path) -> None:
    (segment,) = write(table_of([observation(1)] * 40_000), tmp_path, HUB_ID)
    metadata = pq.read_metadata(tmp_path / segment.path)
    assert [metadata.row_group(i).num_rows for i in range(2)] == [files.GROUP_ROWS, 7232]
    assert metadata.row_group(0).column(1).compression == "ZSTD"


def test_when_one_file_fails_none_is_left(tmp_path: Path) -> None:
    in_the_way = tmp_path / f"hub={HUB_ID}" / "agent=_hub"
    in_the_way.parent.mkdir()
    in_the_way.write_text("no folder")
    with pytest.raises(OSError, match="Not a directory"):
        write(table_of(EVENTS), tmp_path, HUB_ID)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [in_the_way]


def test_a_vector_of_any_bits_is_kept(tmp_path: Path) -> None:
    odd = Floats(bytes.fromhex("0100807f0000c07f00000080ffffffff"))
    write(table_of([observation(1, obs=odd, reward=-0.0)]), tmp_path, HUB_ID)
    (path,) = tmp_path.rglob("*.parquet")
    (back,) = columns.to_events(files.rows(files.read(path), "walker"))
    assert back.obs == odd
    assert bits(back)[columns.FIELDS.index("reward")] == struct.pack("<d", -0.0)


def test_kinds_and_sources_of_a_later_version_are_kept(tmp_path: Path) -> None:
    table = table_of([observation(1)])
    for name in ("kind", "source"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, pa.array([77], pa.uint8()))
    (segment,) = write(table, tmp_path, HUB_ID)
    file = files.read(tmp_path / segment.path)
    assert file.column("kind").to_pylist() == ["kind 77"]
    back = files.rows(file, "walker")
    assert (back["kind"].to_pylist(), back["source"].to_pylist()) == ([77], [77])
