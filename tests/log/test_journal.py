"""The journal: what a crash or a bad disk leaves of it, and that the log goes on from there."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.clock import SystemClock
from hub.errors import LogUnavailable
from hub.log import journal, store, tail
from hub.log.journal import BYTES, FILE_NAME, HALF_BYTES, HEAD, Journal, Left
from hub.log.messages import encode_events
from hub.log.payload_keys import PREFIX
from hub.log.rotate import Draft
from hub.log.salvage import FILE_NAME as DATABASE
from hub.log.store import RECENT_ROWS, SETTLE_ROWS, DuckLog
from hub.settings import LogSettings
from hub.words import Event, Kind
from tests.log.events import floats, observation, steps, unnumbered
from tests.log.sealed import seal

HUB = "hub"
COUNTS = st.lists(st.integers(1, 6), min_size=1, max_size=6)


def batches(counts: list[int], first: int = 1) -> list[tuple[int, list[Event]]]:
    """First seq and events of each commit."""
    made = []
    for count in counts:
        made.append((first, [observation(first + i) for i in range(count)]))
        first += count
    return made


def written(folder: Path, *rounds: list[tuple[int, list[Event]]]) -> int:
    """Make a journal of so many rounds, each in the other half; the bytes of the last one."""
    made = Journal.open(folder, HUB)
    for i, entries in enumerate(rounds):
        if i:
            made.switch()
        assert all(made.append(*entry) for entry in entries)
    made.close()
    return made.position


@given(COUNTS)
@settings(max_examples=10, deadline=None)
def test_commits_are_found_as_they_were_made(counts: list[int]) -> None:
    with TemporaryDirectory() as folder:
        end = written(Path(folder), batches(counts))
        assert Journal.read(Path(folder), HUB) == Left(batches(counts), (end, 0))


@given(st.lists(COUNTS, min_size=2, max_size=5))
@settings(max_examples=10, deadline=None)
def test_the_last_two_rounds_are_found_and_nothing_of_an_earlier_one(
    counts: list[list[int]],
) -> None:
    rounds, first = [], 1
    for one in counts:
        rounds.append(batches(one, first))
        first += sum(one)
    with TemporaryDirectory() as folder:
        written(Path(folder), *rounds)
        assert Journal.read(Path(folder), HUB).entries == rounds[-2] + rounds[-1]


@given(COUNTS, st.floats(0, 1, exclude_max=True), st.sampled_from(["cut", "zeros", "flip"]))
@settings(max_examples=30, deadline=None)
def test_damage_costs_what_it_hit_and_what_came_after(
    counts: list[int], share: float, damage: str
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        end = written(folder, batches(counts))
        data = bytearray((folder / FILE_NAME).read_bytes())
        at = int(share * end)
        if damage == "cut":
            del data[at:]
        elif damage == "zeros":
            at = next((i for i in range(at, end) if data[i]), end)  # others were zero before
            data[at:] = bytes(len(data) - at)
        else:
            data[at] ^= 0x10
        (folder / FILE_NAME).write_bytes(data)
        ends = [0]
        for _, events in batches(counts):
            ends.append(ends[-1] + HEAD.size + len(encode_events(events)))
        whole = sum(end <= at for end in ends) - 1
        assert Journal.read(folder, HUB).entries == batches(counts)[:whole]
        Journal.open(folder, HUB).close()
        assert (folder / FILE_NAME).stat().st_size == BYTES


def test_another_hubs_journal_is_an_empty_one(tmp_path: Path) -> None:
    written(tmp_path, batches([3]))
    assert Journal.read(tmp_path, "other") == Left([], (0, 0))


def test_a_commit_without_room_is_not_begun(tmp_path: Path) -> None:
    made = Journal.open(tmp_path, HUB)
    large = [observation(1, payload="x" * (HALF_BYTES // 2))]
    assert made.append(1, large)
    assert not made.append(2, large)
    assert made.append(2, [observation(2)])
    made.close()
    assert [first for first, _ in Journal.read(tmp_path, HUB).entries] == [1, 2]


def test_a_journal_that_a_newer_version_wrote_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(journal, "encode_events", lambda _: b"\x91\x91\xcc\xff")  # kind 255
        written(tmp_path, batches([1]))
    with pytest.raises(LogUnavailable, match="written by a newer Sheepfold"):
        Journal.read(tmp_path, HUB)


# --- in the log --------------------------------------------------------------------------------


def opened(folder: Path) -> DuckLog:
    return DuckLog.open(folder, LogSettings(), clock=SystemClock())


def test_a_log_settles_by_itself_when_much_is_new(tmp_path: Path) -> None:
    log = opened(tmp_path)
    part = SETTLE_ROWS // 2
    for count in range(1, RECENT_ROWS // part + 1):
        log.append(steps(1, part // 2))
        assert (log.settled, log.unsettled, log.last_seq) == (0, count * part, count * part)
    log.append(steps(1, 1))
    assert (log.settled, log.unsettled) == (RECENT_ROWS, 2)
    log.append(steps(1, RECENT_ROWS))
    assert log.settled == log.last_seq == 3 * RECENT_ROWS + 2
    log.close()


def test_commits_larger_than_the_journal_are_as_durable(tmp_path: Path) -> None:
    log = opened(tmp_path)
    pictures = [observation(step, obs=floats(*range(100_000))) for step in range(30)]
    log.append(pictures[:2])
    log.append(pictures[2:])
    log.append(pictures[:1])
    assert unnumbered(log.read()) == pictures + pictures[:1]
    log.close()
    again = opened(tmp_path)
    assert unnumbered(again.read()) == pictures + pictures[:1]
    again.close()


def test_what_the_file_lost_is_taken_from_the_journal(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(steps(1, 5))
    log.settle()
    log.append(steps(6, 7))
    log.append(steps(8, 8))
    log.close()
    (tmp_path / DATABASE).write_bytes(b"not a database" * 1000)
    again = opened(tmp_path)
    assert unnumbered(again.read()) == steps(1, 8)
    assert str(again.state.damage).startswith("moved aside: ")
    assert (again.last_seq, again.state.next_seq, again.state.epoch) == (16, 17, 1)
    again.close()


def test_appending_goes_on_while_others_settle_and_read(tmp_path: Path) -> None:
    log = opened(tmp_path)
    done = threading.Event()

    def settle() -> None:
        while not done.is_set():
            log.settle()

    def read() -> None:
        while not done.is_set():
            last = log.last_seq
            found = log.rows(1, last, None, None).column("seq").to_pylist() if last else []
            assert found == list(range(1, last + 1))

    with ThreadPoolExecutor(2) as others:
        futures = [others.submit(settle), others.submit(read)]
        for step in range(300):
            log.append(steps(step, step))
        done.set()
    for future in futures:
        future.result()
    assert unnumbered(log.read()) == steps(0, 299)
    log.close()


@pytest.mark.parametrize("part", [1, 7, 60, 100])
def test_appending_waits_for_room_while_others_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(store, "SETTLE_ROWS", 8)
    monkeypatch.setattr(store, "RECENT_ROWS", 64)
    monkeypatch.setattr(tail, "CHUNK_ROWS", 4)
    log = opened(tmp_path)
    done = threading.Event()

    def keep_up() -> None:
        while not done.is_set():
            log.keep_up(100_000)

    with ThreadPoolExecutor(1) as other:
        keeping_up = other.submit(keep_up)
        for step in range(0, 600, part):
            log.append(steps(step, step + part - 1))
        done.set()
    keeping_up.result()
    assert log.unsettled < 64 + 2 * part
    expected = steps(0, len(range(0, 600, part)) * part - 1)
    assert unnumbered(log.read()) == expected
    found = [log.rows(seq, seq + 9, None, None) for seq in range(1, log.last_seq - 9)]
    assert [rows.column("seq")[0].as_py() for rows in found] == list(range(1, log.last_seq - 9))
    log.close()


def test_what_the_file_did_not_take_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Appending goes on for a moment, and does not wait for room that nobody makes."""
    monkeypatch.setattr(store, "SETTLE_ROWS", 8)
    monkeypatch.setattr(store, "RECENT_ROWS", 16)
    (tmp_path / "log").mkdir()
    log = opened(tmp_path / "log")
    log.append(steps(1, 8))

    def fail(_: object) -> None:
        raise LogUnavailable("no space")

    with monkeypatch.context() as broken:
        broken.setattr(log.file, "insert", fail)
        with pytest.raises(LogUnavailable, match="no space"):
            log.keep_up(1)
    assert log.append(steps(9, 16)) == 17
    for events in (steps(17, 17), steps(17, 40)):
        with pytest.raises(LogUnavailable, match="open the log again"):
            log.append(events)
    shutil.copytree(tmp_path / "log", tmp_path / "as a crash leaves it")
    again = opened(tmp_path / "as a crash leaves it")
    assert unnumbered(again.read()) == steps(1, 16)
    again.close()


