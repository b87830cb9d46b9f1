"""The file: what survives, what is noticed, what is moved aside."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from hub.clock import SystemClock
from hub.log.acknowledged import FILE_NAME as MARK_NAME
from hub.log.acknowledged import Acknowledged, Mark
from hub.log.columns import SCHEMA
from hub.log.duck import FILE_NAME, DuckLog, LogLocked
from hub.settings import LogSettings
from hub.words import Event, Kind, Source
from tests.log.events import steps, unnumbered

if TYPE_CHECKING:
    from pathlib import Path


def opened(folder: Path) -> DuckLog:
    return DuckLog.open(folder, LogSettings(), clock=SystemClock())


def crashed(folder: Path, *batches: int, checkpoint: bool = False) -> None:
    """Leave a log of so many rows a batch as a killed process leaves it: with its WAL."""
    commands = "; ".join(
        [
            "import os; from pathlib import Path",
            "from hub.log.duck import DuckLog; from hub.clock import SystemClock",
            "from hub.settings import LogSettings; from tests.log.events import steps",
            f"log = DuckLog.open(Path({str(folder)!r}), LogSettings(), clock=SystemClock())",
            f"[log.append(steps(1, rows)[:rows]) for rows in {batches}]",
            "log.checkpoint()" if checkpoint else "pass",
            "os._exit(0)",
        ]
    )
    subprocess.run([sys.executable, "-c", commands], check=True)


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    path.write_bytes(data)


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    crashed(tmp_path, 1, 8, 64)
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


def test_a_log_without_its_mark_opens_as_it_is(tmp_path: Path) -> None:
    crashed(tmp_path, 5)
    (tmp_path / MARK_NAME).write_text("what is this")
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
    assert log.wal_bytes > 0
    log.checkpoint()
    assert log.wal_bytes == 0
    assert unnumbered(log.read()) == steps(1, 50)
    log.close()


def test_a_page_has_the_wanted_events_of_its_range(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(steps(1, 10))
    page = log.page(3, 8, "walker", [Kind.ACTION])
    assert [event.seq for event in page] == [4, 6, 8]
    assert log.page(3, 8, "heater", None) == []
    log.close()


def test_the_table_has_a_column_for_each_field_of_an_event(tmp_path: Path) -> None:
    log = opened(tmp_path)
    table = log.table("read", after=0, count=1, agent=None)
    assert tuple(table.schema.names) == Event.__struct_fields__
    assert table.schema.types == SCHEMA.types
    log.close()


def test_views_name_every_kind_and_source(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append([Event(kind, 0, source=source) for kind in Kind for source in Source])
    connection = log.query_connection(memory_mb=64)
    rows = connection.execute("SELECT DISTINCT kind, source FROM events").fetchall()
    assert set(rows) == {(k.name.lower(), s.name.lower()) for k in Kind for s in Source}
    connection.close()
    log.close()
