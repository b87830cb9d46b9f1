"""Questions that the process for other hubs was handed and has not answered: how many, how old.

    handed = Handed(settings)
    if not handed.is_full and not handed.stands_still(now, unread_bytes):
        handed.add(agent, number, now)
    handed.end(agent, number)                   # it was answered
    handed.give_up()                            # the process is gone: those that nobody answers

That process tells by `advice_ms` that nobody has answered (`questions.py`). When it does not, it
is stopped or hung, and what it is handed stays in a pipe that nobody reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hub.settings.federation import FederationSettings
    from hub.words import AgentName

STILL_S: Final = 1.0
"""A process that is well, on a busy machine, is no later than this."""
UNREAD_BYTES_MAX: Final = 1 << 20
"""Of what it is to be told; beyond it nothing more is said until it reads again."""


class Handed:
    """Of all agents.

    Args:
        settings: `[federation]`.
    """

    def __init__(self, settings: FederationSettings) -> None:
        self._most = settings.questions_open_max
        self._late_s = settings.advice_ms / 1000 + STILL_S
        self._open: dict[tuple[AgentName, int], float] = {}
        """By the actor's own number: since when, seconds on the monotonic clock; oldest first."""

    def __len__(self) -> int:
        return len(self._open)

    @property
    def is_full(self) -> bool:
        """As many are open as may be."""
        return len(self._open) >= self._most

    def stands_still(self, now_s: float, unread_bytes: int) -> bool:
        """Whether the process does not do what it is there for; it is told nothing then."""
        oldest_s = next(iter(self._open.values()), now_s)
        return now_s - oldest_s > self._late_s or unread_bytes > UNREAD_BYTES_MAX

    def add(self, agent: AgentName, number: int, now_s: float) -> None:
        """A question is on its way."""
        self._open.pop((agent, number), None)  # an actor that began anew counts from 1 again
        self._open[agent, number] = now_s

    def end(self, agent: AgentName, number: int) -> None:
        """It was answered, or will not be."""
        self._open.pop((agent, number), None)

    def give_up(self) -> list[tuple[AgentName, int]]:
        """Those that nobody answers any more, now that the process is gone."""
        left = list(self._open)
        self._open.clear()
        return left
