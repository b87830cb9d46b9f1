"""What makes a policy again opens the log with one thread for products, as trainers have."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

CODE: Final = """
import sys
from pathlib import Path
from hub.commands import rebuild
assert "numpy" not in sys.modules
with rebuild._log(Path(sys.argv[1]), None):
    loaded = list(sys.modules)
assert loaded.index("hub.learner.one_thread") < loaded.index("numpy")
"""


def test_a_stopped_hubs_log_loads_numpy_after_it_was_told_to_have_one_thread(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", CODE, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
