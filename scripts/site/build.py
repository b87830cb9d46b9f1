"""From the repository to HTML."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from scripts.site import menu, pages, reference

if TYPE_CHECKING:
    from pathlib import Path

BUILD_S_MAX: Final = 120
COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


def build(root: Path, target: Path) -> Path:
    """Make the site anew.

    Args:
        root: of the repository.
        target: a folder for it alone; what is there is removed.

    Returns:
        The folder of the HTML, whose `index.html` can be opened as it is.

    Raises:
        pages.NotBuilt: a link leads nowhere, or a page is not as it must be.
    """
    shutil.rmtree(target, ignore_errors=True)
    made = reference.pages()
    found = pages.gather(root, made)
    for path, text in found.items():
        file = target / "pages" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    config = target / "zensical.toml"
    config.write_text(menu.settings(found))
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(config)],
        cwd=target,
        capture_output=True,
        text=True,
        timeout=BUILD_S_MAX,
        check=False,
    )
    if done.returncode:
        raise pages.NotBuilt(COLOURS.sub("", done.stdout + done.stderr))
    return target / "html"
