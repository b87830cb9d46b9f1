"""The image and its compose files, without a container engine: what they name is there, and fits.

The build's steps are run in a small form: from what it copies alone comes a hub that serves.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tomllib
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from hub.__main__ import cli
from hub.settings import load
from tests.acceptance.real_hub import until
from tests.architecture.tree import ROOT
from tests.deploy.dockerfile import stages

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.dockerfile import Copied

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
    venv, locked, install = BUILD.run
    assert venv[:3] == ["python", "-m", "venv"]
    assert locked[0] == install[0] == f"{venv[3]}/bin/pip"
    assert "--require-hashes" in locked
    assert locked[-1] in BUILD.copied[0].sources
    assert {"--no-deps", "--no-build-isolation"} < set(install), "else what is not locked comes in"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
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


def test_the_steps_of_the_build_make_a_hub_that_serves(tmp_path: Path, request: Any) -> None:
    """Goal: what the image would run, runs.

    Method: the build's steps are run in a folder in place of `/`, with what they copy and nothing
    else; then the image's entry point, its health check, and its signal to stop. Where `--image` is
    not given, what is locked is not installed but lent by the Python that runs the test.
    """
    image = Root(tmp_path, lent=not request.config.getoption("--image", default=False))
    for word, rest in BUILD.lines:
        if word == "COPY":
            image.copy(BUILD.copied[image.copies], BUILD.said("WORKDIR"))
        elif word == "RUN":
            image.run(rest, BUILD.said("WORKDIR"))
    held = {str(path.relative_to(image.packages)) for path in image.packages.rglob("*")}
    needed = {
        str(path.relative_to(ROOT))
        for folder in ("hub", "bridge")
        for pattern in ("*.py", "*.sql", "*.html")
        for path in (ROOT / folder).rglob(pattern)
    }
    assert needed <= held
    environment = composed(DOCKER / "hub.yaml", "services")["hub"]["environment"]
    ports = ("--http-port", "0", "--mqtt-port", "0", "--ws-port", "0")
    command = [*IMAGE.words("ENTRYPOINT"), *IMAGE.words("CMD"), *ports]
    hub = image.start(command, environment)
    until((image.data / "ready.json").exists, "the hub to be ready", timeout_s=30)
    check = image.start(IMAGE.words("HEALTHCHECK"), environment)
    assert check.wait(30) == 0
    hub.send_signal(signal.Signals[IMAGE.said("STOPSIGNAL")])
    assert hub.wait(10) == 0


class Root:
    """A folder in place of the image's root.

    Args:
        folder: empty.
        lent: what would be installed is that of the Python that runs.
    """

    def __init__(self, folder: Path, *, lent: bool) -> None:
        self._folder = folder
        self._lent = lent
        self.copies = 0
        self.data = folder / "data"
        self.data.mkdir(mode=0o700)

    @property
    def packages(self) -> Path:
        """Where the image's Python finds them."""
        (found,) = self._folder.glob("opt/sheepfold/lib/python*/site-packages")
        return found

    def copy(self, copied: Copied, into: str) -> None:
        """As COPY does; what another stage made is that of this project, if it is there."""
        self.copies += 1
        target = self._place(into) / copied.target
        for source in copied.sources:
            found = ROOT / source.removeprefix(f"{ASSETS.said('WORKDIR')}/")
            if found.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "vendor*")
                shutil.copytree(found, target, ignore=ignored, dirs_exist_ok=True)
            elif found.exists():
                shutil.copy(found, target)

    def run(self, line: str, where: str) -> None:
        """As RUN does."""
        for step in line.split("&&"):
            words = [word.replace("/opt/", f"{self._folder}/opt/") for word in shlex.split(step)]
            if words[0] == "python":
                words[0] = sys.executable
            if "--require-hashes" in words and self._lent:
                lent = sysconfig.get_path("purelib")
                first = f"import sys; sys.path.insert(0, {lent!r})\n"  # before those of venv itself
                (self.packages / "lent.pth").write_text(first)
                continue
            subprocess.run(words, cwd=self._place(where), check=True)

    def start(self, command: list[str], environment: dict[str, Any]) -> subprocess.Popen[bytes]:
        """As the engine does, with the settings of a compose file."""
        settings = {**IMAGE.environment, **environment, "SHEEPFOLD_DATA": self.data}
        place = [f"{name}={value}" for name, value in settings.items() if name != "PATH"]
        program = self._folder / "opt" / "sheepfold" / "bin" / command[0]
        return subprocess.Popen(["env", *place, program, *command[1:]], cwd=self.data)

    def _place(self, path: str) -> Path:
        place = self._folder / path.strip("/")
        place.mkdir(parents=True, exist_ok=True)
        return place
