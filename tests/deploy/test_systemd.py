"""The unit, looked at by systemd itself where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from hub.__main__ import cli
from hub.settings import load
from hub.signals import STOP_S_MAX
from tests.architecture.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

UNIT: Final = ROOT / "deploy" / "systemd" / "sheepfold.service"
EXPOSURE_MAX: Final = 20
"""Tenths, of what `systemd-analyze security` counts; 10.0 is a service without any rule."""
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd"
)


def said(name: str) -> str:
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    return str(value)


def test_the_command_has_these_options() -> None:
    program, command, *words = said("ExecStart").split()
    assert program.endswith("/bin/sheepfold")
    options = {option for param in cli.commands[command].params for option in param.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_systemd_waits_longer_than_the_hub_takes_to_stop() -> None:
    assert int(said("TimeoutStopSec")) > STOP_S_MAX


def test_as_many_files_may_be_open_as_the_settings_ask_for() -> None:
    settings = load(environment={})
    sockets = settings.mqtt.connections_max + settings.http.connections_max
    assert int(said("LimitNOFILE")) > sockets


@needs_systemd
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    # What is not installed here is not what is asked.
    unit.write_text(UNIT.read_text().replace("/opt/sheepfold/bin/sheepfold", sys.executable))
    looked = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    ours = [line for line in looked.stderr.splitlines() if UNIT.name in line]
    assert ours == []


@needs_systemd
def test_the_service_may_do_little(tmp_path: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}"]
    done = subprocess.run([*command, str(UNIT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1]
