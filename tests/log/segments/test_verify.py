"""Whatever is taken away from segments or changed in them is found and named."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec
import pyarrow.parquet as pq
import pytest

from hub.clock import SystemClock
from hub.log.segments import drop
from hub.log.segments.lock import locked
from hub.log.segments.manifest import FILE_NAME, FOLDER, Manifest
from hub.log.segments.verify import Report, verify
from hub.log.store import DuckLog
from hub.settings import LogSettings
from hub.words import Event, Kind
from tests.log import sealed as sealed_by_test
from tests.log.events import NOW_US, agent_made, observation, steps
from tests.log.linked import LinkedLog
from tests.log.segments.made import HUB_ID, flip_a_bit, rewrite, sealed, with_bytes_of

if TYPE_CHECKING:
    from pathlib import Path

    from hub.log.segments.manifest import Seal

EVENTS = [
    *steps(1, 10),
    agent_made(),
    Event(Kind.HELLO, NOW_US, "walker", "a", secret=b"s" * 32),
    *(observation(step, "b", agent="heater") for step in range(20)),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    sealed(tmp_path, EVENTS, to=24, lost=[3])
    sealed(tmp_path, EVENTS)
    return tmp_path


def file_of(data: Path, agent: str, suffix: str = "parquet") -> Path:
    """The first."""
    return min(data.rglob(f"agent={agent}/*/*.{suffix}"))


def problem(data: Path) -> str:
    """The only one."""
    (found,) = verify(data).problems
    return found


def test_what_was_sealed_is_whole(data: Path) -> None:
    report = verify(data)
    size = sum(s.bytes for s in Manifest.read(data / FOLDER).retained)
    assert report == Report(HUB_ID, 1, 42, seals=2, files=4, rows=41, bytes=size, lost=[(3, 3)])


def test_nothing_sealed_is_no_problem(tmp_path: Path) -> None:
    assert verify(tmp_path) == Report("", 0, 0, 0, 0, 0, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_gone(data: Path) -> None:
    file_of(data, "walker").unlink()
    assert "agent=walker" in problem(data)
    assert problem(data).endswith("(events 1 to 22) is not there; put it back from a backup")


def test_a_file_that_is_shorter(data: Path) -> None:
    path = file_of(data, "walker")
    path.write_bytes(path.read_bytes()[:-1])
    assert "bytes instead of" in problem(data)


def test_a_bit_that_was_turned(data: Path) -> None:
    flip_a_bit(file_of(data, "heater"))
    assert "(events 23 to 24) was changed" in problem(data)


def test_secrets_that_are_gone(data: Path) -> None:
    file_of(data, "_hub", "secrets").unlink()
    assert ".secrets (events 22 to 22) is not there" in problem(data)


def test_a_line_that_was_changed(data: Path) -> None:
    path = data / FOLDER / FILE_NAME
    path.write_bytes(path.read_bytes().replace(b'"rows":23', b'"rows":22', 1))
    assert "line 2 does not follow the line before it" in problem(data)


def test_a_line_that_was_taken_out(data: Path) -> None:
    path = data / FOLDER / FILE_NAME
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[1])
    assert "line 1 does not follow" in problem(data)


def test_a_line_that_is_none(data: Path) -> None:
    path = data / FOLDER / FILE_NAME
    path.write_bytes(b"{}\n" + path.read_bytes())
    assert "line 1 is damaged" in problem(data)


def test_a_file_without_a_line_is_no_problem_and_is_said(data: Path) -> None:
    stray = file_of(data, "walker").with_name("more.parquet")
    stray.write_bytes(b"")
    report = verify(data)
    assert report.problems == []
    assert report.strays == [stray.relative_to(data / FOLDER).as_posix()]
    (note,) = report.notes()
    assert note.startswith(f"{report.strays[0]} and 0 others are in no line of {FILE_NAME}: ")


def test_files_without_a_manifest_are_a_problem(data: Path) -> None:
    """They may be the log."""
    (data / FOLDER / FILE_NAME).unlink()
    assert f"{FILE_NAME} says nothing of " in problem(data)
    assert "and 3 others: it was lost (put it back from a backup)" in problem(data)


def test_files_that_are_being_made_are_no_problem(data: Path) -> None:
    file_of(data, "walker").with_name("more.parquet").write_bytes(b"")
    with locked(data / FOLDER):
        assert (verify(data).problems, verify(data).strays) == ([], [])


def test_files_that_retention_dropped_are_no_problem(data: Path) -> None:
    gone = [s for s in Manifest.read(data / FOLDER).retained if s.agent == "walker"]
    drop.drop(data / FOLDER, gone, NOW_US)
    report = verify(data)
    (kept,) = Manifest.read(data / FOLDER).kept
    assert (report.problems, report.strays, report.files, report.rows) == ([], [], 4, 21)
    (data / FOLDER / kept.path).unlink()
    (problem,) = verify(data).problems
    assert f"{kept.path} (events {kept.seq_first} to {kept.seq_last}) is not there" in problem


def test_what_declares_agents_outlives_their_days(tmp_path: Path) -> None:
    sealed(tmp_path, [agent_made(), *steps(1, 5), agent_made("heater"), *steps(6, 9)])
    drop.drop(tmp_path / FOLDER, Manifest.read(tmp_path / FOLDER).retained, NOW_US)
    log = DuckLog.open(tmp_path, LogSettings(), clock=SystemClock())
    assert [(event.seq, event.agent) for event in log.read()] == [(1, "walker"), (12, "heater")]
    assert (log.begins, log.append(steps(1, 1))) == (20, 21)
    assert log.state.damage == "2 events up to 20 were taken from the segments"
    log.close()


def test_seals_that_do_not_join(data: Path) -> None:
    rewrite(data, lambda seal: msgspec.structs.replace(seal, seq_last=min(seal.seq_last, 41)))
    assert any("has an event in two files, or one of another" in p for p in verify(data).problems)
    rewrite(data, lambda seal: msgspec.structs.replace(seal, seq_first=max(seal.seq_first - 1, 1)))
    assert any("after event 24 comes a seal of 24 to" in p for p in verify(data).problems)


def test_two_hubs(data: Path) -> None:
    hubs = iter(["a", "b"])
    rewrite(data, lambda seal: msgspec.structs.replace(seal, hub=next(hubs)))
    assert "two logs were mixed" in problem(data)


def test_other_events_are_missing_than_it_says(data: Path) -> None:
    rewrite(data, lambda seal: msgspec.structs.replace(seal, missing=[]))
    assert "lacks other events than it says, as (3, 3)" in problem(data)


def test_another_number_of_rows_than_it_says(data: Path) -> None:
    rewrite(data, lambda seal: msgspec.structs.replace(seal, rows=seal.rows + 1))
    assert [p for p in verify(data).problems if "has 23 rows and says 24" in p]


def test_a_path_that_leads_elsewhere(data: Path) -> None:
    def astray(seal: Seal) -> Seal:
        first, *rest = seal.segments
        away = msgspec.structs.replace(first, path="../../etc/passwd")
        return msgspec.structs.replace(seal, segments=[away, *rest])

    rewrite(data, astray)
    assert sum("lies elsewhere" in found for found in verify(data).problems) == 2


def test_a_file_with_other_rows_than_its_segment_says(data: Path) -> None:
    """Its hash is right: somebody meant it so."""
    path = file_of(data, "heater")
    table = pq.ParquetFile(path).read()
    for rows, said in ((table.slice(1), "has 1 rows"), (table.take([1, 0]), "has 2 rows, of ev")):
        pq.write_table(rows, path)
        rewrite(data, partial(with_bytes_of, path))
        assert said in problem(data)


def test_what_a_running_log_has_not_sealed_yet_is_read_too(tmp_path: Path) -> None:
    log = LinkedLog(tmp_path).open()
    try:
        log.append(steps(1, 10))
        report = verify(tmp_path)
        assert (report.unsealed, report.unchecked, report.notes()) == (20, None, [])
    finally:
        log.close()
    assert verify(tmp_path).unsealed is None


def test_what_no_hub_runs_for_and_is_not_sealed_is_said_to_be_unchecked(tmp_path: Path) -> None:
    log = DuckLog.open(tmp_path, LogSettings(), clock=SystemClock())
    log.append(steps(1, 10))
    sealed_by_test.seal(log, 15)
    log.append(steps(11, 12))
    log.close()
    report = verify(tmp_path)
    assert (report.seq_last, report.unchecked, report.problems) == (15, (16, 24), [])
    (note,) = report.notes()
    assert note.startswith("events 16 to 24 were not checked: they are not sealed yet, and no hub")
    log = DuckLog.open(tmp_path, LogSettings(), clock=SystemClock())
    sealed_by_test.seal(log)
    log.close()
    assert (verify(tmp_path).unchecked, verify(tmp_path).notes()) == (None, [])
