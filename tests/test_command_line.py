"""The commands as an operator types them: what they print, and their exit codes."""

from __future__ import annotations

import io
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import pyarrow.ipc
import pytest

from hub.__main__ import main
from hub.errors import OperatorFault
from tests.acceptance.devices import Http
from tests.acceptance.real_hub import RealHub, sheepfold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.acceptance

PPO: Final = ("--algorithm", "PPO", "--observations", "[[4], -5, 5]", "--actions", "2")


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[dict[str, object]]:
        """Its answer: one JSON object a line."""
        return [msgspec.json.decode(line, type=dict[str, object]) for line in self.out.splitlines()]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    """A hub for all commands of this file."""
    hub = RealHub(tmp_path_factory.mktemp("commands") / "data")
    hub.start()
    yield hub
    hub.end()


@pytest.fixture
def run(
    hub: RealHub, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., Said]:
    """Runs a command in this process, which starts no Python anew."""

    def run(*arguments: str, data: Path = hub.data, stdin: bytes = b"") -> Said:
        monkeypatch.setattr(sys, "argv", ["sheepfold", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        monkeypatch.setenv("SHEEPFOLD_DATA", str(data))
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 0
        out, err = capfdbinary.readouterr()
        return Said(code, out, err.decode())

    return run


def test_agent_create_prints_name_and_key_in_one_json_line(
    run: Callable[..., Said], hub: RealHub
) -> None:
    said = run("agent", "create", "first", *PPO, "--set", "n_steps=64", "--set", "batch_size=64")
    assert (said.code, said.err) == (0, "")
    (line,) = said.lines
    assert list(line) == ["agent", "api_key"]
    with Http(hub.ready.http) as http:
        step = {"device": "d", "s": 0, "o": [0, 0, 0, 0]}
        assert http.step(str(line["api_key"]), step)[0] == 200


def test_agent_lives_through_its_commands(run: Callable[..., Said]) -> None:
    assert run("agent", "create", "living", *PPO, "--max-episode-steps", "500").code == 0
    assert "living" in {line["name"] for line in run("agent", "list").lines}
    assert run("agent", "update", "living", "--deadline-ms", "100", "--learning", "off").code == 0
    times = ("--max-episode-steps", "none", "--silent-s", "30")
    (shown,) = run("agent", "update", "living", *times).lines
    assert (shown["max_episode_steps"], shown["silent_s"]) == (None, 30.0)
    (shown,) = run("agent", "show", "living").lines
    assert (shown["deadline_ms"], shown["learning"]) == (100, False)
    (limited,) = run("agent", "update", "living", "--lag-max", "500", "--cpu-percent", "7").lines
    assert (limited["lag_max"], limited["cpu_percent"]) == (500, 7)
    (free,) = run("agent", "update", "living", "--lag-max", "none").lines
    assert (free["lag_max"], free["cpu_percent"]) == (None, 7)
    assert run("agent", "update", "living", "--lag-max", "some").code == 2
    (rewarded,) = run("agent", "update", "living", "--reward", "-abs(o[0])").lines
    assert rewarded["reward"] == "-abs(o[0])"
    assert run("agent", "update", "living", "--reward", "-abs(temp)").code == 1
    assert run("agent", "update", "living", "--reward", "none").lines[0]["reward"] is None
    for verb, status in (("pause", "paused"), ("resume", "active"), ("delete", "deleted")):
        (changed,) = run("agent", verb, "living").lines
        assert changed["status"] == status
    assert run("agent", "show", "living").code == 1
    assert "living" not in {line["name"] for line in run("agent", "list").lines}


def test_only_an_external_agent_goes_without_a_deadline(run: Callable[..., Said]) -> None:
    spaces = ("--observations", "5", "--actions", "3")
    assert run("agent", "create", "afar", "--algorithm", "external", *spaces).code == 0
    assert run("agent", "create", "near", "--algorithm", "tabular", *spaces).code == 0
    for given, kept in (("500", 500), ("none", None)):
        (shown,) = run("agent", "update", "afar", "--deadline-ms", given).lines
        assert shown["deadline_ms"] == kept
    assert run("agent", "show", "near").lines[0]["deadline_ms"] == 250
    refused = run("agent", "update", "near", "--deadline-ms", "none")
    assert (refused.code, "'external' may be without a deadline" in refused.err) == (1, True)
    refused = run("agent", "update", "afar", "--deadline-ms", "never")
    assert (refused.code, "write a whole number or none" in refused.err) == (2, True)
    refused = run("agent", "update", "afar", "--set", "gamma=1")
    assert (refused.code, "external has no parameter 'gamma'" in refused.err) == (1, True)


@pytest.mark.parametrize(("fallback", "kept"), [("hold", "hold"), ("none", "none"), ("1", 1)])
def test_fallback_is_a_word_or_an_action(
    run: Callable[..., Said], fallback: str, kept: object
) -> None:
    name = f"fallback-{fallback}"
    assert run("agent", "create", name, *PPO, "--fallback", fallback).code == 0
    assert run("agent", "show", name).lines[0]["fallback"] == kept


def test_safety_rules_are_json_and_refused_with_what_is_valid(run: Callable[..., Said]) -> None:
    rules = '{"interlocks":[{"when":"o[0] > 80","action":0}]}'
    assert run("agent", "create", "guarded", *PPO, "--safety", rules).code == 0
    assert run("agent", "show", "guarded").lines[0]["safety"] == msgspec.json.decode(rules)
    (changed,) = run("agent", "update", "guarded", "--safety", '{"dwell_s":5}').lines
    assert changed["safety"] == {"dwell_s": 5.0}
    for wrong, why in (
        ("o[0] > 80", "is not JSON"),
        ('{"interlocks":[{"when":"exec()","action":0}]}', "write numbers, o[0]"),
        ('{"interlocks":[{"when":"o[9] > 1","action":0}]}', "is not in the observation"),
        ('{"maximum":1}', "there are: low, high"),
    ):
        said = run("agent", "update", "guarded", "--safety", wrong)
        assert said.code == 1
        assert why in said.err
    assert run("agent", "show", "guarded").lines[0]["safety"] == {"dwell_s": 5.0}
    assert run("agent", "update", "guarded", "--safety", "none").lines[0]["safety"] is None


def test_key_is_shown_once_and_never_again(run: Callable[..., Said], hub: RealHub) -> None:
    run("agent", "create", "keys", *PPO)
    (made,) = run("key", "create", "keys", "--device", "boiler").lines
    secret = str(made["api_key"])
    listed = run("key", "list")
    assert {"keys"} <= {line["agent"] for line in listed.lines}
    hidden = secret.partition(".")[2].encode()
    assert hidden not in listed.out
    assert hidden not in run("sql", "SELECT * FROM events", "--format", "json").out
    assert hidden not in (hub.data / "log.duckdb").read_bytes()
    assert run("key", "revoke", secret.partition(".")[0]).code == 0
    with Http(hub.ready.http) as http:
        assert http.step(secret, {"s": 0, "o": [0, 0, 0, 0]})[0] == 401


def test_devices_are_added_moved_and_listed(run: Callable[..., Said]) -> None:
    for agent in ("here", "there"):
        run("agent", "create", agent, *PPO)
    assert run("device", "add", "mover", "--agent", "here").code == 0
    assert {"device": "mover", "agent": "here"} in run("device", "list").lines
    assert run("device", "move", "mover", "--agent", "there").code == 0
    assert {"device": "mover", "agent": "there"} in run("device", "list").lines


def test_forgotten_device_goes_to_the_next_key(run: Callable[..., Said], hub: RealHub) -> None:
    keys = {
        agent: str(run("agent", "create", agent, *PPO).lines[0]["api_key"])
        for agent in ("first-owner", "next-owner")
    }
    step = {"device": "passed-on", "s": 0, "o": [0, 0, 0, 0], "i": {"who": "Ann"}}
    with Http(hub.ready.http) as http:
        assert http.step(keys["first-owner"], step)[0] == 200
        assert http.step(keys["next-owner"], step)[0] == 403
        assert run("device", "forget", "passed-on").lines == [{"forgotten": "passed-on"}]
        assert run("device", "forget", "passed-on").code == 0
        assert run("device", "forget", "never-seen").code == 1
        assert http.step(keys["next-owner"], step | {"s": 1})[0] == 200
    assert {"device": "passed-on", "agent": "next-owner"} in run("device", "list").lines


def test_user_comes_and_goes_and_the_password_is_nowhere(
    run: Callable[..., Said], hub: RealHub
) -> None:
    password = b"correct horse battery"
    said = run("user", "add", "ann", "--role", "owner", "--password-stdin", stdin=password)
    assert (said.code, said.err, said.lines) == (0, "", [{"user": "ann", "role": "owner"}])
    (key,) = run("key", "create", "--user", "ann").lines
    assert run("agent", "create", "anns", *PPO, "--owner", "ann").code == 0
    with Http(hub.ready.http) as http:
        assert http.step(str(key["api_key"]), {"s": 0, "o": [0, 0, 0, 0]})[0] == 401
    assert run("user", "remove", "ann").code == 1
    assert run("agent", "update", "anns", "--owner", "admin").code == 0
    assert b"argon2" not in run("user", "list").out
    assert run("user", "remove", "ann").code == 0
    assert run("user", "list").lines == []
    assert password not in hub.says.read_bytes()
    assert all(password not in path.read_bytes() for path in hub.data.glob("log*.duckdb*"))


def test_status_names_the_processes(run: Callable[..., Said], hub: RealHub) -> None:
    (status,) = run("status").lines
    processes = status["processes"]
    assert isinstance(processes, dict)
    assert processes["hub"] == hub.pid


# --- sql ------------------------------------------------------------------------------------

TWO_ROWS: Final = (
    "SELECT * FROM (VALUES (1, 'a,b', NULL), (2, 'c', [0.5::FLOAT])) AS t(n, word, numbers)"
)


def test_sql_as_a_table(run: Callable[..., Said]) -> None:
    header, rule, *rows = run("sql", TWO_ROWS).out.decode().splitlines()
    assert header.split() == ["n", "word", "numbers"]
    assert set(rule) == {"-", " "}
    assert [row.split()[:2] for row in rows] == [["1", "a,b"], ["2", "c"]]


def test_sql_may_begin_with_a_comment(run: Callable[..., Said]) -> None:
    said = run("sql", "-- as the documents have it\nSELECT 7 AS n", "--json")
    assert said.lines == [{"n": 7}]


def test_sql_as_json_is_one_object_a_line(run: Callable[..., Said]) -> None:
    assert run("sql", TWO_ROWS, "--format", "json").lines == [
        {"n": 1, "word": "a,b", "numbers": None},
        {"n": 2, "word": "c", "numbers": [0.5]},
    ]


def test_sql_as_csv(run: Callable[..., Said]) -> None:
    lines = run("sql", TWO_ROWS, "--format", "csv").out.decode().splitlines()
    assert lines == ["n,word,numbers", '1,"a,b",', "2,c,[0.5]"]


def test_sql_as_arrow_is_a_stream(run: Callable[..., Said]) -> None:
    with pyarrow.ipc.open_stream(io.BytesIO(run("sql", TWO_ROWS, "--format", "arrow").out)) as read:
        assert read.read_all().to_pydict()["word"] == ["a,b", "c"]


@pytest.mark.parametrize("form", ["table", "json", "csv", "arrow"])
def test_sql_without_rows_is_no_error(run: Callable[..., Said], form: str) -> None:
    assert run("sql", "SELECT seq FROM events WHERE seq < 0", "--format", form).code == 0


def test_sql_sees_what_was_acknowledged_before(run: Callable[..., Said]) -> None:
    for number in range(3):
        run("agent", "create", f"counted-{number}", *PPO)
        found = run(
            "sql",
            "SELECT count(*) AS n FROM agents WHERE agent LIKE 'counted-%'",
            "--format",
            "json",
        )
        assert found.lines == [{"n": number + 1}]


@pytest.mark.parametrize(
    "query",
    [
        "DROP VIEW events",
        "DELETE FROM log",
        "SELECT 1; SELECT 2",
        "SELECT * FROM log",
        "SELECT * FROM meta",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_blob('log.duckdb')",
        "COPY (SELECT 1) TO 'file.csv'",
        "ATTACH 'other.db'",
        "INSTALL httpfs",
        "SET memory_limit = '1TB'",
        "PRAGMA database_list",
        "EXPORT DATABASE 'folder'",
        "SELECT secret FROM events",
        "SELECT getenv('HOME')",
        "WITH d AS (DELETE FROM log RETURNING *) SELECT * FROM d",
        "no query at all",
        "",
    ],
)
def test_sql_that_is_not_a_select_of_the_views_is_refused(
    run: Callable[..., Said], query: str
) -> None:
    said = run("sql", query)
    assert (said.code, said.out) == (1, b"")
    assert said.err.startswith("sheepfold: ")
    assert "Traceback" not in said.err


# --- exit codes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("agent", "show", "nobody"),
        ("agent", "create", "Capital", *PPO),
        ("agent", "create", "a" * 41, *PPO),
        ("agent", "create", "x", "--algorithm", "XYZ", *PPO[2:]),
        ("agent", "create", "x", *PPO[:2], "--observations", "[[0], 0, 1]", *PPO[4:]),
        ("agent", "create", "x", *PPO[:2], "--observations", "four", *PPO[4:]),
        ("agent", "create", "x", *PPO, "--set", "no_such=1"),
        ("agent", "create", "x", *PPO, "--set", "n_steps=many"),
        ("agent", "create", "x", *PPO, "--fallback", "7"),
        ("agent", "create", "x", *PPO, "--fallback", "jump"),
        ("agent", "create", "x", *PPO, "--deadline-ms", "0"),
        ("agent", "delete", "nobody"),
        ("key", "create", "nobody"),
        ("key", "revoke", "nothing"),
        ("key", "create", "--user", "nobody"),
        ("user", "add", "short", "--role", "admin", "--password-stdin"),
        ("user", "remove", "nobody"),
        ("agent", "create", "_hub", *PPO),
        ("agent", "create", "x", *PPO, "--owner", "nobody"),
        ("device", "forget", "nothing"),
        ("restore", "no-such-folder"),
        ("device", "add", "hub", "--agent", "nobody"),
    ],
    ids=lambda arguments: " ".join(arguments)[:60],
)
def test_refused_is_1_and_one_line_that_helps(
    run: Callable[..., Said], arguments: tuple[str, ...]
) -> None:
    said = run(*arguments)
    assert (said.code, said.out) == (1, b"")
    (line,) = said.err.splitlines()
    assert line.startswith("sheepfold: ")


