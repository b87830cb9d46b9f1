"""Where other hubs meet, at this one's gate: who may say what, who hears it, and what is kept.

    meeting = Meeting(registry, base, retained_max=256, filters_max=512)
    meeting.enter(client); meeting.subscribe(client, topic_filter)     # whether it may
    for topic, payload in meeting.kept(client, filters): …              # what is retained, to send
    meeting.publish(client, topic, payload, retain=True)

A broker for a few topics and few clients, `rl/v1/agents/<agent>/…` of hubs; people's and devices'
clients see nothing of it. A hub's key is a user's: it reaches the agents that the user owns here,
an admin's all names, so that hubs can meet here for agents that this one does not have.

Rule 1: a hub speaks under its own name alone, and hears no question that is for another.
Rule 2: whether it may is asked of the registry for each message: owners change.
Rule 3: what was retained ends when the hub that said it might not say it any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from hub.topics import HUB_HEARS_THERE, HUB_PUBLISHES_THERE, agent_levels, matches
from hub.words import AgentName

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hub.intake.mqtt.reasons import Reason
    from hub.registry.fold import Registry

OWN: Final = "<own>"
ANY_AGENT: Final = frozenset({"+", "#"})


class Visitor(Protocol):
    """A hub's connection."""

    name: str
    user: str

    def hear(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Send it what was published."""
        ...

    def recheck(self) -> None:
        """End its connection if it would not be let in any more."""
        ...

    def end(self, reason: Reason) -> None:
        """End its connection."""
        ...


class Meeting:
    """All hubs that are here.

    Args:
        registry: users, agents and keys.
        base: of topics.
        retained_max: topics that one hub may have retained.
        filters_max: subscriptions of one hub.
    """

    def __init__(
        self, registry: Registry, base: str, *, retained_max: int, filters_max: int
    ) -> None:
        self._registry = registry
        self._base = base
        self._retained_max = retained_max
        self._filters_max = filters_max
        self.online: dict[str, Visitor] = {}
        """By name; the newest connection of each."""
        self._retained: dict[str, dict[str, bytes]] = {}
        """By hub and topic."""
        self._users: dict[str, str] = {}
        """Of each hub that has been here, whose it is."""
        self._filters: dict[str, dict[str, set[str]]] = {}
        """Of each hub, by the level where a topic has its agent: a message is compared with few."""

    def enter(self, visitor: Visitor) -> Visitor | None:
        """It is here from now on, with no subscription; the connection that it takes over."""
        before = self.online.get(visitor.name)
        self.online[visitor.name] = visitor
        self._users[visitor.name] = visitor.user
        self._filters[visitor.name] = {}
        return before

    def leave(self, visitor: Visitor) -> None:
        """Its connection has ended; what it retained stays."""
        if self.online.get(visitor.name) is visitor:
            del self.online[visitor.name], self._filters[visitor.name]

    def may_publish(self, visitor: Visitor, topic: str) -> bool:
        """Whether the topic is the hub's to publish, of an agent that its user reaches."""
        return self._may_say(visitor.name, topic)

    def subscribe(self, visitor: Visitor, topic_filter: str) -> bool:
        """Take a subscription in; False = nothing could come of it, or there are too many."""
        levels = topic_filter.split("/")
        place = self._base.count("/") + 2
        agent = levels[place] if len(levels) > place else "#"
        held = self._filters[visitor.name].setdefault("+" if agent in ANY_AGENT else agent, set())
        count = sum(map(len, self._filters[visitor.name].values()))
        could = any(
            matches(topic_filter, f"{self._base}/agents/{_filled(shape, levels[place:], visitor)}")
            for shape in HUB_HEARS_THERE
        )
        if not could or (topic_filter not in held and count >= self._filters_max):
            return False
        held.add(topic_filter)
        return True

    def unsubscribe(self, visitor: Visitor, topic_filter: str) -> bool:
        """Whether there was one."""
        for held in self._filters[visitor.name].values():
            if topic_filter in held:
                held.remove(topic_filter)
                return True
        return False

    def kept(self, visitor: Visitor, filters: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """What is retained, and the hub has subscribed to and may hear; each once."""
        for hub, topics in self._retained.items():
            for topic, payload in topics.items():
                wanted = any(matches(one, topic) for one in filters)
                if wanted and self._may_hear(visitor, topic) and self._may_say(hub, topic):
                    yield topic, payload

    def publish(self, visitor: Visitor, topic: str, payload: bytes, *, retain: bool) -> bool:
        """Give a message to all who have subscribed; False = no room to retain one more."""
        if retain:
            kept = self._retained.setdefault(visitor.name, {})
            if payload and topic not in kept and len(kept) >= self._retained_max:
                return False
            kept[topic] = payload
            if not payload:
                del kept[topic]
        self._spread(topic, payload)
        return True

    def recheck(self) -> None:
        """Keys, users or owners have changed: take back what a hub might not say any more."""
        known = {key.hub for key in self._registry.keys.values()}
        self._users = {hub: user for hub, user in self._users.items() if hub in known}
        for hub, kept in self._retained.items():
            for topic in [topic for topic in kept if not self._may_say(hub, topic)]:
                del kept[topic]
                self._spread(topic, b"")
        self._retained = {hub: kept for hub, kept in self._retained.items() if kept}

    def _spread(self, topic: str, payload: bytes) -> None:
        agent, _ = agent_levels(self._base, topic) or ("", [])
        for visitor in list(self.online.values()):
            filters = self._filters[visitor.name]
            wanted = any(matches(one, topic) for at in (agent, "+") for one in filters.get(at, ()))
            if wanted and self._may_hear(visitor, topic):
                visitor.hear(topic, payload, retained=False)

    def _may_say(self, hub: str, topic: str) -> bool:
        return self._may(hub, self._users.get(hub, ""), topic, HUB_PUBLISHES_THERE)

    def _may_hear(self, visitor: Visitor, topic: str) -> bool:
        return self._may(visitor.name, visitor.user, topic, HUB_HEARS_THERE)

    def _may(self, hub: str, owner: str, topic: str, shapes: tuple[str, ...]) -> bool:
        agent, levels = agent_levels(self._base, topic) or ("", [])
        user = self._registry.users.get(owner)
        if user is None or not agent:
            return False
        if user.role != "admin" and self._registry.owners.get(AgentName(agent)) != user.name:
            return False
        leaf = "/".join(levels)
        return any(matches(shape.replace(OWN, hub), leaf) for shape in shapes)


def _filled(shape: str, wanted: list[str], visitor: Visitor) -> str:
    """A topic of that shape: what the filter names where it may name anything, and "any" else."""
    levels = ["+", *shape.replace(OWN, visitor.name).split("/")]
    for place, level in enumerate(levels):
        if level == "+":
            given = wanted[place] if place < len(wanted) else "#"
            levels[place] = "any" if given in ANY_AGENT else given
    return "/".join(levels)
