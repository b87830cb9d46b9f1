"""A backup is a log to start from; it never holds keys and never harms what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from hub.clock import SystemClock
from hub.errors import HubFault, OperatorFault
from hub.log.payload_keys import FOLDER as FOLDER_OF_KEYS
from hub.log.payload_keys import PayloadKeys
from hub.log.segments import drop
from hub.log.segments.backup import KEYS, backup, restore
from hub.log.segments.history import History
from hub.log.segments.manifest import FILE_NAME, FOLDER, Manifest
from hub.log.segments.moving import move
from hub.log.segments.verify import verify
from hub.log.store import DuckLog
from hub.settings import LogSettings
from hub.words import Event, Kind
from tests.log import sealed as open_log
from tests.log.events import NOW_US, agent_made, observation, steps
from tests.log.segments.made import HUB_ID, flip_a_bit, sealed

if TYPE_CHECKING:
    from pathlib import Path

EVENTS = [
    *steps(1, 10),
    agent_made(),
    Event(Kind.HELLO, NOW_US, "walker", "a", secret=b"s" * 32),
    *(observation(step, "b", agent="heater") for step in range(20)),
]
POLICY = "policies/walker/0abc.safetensors"
REPLICA = "policies/walker/replicas/1abc.safetensors"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / POLICY).parent.mkdir(parents=True)
    (folder / POLICY).write_bytes(b"weights")
    (folder / REPLICA).parent.mkdir()
    (folder / REPLICA).write_bytes(b"weights of a replica's own")
    (folder / "policies/walker/tmpx1").write_bytes(b"half")
    PayloadKeys(folder / "keys").seal("a", "{}")
    (folder / "hub.lock").touch()
    sealed(folder, EVENTS, to=24)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but locks and sockets."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (".lock", "hub.lock")
    }


def rows(data: Path) -> pa.Table:
    """All that is sealed."""
    history = History(data / FOLDER)
    history.refresh()
    return history.page(1, history.seq_last, None, None)


def fill(data: Path) -> None:
    """As the command does."""
    DuckLog.open(data, LogSettings(), clock=SystemClock()).close()


def test_a_backup_holds_segments_manifest_and_policies_and_no_key(
    data: Path, tmp_path: Path
) -> None:
    done = backup(data, tmp_path / "copy")
    assert (done.hub, done.seq_last, done.segments, done.policies) == (HUB_ID, 24, 3, 2)
    copied = contents(tmp_path / "copy")
    assert (done.copied, done.bytes) == (
        5,
        sum(map(len, copied.values())) - len(copied[f"{FOLDER}/{FILE_NAME}"]),
    )
    there = contents(data)
    assert copied == {
        name: there[name] for name in there if name.startswith(FOLDER) or name in (POLICY, REPLICA)
    }
    assert verify(tmp_path / "copy").problems == []


def test_the_next_one_copies_what_is_new(data: Path, tmp_path: Path) -> None:
    backup(data, tmp_path / "copy")
    sealed(data, EVENTS)
    done = backup(data, tmp_path / "copy")
    assert (done.seq_last, done.copied) == (len(EVENTS), 1)
    assert backup(data, tmp_path / "copy").copied == 0
    assert rows(tmp_path / "copy").equals(rows(data))
    assert verify(tmp_path / "copy").problems == []


def test_what_retention_dropped_leaves_the_backup_too(data: Path, tmp_path: Path) -> None:
    backup(data, tmp_path / "copy")
    gone = [s for s in Manifest.read(data / FOLDER).retained if s.agent == "walker"]
    drop.drop(data / FOLDER, gone, NOW_US)
    backup(data, tmp_path / "copy")
    assert verify(tmp_path / "copy").problems == []
    left = [s.path for s in Manifest.read(data / FOLDER).retained if s.agent == "walker"]
    found = tmp_path.glob("copy/segments/*/agent=walker/*/*")
    assert [str(path.relative_to(tmp_path / "copy" / FOLDER)) for path in found] == left


def test_what_was_dropped_leaves_the_backup_when_the_one_before_was_killed(
    data: Path, tmp_path: Path
) -> None:
    """Killed after its manifest: the file that was dropped is still there, and no line names it."""
    backup(data, tmp_path / "copy")
    (path,) = (tmp_path / "copy").rglob("agent=heater/*/*.parquet")
    heater = path.read_bytes()
    gone = [s for s in Manifest.read(data / FOLDER).retained if s.agent == "heater"]
    drop.drop(data / FOLDER, gone, NOW_US)
    backup(data, tmp_path / "copy")
    path.parent.mkdir(parents=True)
    path.write_bytes(heater)
    path.with_name(f"{path.name}.new").write_bytes(b"PAR1")
    path.with_suffix(".secrets").touch()
    path.with_name("notes.txt").touch()
    assert backup(data, tmp_path / "copy").copied == 0
    assert [left.name for left in path.parent.iterdir()] == ["notes.txt"]
    assert verify(tmp_path / "copy").problems == []


def test_a_log_is_no_place_for_a_backup(data: Path, tmp_path: Path) -> None:
    """Files of no line are taken out of a backup; those of a log may be needed."""
    stray = next(data.rglob("*.parquet")).with_name("1.parquet")
    stray.touch()
    (tmp_path / "link").symlink_to(data)
    for target in (data, tmp_path / "link"):
        with pytest.raises(OperatorFault, match="is the log itself"):
            backup(data, target)
    backup(data, tmp_path / "copy")
    (tmp_path / "copy" / "log.acknowledged").touch()
    with pytest.raises(OperatorFault, match=r"log.acknowledged is there: .* holds a log"):
        backup(data, tmp_path / "copy")
    assert stray.exists()


def test_a_backup_that_was_cut_off_is_carried_on(data: Path, tmp_path: Path) -> None:
    backup(data, tmp_path / "copy")
    (tmp_path / "copy" / FOLDER / FILE_NAME).unlink()
    (segment,) = (tmp_path / "copy").rglob("agent=heater/*/*.parquet")
    segment.rename(segment.with_name(segment.name + ".new"))
    backup(data, tmp_path / "copy")
    assert verify(tmp_path / "copy").problems == []


def test_damage_is_not_copied(data: Path, tmp_path: Path) -> None:
    backup(data, tmp_path / "copy")
    sealed(data, EVENTS)
    (path,) = set(data.rglob("*.parquet")) - {
        data / FOLDER / s.path for s in Manifest.read(tmp_path / "copy" / FOLDER).retained
    }
    flip_a_bit(path)
    with pytest.raises(HubFault, match=rf"{path.name} .events 25 to 42. was changed"):
        backup(data, tmp_path / "copy")
    assert verify(tmp_path / "copy").seq_last == 24


@pytest.mark.parametrize("suffix", ["parquet", "secrets"])
def test_a_file_that_is_gone_is_named(data: Path, tmp_path: Path, suffix: str) -> None:
    path = next(data.rglob(f"*.{suffix}"))
    path.unlink()
    with pytest.raises(HubFault, match=f"{path.name} .events .* is not there; put it back from"):
        backup(data, tmp_path / "copy")


def test_a_backup_that_was_cut_off_can_be_restored_as_it_was_before(
    data: Path, tmp_path: Path
) -> None:
    """The machine dies while it is backed up: new files are there, their manifest is not."""
    backup(data, tmp_path / "copy")
    earlier, last = rows(tmp_path / "copy"), (tmp_path / "copy" / FOLDER / FILE_NAME).read_bytes()
    sealed(data, EVENTS)
    backup(data, tmp_path / "copy")
    (tmp_path / "copy" / FOLDER / FILE_NAME).write_bytes(last)
    (stray,) = verify(tmp_path / "copy").strays
    (tmp_path / "copy" / FOLDER / f"{stray}.new").write_bytes(b"PAR1")
    restore(tmp_path / "copy", tmp_path / "again", fill)
    assert rows(tmp_path / "again").equals(earlier)
    assert verify(tmp_path / "again").strays == []


@pytest.mark.parametrize("name", ["notes.txt", "segments.txt"])
def test_a_folder_with_other_things_is_refused(data: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / name).touch()
    with pytest.raises(OperatorFault, match="is not empty and no backup"):
        backup(data, tmp_path / "copy")


def test_a_backup_of_another_log_is_refused(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    sealed(other, EVENTS, to=3)
    backup(other, tmp_path / "copy")
    before = contents(tmp_path / "copy")
    with pytest.raises(OperatorFault, match="is a backup of another log"):
        backup(data, tmp_path / "copy")
    assert contents(tmp_path / "copy") == before


def test_nothing_sealed_is_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(OperatorFault, match="nothing is sealed"):
        backup(tmp_path, tmp_path / "copy")


def test_a_restored_log_is_the_log_as_far_as_it_was_sealed(data: Path, tmp_path: Path) -> None:
    backup(data, tmp_path / "copy")
    done = restore(tmp_path / "copy", tmp_path / "again", fill)
    assert (done.hub, done.seq_last, done.policies) == (HUB_ID, 24, 2)
    assert (tmp_path / "again" / POLICY).read_bytes() == b"weights"
    log = DuckLog.open(tmp_path / "again", LogSettings(), clock=SystemClock())
    try:
        assert (log.hub, log.last_seq, log.state.epoch) == (HUB_ID, 24, 1)
        assert log.state.damage is None
        assert log.rows(1, 24, None, None, reveal=False).equals(rows(data))
        assert log.append([observation(1)]) == 25
    finally:
        log.close()
    assert verify(tmp_path / "again").problems == []


def test_a_real_log_comes_back_with_its_secrets_and_sealed_payloads(tmp_path: Path) -> None:
    log = DuckLog.open(tmp_path, LogSettings(), clock=SystemClock())
    log.append([*EVENTS, observation(1, payload='{"room":"7"}')])
    open_log.seal(log)
    stored = log.rows(1, log.last_seq, None, None, reveal=False)
    log.close()
    backup(tmp_path, tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "again", fill)
    again = DuckLog.open(tmp_path / "again", LogSettings(), clock=SystemClock())
    assert again.rows(1, again.last_seq, None, None, reveal=False).equals(stored)
    assert again.read()[-1].payload is None  # the keys are copied apart
    again.close()


def test_a_backup_into_the_folder_of_a_move_takes_its_keys_away(data: Path, tmp_path: Path) -> None:
    """The hub goes on, forgets a device, and is restored: that device must stay forgotten."""
    assert move(data, tmp_path / "copy").keys == 1
    restore(tmp_path / "copy", tmp_path / "there", fill)
    PayloadKeys(tmp_path / "there" / "keys").destroy("a")
    backup(tmp_path / "there", tmp_path / "copy")
    assert not (tmp_path / "copy" / KEYS).exists()
    assert restore(tmp_path / "copy", tmp_path / "again", fill).keys == 0


def test_a_move_that_is_done_again_has_the_keys_there_are(data: Path, tmp_path: Path) -> None:
    move(data, tmp_path / "copy")
    PayloadKeys(data / "keys").seal("b", "{}")
    assert move(data, tmp_path / "copy").keys == 2


def test_what_was_moved_is_not_moved_elsewhere_too(data: Path, tmp_path: Path) -> None:
    """There would be two hubs of one name."""
    move(data, tmp_path / "copy")
    with pytest.raises(OperatorFault, match=r"was moved to .*copy, .* delete .*moved.json"):
        move(data, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()
    (data / "moved.json").write_bytes(b"{")
    with pytest.raises(OperatorFault, match="was moved elsewhere"):
        move(data, tmp_path / "copy")


def test_keys_lie_where_they_are_made() -> None:
    assert KEYS == FOLDER_OF_KEYS


def test_a_folder_with_a_log_is_left_alone(data: Path, tmp_path: Path) -> None:
    backup(data, tmp_path / "copy")
    before = contents(data)
    with pytest.raises(OperatorFault, match=r"holds a log\. .*cut off .* delete it and restore"):
        restore(tmp_path / "copy", data, fill)
    assert contents(data) == before
    for name in ("log.duckdb", "log-00000000000000000007.duckdb", "log.acknowledged"):
        target = tmp_path / f"with {name}"
        target.mkdir()
        (target / name).touch()
        with pytest.raises(OperatorFault, match="holds a log"):
            restore(tmp_path / "copy", target, fill)


def test_a_damaged_backup_is_not_restored(data: Path, tmp_path: Path) -> None:
    backup(data, tmp_path / "copy")
    next((tmp_path / "copy").rglob("*.secrets")).unlink()
    with pytest.raises(OperatorFault, match=r"can't be restored: .*\.secrets .* is not there"):
        restore(tmp_path / "copy", tmp_path / "again", fill)
    assert not (tmp_path / "again").exists()


def test_no_backup_is_said(tmp_path: Path) -> None:
    with pytest.raises(OperatorFault, match="there is no backup"):
        restore(tmp_path / "copy", tmp_path / "again", fill)


def test_a_restore_that_was_cut_off_can_be_done_again(data: Path, tmp_path: Path) -> None:
    backup(data, tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "again", fill)
    for name in (f"{FOLDER}/{FILE_NAME}", "log.duckdb", "log.acknowledged"):
        (tmp_path / "again" / name).unlink()
    restore(tmp_path / "copy", tmp_path / "again", fill)
    assert rows(tmp_path / "again").equals(rows(data))


def test_nothing_is_moved_into_itself(data: Path) -> None:
    with pytest.raises(OperatorFault, match="inside the folder that is moved"):
        move(data, data / "sub")
    assert not (data / "sub").exists()
