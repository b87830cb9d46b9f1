"""What the doctor finds in a folder and on a machine, and what mends it."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from hub.clock import SystemClock
from hub.doctor import folder, machine
from hub.doctor.examine import examine
from hub.log.acknowledged import FILE_NAME as MARK
from hub.log.acknowledged import Acknowledged
from hub.log.duck import DuckFile
from hub.log.segments.moving import move
from hub.processes import LOCK, READY, claimed
from hub.settings import Settings
from tests.acceptance.certificates import Authority
from tests.commands.typed import typed
from tests.log.events import steps
from tests.log.segments.made import flip_a_bit, sealed

if TYPE_CHECKING:
    from pathlib import Path

    from hub.doctor.finding import Finding

ANY_PORT: Final = {"http": {"port": 0}, "mqtt": {"port": 0, "ws_port": 0}}
NOW_US: Final = 1_800_000_000_000_000


def settings(**sections: Any) -> Settings:
    return msgspec.convert(ANY_PORT | sections, Settings)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder as a hub makes it."""
    made = tmp_path / "data"
    made.mkdir(mode=0o700)
    return made


def found(data: Path, **sections: Any) -> dict[str, Finding]:
    return {
        finding.check: finding for finding in examine(data, settings(**sections), SystemClock())
    }


def test_nothing_is_wrong_with_a_new_folder(data: Path) -> None:
    assert {check for check, one in found(data).items() if one.level == "wrong"} == set()


def test_what_others_may_read_is_closed_to_them(data: Path) -> None:
    secret = data / "keys" / "heater-1"
    secret.parent.mkdir(mode=0o755)
    secret.write_text("secret")
    secret.chmod(0o644)
    finding = found(data)["modes"]
    assert str(secret) in finding.where
    assert finding.mend is not None
    finding.mend()
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.parent.stat().st_mode & 0o777 == 0o700
    assert "modes" not in found(data)


def test_what_a_killed_hub_left_is_removed(data: Path) -> None:
    (data / READY).touch(mode=0o600)
    finding = found(data)["leftovers"]
    assert finding.mend is not None
    finding.mend()
    assert not (data / READY).exists()


def test_a_folder_in_place_of_a_file_of_the_hub_s_is_told_and_left_alone(data: Path) -> None:
    (data / READY).mkdir(mode=0o700)
    finding = found(data)["leftovers"]
    assert (finding.level, finding.mend) == ("wrong", None)
    assert "move it elsewhere" in finding.do


@pytest.mark.parametrize("text", [b"", b"garbage", b"h 12\n", b"h 99999999999999999999\n", b"\xff"])
def test_a_mark_of_what_was_acknowledged_that_says_nothing_is_told(data: Path, text: bytes) -> None:
    mark = data / MARK
    mark.write_bytes(text)
    mark.chmod(0o600)
    assert found(data)["acknowledged"].where == str(mark)
    Acknowledged.open(data, "h").write(12)
    assert "acknowledged" not in found(data)


def test_a_log_without_a_mark_of_what_was_acknowledged_is_told(data: Path) -> None:
    file = DuckFile.open(data / "log.duckdb", settings().log)
    file.make({"hub": "h", "schema": "3", "upto": "0"})
    file.close()
    assert "nobody can tell" in found(data)["acknowledged"].says


def test_what_a_running_hub_needs_is_no_leftover(data: Path) -> None:
    with claimed(data):
        (data / LOCK).chmod(0o600)
        (data / READY).touch(mode=0o600)
        assert "leftovers" not in found(data)


