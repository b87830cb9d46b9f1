"""docs/shepherd.md has each feature of Shepherd and MultiServerRL, and a test named after each."""

from __future__ import annotations

import re
from typing import Final

from tests.architecture.tree import ROOT

SHEPHERD: Final[dict[str, tuple[str, ...]]] = {
    "endpoint": (
        "login_user", "env", "send_curve", "generate_zip", "delete_zip", "delete_curve",
        "export_curve_CSV", "kill_processes",
    ),
    "field": (
        "apikey", "ok", "session_key", "obs", "reward", "done", "info", "action", "error",
    ),
    "Algorithm": ("name", "can_continuous_actions"),
    "Parameter": ("name", "algo", "t", "default_value"),
    "ParameterValue": ("agent", "param", "value"),
    "Agent": (
        "owner", "algo", "name", "enable_learning", "action_space", "observation_space",
        "creation_time", "last_activity_time", "max_percent_cpu_usage", "parameters",
        "learning_curve", "special_actions",
    ),
    "EpisodeReturn": ("agent", "datetime", "ret"),
    "APIKey": ("agent", "key"),
}  # fmt: skip
"""Its URLs, what its two device routes carry, and its database's models and fields."""
MULTISERVER: Final = ("reset", "step", "state", "render", "seed", "close")


def rows() -> list[str]:
    """The first column of the tables."""
    return re.findall(r"^\| `([^`]+)`", (ROOT / "docs/shepherd.md").read_text(), re.MULTILINE)


def test_the_table_has_each_feature_once_and_no_other() -> None:
    wanted = ["User"]
    for what, names in SHEPHERD.items():
        between = " " if what.islower() else "."
        wanted += [f"{what}{between}{name}" for name in names]
    wanted += [f"post_{verb}_request" for verb in MULTISERVER]
    assert sorted(rows()) == sorted(wanted)


def test_each_feature_has_a_test_that_is_named_after_it() -> None:
    files = [*ROOT.glob("tests/acceptance/test_*.py"), *ROOT.glob("tests/bridge/test_*.py")]
    text = "\n".join(file.read_text() for file in files)
    names = re.findall(r"^(?:async )?def (test_\w+)", text, re.MULTILINE)
    for row in rows():
        begins = "test_" + re.sub(r"\W", "_", row).lower()
        assert any(name == begins or name.startswith(f"{begins}_") for name in names), begins
