"""The log in its folder: what survives, what is noticed, what is moved aside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import msgspec
import pytest

from hub.clock import SystemClock
from hub.errors import LogUnavailable
from hub.log import columns, recover, resume
from hub.log.acknowledged import FILE_NAME as MARK_NAME
from hub.log.acknowledged import Acknowledged, Mark
from hub.log.duck import SCHEMA_VERSION, LogLocked
from hub.log.journal import FILE_NAME as JOURNAL
from hub.log.payload_keys import FOLDER as KEYS
from hub.log.payload_keys import PREFIX
from hub.log.rotate import Draft
from hub.log.salvage import FILE_NAME, SUSPECT
from hub.log.segments.manifest import FILE_NAME as MANIFEST
from hub.log.store import DuckLog
from hub.settings import LogSettings
from hub.words import EVENT_VERSION, Event, Floats, Kind
from tests.log.events import action, observation, steps, unnumbered
from tests.log.sealed import seal

FIXTURES = Path(__file__).parent / "fixtures"


def opened(folder: Path) -> DuckLog:
    return DuckLog.open(folder, LogSettings(), clock=SystemClock())


def crashed(folder: Path, *batches: int, settled: bool = True, checkpoint: bool = False) -> None:
    """Leave a log of so many rows a batch as a killed process leaves it.

    With its write-ahead log and no journal, or where nothing was settled with its journal alone.
    """
    append = "(log.append(steps(1, rows)[:rows]), log.settle())"
    commands = "; ".join(
        [
            "import os; from pathlib import Path",
            "from hub.log.store import DuckLog; from hub.clock import SystemClock",
            "from hub.settings import LogSettings; from tests.log.events import steps",
            f"log = DuckLog.open(Path({str(folder)!r}), LogSettings(), clock=SystemClock())",
            f"[{append if settled else append.replace('log.settle()', '')} for rows in {batches}]",
            "log.checkpoint()" if checkpoint else "pass",
            "os._exit(0)",
        ]
    )
    subprocess.run([sys.executable, "-c", commands], check=True)
    if settled:
        (folder / JOURNAL).unlink()


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("settled", [False, True])
def test_a_killed_process_loses_nothing(tmp_path: Path, settled: bool) -> None:
    crashed(tmp_path, 1, 8, 64, settled=settled)
    log = opened(tmp_path)
    assert (log.last_seq, log.state.damage, log.state.epoch) == (73, None, 1)
    assert [event.seq for event in log.read()] == list(range(1, 74))
    log.close()


def test_the_hub_keeps_its_id(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.close()
    second = opened(tmp_path)
    assert second.hub == first.hub
    second.close()


def test_a_torn_end_is_noticed_and_its_seqs_are_not_given_again(tmp_path: Path) -> None:
    crashed(tmp_path, 5, 5, 5)
    wal = tmp_path / f"{FILE_NAME}.wal"
    wal.write_bytes(wal.read_bytes()[:-7])
    log = opened(tmp_path)
    assert log.last_seq == 10
    assert log.state.next_seq == 16
    assert log.state.epoch == 2
    assert log.state.damage is not None
    assert "events 11 to 15 were acknowledged and are gone" in log.state.damage
    assert log.append(steps(1, 1)) == 16
    log.close()


def test_a_noticed_loss_is_said_once_and_remembered(tmp_path: Path) -> None:
    crashed(tmp_path, 5, 5)
    (tmp_path / f"{FILE_NAME}.wal").unlink()
    opened(tmp_path).close()
    log = opened(tmp_path)
    assert (log.state.epoch, log.state.damage, log.state.next_seq) == (2, None, 11)
    log.append(steps(1, 1))
    log.close()
    again = opened(tmp_path)
    assert (again.state.epoch, again.state.damage, again.state.next_seq) == (2, None, 13)
    again.close()


def test_a_file_that_is_no_database_is_moved_aside_whole(tmp_path: Path) -> None:
    crashed(tmp_path, 5, checkpoint=True)
    path = tmp_path / FILE_NAME
    broken = b"not a database " * 1000
    path.write_bytes(broken)
    hub = Acknowledged.read(tmp_path)
    log = opened(tmp_path)
    assert hub == Mark(log.hub, 5)
    assert (log.last_seq, log.state.next_seq, log.state.epoch) == (0, 6, 2)
    (aside,) = tmp_path.glob(f"damaged-*/{FILE_NAME}")
    assert aside.read_bytes() == broken
    assert str(aside) in str(log.state.damage)
    log.close()


def test_a_flipped_header_is_moved_aside(tmp_path: Path) -> None:
    crashed(tmp_path, 5, checkpoint=True)
    flip(tmp_path / FILE_NAME, 100)
    log = opened(tmp_path)
    assert log.state.next_seq == 6
    assert list(tmp_path.glob(f"damaged-*/{FILE_NAME}"))
    log.close()


def test_an_older_copy_of_the_file_is_noticed(tmp_path: Path) -> None:
    crashed(tmp_path, 5, checkpoint=True)
    old = (tmp_path / FILE_NAME).read_bytes()
    crashed(tmp_path, 5, checkpoint=True)
    (tmp_path / FILE_NAME).write_bytes(old)
    log = opened(tmp_path)
    assert (log.last_seq, log.state.next_seq) == (5, 11)
    log.close()


@pytest.mark.parametrize("text", ["what is this" * 9, "", "5", f"hub {10**20 - 1:020d}\n"])
def test_a_log_without_its_mark_opens_as_it_is(tmp_path: Path, text: str) -> None:
    crashed(tmp_path, 5)
    (tmp_path / MARK_NAME).write_text(text)
    log = opened(tmp_path)
    assert (log.last_seq, log.state.damage) == (5, None)
    assert Acknowledged.read(tmp_path) == Mark(log.hub, 5)
    log.close()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    command = f"import duckdb; log = duckdb.connect({str(tmp_path / FILE_NAME)!r}); "
    command += "print('open', flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(LogLocked):
            opened(tmp_path)
        holder.kill()


def test_a_checkpoint_empties_the_write_ahead_log(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(steps(1, 50))
    log.settle()
    assert log.wal_bytes > 0
    log.checkpoint()
    assert log.wal_bytes == 0
    assert unnumbered(log.read()) == steps(1, 50)
    log.close()


def test_rows_are_the_wanted_events_of_a_range(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(steps(1, 2))
    log.settle()
    log.append(steps(3, 10))
    assert seqs(log, 3, 8, "walker", [Kind.ACTION]) == [4, 6, 8]
    assert seqs(log, 3, 8, "heater") == []
    assert seqs(log, 5, 6) == [5, 6]
    assert seqs(log, 20, 20) == [20]
    log.close()


def test_the_table_has_a_column_for_each_field_of_an_event(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(steps(1, 1))
    log.settle()
    table = log.table("page", first=1, last=1, agent=None, kinds=None)
    assert table.num_rows == 1
    assert tuple(table.schema.names) == Event.__struct_fields__
    assert table.schema.types == columns.SCHEMA.types
    log.close()


# --- a broken disk -----------------------------------------------------------------------


def test_a_flipped_bit_in_the_write_ahead_log_costs_only_what_follows_it(tmp_path: Path) -> None:
    crashed(tmp_path, 5, 5, 5, 5)
    wal = tmp_path / f"{FILE_NAME}.wal"
    flip(wal, wal.stat().st_size * 5 // 8)
    log = opened(tmp_path)
    assert (log.last_seq, log.state.next_seq, log.state.epoch) == (10, 21, 2)
    assert "is broken at byte" in str(log.state.damage)
    assert "events 11 to 20 were acknowledged and are gone" in str(log.state.damage)
    assert list(tmp_path.glob("damaged-*/*.wal"))
    assert unnumbered(log.read()) == steps(1, 5)[:5] * 2
    log.close()


def test_zeros_at_the_end_of_the_write_ahead_log_cost_nothing(tmp_path: Path) -> None:
    crashed(tmp_path, 5, 5)
    wal = tmp_path / f"{FILE_NAME}.wal"
    wal.write_bytes(wal.read_bytes() + bytes(4096))
    log = opened(tmp_path)
    assert (log.last_seq, log.state.damage) == (10, None)
    log.close()


def test_what_a_broken_log_has_lost_is_taken_from_its_segments(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append([*steps(1, 5), Event(Kind.ADMIN, 1, secret=b"hash")])
    seal(log)
    log.append(steps(6, 7))
    hub = log.hub
    log.close()
    (tmp_path / FILE_NAME).write_bytes(b"not a database" * 1000)
    (tmp_path / JOURNAL).unlink()
    again = opened(tmp_path)
    assert (again.hub, again.last_seq, again.state.next_seq) == (hub, 11, 16)
    assert "11 events up to 11 were taken from the segments" in str(again.state.damage)
    assert unnumbered(again.read()) == [*steps(1, 5), Event(Kind.ADMIN, 1, secret=b"hash")]
    again.close()


def test_a_folder_with_segments_alone_is_a_log(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(steps(1, 50))
    seal(log)
    log.close()
    for path in tmp_path.glob("log.*"):
        path.unlink()
    again = opened(tmp_path)
    assert (again.hub, again.last_seq, again.state.next_seq) == (log.hub, 100, 101)
    assert unnumbered(again.read()) == steps(1, 50)
    again.close()


def test_pages_that_still_read_of_a_broken_file_are_kept(tmp_path: Path) -> None:
    log = opened(tmp_path)
    last = 30_000
    noise = os.urandom(4 * 64 * last)  # so that it fills blocks of its own
    obs = [Floats(noise[256 * step : 256 * (step + 1)]) for step in range(last)]
    log.append([observation(step, obs=obs[step]) for step in range(last)])
    log.checkpoint()
    log.close()
    path = tmp_path / FILE_NAME
    flip(path, path.stat().st_size // 2)
    (tmp_path / SUSPECT).touch()
    again = opened(tmp_path)
    kept = [event.seq for event in again.read(limit=last)]
    assert last * 3 // 4 < len(kept) < last
    assert (kept[0], kept[-1], again.state.next_seq) == (1, last, last + 1)
    assert "are gone" in str(again.state.damage)
    assert not (tmp_path / SUSPECT).exists()
    again.close()


def test_a_suspect_that_reads_well_is_kept(tmp_path: Path) -> None:
    crashed(tmp_path, 5)
    (tmp_path / SUSPECT).touch()
    log = opened(tmp_path)
    assert (log.last_seq, log.state.damage) == (5, None)
    assert not (tmp_path / SUSPECT).exists()
    log.close()


# --- rotation ----------------------------------------------------------------------------


def test_a_rotated_log_still_shows_everything(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append([*steps(1, 100), Event(Kind.ADMIN, 1, secret=b"hash"), *steps(101, 110)])
    before, known = log.read(), resume.recover(log)
    seal(log, 150)
    rotate(log, 120)
    assert log.begins == 120
    assert log.read() == before
    assert seqs(log, 119, 122) == [119, 120, 121, 122]
    assert resume.recover(log) == known
    log.append(steps(111, 112))
    log.close()
    again = opened(tmp_path)
    assert (again.begins, again.last_seq, again.state.damage) == (120, 225, None)
    assert again.read()[:221] == before
    assert [path.name for path in tmp_path.glob("*.duckdb*")] == [again.file.path.name]
    again.close()


def test_what_is_carried_along_is_no_hole_and_is_counted_once(tmp_path: Path) -> None:
    log = opened(tmp_path)
    for first in range(1, 401, 40):
        log.append(steps(first, first + 39))
        known = resume.recover(log)
        rotate(log, seal(log).seq_last)
        assert resume.recover(log) == known
    log.close()
    again = opened(tmp_path)
    assert again.state.damage is None
    assert resume.recover(again) == recover.fold(again.read())
    again.close()


def test_a_crash_before_the_new_file_has_its_name_leaves_the_old_one(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(steps(1, 10))
    seal(log)
    Draft.begin(log, 10, LogSettings())
    log.close()
    again = opened(tmp_path)
    assert (again.begins, again.last_seq) == (0, 20)
    assert [path.name for path in tmp_path.glob("*.duckdb*")] == [FILE_NAME]
    again.close()


def test_a_crash_after_the_new_file_has_its_name_leaves_the_new_one(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(steps(1, 10))
    seal(log)
    log.checkpoint()
    old = (tmp_path / FILE_NAME).read_bytes()
    rotate(log, 10)
    log.close()
    (tmp_path / FILE_NAME).write_bytes(old)
    again = opened(tmp_path)
    assert (again.begins, again.last_seq, again.state.damage) == (10, 20, None)
    assert not (tmp_path / FILE_NAME).exists()
    again.close()


def test_a_damaged_manifest_is_said_and_stops_nothing_but_sealing(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(steps(1, 5))
    manifest = seal(log).folder / MANIFEST
    log.close()
    manifest.write_bytes(b"{}\n")
    again = opened(tmp_path)
    assert again.last_seq == 10
    assert "line 1 is damaged" in str(again.state.damage)
    again.close()
    (tmp_path / FILE_NAME).unlink()
    with pytest.raises(LogUnavailable, match="put it back from a backup"):
        opened(tmp_path)


# --- payloads ----------------------------------------------------------------------------


def test_what_a_device_sent_besides_numbers_is_sealed_on_disk(tmp_path: Path) -> None:
    log = opened(tmp_path)
    said = observation(1, payload='{"name":"Ada"}')
    log.append([said, action(1, payload='{"noise":1}')])
    assert unnumbered(log.read()) == [said, action(1, payload='{"noise":1}')]
    stored = log.rows(1, 2, None, None, reveal=False).column("payload").to_pylist()
    assert stored[0].startswith(PREFIX)
    assert stored[1] == '{"noise":1}'
    log.close()
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"Ada" not in path.read_bytes()


def test_a_forgotten_device_leaves_numbers_only(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append([observation(1, payload='{"name":"Ada"}'), observation(1, "b", payload="{}")])
    log.keys.destroy("a")
    assert unnumbered(log.read()) == [observation(1), observation(1, "b", payload="{}")]
    log.append([observation(2, payload='{"name":"Bob"}')])
    log.close()
    again = opened(tmp_path)
    assert [event.payload for event in again.read()] == [None, "{}", '{"name":"Bob"}']
    assert (tmp_path / KEYS / "a").stat().st_mode & 0o777 == 0o600
    again.close()


# --- other versions ------------------------------------------------------------------------


@pytest.mark.parametrize("fixture", sorted(FIXTURES.glob("*.tar.gz")), ids=lambda path: path.name)
def test_a_log_of_every_past_version_opens_and_goes_on(tmp_path: Path, fixture: Path) -> None:
    with tarfile.open(fixture) as archive:
        archive.extractall(tmp_path, filter="data")
    stored = msgspec.msgpack.decode((tmp_path / "events.msgpack").read_bytes(), type=list[Event])
    expected = [msgspec.structs.replace(event, version=EVENT_VERSION) for event in stored]
    log = opened(tmp_path)
    assert (log.state.damage, log.file.meta()["schema"]) == (None, str(SCHEMA_VERSION))
    assert log.read() == expected
    assert resume.recover(log) == recover.fold(expected)
    log.append(steps(1, 5))
    rotate(log, seal(log).seq_last)
    log.close()
    again = opened(tmp_path)
    assert again.read()[: len(expected)] == expected
    again.close()


def test_what_an_old_version_kept_in_clear_is_sealed_when_it_moves_on(tmp_path: Path) -> None:
    log = opened(tmp_path)
    old = observation(1, payload='{"name":"Ada"}', version=1)
    log.file.insert(columns.to_batch([old], 1))
    log.close()
    log = opened(tmp_path)
    assert log.read()[0].payload == '{"name":"Ada"}'
    rotate(log, seal(log).seq_last)
    assert log.read()[0].payload == '{"name":"Ada"}'
    log.keys.destroy("a")
    assert log.read()[0].payload is None
    log.close()
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"Ada" not in path.read_bytes()


def test_a_log_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.file.run("INSERT INTO meta VALUES ('schema', '99')")
    log.close()
    with pytest.raises(LogUnavailable, match="schema 99, made by a newer Sheepfold"):
        opened(tmp_path)


@pytest.mark.parametrize("where", ["journal", "file", "segments"])
def test_events_of_a_newer_version_are_left_alone(tmp_path: Path, where: str) -> None:
    data, killed = tmp_path / "data", tmp_path / "killed"
    data.mkdir()
    log = opened(data)
    log.append([observation(1), observation(2, version=EVENT_VERSION + 1)])
    if where != "journal":
        log.settle()
    if where == "segments":
        seal(log)
    shutil.copytree(data, killed)
    log.close()
    if where == "segments":
        for path in killed.glob("log*"):
            path.unlink()
    with pytest.raises(LogUnavailable, match=r"event 2 has version \d+, written by a newer"):
        opened(killed)


def seqs(
    log: DuckLog, first: int, last: int, agent: str | None = None, kinds: list[Kind] | None = None
) -> list[int]:
    found: list[int] = log.rows(first, last, agent, kinds).column("seq").to_pylist()
    return found


def rotate(log: DuckLog, upto: int) -> None:
    Draft.begin(log, upto, LogSettings()).finish(log)
