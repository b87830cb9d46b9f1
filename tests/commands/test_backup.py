"""Seal, backup, verify, export, restore and forget as they are typed, over a real log process."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from hub import control
from hub.ask import ask
from hub.control import Control
from hub.errors import OperatorFault
from hub.histogram import Seen
from hub.intake.mapping.bound import check_mapping
from hub.log.moved import check_not_moved
from hub.log.segments.archive import Archive
from hub.processes import claimed
from hub.registry.access import agent_of, operator_of, password_matches
from hub.registry.acts import Acts
from hub.registry.fold import Registry
from hub.settings import LogSettings
from hub.words import Event, Kind
from tests.commands.typed import typed
from tests.intake.fakes import ManualClock, Policies, floats
from tests.log.linked import LinkedLog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WALKER = ("walker", "--algorithm", "PPO", "--observations", "[[2], -1, 1]", "--actions", "2")
INFO = '{"who":"Ann"}'


class Stored(Registry):
    """A registry, its log and the operator's socket."""

    def __init__(self, data: Path) -> None:
        super().__init__()
        self.data = data
        data.mkdir(mode=0o700, exist_ok=True)
        self.log = LinkedLog(data).open()
        for event in self.log.recover().facts:
            self.apply(event)

    @property
    def control(self) -> Control:
        """Not open yet."""
        link, clock = self.log.link, ManualClock()
        acts = Acts(self, clock.now_us, os.urandom, lambda _: None, Policies(), check_mapping)
        archive = Archive(
            self.data,
            LogSettings(),
            clock,
            position=lambda: (link.last_seq, link.appended_bytes),
            hub_id=lambda: link.hub,
            log_fact=lambda _: None,
            rotate=link.rotate,
        )
        return Control(
            acts, self, link, archive, lambda _: None, lambda _: None, lambda: None, dict, Seen
        )


@contextmanager
def served(data: Path) -> Iterator[Stored]:
    """All but devices and learners of a hub."""
    stored = Stored(data)
    desk = stored.control
    try:
        stored.log.wait(desk.open(data))
        yield stored
    finally:
        stored.log.wait(desk.close())
        stored.log.close()


def printed(data: Path, *arguments: str, stdin: str | None = None) -> Any:
    """The one line a command prints."""
    said = typed(data, *arguments, stdin=stdin)
    assert (said.code, said.err) == (0, ""), said
    (line,) = said.lines
    return line


def payloads(folder: Path) -> list[str | None]:
    """What is in an export besides numbers, of the walker's observations."""
    table = pq.read_table(folder / "segments" if (folder / "segments").exists() else folder)
    assert "secret" not in table.column_names
    rows = table.select(["kind", "payload"]).to_pylist()
    return [row["payload"] for row in rows if row["kind"] == "observation"]


def test_what_was_backed_up_is_there_after_a_restore_and_what_was_forgotten_is_not(
    tmp_path: Path,
) -> None:
    data, copy, new = tmp_path / "data", tmp_path / "copy", tmp_path / "new"
    with served(data) as before:
        device_key = printed(data, "agent", "create", *WALKER)["api_key"]
        printed(
            data, "user", "add", "ann", "--role", "owner", "--password-stdin", stdin="anns horse"
        )
        user_key = printed(data, "key", "create", "--user", "ann")["api_key"]
        for device in ("heater", "cooler"):
            printed(data, "device", "add", device, "--agent", "walker")
        before.log.append([_observation("heater"), _observation("cooler")])
        done = printed(data, "backup", str(copy))
        assert done["seq_last"] == before.log.last_seq
        assert printed(data, "verify")["problems"] == []
        assert printed(copy, "verify")["rows"] == before.log.last_seq

        printed(data, "export", "--parquet", str(tmp_path / "shut"))
        assert all(str(text).startswith("sealed:1:") for text in payloads(tmp_path / "shut"))
        printed(data, "export", "--reveal", "--parquet", str(tmp_path / "open"))
        assert payloads(tmp_path / "open") == [INFO, INFO]
        printed(data, "device", "forget", "heater")
        printed(data, "export", "--reveal", "--parquet", str(tmp_path / "forgotten"))
        assert sorted(payloads(tmp_path / "forgotten"), key=str) == [None, INFO]
        said = typed(data, "restore", str(copy))
        assert said.code == 1, "the log is there"

    said = typed(new, "restore", str(copy))
    assert said.code == 0, said
    with served(new) as after:
        assert password_matches(after.passwords["ann"], "anns horse")
        assert operator_of(after, user_key).name == "ann"
        assert agent_of(after, device_key)[0].agent == "walker"
        assert after.log.last_seq == done["seq_last"]
        assert ask(new, control.Position()).answer == {"seq": done["seq_last"]}


def test_a_backup_of_a_stopped_hub_has_all_that_was_acknowledged(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with served(data) as hub:
        printed(data, "agent", "create", *WALKER)
        printed(data, "seal")
        printed(data, "key", "create", "walker")
    done = printed(data, "backup", str(tmp_path / "copy"))
    assert done["seq_last"] == hub.log.last_seq
    assert not (data / "log.sock").exists()
    assert printed(data, "backup", str(tmp_path / "copy"))["copied"] == 0


def test_move_takes_all_of_a_stopped_hub_along_and_it_does_not_start_here_again(
    tmp_path: Path,
) -> None:
    data, carried, new = tmp_path / "data", tmp_path / "carried", tmp_path / "new"
    with served(data) as before:
        key = printed(data, "agent", "create", *WALKER)["api_key"]
        before.log.append([_observation("heater"), _observation("cooler")])
        printed(data, "backup", str(carried))
        printed(data, "device", "add", "cooler", "--agent", "walker")
        printed(data, "device", "forget", "cooler")
    with claimed(data):
        said = typed(data, "move", str(carried))
        assert (said.code, said.out) == (1, "")
        assert "another hub runs" in said.err
    for _ in range(2):  # as if the first had been cut off at its end
        said = typed(data, "move", str(carried))
        assert said.code == 0, said
        assert "restore" in said.err
    assert (said.lines[0]["seq_last"], said.lines[0]["keys"]) == (before.log.last_seq, 1)
    last = before.log.last_seq
    with pytest.raises(OperatorFault, match=f"was moved to {carried}, with event {last} its last"):
        check_not_moved(data)
    before_keys = sorted((carried / "keys").iterdir())
    said = typed(data, "backup", str(carried))
    assert (said.code, "was moved to" in said.err) == (1, True)
    assert sorted((carried / "keys").iterdir()) == before_keys

    said = typed(new, "restore", str(carried))
    assert (said.code, said.lines[0]["keys"]) == (0, 1)
    with served(new) as after:
        assert agent_of(after, key)[0].agent == "walker"
        assert after.log.last_seq == before.log.last_seq
        printed(new, "export", "--reveal", "--parquet", str(tmp_path / "shown"))
    assert sorted(payloads(tmp_path / "shown"), key=str) == [None, INFO]


def test_a_folder_of_another_user_is_not_opened_for_a_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(tmp_path / "data"):
        pass
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    said = typed(tmp_path / "data", "backup", str(tmp_path / "copy"))
    assert said.code == 1
    assert "run this command as the hub's user" in said.err


def _observation(device: str) -> Event:
    return Event(
        Kind.OBSERVATION, 1, agent="walker", device=device, step=1, obs=floats(0, 0), payload=INFO
    )
