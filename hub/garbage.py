"""How often Python looks for objects that keep each other alive.

A step makes some forty containers and drops them again, by counting references. At its own setting
Python also walks through all that lives whenever 700 more were made than dropped; with 256 devices
on their way that is a seventh of what the hub does, and finds nothing.
"""

from __future__ import annotations

import atexit
import gc
from typing import Final

NEW_CONTAINERS: Final = 50_000
"""Made and not dropped since the last look: some 10 MB, if all of them were garbage."""


def look_seldom() -> None:
    """For a process that has been set up: what there is now stays, and is not looked at again."""
    gc.collect()
    gc.freeze()
    # At the end everything is to be looked at: DuckDB reports what then still lives as leaked.
    atexit.register(gc.unfreeze)
    gc.set_threshold(NEW_CONTAINERS)
