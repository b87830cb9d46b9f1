"""Policies in an operator's hands, on a hub that learns all the while, and its proof afterwards."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from hub import control
from tests.acceptance.devices import Http, walkers
from tests.acceptance.real_hub import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

BEYOND: Final = "1000000000"
"""A seq that no log here comes to."""
REST_S: Final = 0.01
"""Between two steps of a device: all of them are folded again when a policy is rebuilt."""


@pytest.fixture
def busy(fresh_hub: RealHub) -> Iterator[RealHub]:
    """A hub with two devices of the agent `cart`, whose fifth version is there."""
    devices = walkers(fresh_hub, fresh_hub.make_agent("cart"), rest_s=REST_S)[:2]
    for device in devices:
        device.start()
    await_version(fresh_hub, 5)
    yield fresh_hub
    for device in devices:
        device.stop()


def await_version(hub: RealHub, version: int) -> None:
    newest = "SELECT coalesce(max(version), -1) FROM policies WHERE agent = 'cart'"
    until(lambda: hub.value(newest) >= version, f"version {version}", timeout_s=60)


def said(hub: RealHub, *arguments: str) -> list[dict[str, Any]]:
    """What the command printed; it did what was asked."""
    done = hub.command(*arguments)
    assert done.returncode == 0, done.stderr
    return [msgspec.json.decode(line) for line in done.stdout.splitlines()]


def acted_by(hub: RealHub, version: int) -> int:
    return int(
        hub.value(
            f"SELECT count(*) FROM events WHERE kind = 'action' AND policy = {version} "
            "AND source = 'policy'"
        )
    )


def test_a_policy_is_rolled_back_exported_imported_and_made_again(
    busy: RealHub, tmp_path: Path
) -> None:
    hub = busy
    listed = said(hub, "policy", "list", "cart")
    assert [one["version"] for one in listed] == list(range(len(listed)))
    assert all(one["file"] for one in listed)
    assert sum(one["acts"] for one in listed) == 1

    (back,) = said(hub, "policy", "rollback", "cart", "--to", "2")
    assert back["sha256"] == hub.value("SELECT sha256 FROM policies WHERE version = 2")
    until(lambda: acted_by(hub, back["version"]), "the version that was rolled back to acts")
    child = f"SELECT count(*) FROM policies WHERE parent = {back['version']}"
    until(lambda: hub.value(child), "training goes on from it")

    os.kill(hub.processes["trainer-cart"], signal.SIGKILL)
    await_version(hub, back["version"] + 4)
    file = tmp_path / "cart.zip"
    said(hub, "policy", "export", "cart", "--version", "3", "--to", str(file))
    (imported,) = said(hub, "policy", "import", "cart", str(file))
    until(lambda: acted_by(hub, imported["version"]), "the imported version acts")
    await_version(hub, imported["version"] + 2)
    (one,) = [one for one in said(hub, "policy", "list", "cart") if one["how"] == "imported"]
    assert (one["version"], one["by"]) == (imported["version"], "operator")

    rebuilt = proved(hub, "rebuild", "cart")
    assert rebuilt["version"] > imported["version"]
    assert rebuilt["sha256"] == rebuilt["logged"]
    hub.stop()
    again = tmp_path / "again.safetensors"
    stopped = proved(hub, "rebuild", "cart", "--at", str(rebuilt["seq"]), "--to", str(again))
    assert stopped["sha256"] == rebuilt["sha256"]
    assert hashlib.sha256(again.read_bytes()).hexdigest() == rebuilt["sha256"]
    beyond = hub.command("rebuild", "cart", "--at", BEYOND)
    assert beyond.returncode == 1
    found = re.search(r"beyond the log: its last seq is (\d+)$", beyond.stderr.strip())
    assert found, beyond.stderr
    assert int(found[1]) >= rebuilt["seq"]
    hub.start()
    assert hub.ask(control.Position())["seq"] >= int(found[1])


def test_a_restarted_agent_begins_anew_and_what_can_not_be_done_is_refused(
    busy: RealHub, tmp_path: Path
) -> None:
    hub = busy
    before = hub.value("SELECT max(version) FROM policies")
    with Http(hub.ready.http) as http:
        login = http.shepherd("login_user", {"apikey": hub.ask_key("cart")})
        seen = {"session_key": login["session_key"], "obs": [0, 0, 0, 0], "done": False}
        assert "action" in http.shepherd("env", seen)
        (restarted,) = said(hub, "agent", "restart", "cart")
        assert restarted["version"] > before
        assert "log in again" in http.shepherd("env", seen)["error"]
    await_version(hub, restarted["version"] + 1)
    rows = hub.sql(f"SELECT parent FROM policies WHERE version = {restarted['version']}")
    assert rows == [{"parent": None}]
    assert said(hub, "policy", "list", "cart")[0]["version"] == 0
    assert proved(hub, "rebuild", "cart")["version"] > before

    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"PK\x03\x04 no archive")
    for wrong in (
        ("policy", "promote", "cart", "999"),
        ("policy", "import", "cart", str(bad)),
        ("policy", "export", "cart", "--to", str(tmp_path / "file.pt")),
        ("policy", "list", "nobody' OR 1=1 --"),
        ("rebuild", "nobody"),
    ):
        done = hub.command(*wrong)
        assert done.returncode == 1, wrong
        assert done.stderr.startswith("sheepfold: "), done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith("data")}
    assert left == {"bad.zip"}


def test_a_new_agent_is_trained_from_another_ones_log(busy: RealHub) -> None:
    hub = busy
    before = hub.value("SELECT max(seq) FROM policies")
    sets = ("--set", "learning_starts=50", "--set", "publish_every=64")
    done = hub.command("rebuild", "cart", "--as", "scholar", "--algorithm", "DQN", *sets)
    assert done.returncode == 0, done.stderr
    made = msgspec.json.decode(done.stdout)
    assert (made["agent"], made["version"]) == ("scholar", 0)
    (said_of_it,) = hub.sql("SELECT payload FROM operators WHERE operator = 'operator' "
                            "AND act = 'policy_chosen' AND agent = 'scholar'")  # fmt: skip
    fact = msgspec.json.decode(said_of_it["payload"])
    assert fact["how"] == "trained_again"
    assert fact["origin"]["agent"] == "cart"
    assert fact["origin"]["transitions"] == made["transitions"] > 0
    assert fact["origin"]["position"] >= before
    with Http(hub.ready.http) as http:
        step = 0

        def acts() -> bool:
            nonlocal step
            _, answer = http.step(made["api_key"], {"device": "pupil", "s": step, "o": [0] * 4})
            step += 1
            return bool(answer.get("pv") == 0)

        until(acts, "it acts by the policy that was trained for it")
    (listed,) = said(hub, "policy", "list", "scholar")
    assert listed["how"] == "trained_again"
    assert proved(hub, "rebuild", "scholar")["sha256"] == made["sha256"]

    for wrong, why in (
        (("--as", "scholar", "--algorithm", "DQN"), "exists"),
        (("--as", "other"), "only from actions that its own policy drew"),
        (("--as", "Other", "--algorithm", "DQN"), "must match"),
        (("--as", "other", "--algorithm", "SAC"), "SAC"),
        (("--as", "other", "--algorithm", "DQN", "--at", BEYOND), "beyond the log: its last seq"),
        (("--at", BEYOND), "beyond the log: its last seq is "),
    ):
        done = hub.command("rebuild", "cart", *wrong)
        assert done.returncode == 1, wrong
        assert why in done.stderr, done.stderr
    assert {path.name for path in (hub.data / "policies").iterdir()} == {"cart", "scholar"}


def test_training_a_new_agent_says_how_far_it_is_and_can_be_stopped(busy: RealHub) -> None:
    hub = busy
    slow = ("--set", "learning_starts=50", "--set", "train_freq=1", "--set", "gradient_steps=200")
    wanted = ("rebuild", "cart", "--as", "scholar", "--algorithm", "DQN", *slow)
    command = [sys.executable, "-m", "hub", *wanted, "--data", str(hub.data)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    pattern = r"rebuild: (\d+) of (\d+) events, up to seq \d+, (\d+) events/s, \d+ s left\n"
    progress = re.fullmatch(pattern, line)
    assert progress is not None, line
    done, count, rate = map(int, progress.groups())
    assert 0 < done < count
    assert rate > 0
    process.send_signal(signal.SIGINT)
    _, said_last = process.communicate()
    assert process.returncode == 130
    assert said_last.splitlines()[-1] == "sheepfold: rebuild cancelled; there is no new agent"
    assert [one["name"] for one in said(hub, "agent", "list")] == ["cart"]
    assert {path.name for path in (hub.data / "policies").iterdir()} == {"cart"}


def proved(hub: RealHub, *arguments: str) -> dict[str, Any]:
    """What `rebuild` printed; the policy was the one in the log."""
    done = hub.command(*arguments)
    assert done.returncode == 0, done.stderr
    assert "bit for bit" in done.stderr
    rebuilt: dict[str, Any] = msgspec.json.decode(done.stdout)
    assert rebuilt["equal"]
    return rebuilt
