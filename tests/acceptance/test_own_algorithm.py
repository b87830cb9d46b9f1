"""A package with an algorithm of its own, installed for real, learns on a real hub.

It is the package that the documentation shows; broken ones cost themselves alone.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from tests.acceptance.devices import Http
from tests.acceptance.real_hub import RealHub, sheepfold, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.acceptance

DOCUMENT: Final = Path(__file__).parents[2] / "docs/own-algorithm.md"
BROKEN: Final = {
    "Absent": ("no_such_module:ROW", "it can't be loaded (ModuleNotFoundError"),
    "Wrong": ("broken_rows:WRONG", "it is a dict, not an Algorithm"),
    "Raising": ("broken_raising:ROW", "it can't be loaded (ZeroDivisionError"),
    "Renamed": ("broken_rows:RENAMED", "its row is called 'Other'"),
    "Heavy": ("broken_heavy:ROW", "its module imports numpy, which only its learner may"),
    "Kinds": ("broken_rows:KINDS", "of kind 'number'"),
    "Default": ("broken_rows:DEFAULT", "gamma is between 0 and 1"),
    "PPO": ("broken_rows:WRONG", ""),
}
"""Entry points, and what is said of them."""
BROKEN_ROWS: Final = """
from hub.learner.algorithms.row import Algorithm, Head
from hub.spaces import Discrete
def row(name, kind, default):
    return Algorithm(name, "off_policy", {Discrete: Head("epsilon_greedy")}, {"gamma": default},
                     parameters={"gamma": kind}, learner="nowhere:Learner")
