"""Imports go one way; the contracts are in `pyproject.toml`, and each is read here once more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.architecture.tree import ROOT, files, module

HEAVY = ("torch", "duckdb", "pyarrow", "numpy", "stable_baselines3", "gymnasium")
"""What the hub process must never load: it answers devices, and starts in a moment."""


def test_every_import_contract_holds() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint, "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_hub_process_loads_nothing_heavy() -> None:
    rooms = [
        module(path) for room in ("hub/intake", "hub/action") for path in files(".py", below=room)
    ]
    program = (
        "import importlib, sys\n"
        f"for name in {['hub.processes', *rooms]}: importlib.import_module(name)\n"
        f"print(*(name for name in {HEAVY} if name in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
