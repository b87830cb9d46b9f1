"""A seal holds exactly the events it names, whatever happens while it is made."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from hub.errors import HubFault
from hub.log import columns
from hub.log.read import Closed
from hub.log.segments.history import History
from hub.log.segments.lock import Busy, locked
from hub.log.segments.manifest import FILE_NAME, FOLDER, Manifest
from hub.log.segments.seal import missing_from, seal
from hub.log.segments.verify import verify
from hub.settings import LogSettings
from hub.words import Event, Kind
from tests.log.events import NOW_US, agent_made, observation, steps
from tests.log.linked import LinkedLog
from tests.log.segments.made import HUB_ID, FakeLog, ManualClock, sealed, table_of

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

EVENTS = [
    *steps(1, 10),
    agent_made(),
    Event(Kind.HELLO, NOW_US, "walker", "a", secret=b"s" * 32),
    *steps(11, 15, "b", agent="heater"),
]


def history(data: Path) -> pa.Table:
    """All that is sealed, as the log would have it."""
    found = History(data / FOLDER)
    found.refresh()
    return found.page(1, found.seq_last, None, None)


def files_in(data: Path) -> list[str]:
    """Of the segments, without the lock."""
    paths = (data / FOLDER).rglob("*")
    return sorted(path.name for path in paths if path.is_file() and path.name != ".lock")


def test_a_seal_is_the_log_up_to_a_seq(tmp_path: Path) -> None:
    (made,) = sealed(tmp_path, EVENTS, to=17)
    assert (made.seq_first, made.seq_last, made.rows, made.missing) == (1, 17, 17, [])
    assert (made.hub, made.ts_last) == (HUB_ID, NOW_US + 9)
    assert history(tmp_path).equals(table_of(EVENTS[:17]))
    assert verify(tmp_path).problems == []


def test_the_next_seal_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    sealed(tmp_path, EVENTS, to=5)
    (made,) = sealed(tmp_path, EVENTS)
    assert (made.seq_first, made.seq_last) == (6, len(EVENTS))
    assert history(tmp_path).equals(table_of(EVENTS))
    assert sealed(tmp_path, EVENTS) == []
    assert verify(tmp_path).problems == []


def test_lost_events_are_named(tmp_path: Path) -> None:
    lost = [1, 2, *range(6, 10), *range(18, 30), 31, 32]  # pages have seven rows
    (made,) = sealed(tmp_path, EVENTS, lost=lost)
    assert made.missing == [(1, 2), (6, 9), (18, 29), (31, 32)]
    assert made.rows == len(EVENTS) - len(lost)
    assert history(tmp_path).equals(table_of(EVENTS, lost=lost))
    assert verify(tmp_path).problems == []


def test_a_range_that_was_lost_whole_is_a_seal_without_files(tmp_path: Path) -> None:
    sealed(tmp_path, EVENTS, to=5)
    (made,) = sealed(tmp_path, EVENTS, to=8, lost=[6, 7, 8])
    assert (made.rows, made.segments, made.missing) == (0, [], [(6, 8)])
    assert verify(tmp_path).problems == []


@pytest.mark.parametrize(("rows_max", "bytes_max"), [(10, 10**9), (10**9, 1000)])
def test_what_is_too_much_for_one_seal_is_sealed_in_several(
    tmp_path: Path, rows_max: int, bytes_max: int
) -> None:
    made = sealed(tmp_path, EVENTS, rows_max=rows_max, bytes_max=bytes_max)
    assert len(made) > 1
    assert made[0].rows < len(EVENTS) / 2
    assert history(tmp_path).equals(table_of(EVENTS))
    assert verify(tmp_path).problems == []


def test_missing_from_finds_every_hole_and_every_disorder() -> None:
    seqs = columns.to_batch(steps(1, 3), 4).column("seq").to_numpy()  # 4..9
    assert missing_from(seqs, 4, 9) == []
    assert missing_from(seqs[1:], 2, 12) == [(2, 4), (10, 12)]
    with pytest.raises(HubFault, match="not in order"):
        missing_from(seqs[::-1], 4, 9)
    with pytest.raises(HubFault, match="not in order"):
        missing_from(seqs, 5, 9)


def test_a_log_that_goes_away_leaves_no_file_and_what_was_sealed(tmp_path: Path) -> None:
    with FakeLog(tmp_path, table_of(EVENTS), pages_max=3) as log:
        seals = seal(tmp_path, log.last, HUB_ID, clock=ManualClock(), rows_max=12)
        assert next(seals).seq_last == 14  # two pages of seven; the third is not enough
        with pytest.raises(Closed):
            next(seals)
    assert Manifest.read(tmp_path / FOLDER).seq_last == 14
    assert verify(tmp_path).problems == []
    sealed(tmp_path, EVENTS)
    assert history(tmp_path).equals(table_of(EVENTS))


def test_no_log_is_said(tmp_path: Path) -> None:
    with pytest.raises(Closed, match="no log process listens"):
        next(seal(tmp_path, 5, HUB_ID, clock=ManualClock()))


def test_two_at_once_are_not_possible(tmp_path: Path) -> None:
    with locked(tmp_path / FOLDER), pytest.raises(Busy, match="try again"):
        sealed(tmp_path, EVENTS)
    assert sealed(tmp_path, EVENTS)


def test_segments_of_another_hub_are_left_alone(tmp_path: Path) -> None:
    sealed(tmp_path, EVENTS, to=5)
    with (
        FakeLog(tmp_path, table_of(EVENTS)) as log,
        pytest.raises(HubFault, match=f"segments of hub {HUB_ID}"),
    ):
        next(seal(tmp_path, log.last, "another", clock=ManualClock()))


# --- what a crash leaves ---------------------------------------------------------------------


def test_what_a_crashed_seal_left_goes_when_its_events_are_sealed(tmp_path: Path) -> None:
    sealed(tmp_path, EVENTS)
    (tmp_path / FOLDER / FILE_NAME).unlink()  # it had not come to the line
    left = files_in(tmp_path)
    folder = next((tmp_path / FOLDER).rglob("*.parquet")).parent
    (folder / "00000000000000000001-00000000000000000009.parquet.new").write_bytes(b"PAR1")
    sealed(tmp_path, EVENTS, to=15)
    assert set(left) < set(files_in(tmp_path))
    assert not any(name.endswith(".new") for name in files_in(tmp_path))
    sealed(tmp_path, EVENTS)
    assert verify(tmp_path).problems == []
    assert verify(tmp_path).strays == []
    assert history(tmp_path).equals(table_of(EVENTS))


def test_a_lost_manifest_costs_no_file(tmp_path: Path) -> None:
    """The log has given the first events up, the manifest that named them is gone."""
    sealed(tmp_path, EVENTS, to=20)
    whole = files_in(tmp_path)
    lines = (tmp_path / FOLDER / FILE_NAME).read_bytes()
    (tmp_path / FOLDER / FILE_NAME).unlink()
    with pytest.raises(HubFault, match="Put it back from a backup"):
        sealed(tmp_path, EVENTS, lost=range(1, 21))
    assert files_in(tmp_path) == [name for name in whole if name != FILE_NAME]
    (tmp_path / FOLDER / FILE_NAME).write_bytes(lines)
    sealed(tmp_path, EVENTS, lost=range(1, 21))
    assert history(tmp_path).equals(table_of(EVENTS))


def test_what_a_crashed_seal_left_around_an_old_hole_holds_up_nothing(tmp_path: Path) -> None:
    """The left files' names span the hole; they have nothing of it."""
    hole = [6, 7, 31]
    sealed(tmp_path, EVENTS, to=20, lost=hole)
    (tmp_path / FOLDER / FILE_NAME).unlink()  # it had not come to the line
    (made, *_) = sealed(tmp_path, EVENTS, lost=hole)
    assert made.missing == [(6, 7), (31, 31)]
    assert history(tmp_path).equals(table_of(EVENTS, lost=hole))
    assert (verify(tmp_path).problems, verify(tmp_path).strays) == ([], [])


