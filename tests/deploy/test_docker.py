"""The image and its compose files, without a container engine: what they name is there, and fits.

The build stage is run in a small form: from what it copies, and nothing else, comes the wheel.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from hub.__main__ import cli
from hub.settings import load
from tests.architecture.tree import ROOT
from tests.deploy.dockerfile import stages

if TYPE_CHECKING:
    from pathlib import Path

DOCKER: Final = ROOT / "deploy" / "docker"
FILE: Final = DOCKER / "Dockerfile"
ASSETS, BUILD, IMAGE = stages(FILE)
COMPOSED: Final = sorted(DOCKER.glob("*.yaml"))


def composed(file: Path, part: str) -> dict[str, dict[str, Any]]:
    """A part of a compose file, without the tag that only Compose knows."""
    found: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(
        file.read_text().replace("!override", "")
    )
    return found.get(part, {})


@pytest.mark.parametrize("stage", [ASSETS, BUILD, IMAGE], ids=["assets", "build", "image"])
def test_what_a_stage_copies_is_there_and_sent_to_the_builder(stage: Any) -> None:
    names = [ASSETS.name, BUILD.name]
    for copied in stage.copied:
        if copied.stage is not None:
            assert copied.stage in names
            continue
        for source in copied.sources:
            assert (ROOT / source).exists(), source
            assert is_sent(source), f"{source} is left out by the .dockerignore"


def is_sent(path: str) -> bool:
    """As the builder takes it: the last line that matches it, or what is above it, decides."""
    sent = True
    for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        parts = path.split("/")
        above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        if line and not line.startswith("#") and any(fnmatch(one, pattern) for one in above):
            sent = line.startswith("!")
    return sent


def test_commands_that_a_stage_runs_find_what_they_name() -> None:
    (assets,) = ASSETS.run
    assert os.access(ROOT / assets[0], os.X_OK)
    venv, install = BUILD.run
    assert venv[:3] == ["python", "-m", "venv"]
    assert install[0] == f"{venv[3]}/bin/pip"
    assert install[install.index("--constraint") + 1] in BUILD.copied[0].sources
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.findall(r"\w+", install[-1])
    assert set(extras) <= set(project["optional-dependencies"])
    python = IMAGE.image.partition(":")[2].partition("-")[0]
    assert BUILD.image == IMAGE.image, "a virtual environment belongs to its Python"
    assert python >= project["requires-python"].removeprefix(">=")


def test_the_image_runs_the_hub_as_nobody_special() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert IMAGE.words("ENTRYPOINT")[0] in project["scripts"]
    assert int(IMAGE.said("USER")) > 999
    command = IMAGE.words("CMD")
    options = {option for param in cli.commands[command[0]].params for option in param.opts}
    assert {word for word in command if word.startswith("--")} <= options
    assert IMAGE.words("HEALTHCHECK")[1] in cli.commands


@pytest.mark.parametrize("file", COMPOSED, ids=lambda file: file.name)
def test_services_have_what_they_mount_and_no_rights_they_do_not_need(file: Path) -> None:
    volumes = composed(file, "volumes")
    for name, service in composed(file, "services").items():
        for mount in service.get("volumes", ()):
            source = re.sub(r"^\$\{.*?\}", "$", mount).split(":")[0]
            made_by_operator = source in ("$", "./passwords")
            assert made_by_operator or source in volumes or (DOCKER / source).exists(), mount
        if name == "hub" and file.name != "hub.yaml":
            continue  # the rest is said in hub.yaml
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert ":" in service.get("image", "built:here") or "build" in service


def test_the_hub_s_settings_in_compose_files_are_settings() -> None:
    for file in COMPOSED:
        load(environment=composed(file, "services").get("hub", {}).get("environment", {}))
    build = composed(DOCKER / "hub.yaml", "services")["hub"]["build"]
    assert (DOCKER / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]) == FILE


def test_mosquitto_in_a_container_is_as_on_a_machine_but_for_paths_and_who_may_reach_it() -> None:
    there = lines(ROOT / "deploy" / "mosquitto" / "mosquitto.conf")
    moved = [line.replace("/etc/mosquitto/", "/mosquitto/config/") for line in there]
    moved = [line.replace("listener 1883 127.0.0.1", "listener 1883") for line in moved]
    moved = [line.replace("/var/lib/mosquitto/", "/mosquitto/data/") for line in moved]
    assert lines(DOCKER / "mosquitto.conf") == moved


def lines(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if line and not line.startswith("#")]


def test_what_the_build_stage_copies_is_enough_for_the_wheel(tmp_path: Path) -> None:
    project = tmp_path / "src"
    project.mkdir()
    for copied in BUILD.copied:
        for source in copied.sources if copied.stage is None else ():
            if (ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "vendor*")
                shutil.copytree(ROOT / source, project / source, ignore=ignored)
            else:
                shutil.copy(ROOT / source, project)
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*wheel, "--wheel-dir", str(tmp_path), str(project)], check=True)
    (made,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(made).namelist())
    needed = {
        str(path.relative_to(ROOT))
        for folder in ("hub", "bridge")
        for pattern in ("*.py", "*.sql", "*.html")
        for path in (ROOT / folder).rglob(pattern)
    }
    assert needed <= held
