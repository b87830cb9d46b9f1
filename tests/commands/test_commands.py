"""Commands of users, keys, devices and the log as they are typed, with no hub behind the socket."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from hub import processes
from hub.registry.access import password_matches
from tests.commands.typed import typed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.commands.control_room import ControlRoom
    from tests.commands.typed import Said

PASSWORD: Final = "correct horse"
WALKER: Final = ("walker", "--algorithm", "PPO", "--observations", "[[2], -1, 1]", "--actions", "2")


@pytest.fixture
def run(room: ControlRoom) -> Callable[..., Said]:
    """Runs a command for the room's folder."""

    def run(*arguments: str, stdin: str | bytes | None = None, data: Path = room.data) -> Said:
        return typed(data, *arguments, stdin=stdin)

    return run


@pytest.fixture
def ann(run: Callable[..., Said]) -> None:
    """A user."""
    add = ("user", "add", "ann", "--role", "owner", "--password-stdin")
    assert run(*add, stdin=f"{PASSWORD}\n").code == 0


# --- users ----------------------------------------------------------------------------------


def test_user_add_asks_for_the_password_twice_and_shows_it_never(
    run: Callable[..., Said], room: ControlRoom
) -> None:
    said = run("user", "add", "ann", "--role", "owner", stdin=f"{PASSWORD}\n{PASSWORD}\n")
    assert said.code == 0
    assert said.lines == [{"user": "ann", "role": "owner"}]
    assert "Password: " in said.err
    assert PASSWORD not in said.out + said.err
    assert password_matches(room.registry.passwords["ann"], PASSWORD)


def test_a_password_typed_in_two_ways_is_asked_for_again(
    run: Callable[..., Said], room: ControlRoom
) -> None:
    typed = f"{PASSWORD}\nother horse\n{PASSWORD}\n{PASSWORD}\n"
    assert run("user", "add", "ann", "--role", "admin", stdin=typed).code == 0
    assert password_matches(room.registry.passwords["ann"], PASSWORD)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nnext line\n"])
def test_password_stdin_is_one_line(run: Callable[..., Said], room: ControlRoom, end: str) -> None:
    add = ("user", "add", "ann", "--role", "admin", "--password-stdin")
    said = run(*add, stdin=f" {PASSWORD} {end}".encode())
    assert (said.code, said.err) == (0, "")
    assert PASSWORD not in said.out
    assert password_matches(room.registry.passwords["ann"], f" {PASSWORD} ")


