"""Networks from other hubs, and advisers there, which may advise a flock's replicas as peers do.

    guests = Guests()
    guests.invite([("site-b/press-1", path)], asked=["expert/?"])
    guests.names, guests.advise("site-b/press-1", question)

They were looked at before they came here (`hub/federation/vetting.py`), and act alone never. What
nevertheless says something that is no distribution is not asked again, and costs one action nothing
but its advice.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs

from hub.errors import HubFault
from hub.learner.acting.choose import Chooser
from hub.learner.columns import unpacked
from hub.learner.versions.policy import read_policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hub.learner.columns import Questions


class Guests:
    """Those invited now.

    Attributes:
        names: who can be asked.
        asked: those among them that are elsewhere (`consults.py`).
        said: by the id of a question, who elsewhere was asked, and what it would do, (1, k).
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.asked: frozenset[str] = frozenset()
        self.said: dict[int, tuple[str, NDArray[np.float32]]] = {}
        self._choosers: dict[str, tuple[str, Chooser]] = {}
        """By name, with the path of its file."""

    def invite(self, guests: Sequence[tuple[str, str]], asked: Sequence[str] = ()) -> None:
        """These from now on, by name and file; one whose file can't be read is left out."""
        self.asked = frozenset(asked)
        before, self._choosers = self._choosers, {}
        for name, path in guests:
            known = before.get(name)
            try:
                opened = known if known and known[0] == path else (path, _open(Path(path)))
            except HubFault as error:
                _say(f"guest {name!r} can't advise: {error}")
                continue
            self._choosers[name] = opened
        self.names = [*self._choosers, *asked]

    def advise(self, name: str, question: Questions) -> NDArray[np.float32] | None:
        """Asked one: what it would do, as `Chooser.advise` has it; None when it says nothing."""
        if name in self.asked:
            (number,) = unpacked(question.ids)
            adviser, said = self.said.get(number, (None, None))
            return said if adviser == name else None
        _, chooser = self._choosers[name]
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at
            advice = chooser.advise(question)
        if np.isfinite(advice).all():
            return advice
        _say(f"guest {name!r} is not asked again: its advice is not finite")
        del self._choosers[name]
        self.names.remove(name)
        return None


def _open(path: Path) -> Chooser:
    policy = read_policy(path, acting=True)
    card = structs.replace(policy.card, value_layers=[])  # nobody asks a guest for V(o)
    return Chooser(structs.replace(policy, card=card), seed=0)


def _say(message: str) -> None:
    sys.stderr.write(f"actor: {message}\n")
    sys.stderr.flush()
