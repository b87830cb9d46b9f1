"""What the step path counts of each agent, for whoever watches; 0.8 µs a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hub.histogram import Histogram

if TYPE_CHECKING:
    from hub.words import Event, Source

MICROSECONDS: Final = 1_000_000


class Counts:
    """One agent's steps since the hub started."""

    __slots__ = ("answered_us", "chosen_us", "sent")

    def __init__(self) -> None:
        self.sent: dict[Source | None, int] = {}
        """Answers by who chose; None = the end of an episode, which has no action."""
        self.chosen_us = Histogram()
        """From the arrival of an observation to the choice, microseconds."""
        self.answered_us = Histogram()
        """To the answer, which is when both are durable."""

    def answer(self, action: Event | None, waited_s: float) -> None:
        """A step is answered, so long after it arrived."""
        source = None
        if action is not None:
            source = action.source
            if action.latency_us is not None:
                self.chosen_us.add(action.latency_us)
        self.sent[source] = self.sent.get(source, 0) + 1
        self.answered_us.add(int(waited_s * MICROSECONDS))
