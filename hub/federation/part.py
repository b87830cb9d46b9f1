"""How one agent takes part among hubs, and what is said of it to the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hub.federation.payloads import digest_of

if TYPE_CHECKING:
    from hub.federation.heard import Heard
    from hub.federation.messages import Namesake
    from hub.federation.payloads import Adviser
    from hub.words import AgentName


class Publish(NamedTuple):
    """To the broker."""

    topic: str
    payload: bytes
    retain: bool = False


class Subscribe(NamedTuple):
    """To hear what is published there, or `on=False` no more of it."""

    topic_filter: str
    on: bool = True


class Part:
    """How one agent takes part."""

    def __init__(self, namesake: Namesake, heard: Heard) -> None:
        self.namesake = namesake
        self.heard = heard
        self.digest = digest_of(namesake.agent)
        self.said: dict[str, bytes] = {}
        """By topic, the last payload that was retained."""
        self.announce_s = 0.0
        """When to look again at what there is to say."""
        self.taken: dict[str, tuple[str, float]] = {}
        """By guest, the hash of what it was made of and when."""
        self.advisers: dict[str, Adviser] = {}
        """Who answers questions, by name; also those whose spaces are others."""
        self.told_apart: set[str] = set()
        """Hubs of which the log says that their networks do not fit."""
        self.not_before_s: dict[str, float] = {}
        """By hash, when it may be asked for again."""

    @property
    def name(self) -> AgentName:
        """Of the agent."""
        return self.namesake.agent.name