WRONG = {}
RENAMED = row("Other", "float", "0.9")
KINDS = row("Kinds", "number", "0.9")
DEFAULT = row("Default", "float", "9")
LOST = row("Lost", "float", "0.9")
"""


def shown() -> dict[str, str]:
    """The files in the documentation, by the names it gives them."""
    text = DOCUMENT.read_text()
    return dict(re.findall(r"`([\w.]+)`[^`]*?:\n\n```\w+\n(.*?)```", text, re.DOTALL))


def install(folder: Path, name: str, files: dict[str, str], entries: dict[str, str]) -> None:
    """Have pip install a package of these modules, as from any wheel."""
    wheel = folder.with_name(f"{name}-1.0-py3-none-any.whl")
    info = f"{name}-1.0.dist-info"
    members = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[sheepfold.algorithms]\n"
        + "".join(f"{key} = {value}\n" for key, value in entries.items()),
    }
    record = "".join(f"{member},,\n" for member in [*members, f"{info}/RECORD"])
    with zipfile.ZipFile(wheel, "w") as archive:
        for member, text in (members | {f"{info}/RECORD": record}).items():
            archive.writestr(member, text)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    done = subprocess.run(
        [*command, "--disable-pip-version-check", "--target", str(folder), str(wheel)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the hub's Python, and its children's, also looks for packages in."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    return folder


@pytest.fixture
def own_hub(packages: Path, tmp_path: Path) -> Iterator[RealHub]:
    """Not yet started."""
    hub = RealHub(tmp_path / "data")
    yield hub
    hub.end()


def test_the_documented_package_is_installed_and_learns(own_hub: RealHub, packages: Path) -> None:
    files = shown()
    document = tomllib.loads(files.pop("pyproject.toml"))
    declared = document["project"]
    modules = document["tool"]["setuptools"]["py-modules"]
    assert set(files) == {f"{module}.py" for module in modules}
    install(packages, declared["name"], files, declared["entry-points"]["sheepfold.algorithms"])
    own_hub.start()
    made = own_hub.command(
        "agent", "create", "taster", "--algorithm", "Averages",
        "--observations", "3", "--actions", "4", "--set", "epsilon=0.2",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    key = msgspec.json.decode(made.stdout)["api_key"]
    with Http(own_hub.ready.http) as http:
        first = taste(http, key, range(200))
        learned = "SELECT coalesce(max(version), 0) FROM policies WHERE agent = 'taster'"
        until(lambda: own_hub.value(learned) >= 12, "version 12 of Averages")
        later = taste(http, key, range(200, 300))
    assert later.count(2) > 60, "it has found the action that pays"
    assert {0, 1, 3} <= set(first), "it had tried the others"
    refused = own_hub.command("agent", "update", "taster", "--set", "epsilon=much")
    assert (refused.returncode, "epsilon is a number, not 'much'" in refused.stderr) == (1, True)
    done = own_hub.command("rebuild", "taster")
    assert done.returncode == 0, done.stderr
    assert own_hub.stop() == 0


@pytest.mark.parametrize(
    ("algorithm", "observations", "parameters"),
    [
        ("tabular", 3, {"publish_every": "16"}),
        ("BDPI", [[1], 0.0, 3.0], {"learning_starts": "32", "critics": "2", "publish_every": "16"}),
    ],
)
def test_the_references_learn_on_a_real_hub(
    hub: RealHub, algorithm: str, observations: Any, parameters: dict[str, str]
) -> None:
    name = f"our-{algorithm.lower()}"
    key = hub.make_agent(
        name, algorithm=algorithm, observations=observations, actions=4, parameters=parameters
    )
    with Http(hub.ready.http) as http:
        taste(http, key, range(120), device=name, wrapped=algorithm == "BDPI")
    learned = f"SELECT coalesce(max(version), 0) FROM policies WHERE agent = '{name}'"
    until(lambda: hub.value(learned) >= 2, f"version 2 of {algorithm}")
    acted = f"SELECT count(logprob) FROM events WHERE agent = '{name}' AND source = 'policy'"
    assert hub.value(acted) > 0


def taste(
    http: Http, key: str, steps: range, *, device: str = "d", wrapped: bool = False
) -> list[Any]:
    """The actions of a device that is paid for the action 2."""
    actions: list[Any] = []
    for step in steps:
        paid = float(actions[-1] == 2) if actions else 0.0
        seen = [step % 3] if wrapped else step % 3
        document = {"device": device, "s": step, "o": seen, "r": paid, "f": int(step == 0)}
        status, answer = http.step(key, document)
        assert status == 200, answer
        actions.append(answer["a"])
    return actions


def test_a_broken_package_costs_itself_alone(own_hub: RealHub, packages: Path) -> None:
    files = {
        "broken_rows.py": BROKEN_ROWS,
        "broken_raising.py": "1 / 0\n",
        "broken_heavy.py": "import numpy\nfrom broken_rows import RENAMED as ROW\n",
    }
    entries = {name: value for name, (value, _) in BROKEN.items()}
    install(packages, "broken", files, entries | {"Lost": "broken_rows:LOST"})
    own_hub.start()
    for name, (value, why) in BROKEN.items():
        if name == "PPO":
            continue
        made = create(own_hub, f"a-{name.lower()}", name)
        assert made.returncode == 1
        assert why in made.stderr, f"{name} ({value}): {made.stderr}"
    unknown = create(own_hub, "odd", "SARSA")
    assert "Wrong" in unknown.stderr, "what is offered is listed, unread"
    assert create(own_hub, "lost", "Lost").returncode == 0, "its learner is the trainer's to find"
    assert create(own_hub, "fine", "PPO").returncode == 0
    with Http(own_hub.ready.http) as http:
        status, answer = http.step(own_hub.ask_key("lost"), {"device": "l", "s": 0, "o": [0, 0]})
        assert (status, answer["src"]) == (200, "fallback")
        status, answer = http.step(own_hub.ask_key("fine"), {"device": "f", "s": 0, "o": [0, 0]})
        assert status == 200
    until(lambda: "names 'nowhere:Learner', which can't be loaded" in own_hub.says.read_text(), "")
    says = own_hub.says.read_text()
    assert says.count("'Raising' of package 'broken' (broken_raising:ROW) can't be used") == 1
    assert "'PPO' of package 'broken' (broken_rows:WRONG) is not used: its name is taken" in says
    assert own_hub.stop() == 0


def create(hub: RealHub, agent: str, algorithm: str) -> subprocess.CompletedProcess[str]:
    spaces = ("--observations", "[[2],-1.0,1.0]", "--actions", "2")
    return sheepfold("agent", "create", agent, "--algorithm", algorithm, *spaces, data=hub.data)
