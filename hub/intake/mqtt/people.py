"""What a person's MQTT client may do: hear how devices fare and what is wrong, and command them.

An owner reaches the own agents and their devices, an admin all, and the alerts of the hub; so it is
with what Home Assistant is told. Nobody but the hub reads what devices observe over MQTT; the log
has it (`POST /v1/sql`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hub.errors import AccessDenied
from hub.registry.access import operator_of
from hub.topics import (
    ALERTS,
    HOME_ASSISTANT,
    OPERATOR_PUBLISHES,
    PEOPLE_HEAR,
    alert_agent,
    birth,
    device_leaf,
    device_topic,
    discovery_owner,
    discovery_topic,
    hub_status,
    is_device_id,
    matches,
)
from hub.words import AgentName, DeviceId

if TYPE_CHECKING:
    from hub.registry.fold import Registry
    from hub.words import User

REWARD: Final = "reward"


class People:
    """The rules, over the registry as it stands."""

    def __init__(self, registry: Registry, base: str, home_assistant: str = "") -> None:
        self._registry = registry
        self._base = base
        self._prefix = home_assistant or HOME_ASSISTANT
        self.birth = birth(self._prefix)
        """Where Home Assistant says how it is, and has its will. That is allowed where it is told
        nothing, too: it does so unless it was taught not to."""

    def admit(self, name: str, secret: str) -> User:
        """The user that shows this operator key.

        Raises:
            AccessDenied: no such key, or it is not this user's.
        """
        user = operator_of(self._registry, secret)
        if user.name != name:
            raise AccessDenied("this operator key is another user's")
        return user

    def may_subscribe(self, topic_filter: str) -> bool:
        """Whether anything that people hear can come by a filter.

        Whose device it is, is looked at message by message: that may change.
        """
        if matches(topic_filter, hub_status(self._base)) or self._may_discover(topic_filter):
            return True
        wanted = topic_filter.split("/")[self._base.count("/") + 1 :]
        if any(matches(topic_filter, f"{self._base}/{_filled(shape, wanted)}") for shape in ALERTS):
            return True
        named = bool(wanted) and is_device_id(wanted[0], reserved=True)
        device = wanted[0] if named else "any"  # a wildcard takes in whatever it is called
        return any(
            matches(topic_filter, device_topic(self._base, device, leaf)) for leaf in PEOPLE_HEAR
        )

    def _may_discover(self, topic_filter: str) -> bool:
        shown = discovery_topic(self._prefix, "anybody", self._base, "any").split("/")
        wanted = topic_filter.split("/")
        if len(wanted) == len(shown):  # a filter may name the owner, and the device
            for i in (-3, -2):
                shown[i] = shown[i] if wanted[i] == "+" else wanted[i]
        topic = "/".join(shown)
        return discovery_owner(self._prefix, topic) is not None and matches(topic_filter, topic)

    def may_hear(self, name: str, topic: str) -> bool:
        """Whether this user may be sent what is published there."""
        user = self._registry.users.get(name)
        if user is None:
            return False
        if topic == hub_status(self._base):
            return True
        owner = discovery_owner(self._prefix, topic)
        if owner is not None:
            return user.role == "admin" or owner == name
        about = alert_agent(self._base, topic)
        if about is not None:
            return user.role == "admin" or self._registry.owners.get(AgentName(about)) == name
        found = device_leaf(self._base, topic)
        return found is not None and found[1] in PEOPLE_HEAR and self._reaches(user, found[0])

    def command(self, name: str, topic: str) -> tuple[DeviceId, str]:
        """Device and leaf (`cmd/learn`, `cmd/reset`, `reward`) of what this user publishes there.

        Raises:
            AccessDenied: it is no command, or the device is not of this user's agents.
        """
        user = self._registry.users.get(name)
        found = device_leaf(self._base, topic)
        if user is None or found is None or found[1] not in (*OPERATOR_PUBLISHES, REWARD):
            raise AccessDenied(f"user {name!r} may not publish to {topic!r}")
        if not self._reaches(user, found[0]):
            raise AccessDenied(f"device {found[0]!r} is of none of user {name!r}'s agents")
        return DeviceId(found[0]), found[1]

    def _reaches(self, user: User, device: str) -> bool:
        agent = self._registry.devices.get(DeviceId(device))
        if agent is None or agent not in self._registry.agents:
            return False
        return user.role == "admin" or self._registry.owners.get(agent) == user.name


def _filled(shape: str, wanted: list[str]) -> str:
    """A topic of that shape, with the filter's own words where it has some and any where not."""
    levels = shape.split("/")
    for place, level in enumerate(levels):
        if level.startswith("<"):
            given = wanted[place] if place < len(wanted) else "#"
            levels[place] = "any" if given in ("+", "#") else given
    return "/".join(levels)
