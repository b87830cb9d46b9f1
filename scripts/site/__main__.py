"""Build the site, and say where it is."""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.site.build import build
from scripts.site.pages import NotBuilt

ROOT = Path(__file__).parents[2]

if __name__ == "__main__":
    try:
        print(build(ROOT, ROOT / "build/docs") / "index.html")
    except NotBuilt as error:
        sys.exit(f"the site was not built: {error}")
