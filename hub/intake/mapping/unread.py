"""What legacy devices publish that no mapping reads: counted, so that an operator can see it.

Most of it is what nobody asked for: Tasmota alone publishes on a dozen topics. But where an agent's
devices take no step and this grows, a topic in the mapping is wrong, or a device has no agent.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hub.words import AgentName

TOPIC_SHOWN: Final = 256
"""Characters of the newest topic that are kept."""


class Unread:
    """Of each agent since start: how many, and the newest topic."""

    def __init__(self) -> None:
        self.counts: Counter[AgentName] = Counter()
        self.newest: dict[AgentName, str] = {}

    def add(self, agent: AgentName, topic: str) -> None:
        """One more."""
        self.counts[agent] += 1
        self.newest[agent] = topic[:TOPIC_SHOWN]
