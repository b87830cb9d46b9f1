"""Earlier versions of Sheepfold, from this repository's history, and what their hubs leave behind.

    program = install("7c25ebb", tmp_path / "earlier")
    hub = RealHub(data, program=program)               # a hub of that version

    python -m tests.acceptance.earlier COMMIT FILE     # keeps the folder of such a hub as a fixture

An earlier version runs on the packages that are installed now: what differs is Sheepfold.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tests.acceptance.devices import Http
from tests.acceptance.real_hub import RealHub, until
from tests.architecture.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

ON_POLICY: Final = {"n_steps": "32", "batch_size": "32", "n_epochs": "1", "net_arch": "8"}
OFF_POLICY: Final = {
    "buffer_size": "500", "learning_starts": "50", "publish_every": "32", "net_arch": "8",
}  # fmt: skip
AGENTS: Final = {
    "ppo": ("PPO", ON_POLICY),
    "dqn": ("DQN", OFF_POLICY),
    "recurrent": ("RecurrentPPO", ON_POLICY | {"lstm_hidden_size": "4"}),
}
"""Of a fixture, by name, where the version has the algorithm."""
LEFT_OUT: Final = ("first-account.url", "ready.json", "hub.lock")
VERSIONS: Final = 3
"""Each agent of a fixture has come so far at least."""


def install(commit: str, folder: Path) -> Path:
    """Install a commit's packages below the folder, without what they need; where they are."""
    source, program = folder / f"{commit}.source", folder / commit
    packed = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit], stdout=subprocess.PIPE, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(source, filter="data")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(program), str(source)], check=True)
    return program


def create_agent(
    hub: RealHub, name: str, algorithm: str, parameters: dict[str, str], *, numbers: int = 4
) -> str:
    """By the command line of the hub's own version; the agent's key, empty when it is refused."""
    spaces = ("--observations", f'[[{numbers}], "-inf", "inf"]', "--actions", "2")
    sets = [word for pair in parameters.items() for word in ("--set", "=".join(pair))]
    made = hub.command("agent", "create", name, "--algorithm", algorithm, *spaces, *sets)
    return "" if made.returncode else str(msgspec.json.decode(made.stdout)["api_key"])


def rows(hub: RealHub, query: str) -> list[dict[str, Any]]:
    """By the command line too."""
    done = hub.command("sql", query, "--format", "json")
    assert done.returncode == 0, done.stderr
    return [msgspec.json.decode(line) for line in done.stdout.splitlines()]


def keep(commit: str, file: Path) -> None:
    """Write the data folder of a hub of that version, killed while its agents learnt."""
    with tempfile.TemporaryDirectory() as folder:
        hub = RealHub(Path(folder) / "data", program=install(commit, Path(folder)))
        hub.start()
        for name, (algorithm, parameters) in AGENTS.items():
            if key := create_agent(hub, name, algorithm, parameters, numbers=2):
                _learn(hub, key, name)
        assert hub.command("key", "create", "ppo", "--device", "stove").returncode == 0
        assert hub.command("device", "forget", "d-dqn").returncode == 0
        hub.kill_nine()
        with tarfile.open(file, "w:xz") as archive:
            for path in sorted(_kept(hub.data)):
                archive.add(path, path.relative_to(hub.data), recursive=False)


def _learn(hub: RealHub, key: str, name: str) -> None:
    step = 0
    version = -1

    def learnt() -> bool:
        nonlocal step, version
        with Http(hub.ready.http) as http:
            for _ in range(50):
                said = {"device": f"d-{name}", "s": step, "b": 1, "o": [step % 7, 1], "r": 1.0}
                status, answer = http.step(key, said | {"i": {"who": "Ada"}})
                assert status == 200, answer
                step += 1
                version = answer.get("pv", version)
        return version >= VERSIONS

    until(learnt, f"{name} to come to version {VERSIONS}", timeout_s=60)


def _kept(data: Path) -> Iterator[Path]:
    """The log, its keys, and of policies the newest file of each agent, for size."""
    for path in data.rglob("*"):
        if path.name in LEFT_OUT or path.is_socket():
            continue
        newest = max(path.parent.glob("*.safetensors"), key=os.path.getmtime, default=None)
        if path.is_file() and (path.suffix != ".safetensors" or path == newest):
            yield path


if __name__ == "__main__":
    keep(sys.argv[1], Path(sys.argv[2]))
