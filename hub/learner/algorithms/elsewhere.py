"""Algorithms from elsewhere: entry points of the group `sheepfold.algorithms`, each an Algorithm.

    [project.entry-points."sheepfold.algorithms"]
    NAME = "module:ROW"

    row = find("NAME")        # None when nobody offers it

Listing them reads what packages say of themselves. The module of a row is imported when somebody
asks for its name, in the hub too: it may import neither torch nor numpy, so the row names its
learner as `module:class`. One that is broken costs itself: whoever asks for it is told why.
"""

from __future__ import annotations

import logging
import re
import sys
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

from hub.errors import OperatorFault
from hub.learner.algorithms.libraries import ALGORITHMS
from hub.learner.algorithms.row import Algorithm, Head
from hub.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from hub.words import EXTERNAL

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

log: Final = logging.getLogger("hub.learner")

GROUP: Final = "sheepfold.algorithms"
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
REMOTE: Final = Algorithm(
    EXTERNAL,
    "none",
    {space: Head("own") for space in (Discrete, Box, MultiDiscrete, MultiBinary)},
    {},
    library="elsewhere",
    parameters={},
)
"""No learner of the hub's: a remote one acts, over HTTP."""
OURS: Final = ALGORITHMS | {REMOTE.name: REMOTE}
"""Whose names are taken."""
HEAVY: Final = ("torch", "numpy")
"""What the hub must not load: it answers devices, and starts in a moment."""


def find(name: str) -> Algorithm | None:
    """The row of an algorithm, wherever it comes from; None when there is none of this name.

    Raises:
        OperatorFault: it comes from elsewhere, and is broken.
    """
    if name in OURS or name not in _offered():
        return OURS.get(name)
    read = _read(name)
    if isinstance(read, str):
        raise OperatorFault(read)
    return read


def names() -> list[str]:
    """Of all that there are beside those of the libraries; a broken one too."""
    return [REMOTE.name, *sorted(_offered())]


def usable() -> list[Algorithm]:
    """The rows of all that can be used here, those that come from elsewhere last."""
    found = [_read(name) for name in sorted(_offered())]
    return [*OURS.values(), *(row for row in found if not isinstance(row, str))]


@cache
def _offered() -> dict[str, EntryPoint]:
    """By name; looked up once, so that what is installed later needs a restart."""
    offered: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in OURS or entry.name in offered:
            log.error("%s is not used: its name is taken; give it another", _called(entry))
        else:
            offered[entry.name] = entry
    return offered


@cache
def _read(name: str) -> Algorithm | str:
    """The row, or why there is none; the log says it too."""
    entry = _offered()[name]
    light = [module for module in HEAVY if module not in sys.modules]
    row: object = None
    try:
        row = entry.load()
    except Exception as error:  # noqa: BLE001 - whatever its code raises, it costs itself alone
        wrong: str | None = f"it can't be loaded ({type(error).__name__}: {error})"
    else:
        wrong = _wrong(name, row, [module for module in light if module in sys.modules])
    if wrong is None and isinstance(row, Algorithm):
        return row
    sentence = f"{_called(entry)} can't be used: {wrong}"
    log.error(sentence)
    return sentence


def _called(entry: EntryPoint) -> str:
    package = "" if entry.dist is None else f" of package {entry.dist.name!r}"
    return f"algorithm {entry.name!r}{package} ({entry.value})"


def _wrong(name: str, row: object, heavy: list[str]) -> str | None:
    """What is wrong with a row, None when nothing is."""
    if heavy:
        return f"its module imports {heavy[0]}, which only its learner may; keep them apart"
    if not isinstance(row, Algorithm):
        return f"it is a {type(row).__name__}, not an Algorithm (hub.learner.algorithms.row)"
    if row.name != name or not NAME.fullmatch(name):
        return f"its row is called {row.name!r}; both names must be one of [A-Za-z0-9_-]{{1,40}}"
    if row.parameters is None or not row.heads:
        return "its row needs 'parameters' and at least one head"
    if row.family == "none":
        return "its row is of family 'none', which learns nothing"
    if any(head.kind == "own" for head in row.heads.values()) and row.chooser is None:
        return "its row has a head of kind 'own' and names no 'chooser'"
    return None