@pytest.mark.parametrize("stdin", [b"", b"\n", b"short\n", b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe\n"])
def test_a_password_that_is_none_is_refused(
    run: Callable[..., Said], room: ControlRoom, stdin: bytes
) -> None:
    said = run("user", "add", "ann", "--role", "admin", "--password-stdin", stdin=stdin)
    assert (said.code, said.out) == (1, "")
    assert "password" in said.err
    assert "short\n" not in said.err
    assert room.events == []


def test_agent_create_warns_of_a_sensor_that_would_be_bytes(run: Callable[..., Said]) -> None:
    made = ("--algorithm", "PPO", "--actions", '{"multi_discrete":[3,2]}')
    said = run("agent", "create", "walker", *made, "--observations", "[[4], 0, 255]")
    assert said.code == 0
    assert set(said.lines[0]) == {"agent", "api_key"}
    assert said.err.startswith("warning: observations: [[4], 0, 255] holds whole numbers")
    assert run("agent", "create", "runner", *made, "--observations", "[[4], 0, 100]").err == ""


def test_user_list_shows_no_hash(run: Callable[..., Said], ann: None) -> None:
    said = run("user", "list")
    assert said.lines == [{"user": "ann", "role": "owner"}]
    assert "argon2" not in said.out
    assert "argon2" not in run("key", "list").out


def test_user_passwd_changes_the_password(
    run: Callable[..., Said], room: ControlRoom, ann: None
) -> None:
    said = run("user", "passwd", "ann", "--password-stdin", stdin="battery staple\n")
    assert said.lines == [{"user": "ann", "role": "owner"}]
    assert password_matches(room.registry.passwords["ann"], "battery staple")


def test_a_user_gives_the_agents_away_before_leaving(run: Callable[..., Said], ann: None) -> None:
    assert run("agent", "create", *WALKER, "--owner", "bob").code == 1
    assert run("agent", "create", *WALKER, "--owner", "ann").code == 0
    said = run("user", "remove", "ann")
    assert said.code == 1
    assert "give each to another owner" in said.err
    assert run("agent", "update", "walker", "--owner", "bob").code == 1
    (changed,) = run("agent", "update", "walker", "--owner", "admin", "--sharing", "none").lines
    assert (changed["owner"], changed["sharing"]) == ("admin", "none")
    assert run("user", "remove", "ann").lines == [{"removed": "ann"}]
    assert run("user", "list").lines == []


def test_wrong_usage_of_user_and_key_is_2(run: Callable[..., Said]) -> None:
    for wrong in (
        ("user", "add", "ann"),
        ("user", "add", "ann", "--role", "king"),
        ("user", "add", "--role", "admin"),
        ("key", "create"),
        ("key", "create", "walker", "--user", "ann"),
        ("key", "create", "--user", "ann", "--device", "heater"),
        ("key", "create", "--device", "heater"),
        ("device", "forget"),
        ("backup",),
        ("move",),
        ("restore",),
        ("export",),
        ("seal", "now"),
    ):
        said = run(*wrong)
        assert said.code == 2, wrong
        assert "Usage" in said.err


# --- keys and devices -----------------------------------------------------------------------


def test_key_create_for_a_user_prints_user_and_key(run: Callable[..., Said], ann: None) -> None:
    (made,) = run("key", "create", "--user", "ann").lines
    assert list(made) == ["user", "api_key"]
    assert run("key", "create", "--user", "bob").code == 1
    (listed,) = run("key", "list").lines
    assert (listed["user"], listed["agent"]) == ("ann", None)
    key_id, _, secret = str(made["api_key"]).partition(".")
    assert secret not in run("key", "list").out
    assert run("key", "revoke", key_id).code == 0
    assert run("key", "list").lines == []


def test_device_forget_frees_the_device(run: Callable[..., Said], room: ControlRoom) -> None:
    run("agent", "create", *WALKER)
    run("device", "add", "heater", "--agent", "walker")
    assert run("device", "forget", "heater").lines == [{"forgotten": "heater"}]
    assert "heater" not in room.log.keys
    assert run("device", "list").lines == []
    assert run("device", "forget", "heater").code == 0
    assert run("device", "forget", "cooler").code == 1


# --- the log --------------------------------------------------------------------------------


def test_seal_prints_the_seal_as_a_line(run: Callable[..., Said]) -> None:
    run("agent", "create", *WALKER)
    (sealed,) = run("seal").lines
    assert (sealed["seq_first"], sealed["seq_last"]) == (1, 2)
    assert run("seal").out == "null\n"


def test_restore_refuses_where_a_hub_runs_and_what_is_no_backup(
    run: Callable[..., Said], tmp_path: Path
) -> None:
    data = tmp_path / "running"
    with processes.claimed(data):
        said = run("restore", str(tmp_path), data=data)
    assert said.code == 1
    assert "another hub runs" in said.err
    said = run("restore", str(tmp_path / "missing"), data=tmp_path / "new")
    assert (said.code, said.out) == (1, "")
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    said = run("restore", str(tmp_path / "empty"), data=tmp_path / "new")
    assert (said.code, said.out) == (1, "")
    assert "no backup" in said.err


def test_restore_refuses_a_folder_that_holds_a_log(
    run: Callable[..., Said], tmp_path: Path
) -> None:
    (tmp_path / "log.duckdb").write_bytes(b"precious")
    said = run("restore", str(tmp_path), data=tmp_path)
    assert (said.code, said.out) == (1, "")
    assert (tmp_path / "log.duckdb").read_bytes() == b"precious"


COPIES: Final = (("backup", "copy"), ("export", "--parquet", "copy"))


@pytest.mark.parametrize("command", [*COPIES, ("move", "copy"), ("verify",), ("seal",)])
def test_a_data_folder_that_is_not_there_is_named(
    run: Callable[..., Said], tmp_path: Path, command: tuple[str, ...]
) -> None:
    said = run(*command, data=tmp_path / "missing")
    assert (said.code, said.out) == (1, "")
    assert str(tmp_path / "missing") in said.err


@pytest.mark.parametrize("command", COPIES)
def test_without_a_hub_it_is_said_that_only_what_is_sealed_is_taken(
    run: Callable[..., Said],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stopped").mkdir()
    said = run(*command, data=tmp_path / "stopped")
    assert "no hub runs" in said.err
    assert "up to seq 0" in said.err
    assert (said.code, said.out) == (1, ""), "nothing is sealed there"


def test_verify_prints_a_report_and_exits_with_1_when_something_is_wrong(
    run: Callable[..., Said], tmp_path: Path
) -> None:
    said = run("verify", data=tmp_path)
    assert (said.code, said.err) == (0, "")
    assert said.lines[0]["problems"] == []
    segments = tmp_path / "segments"
    segments.mkdir()
    (segments / "manifest.jsonl").write_text("not a manifest\n")
    said = run("verify", data=tmp_path)
    assert said.code == 1
    problems = said.lines[0]["problems"]
    assert isinstance(problems, list)
    assert said.err == "".join(f"sheepfold: {problem}\n" for problem in problems) != ""


@pytest.mark.parametrize(
    "command",
    [
        ("backup", "file/in"),
        ("move", "file/in"),
        ("restore", "file"),
        ("export", "--parquet", "file"),
    ],
)
def test_a_place_that_is_a_file_is_refused(
    run: Callable[..., Said],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    said = run(*command)
    assert said.code in (1, 2)
    assert "Traceback" not in said.err
    assert said.out == ""


def test_plain_commands_load_nothing_heavy() -> None:
    program = (
        "import sys, hub.__main__\n"
        "heavy = {'duckdb', 'pyarrow', 'numpy', 'torch', 'uvloop', 'amqtt', 'cryptography'}\n"
        "print(*(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
