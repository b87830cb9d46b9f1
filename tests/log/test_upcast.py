"""Payloads of version 1 stand in the log in clear; a forgotten device's are gone all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.clock import SystemClock
from hub.log import columns
from hub.log.payload_keys import FOLDER as KEYS
from hub.log.rotate import Draft
from hub.log.store import DuckLog
from hub.settings import LogSettings
from tests.log.events import observation, steps
from tests.log.sealed import seal

if TYPE_CHECKING:
    from pathlib import Path

SAID = '{"name":"Ada"}'


def opened(folder: Path) -> DuckLog:
    return DuckLog.open(folder, LogSettings(), clock=SystemClock())


def payloads(log: DuckLog) -> list[str | None]:
    return [event.payload for event in log.read()]


def old_log(folder: Path) -> DuckLog:
    """One whose file has payloads of devices `a` and `b` in clear."""
    log = opened(folder)
    old = [observation(1, name, payload=SAID, version=1) for name in ("a", "b")]
    log.file.insert(columns.to_batch(old, 1))
    log.close()
    return opened(folder)


def test_old_payloads_of_a_forgotten_device_are_not_shown_and_get_no_key(tmp_path: Path) -> None:
    log = old_log(tmp_path)
    assert payloads(log) == [SAID, SAID]
    log.keys.destroy("a")
    assert payloads(log) == [None, SAID]
    assert not (tmp_path / KEYS / "a").exists()
    log.close()
    log = opened(tmp_path)
    assert payloads(log) == [None, SAID]
    log.close()


def test_a_device_that_is_back_does_not_bring_its_old_payloads_with_it(tmp_path: Path) -> None:
    log = old_log(tmp_path)
    log.keys.destroy("a")
    log.append([observation(2, payload="{}")])
    assert payloads(log) == [None, SAID, "{}"]
    log.close()
    log = opened(tmp_path)
    assert payloads(log) == [None, SAID, "{}"]
    log.close()


def test_old_payloads_of_a_forgotten_device_move_on_without_their_text(tmp_path: Path) -> None:
    log = old_log(tmp_path)
    log.keys.destroy("a")
    log.append(steps(2, 3))
    seal(log)
    sealed = log.history.page(1, 2, None, None).column("payload").to_pylist()
    assert sealed[0] is None
    assert log.keys.reveal("b", sealed[1]) == SAID
    Draft.begin(log, 2, LogSettings()).finish(log)
    assert payloads(log)[:2] == [None, SAID]
    log.keys.destroy("b")
    log.close()
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"Ada" not in path.read_bytes()