def test_a_left_file_that_can_not_be_read_may_hold_what_is_lost(tmp_path: Path) -> None:
    sealed(tmp_path, EVENTS, to=20)
    (tmp_path / FOLDER / FILE_NAME).unlink()
    (path,) = (tmp_path / FOLDER).rglob("agent=walker/*/*.parquet")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(HubFault, match=f"{path.name}, which the manifest does not name"):
        sealed(tmp_path, EVENTS, lost=[6])
    assert path.exists()


def test_a_torn_line_counts_as_none(tmp_path: Path) -> None:
    sealed(tmp_path, EVENTS, to=5)
    path = tmp_path / FOLDER / FILE_NAME
    whole = path.read_bytes()
    sealed(tmp_path, EVENTS)
    path.write_bytes(path.read_bytes()[:-20])
    sealed(tmp_path, EVENTS)
    assert path.read_bytes().startswith(whole)
    assert history(tmp_path).equals(table_of(EVENTS))
    assert verify(tmp_path).problems == []
    assert verify(tmp_path).strays == []


# --- the process -----------------------------------------------------------------------------


def run(
    data: Path, to: int, hub: str, *, file_bytes_max: int | None = None
) -> tuple[int, str, str]:
    """Status, stdout and stderr of the process."""

    def limit() -> None:
        if file_bytes_max is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))

    command = [sys.executable, "-m", "hub.log.segments.seal", "--data", str(data)]
    done = subprocess.run(
        [*command, "--to", str(to), "--hub", hub],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_process_prints_the_manifests_line(tmp_path: Path) -> None:
    with FakeLog(tmp_path, table_of(EVENTS)):
        status, out, errors = run(tmp_path, 20, HUB_ID)
    assert (status, errors) == (0, "")
    assert out == (tmp_path / FOLDER / FILE_NAME).read_text()
    assert json.loads(out)["seq_last"] == 20


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: the first one does not fit."""
    with FakeLog(tmp_path, table_of(EVENTS)):
        status, out, errors = run(tmp_path, 20, HUB_ID, file_bytes_max=1000)
    assert (status, out) == (1, "")
    assert errors.count("\n") == 1
    assert "sealing up to event 20 failed: [Errno 27] File too large" in errors
    assert files_in(tmp_path) == []


def test_when_the_line_does_not_fit_its_files_go_too(tmp_path: Path) -> None:
    """The manifest is longer than any file, so a limit lets those through and not its next line."""
    log = EVENTS * 4
    sealed(tmp_path, log, to=120, rows_max=7)
    size = (tmp_path / FOLDER / FILE_NAME).stat().st_size
    before = files_in(tmp_path)
    with FakeLog(tmp_path, table_of(log)):
        status, out, errors = run(tmp_path, len(log), HUB_ID, file_bytes_max=size + 99)
    assert (status, out) == (1, "")
    assert "No space left" in errors
    assert files_in(tmp_path) == before
    assert (tmp_path / FOLDER / FILE_NAME).stat().st_size == size
    assert verify(tmp_path).problems == []


def test_a_real_log_is_sealed_as_it_stores_it(tmp_path: Path) -> None:
    log = LinkedLog(tmp_path, LogSettings()).open()
    try:
        log.append(EVENTS)
        log.append([observation(99, payload='{"room":"7"}'), *EVENTS])
        status, _, errors = run(tmp_path, 2 * len(EVENTS), log.hub)
        assert (status, errors) == (0, "")
        with log.fetcher() as fetcher:
            stored = fetcher.fetch(0).table.slice(0, 2 * len(EVENTS))
        assert history(tmp_path).equals(stored.select(columns.FIELDS).cast(columns.SCHEMA))
        assert verify(tmp_path).problems == []
    finally:
        log.close()
