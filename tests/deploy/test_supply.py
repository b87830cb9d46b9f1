"""What a hub is made of: pinned, hashed, and under licences that ask its user for nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.tree import ROOT

HASH: Final = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def pinned(name: str) -> dict[str, str]:
    """Version by package."""
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / name).read_text(), re.MULTILINE)
    return {canonicalize_name(package): version for package, version in found}


def test_what_is_locked_is_what_is_tested() -> None:
    tested, locked = pinned("constraints.txt"), pinned("requirements-locked.txt")
    assert {name: locked[name] for name in locked if name in tested} == {
        name: tested[name] for name in locked if name in tested
    }, "run 'make lock'"


def test_every_locked_package_has_hashes() -> None:
    text = (ROOT / "requirements-locked.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert [line.split()[0] for line in lines if not HASH.search(line)] == []


def test_all_that_is_needed_is_locked_and_its_licences_are_allowed() -> None:
    report = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "licences.py")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert report.returncode == 0, report.stderr
    rows = re.findall(r"^\| ([\w.-]+) \| (\S+) \|", report.stdout, re.MULTILINE)[1:]
    locked = pinned("requirements-locked.txt")
    assert {canonicalize_name(name) for name, _ in rows} <= set(locked), "run 'make lock'"


def test_what_is_declared_is_locked_within_its_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["contrib"]]
    locked = pinned("requirements-locked.txt")
    wanted = [Requirement(text) for text in declared]
    assert [
        str(one) for one in wanted if locked[canonicalize_name(one.name)] not in one.specifier
    ] == [], "run 'make lock'"
