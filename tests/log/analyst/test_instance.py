"""Rows in files and rows that are newer, as one log; nothing twice and nothing missing."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from hub.log.analyst.statement import DatabaseError, FileGone
from hub.log.payload_keys import PayloadKeys
from hub.log.segments.manifest import Manifest
from hub.words import Event, Kind, Source
from tests.log.analyst.asking import HUB, Asked, drop, seal
from tests.log.events import NOW_US, action, agent_made, floats, observation, steps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY_US = 86_400_000_000
SEQS = "SELECT seq FROM events ORDER BY seq"
RUNNING_ROWS = 16_384
"""Of 1 kB each: more than DuckDB computes ahead of whoever reads the result."""


@pytest.fixture
def analyst(tmp_path: Path) -> Iterator[Asked]:
    with Asked(tmp_path) as analyst:
        yield analyst


def seqs(analyst: Asked) -> list[int]:
    return [row["seq"] for row in analyst.rows(SEQS)]


EVERY = [
    observation(1, executed=floats(9, 0.1), reward=0.1, payload='{"a":1}', device_ts=NOW_US - 5),
    action(1, source=Source.CLAMP, reason="too high"),
    agent_made(),
    Event(Kind.ADMIN, NOW_US, payload="of no agent"),
    Event(Kind.HELLO, NOW_US + DAY_US, agent="walker", device="b", session=9),
    observation(2, agent="heater", truncated=True, first=True, reward=None),
]


def test_a_sealed_row_is_the_row_it_was(analyst: Asked) -> None:
    analyst.append(EVERY)
    newer = analyst.rows("SELECT * FROM events ORDER BY seq")
    analyst.seal()
    assert analyst.rows("SELECT * FROM events ORDER BY seq") == newer
    assert newer[0]["hub"] == HUB
    assert newer[0]["executed"] == [9, 0.1], "the shortest text of the float32"
    assert newer[3]["agent"] == ""


def test_each_row_is_there_once_through_many_seals(analyst: Asked) -> None:
    for count in range(1, 6):
        analyst.append(steps(1, 1, agent=f"agent-{count}"))
        if count % 2:
            analyst.seal()
        assert seqs(analyst) == list(range(1, 2 * count + 1))


def test_a_query_sees_files_and_tail_of_one_moment(analyst: Asked) -> None:
    analyst.append(steps(1, 2000))
    with (
        closing(analyst.instance.statement()) as statement,
        closing(statement.run("SELECT seq FROM events", rows=64)) as result,
    ):
        batches = iter(result)
        first = next(batches)
        analyst.append(steps(2001, 2001))
        analyst.seal()
        rest = sum(batch.num_rows for batch in batches)
    assert first.num_rows + rest == 4000
    assert len(seqs(analyst)) == 4002


def test_what_was_sealed_before_it_opened_is_not_asked_of_the_log(tmp_path: Path) -> None:
    seal(tmp_path / "segments", steps(1, 4))
    with Asked(tmp_path) as analyst:
        analyst.look()
        assert analyst.instance.position == 8
        assert seqs(analyst) == list(range(1, 9))


def test_an_agent_may_be_called_123(analyst: Asked) -> None:
    analyst.append(steps(1, 1, agent="123"))
    analyst.seal()
    assert analyst.rows("SELECT count(*) AS n FROM events WHERE agent = '123'") == [{"n": 1}]


def test_a_data_folder_may_have_any_name(tmp_path: Path) -> None:
    data = tmp_path / "it's [a] *data* folder?"
    data.mkdir()
    with Asked(data) as analyst:
        analyst.append(steps(1, 1))
        analyst.seal()
        assert seqs(analyst) == [1, 2]


def test_an_admin_sees_agents_that_were_not_there_before(analyst: Asked) -> None:
    analyst.append(steps(1, 1))
    analyst.seal()
    analyst.append([observation(1, agent="heater")])
    analyst.seal()
    assert seqs(analyst) == [1, 2, 3]


def test_dropped_files_are_gone_and_the_rest_is_there(analyst: Asked) -> None:
    analyst.append([observation(1), observation(1, "b", agent="heater"), *EVERY[3:4]])
    analyst.seal()
    drop(analyst.segments, "walker")
    with pytest.raises(FileGone):
        analyst.ask(SEQS)
    analyst.look()
    assert seqs(analyst) == [2, 3]


def test_events_of_no_agent_follow_the_manifest_too(analyst: Asked) -> None:
    for _ in range(2):
        analyst.append(EVERY[3:4])
        analyst.seal()
    assert seqs(analyst) == [1, 2]
    path = next(s for s in Manifest.read(analyst.segments).retained if s.seq_first == 1).path
    drop(analyst.segments, "_hub")
    analyst.look()
    assert seqs(analyst) == [], path


def test_a_file_that_is_not_there_changes_nothing(analyst: Asked) -> None:
    analyst.append(EVERY)
    analyst.seal()
    before = analyst.rows(SEQS)
    analyst.append(EVERY[3:4])
    seal(analyst.segments, [*EVERY, EVERY[3]])
    newest = max(analyst.segments.rglob("agent=_hub/*/*.parquet"))
    hidden = newest.rename(newest.with_suffix(".hidden"))
    with pytest.raises(FileGone):
        analyst.look()
    assert len(analyst.rows(SEQS)) == len(before) + 1, "as it was"
    hidden.rename(newest)
    analyst.look()
    assert len(analyst.rows(SEQS)) == len(before) + 1


@pytest.mark.parametrize(
    "limit", ["", "LIMIT 3001", "LIMIT 2000 + 1001", "LIMIT 10001", "LIMIT 50%"]
)
def test_rows_made_at_once_are_those_made_as_they_are_read(analyst: Asked, limit: str) -> None:
    analyst.append(steps(1, 3000))
    wanted = analyst.rows("SELECT * FROM events ORDER BY seq")
    found = analyst.rows(f"SELECT * FROM events ORDER BY seq {limit}")
    assert len(found) == {"": 6000, "LIMIT 10001": 6000, "LIMIT 50%": 3000}.get(limit, 3001)
    assert found == wanted[: len(found)]


def test_a_damaged_file_is_said_to_be_so(analyst: Asked) -> None:
    analyst.append(steps(1, 9))
    analyst.seal()
    (path,) = analyst.segments.rglob("*.parquet")
    path.write_bytes(b"\0" * path.stat().st_size)
    for asked in (lambda: analyst.ask(SEQS), analyst.reopen):  # its end is known, or read anew
        with pytest.raises(DatabaseError, match="a sealed file is damaged, `sheepfold verify`"):
            asked()


def test_the_filter_on_an_agent_reaches_the_files_through_every_view(analyst: Asked) -> None:
    for name in ("walker", "heater", "cart"):
        kinds = (Kind.EPISODE, Kind.POLICY, Kind.ADVICE)
        analyst.append([agent_made(name), *steps(1, 3, agent=name)])
        analyst.append([Event(kind, NOW_US, agent=name) for kind in kinds])
    analyst.seal()
    for view in ("events", "transitions", "episodes", "agents", "policies", "advice", "gains"):
        plan = analyst.ask(f"EXPLAIN SELECT * FROM {view} WHERE agent = 'walker'").decode()
        scans = plan.count("READ_PARQUET")
        assert scans > 0
        assert plan.count("Scanning Files: 1/3") == scans, (view, plan)


def test_nothing_devices_sent_is_spilled_in_clear(analyst: Asked) -> None:
    with closing(analyst.instance._connection.cursor()) as cursor:
        rows = cursor.execute("SELECT current_setting('temp_file_encryption')").fetchall()
    assert rows == [(True,)]


def test_a_closed_instance_lets_its_last_query_end(tmp_path: Path) -> None:
    analyst = Asked(tmp_path)
    analyst.append(steps(1, 2000))
    with (
        closing(analyst.instance.statement()) as statement,
        closing(statement.run("SELECT seq FROM events", rows=64)) as result,
    ):
        batches = iter(result)
        count = next(batches).num_rows
        analyst.instance.close()
        count += sum(batch.num_rows for batch in batches)
    assert count == 4000


def test_a_forgotten_devices_payloads_are_gone_from_memory_and_files_at_once(
    analyst: Asked,
) -> None:
    keys = PayloadKeys(analyst.data / "keys")
    analyst.append([observation(1, payload=keys.seal("a", "in a file"))])
    analyst.seal()
    analyst.append([observation(2, payload=keys.seal("a", "in memory"))])
    shown = "SELECT payload FROM events ORDER BY seq"
    assert [row["payload"] for row in analyst.rows(shown)] == ["in a file", "in memory"]
    keys.destroy("a")
    assert [row["payload"] for row in analyst.rows(shown)] == [None, None]
    analyst.append([observation(3, payload=keys.seal("a", "new"))])
    assert [row["payload"] for row in analyst.rows(shown)] == [None, None, "new"]


def test_a_result_that_is_still_being_read_shows_no_payload_after_the_forget(
    analyst: Asked,
) -> None:
    keys = PayloadKeys(analyst.data / "keys")
    said = "secret" * 160
    sealed = keys.seal("a", said)
    analyst.append([observation(step, payload=sealed) for step in range(RUNNING_ROWS)])
    with (
        closing(analyst.instance.statement()) as statement,
        closing(statement.run("SELECT payload FROM events", rows=2048)) as result,
    ):
        batches = iter(result)
        assert set(next(batches).column("payload").to_pylist()) == {said}
        keys.destroy("a")
        *_, last = batches
        assert set(last.column("payload").to_pylist()) == {None}