def test_a_port_that_another_has_is_named_with_its_setting(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finding = found(data, mqtt={"port": port, "ws_port": 0})["ports"]
        assert (finding.where, "mqtt.port" in finding.says) == (f"127.0.0.1:{port}", True)
        with claimed(data):
            assert "ports" not in found(data, mqtt={"port": port, "ws_port": 0}), "it is the hub's"


def test_a_disk_that_is_too_full_to_commit_is_wrong_and_a_small_one_a_note(data: Path) -> None:
    assert found(data, log={"disk_free_mb_min": 1e12})["disk"].level == "wrong"
    free_mb = os.statvfs(data).f_bavail * os.statvfs(data).f_frsize / 2**20
    assert found(data, log={"disk_free_mb_min": free_mb / 2})["disk"].level == "note"


def test_a_clock_that_went_back_is_told_by_what_was_written_last(data: Path) -> None:
    later = NOW_US // 1_000_000 + 3600
    os.utime(data, (later, later))
    file = data / "log.journal"
    file.touch(mode=0o600)
    os.utime(file, (later, later))
    (finding,) = folder.clock(data, NOW_US)
    assert "3,600 s behind" in finding.says
    assert list(folder.clock(data, (later + 1) * 1_000_000)) == []


def test_a_hub_that_was_moved_elsewhere_is_told_with_where(data: Path, tmp_path: Path) -> None:
    sealed(data, steps(1, 10))
    move(data, tmp_path / "carried")
    finding = found(data)["moved"]
    assert str(tmp_path / "carried") in finding.says
    assert "delete" in finding.do
    (data / "moved.json").write_bytes(b"garbage")
    assert "was moved elsewhere" in found(data)["moved"].says


def test_a_log_of_a_newer_version_is_told_before_the_hub_refuses_it(data: Path) -> None:
    path = data / "log.duckdb"
    file = DuckFile.open(path, settings().log)
    file.make({"hub": "h", "schema": "99", "upto": "0"})
    file.close()
    finding = found(data)["version"]
    assert "schema 99" in finding.says
    assert "newer" in finding.do


def test_a_log_that_is_no_database_is_told_with_what_the_hub_will_do(data: Path) -> None:
    (data / "log.duckdb").write_bytes(b"not a database" * 1000)
    assert "moves the file aside" in found(data)["version"].do


def test_a_damaged_segment_is_named(data: Path) -> None:
    sealed(data, steps(1, 10))
    (segment,) = data.rglob("*.parquet")
    flip_a_bit(segment)
    finding = found(data)["segments"]
    assert segment.name in finding.says


def test_a_key_that_others_may_read_is_closed_and_an_old_certificate_told(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).sign("hub")
    key.chmod(0o644)
    tls = settings(tls={"certificate": str(certificate), "key": str(key)}).tls
    (finding,) = machine.certificates(tls, NOW_US)
    assert finding.mend is not None
    finding.mend()
    assert list(machine.certificates(tls, NOW_US)) == []
    (expired,) = machine.certificates(tls, NOW_US * 3)
    assert (expired.level, "expired" in expired.says) == ("wrong", True)


def test_packages_are_those_that_were_asked_for() -> None:
    assert list(machine.packages()) == []


@pytest.mark.parametrize("text", [None, "", "garbage"])
def test_a_certificate_that_the_hub_can_t_use_is_told(tmp_path: Path, text: str | None) -> None:
    certificate = tmp_path / "hub.pem"
    if text is not None:
        certificate.write_text(text)
    tls = settings(tls={"certificate": str(certificate)}).tls
    (finding,) = machine.certificates(tls, NOW_US)
    assert finding.level == "wrong"
    assert "does not start" in finding.says


def test_a_key_of_another_certificate_is_told(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    (certificate, _), (_, key) = authority.sign("hub"), authority.sign("other")
    tls = settings(tls={"certificate": str(certificate), "key": str(key)}).tls
    (finding,) = machine.certificates(tls, NOW_US)
    assert "does not start" in finding.says


def test_an_emptied_key_of_a_device_is_told(data: Path) -> None:
    (data / "keys").mkdir(mode=0o700)
    (data / "keys" / "attic.forgotten").touch(mode=0o600)
    assert "keys" not in found(data), "what is to be forgotten is not missing"
    (data / "keys" / "kitchen").touch(mode=0o600)
    assert "are empty" in found(data)["keys"].says


def test_what_can_t_be_looked_at_is_a_finding_and_the_rest_is_looked_at(data: Path) -> None:
    (data / "segments").touch(mode=0o600)  # and no folder
    (data / READY).touch()
    (data / READY).chmod(0o644)  # whatever the umask is
    findings = found(data)
    assert "can't be looked at" in findings["segments"].says
    assert "modes" in findings


# --- the command ---------------------------------------------------------------------------


def test_doctor_says_what_to_do_exits_with_1_and_mends_when_told(
    data: Path, tmp_path: Path
) -> None:
    config = tmp_path / "hub.toml"
    config.write_text("[http]\nport = 0\n[mqtt]\nport = 0\nws_port = 0\n")
    data.chmod(0o755)
    said = typed(data, "doctor", "--config", str(config))
    assert said.code == 1
    assert f"chmod -R go-rwx {data}" in said.out
    assert typed(data, "doctor", "--config", str(config), "--mend").code == 0
    assert data.stat().st_mode & 0o777 == 0o700
    lines = typed(data, "doctor", "--config", str(config), "--json").lines
    assert all(line["level"] == "note" for line in lines)


def test_doctor_of_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    said = typed(tmp_path / "nowhere", "doctor")
    assert said.code == 1
    assert "there is no such folder" in said.out
