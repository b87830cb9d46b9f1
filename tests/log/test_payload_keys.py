"""Keys of payloads: there whole or not at all, and gone for ever once they were destroyed."""

from __future__ import annotations

import os
import resource
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from hub.clock import SystemClock
from hub.log.payload_keys import FOLDER, KEY_BYTES, PayloadKeys
from hub.log.store import DuckLog
from hub.settings import LogSettings
from tests.log.events import observation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXT = '{"room":"7"}'
FORGETS = 200


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process takes a byte."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_was_sealed_is_revealed_until_the_key_is_destroyed(folder: Path) -> None:
    keys = PayloadKeys(folder)
    sealed = keys.seal("a", TEXT)
    other = keys.seal("b", TEXT)
    assert PayloadKeys(folder).reveal("a", sealed) == TEXT
    keys.destroy("a")
    keys.destroy("a")
    for reader in (keys, PayloadKeys(folder)):
        assert reader.reveal("a", sealed) is None
        assert reader.reveal("b", other) == TEXT
    assert names(folder) == {"a.forgotten", "b"}


def test_a_device_that_comes_back_has_a_new_key(folder: Path) -> None:
    keys = PayloadKeys(folder)
    before = keys.seal("a", TEXT)
    keys.destroy("a")
    after = keys.seal("a", TEXT)
    for reader in (keys, PayloadKeys(folder)):
        assert (reader.reveal("a", before), reader.reveal("a", after)) == (None, TEXT)


def test_what_stood_in_clear_is_not_sealed_once_the_device_was_forgotten(folder: Path) -> None:
    keys = PayloadKeys(folder)
    assert keys.reveal("a", keys.seal_old("a", TEXT)) == TEXT
    keys.destroy("a")
    assert keys.seal_old("a", TEXT) is None
    assert "a" not in names(folder), "no key was made"
    keys.seal("a", TEXT)
    for reader in (keys, PayloadKeys(folder)):
        assert reader.seal_old("a", TEXT) is None
        assert reader.reveal("b", reader.seal_old("b", TEXT)) == TEXT


@pytest.mark.parametrize("content", [b"", b"half a key", bytes(KEY_BYTES), bytes(33)])
def test_what_is_no_key_counts_as_none(folder: Path, content: bytes) -> None:
    sealed = PayloadKeys(folder).seal("a", TEXT)
    (folder / "a").write_bytes(content)
    keys = PayloadKeys(folder)
    assert keys.reveal("a", sealed) is None
    again = keys.seal("a", TEXT)
    key = (folder / "a").read_bytes()
    assert len(key) == KEY_BYTES
    assert any(key)
    assert PayloadKeys(folder).reveal("a", again) == TEXT


def test_a_key_is_overwritten_where_it_stands(folder: Path, tmp_path: Path) -> None:
    PayloadKeys(folder).seal("a", TEXT)
    os.link(folder / "a", tmp_path / "same blocks")
    PayloadKeys(folder).destroy("a")
    assert (tmp_path / "same blocks").read_bytes() == bytes(KEY_BYTES)


def test_a_key_that_could_not_be_overwritten_is_out_of_use_and_goes_next_time(
    folder: Path, tmp_path: Path
) -> None:
    keys = PayloadKeys(folder)
    sealed = keys.seal("a", TEXT)
    os.link(folder / "a", tmp_path / "same blocks")
    with full_disk(), pytest.raises(OSError, match="File too large"):
        keys.destroy("a")
    for reader in (keys, PayloadKeys(folder)):
        assert reader.reveal("a", sealed) is None
    assert len((tmp_path / "same blocks").read_bytes()) == KEY_BYTES, "nothing was cut off"
    keys.destroy("a")
    assert names(folder) == {"a.forgotten"}
    assert not any((tmp_path / "same blocks").read_bytes())


def test_what_a_kill_left_is_removed(folder: Path, tmp_path: Path) -> None:
    keys = PayloadKeys(folder)
    sealed = keys.seal("a", TEXT)
    kept = keys.seal("b", TEXT)
    (folder / "a").rename(folder / "a.gone")
    (folder / "c.new").write_bytes(b"a key nobody us")
    os.link(folder / "a.gone", tmp_path / "same blocks")
    keys = PayloadKeys(folder)
    keys.clean()
    assert names(folder) == {"b"}
    assert not any((tmp_path / "same blocks").read_bytes())
    assert (keys.reveal("a", sealed), keys.reveal("b", kept)) == (None, TEXT)
    keys.clean()


def test_a_log_cleans_its_keys_when_it_is_opened(tmp_path: Path) -> None:
    for _ in range(2):
        log = DuckLog.open(tmp_path, LogSettings(), clock=SystemClock())
        log.append([observation(1, payload=TEXT)])
        log.close()
        (tmp_path / FOLDER / "a").rename(tmp_path / FOLDER / "a.gone")
    log = DuckLog.open(tmp_path, LogSettings(), clock=SystemClock())
    assert [event.payload for event in log.read()] == [None, None]
    assert names(tmp_path / FOLDER) == set()
    log.close()


def test_there_is_nothing_to_clean_where_no_key_ever_was(folder: Path) -> None:
    PayloadKeys(folder).clean()
    assert not folder.exists()


def test_a_thread_that_reads_never_brings_a_destroyed_key_back(folder: Path) -> None:
    """Goal: no forgotten payload, no lost new one. Method: forget while a thread reads, seals."""
    keys = PayloadKeys(folder)
    newest = [keys.seal("a", TEXT)]
    ended = threading.Event()
    errors: list[Exception] = []

    def read() -> None:
        while not ended.is_set():
            try:
                keys.reveal("a", newest[0])
                keys.seal("b", TEXT)
            except Exception as error:  # noqa: BLE001 - told to the test
                errors.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for _ in range(FORGETS):
            before = newest[0]
            keys.destroy("a")
            assert keys.reveal("a", before) is None
            newest[0] = keys.seal("a", TEXT)
            assert PayloadKeys(folder).reveal("a", newest[0]) == TEXT, "as after a restart"
            keys.destroy("b")
    finally:
        ended.set()
        thread.join()
    assert errors == []