def test_name_that_is_taken_is_refused(run: Callable[..., Said]) -> None:
    assert run("agent", "create", "taken", *PPO).code == 0
    said = run("agent", "create", "taken", *PPO)
    assert said.code == 1
    assert "taken" in said.err


def test_of_several_at_once_one_gets_the_name(hub: RealHub) -> None:
    def create(_: int) -> bool:
        try:
            hub.make_agent("contested")
        except OperatorFault:
            return False
        return True

    with ThreadPoolExecutor(8) as operators:
        assert sum(operators.map(create, range(8))) == 1
    assert hub.value("SELECT count(*) FROM operators WHERE agent = 'contested'") == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("agent",),
        ("agent", "create"),
        ("agent", "create", "x"),
        ("agent", "create", "x", *PPO, "--set", "n_steps"),
        ("agent", "create", "x", *PPO, "--deadline-ms", "soon"),
        ("agent", "create", "x", *PPO, "--sharing", "some"),
        ("sql",),
        ("sql", "SELECT 1", "--format", "xml"),
        ("serve", "--http-port", "eighty"),
        ("key", "create"),
        ("key", "create", "x", "--user", "ann"),
        ("user", "add", "ann"),
        ("export",),
        ("backup",),
    ],
    ids=lambda arguments: " ".join(arguments)[:60],
)
def test_wrong_usage_is_2(run: Callable[..., Said], arguments: tuple[str, ...]) -> None:
    said = run(*arguments)
    assert said.code == 2
    assert "Usage" in said.err


def test_without_a_hub_the_folder_is_named(run: Callable[..., Said], tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        said = run("agent", "list", data=folder)
        assert said.code == 1
        assert re.fullmatch(
            rf"sheepfold: no hub answers in {re.escape(str(folder))} .*\n", said.err
        )


def test_commands_are_processes_with_exit_codes(hub: RealHub) -> None:
    assert hub.command("agent", "list").returncode == 0
    assert hub.command("agent", "show", "nobody").returncode == 1
    assert hub.command("nonsense").returncode == 2
    assert sheepfold("--version").stdout.strip()


def test_version_and_help_need_no_hub(run: Callable[..., Said], tmp_path: Path) -> None:
    assert run("--version", data=tmp_path).code == 0
    said = run("--help", data=tmp_path)
    assert said.code == 0
    commands = {"serve", "agent", "key", "device", "user", "sql", "seal", "verify", "backup"}
    assert commands | {"restore", "export"} <= set(said.out.decode().split())
