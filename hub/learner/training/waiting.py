"""What waits for a trainer: its agent's events in order, and whether they are many, or too many.

    for event, more, behind in in_order(feed, clock, lag_max=lambda: 8192, tell=tell_the_hub):
        trainer.take(event, more=more and trainer.takes_more, behind=behind)

What a trainer does depends on the clock here and nowhere else; so the log says of every transition
that put an update off for `more` (`Updated.gathered`) or was taken in `behind` (`Updated.skipped`).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from hub.learner.messages import Idle, Waiting
from hub.words import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hub.clock import Clock
    from hub.words import Event

LOOK_AHEAD_EVENTS: Final = 64
"""How many events are folded between two looks at what else has arrived."""
MORE_OBSERVATIONS: Final = 32
"""Fewer come in while those that wait are folded: an update need not be put off for them."""
IDLE_S: Final = 1.0
"""Without an event for so long, a trainer says that it has nothing to do."""
TELL_S: Final = 1.0
"""Between two words of how much waits."""


class Feed(Protocol):
    """Events from the log, as `hub.log.read.Reader` gives them."""

    def receive(self, timeout_s: float | None) -> list[Event] | None:
        """What has arrived; None when nothing did in time (None = for ever)."""
        ...

    @property
    def caught_up(self) -> bool:
        """Everything committed so far has arrived."""
        ...


def in_order(
    feed: Feed,
    clock: Clock,
    *,
    lag_max: Callable[[], int],
    tell: Callable[[Idle | Waiting], None],
) -> Iterator[tuple[Event, bool, bool]]:
    """Each event; whether more wait behind it; and whether more than training can keep up with.

    Args:
        feed: the events.
        clock: how much waits is told by it, and no more.
        lag_max: how many observations may wait. Above, the trainer is behind until half are left:
            were it at every other one, each would stand in the log.
        tell: called when nothing has come for `IDLE_S`, and when something does again; meanwhile
            each `TELL_S` with how much waits.
    """
    waiting: deque[Event] = deque()
    observations = 0
    behind = False
    told_s = clock.monotonic()
    while True:
        events: list[Event] = []
        if not waiting:
            events = _await(feed, tell)
        elif observations <= lag_max():
            events = feed.receive(0.0) or []
        waiting.extend(events)
        observations += sum(event.kind is Kind.OBSERVATION for event in events)
        for _ in range(min(LOOK_AHEAD_EVENTS, len(waiting))):
            event = waiting.popleft()
            observations -= event.kind is Kind.OBSERVATION
            most = lag_max()
            behind = observations > (most // 2 if behind else most)
            yield event, observations > MORE_OBSERVATIONS, behind
        if clock.monotonic() - told_s >= TELL_S:
            told_s = clock.monotonic()
            tell(Waiting(observations))


def _await(feed: Feed, tell: Callable[[Idle | Waiting], None]) -> list[Event]:
    events = feed.receive(IDLE_S)
    if events is None and feed.caught_up:
        tell(Idle(on=True))
        events = feed.receive(None)
        tell(Idle(on=False))
    return events or []
