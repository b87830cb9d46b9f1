"""What a legacy device publishes outside the hub's tree, at its own connection.

Rule 1: a device speaks for itself alone, whatever its topics say.
Rule 2: what no mapping reads is acknowledged and goes nowhere: such devices say much that nobody
    has asked for, and closing the connection would not stop them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hub.intake.mapping.bound import Heard, Mappings
    from hub.intake.mqtt.publish import Publications
    from hub.intake.mqtt.wire import Publish
    from hub.words import AgentName


class Elsewhere:
    """One connection's."""

    __slots__ = ("_agent", "_mappings", "_publications", "_tree")

    def __init__(
        self, mappings: Mappings, base: str, agent: AgentName, publications: Publications
    ) -> None:
        self._mappings = mappings
        self._tree = f"{base}/"
        self._agent = agent
        self._publications = publications

    def has(self, topic: str) -> bool:
        """Whether the topic is outside, and the device is one of those that have such."""
        return not topic.startswith(self._tree) and bool(self._mappings.of(self._agent))

    def take(self, publish: Publish) -> bytes | None:
        """One publish; `online` or `offline`, if it said that."""
        heard = self._hear(publish.topic)
        if heard is not None and not heard.is_status:
            self._publications.take_mapped(publish, heard)
            return None
        if not self._publications.take_other(publish):
            return None
        if heard is None:
            self._mappings.unread.add(self._agent, publish.topic)
            return None
        return heard.bound.status_word(publish.payload)

    def status(self, topic: str, payload: bytes) -> bytes | None:
        """The same of a will."""
        heard = self._hear(topic)
        return heard.bound.status_word(payload) if heard is not None and heard.is_status else None

    def _hear(self, topic: str) -> Heard | None:
        heard = self._mappings.hear(self._agent, topic)
        return heard if heard is not None and heard.is_of(self._publications.device) else None
