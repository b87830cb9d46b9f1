"""Any page of what is sealed is what the log had there."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.clock import SystemClock
from hub.errors import HubFault
from hub.log import columns
from hub.log.segments import drop, files, whole, write
from hub.log.segments.history import History, _taken_from
from hub.log.segments.manifest import FOLDER, Entry, Manifest
from hub.log.store import DuckLog
from hub.settings import LogSettings
from hub.words import Event, Kind
from tests.log.events import NOW_US, agent_made, observation, steps
from tests.log.segments.made import (
    HUB_ID,
    events,
    flip_a_bit,
    rewrite,
    sealed,
    table_of,
    with_bytes_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.log.segments.manifest import Segment

EVENTS = [
    *steps(1, 30),
    agent_made(),
    Event(Kind.HELLO, NOW_US, "walker", "a", secret=b"s" * 32),
    *(observation(step, "b", agent="heater") for step in range(20)),
    Event(Kind.ADMIN, NOW_US, secret=b""),
]


def opened(data: Path, *, cache_bytes: int = 1 << 20) -> History:
    history = History(data / FOLDER, cache_bytes=cache_bytes)
    history.refresh()
    return history


def wanted(
    table: pa.Table, first: int, last: int, agent: str | None, kinds: list[int] | None
) -> pa.Table:
    """By definition."""
    seqs = table.column("seq")
    kept = pc.and_(pc.greater_equal(seqs, first), pc.less_equal(seqs, last))
    if agent is not None:
        kept = pc.and_(kept, pc.equal(table.column("agent"), agent))
    if kinds is not None:
        kept = pc.and_(kept, pc.is_in(table.column("kind"), pa.array(kinds, pa.uint8())))
    return table.filter(kept)


@given(
    log=st.lists(events, min_size=1, max_size=20),
    cuts=st.lists(st.integers(1, 20), max_size=3),
    cache_bytes=st.sampled_from([0, 500, 1 << 20]),
    pages=st.lists(
        st.tuples(
            st.integers(1, 21),
            st.integers(1, 30),
            st.none() | st.sampled_from(["", "walker", "heater", "_hub"]),
            st.none() | st.lists(st.integers(1, 11), max_size=3),
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_any_page_is_what_the_log_had_there(
    log: list[Event],
    cuts: list[int],
    cache_bytes: int,
    pages: list[tuple[int, int, str | None, list[int] | None]],
) -> None:
    table = table_of(log)
    with TemporaryDirectory() as name:
        data = Path(name)
        for to in [*sorted(min(cut, len(log)) for cut in cuts), len(log)]:
            sealed(data, log, to=to)
        history = opened(data, cache_bytes=cache_bytes)
        for first, last, agent, kinds in pages:
            assert same(
                history.page(first, last, agent, kinds), wanted(table, first, last, agent, kinds)
            )


def same(a: pa.Table, b: pa.Table) -> bool:
    """Where NaN is NaN."""
    return bool(a.schema == b.schema) and repr(columns.to_events(a)) == repr(columns.to_events(b))


def test_row_groups_are_joined_and_each_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "GROUP_ROWS", 4)
    sealed(tmp_path, EVENTS, to=40)
    sealed(tmp_path, EVENTS)
    read: list[tuple[Path, tuple[int, ...]]] = []
    real = files.read

    def counting(path: Path, groups: list[int] | None = None) -> pa.Table:
        read.append((path, tuple(groups or ())))
        return real(path, groups)

    monkeypatch.setattr(files, "read", counting)
    history = opened(tmp_path)
    table = pa.concat_tables(
        history.page(first, first + 2, None, None) for first in range(1, len(EVENTS) + 1, 3)
    )
    assert table.equals(table_of(EVENTS))
    assert len(read) == len(set(read))
    assert len(read) > 20


def test_a_page_of_one_agent_reads_its_files_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed(tmp_path, EVENTS)
    for path in tmp_path.rglob("*.parquet"):
        if "agent=walker" not in str(path):
            path.unlink()
    history = opened(tmp_path)
    assert history.page(1, 99, "walker", None).num_rows == 62
    with pytest.raises(HubFault, match="is not there; put it back from a backup"):
        history.page(1, 99, None, None)


def test_nothing_sealed_is_an_empty_page(tmp_path: Path) -> None:
    history = opened(tmp_path)
    assert (history.hub, history.begins, history.seq_first, history.seq_last) == (None, 0, 1, 0)
    assert history.page(1, 100, None, None).equals(columns.SCHEMA.empty_table())


def test_refresh_sees_what_was_sealed_since(tmp_path: Path) -> None:
    sealed(tmp_path, EVENTS, to=10)
    history = opened(tmp_path)
    assert (history.hub, history.seq_last) == (HUB_ID, 10)
    sealed(tmp_path, EVENTS)
    assert history.page(1, 99, None, None).num_rows == 10
    history.refresh()
    assert history.seq_last == len(EVENTS)
    assert history.page(1, 99, None, None).equals(table_of(EVENTS))


def test_what_retention_dropped_is_left_out_without_being_told(tmp_path: Path) -> None:
    sealed(tmp_path, EVENTS, to=40)
    sealed(tmp_path, EVENTS)
    history = opened(tmp_path)
    gone = [s for s in Manifest.read(tmp_path / FOLDER).retained if s.agent == "walker"]
    drop.drop(tmp_path / FOLDER, gone, NOW_US)
    table = history.page(1, 99, None, None)
    kept = sum(segment.rows for segment in Manifest.read(tmp_path / FOLDER).kept)
    assert table.slice(kept).equals(wanted(table_of(EVENTS), 63, 99, None, None))
    assert set(table.column("kind").slice(0, kept).to_pylist()) <= {Kind.ADMIN, Kind.POLICY}
    assert (history.begins, history.seq_first) == (62, 63)


class CountedEntries(list[Entry]):
    """How often somebody goes through them."""

    times = 0

    def __iter__(self) -> Iterator[Entry]:
        self.times += 1
        return super().__iter__()


def test_a_long_manifest_is_gone_through_a_few_times_and_not_once_a_seal(tmp_path: Path) -> None:
    """300 days of five agents, sealed hourly and dropped, took 88 s at each start."""
    to = range(4, len(EVENTS) + 1, 4)
    for last in to:
        sealed(tmp_path, EVENTS, to=last)
    gone = [s for s in Manifest.read(tmp_path / FOLDER).retained if s.agent == "walker"]
    for segment in gone:
        drop.drop(tmp_path / FOLDER, [segment], NOW_US)
    manifest = Manifest.read(tmp_path / FOLDER)
    manifest.entries = entries = CountedEntries(manifest.entries)
    taken = _taken_from(manifest)
    assert entries.times < 10 < len(manifest.seals)
    there = [segment.path for seal in taken.seals for segment in (*seal.rows, *seal.secrets)]
    assert sorted(there) == sorted(segment.path for segment in manifest.retained)
    for seal, made in zip(taken.seals, manifest.seals, strict=True):
        for segment in (*seal.rows, *seal.secrets):
            assert made.seq_first <= segment.seq_first <= segment.seq_last <= made.seq_last
    assert {s.path for s in manifest.kept} <= set(there)
    assert manifest.kept


# --- damage -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "events"),
    [
        ("agent=walker/*/*.parquet", "events 1 to 62"),
        ("agent=heater/*/*.parquet", "events 63 to 82"),
        ("agent=_hub/*/*.secrets", "events 62 to 83"),
    ],
)
def test_a_file_with_a_flipped_bit_is_not_read(tmp_path: Path, name: str, events: str) -> None:
    sealed(tmp_path, EVENTS)
    (path,) = tmp_path.rglob(name)
    flip_a_bit(path)
    folder = path.relative_to(tmp_path / FOLDER).parent
    with pytest.raises(HubFault, match=f"{folder}.*{events}.*was changed.*from a backup"):
        opened(tmp_path).page(1, 99, None, None)


def test_a_file_that_is_shorter_is_named(tmp_path: Path) -> None:
    sealed(tmp_path, EVENTS)
    (path,) = tmp_path.rglob("agent=heater/*/*.parquet")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(HubFault, match=r"agent=heater.*events 63 to 82.*from a backup"):
        opened(tmp_path).page(1, 99, None, None)


@pytest.mark.parametrize("name", ["agent=heater/*/*.parquet", "agent=_hub/*/*.secrets"])
def test_a_file_that_is_gone_is_named_with_its_own_events(tmp_path: Path, name: str) -> None:
    sealed(tmp_path, EVENTS)
    (path,) = tmp_path.rglob(name)
    path.unlink()
    first, last = (int(seq) for seq in path.stem.split("-"))
    said = f"{path.relative_to(tmp_path / FOLDER)} .events {first} to {last}. is not there"
    with pytest.raises(HubFault, match=said):
        opened(tmp_path).page(1, 99, None, None)


def test_a_file_that_went_after_it_was_looked_at_is_named_too(tmp_path: Path) -> None:
    sealed(tmp_path, EVENTS)
    history = opened(tmp_path)
    history.page(1, 99, None, None)
    (path,) = tmp_path.rglob("agent=heater/*/*.parquet")
    path.unlink()
    with pytest.raises(HubFault, match=r"agent=heater.*events 63 to 82. is not there"):
        history.page(1, 99, None, None)


def test_a_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed(tmp_path, EVENTS)
    hashed: list[str] = []

    def counting(folder: Path, segment: Segment) -> None:
        hashed.append(segment.path)
        whole.check_whole(folder, segment)

    monkeypatch.setattr("hub.log.segments.history.check_whole", counting)
    history = opened(tmp_path, cache_bytes=0)
    for first in range(1, 84, 2):
        history.page(first, first + 1, None, None)
    assert sorted(hashed) == sorted(s.path for s in Manifest.read(tmp_path / FOLDER).retained)


@pytest.mark.parametrize("change", ["another word", "another column", "no bytes of Parquet"])
def test_whatever_a_file_holds_is_an_error_of_ours(tmp_path: Path, change: str) -> None:
    """Its hash is right: what is read of it fails in as many ways as there are."""
    sealed(tmp_path, EVENTS)
    (path,) = tmp_path.rglob("agent=heater/*/*.parquet")
    table = pq.ParquetFile(path).read()
    if change == "another word":
        at = table.schema.get_field_index("kind")
        table = table.set_column(at, "kind", pa.repeat(pa.scalar("nonsense"), len(table)))
    if change == "another column":
        table = table.drop_columns(["seq"])
    pq.write_table(table, path)
    if change == "no bytes of Parquet":
        path.write_bytes(b"PAR1")
    rewrite(tmp_path, partial(with_bytes_of, path))
    with pytest.raises(HubFault, match=r"agent=heater.*events 63 to 82. can't be read"):
        opened(tmp_path).page(1, 99, None, None)


def test_nothing_of_a_damaged_segment_gets_into_a_new_file(tmp_path: Path) -> None:
    sealed(tmp_path, EVENTS)
    (path,) = tmp_path.rglob("agent=heater/*/*.parquet")
    flip_a_bit(path)
    with pytest.raises(HubFault, match=r"agent=heater.*events 63 to 82. was changed"):
        DuckLog.open(tmp_path, LogSettings(), clock=SystemClock())