def test_a_journal_that_ends_early_is_kept_aside_and_its_seqs_are_not_given_again(
    tmp_path: Path,
) -> None:
    log = opened(tmp_path)
    for step in range(4):
        log.append(steps(step, step))
    data = bytearray((tmp_path / FILE_NAME).read_bytes())
    position = log._journal.position
    log.file.abandon()  # killed
    data[position * 5 // 8] ^= 1
    (tmp_path / FILE_NAME).write_bytes(data)
    again = opened(tmp_path)
    assert (again.last_seq, again.state.next_seq, again.state.epoch) == (4, 9, 2)
    assert "the journal holds nothing after event 4" in str(again.state.damage)
    assert "events 5 to 8 were acknowledged and are gone" in str(again.state.damage)
    (aside,) = tmp_path.glob(f"damaged-*/{FILE_NAME}")
    assert aside.read_bytes() == data
    assert again.append(steps(4, 4)) == 9
    assert [event.seq for event in again.read()] == [1, 2, 3, 4, 9, 10]
    again.close()


def test_what_a_device_sent_is_sealed_in_the_journal_too(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append([observation(1, payload='{"name":"Ada"}')])
    data = (tmp_path / FILE_NAME).read_bytes()
    assert b"Ada" not in data
    assert PREFIX.encode() in data
    assert log.read()[0].payload == '{"name":"Ada"}'
    log.keys.destroy("a")
    assert log.read()[0].payload is None
    log.close()


def test_what_is_sealed_is_not_taken_from_the_journal_again(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append([*steps(1, 200), Event(Kind.HELLO, 1)])
    Draft.begin(log, seal(log).seq_last, LogSettings()).finish(log)
    carried = log.file.run("SELECT seq FROM log ORDER BY seq")
    assert carried[-1] < (401,), "else there is nothing that might be taken again"
    log.close()
    again = opened(tmp_path)
    assert again.file.run("SELECT seq FROM log ORDER BY seq") == carried
    assert (again.last_seq, again.state.damage) == (401, None)
    again.close()
