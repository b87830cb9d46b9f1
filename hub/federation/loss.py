"""Which of the reasons why the broker is gone are worth a line in the hub's log.

    losses = Losses()
    if losses.tell("the broker refuses this hub: …", now_s, was_in=True): …   # log it

A hub that is refused tries again for ever, so one text is told once, and again only when the
broker had let the hub in meanwhile and a while has passed.
"""

from __future__ import annotations

from typing import Final

AGAIN_S: Final = 600.0
"""Between two lines of one text."""
OTHER_S: Final = 10.0
"""Between two lines, whatever they say."""
CHARACTERS_MAX: Final = 240
"""Of what a broker says."""


class Losses:
    """Of one hub's connection to the broker.

    Attributes:
        newest: why it was lost last, in words, one line; empty = it never was.
    """

    def __init__(self) -> None:
        self.newest = ""
        self._told = ""
        self._told_s = float("-inf")
        self._was_in = False
        """Since the last line, the broker has let it in."""

    def tell(self, why: str, now_s: float, *, was_in: bool) -> bool:
        """Whether this loss is worth a line.

        Args:
            why: in words, the broker's maybe.
            now_s: a clock that only goes forward.
            was_in: whether the broker had let the hub in.
        """
        self.newest = "".join(one if one.isprintable() else "?" for one in why[:CHARACTERS_MAX])
        self._was_in = self._was_in or was_in
        since_s = now_s - self._told_s
        again = self._was_in and since_s >= AGAIN_S
        if since_s < OTHER_S or not (again or self.newest != self._told):
            return False
        self._told, self._told_s, self._was_in = self.newest, now_s, False
        return True
