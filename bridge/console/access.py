"""What a person may see and touch. Every page, act, stream and query asks here, and nowhere else.

An owner's view is the own agents, with their devices, keys and rows. Whatever else there is looks
as if it were not there: 404, the same as for a name that nobody has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar.exceptions import NotFoundException

from hub.mappings import MappingName
from hub.words import AgentName, ClaimId, DeviceId, KeyId

if TYPE_CHECKING:
    from hub.registry.claims import Standing
    from hub.registry.fold import Registered, Registry, Spec
    from hub.words import Key, User


class Sight:
    """One person's view of the hub."""

    def __init__(self, registry: Registry, user: User) -> None:
        self.registry = registry
        self.user = user

    @property
    def is_admin(self) -> bool:
        """Sees all."""
        return self.user.role == "admin"

    @property
    def name(self) -> str:
        """Of the person: who acts, in the log."""
        return self.user.name

    def may(self, agent: str | None) -> bool:
        """Whether the agent, deleted or not, is this person's to see."""
        if self.is_admin:
            return True
        return agent is not None and self.registry.owners.get(AgentName(agent)) == self.user.name

    def agents(self) -> list[Spec]:
        """The agents that are there, by name."""
        specs = self.registry.agents
        return [specs[name] for name in sorted(specs) if self.may(name)]

    def agent(self, name: str) -> Spec:
        """One of them.

        Raises:
            NotFoundException: there is none of this name for this person.
        """
        spec = self.registry.agents.get(AgentName(name))
        if spec is None or not self.may(name):
            raise NotFoundException("There is no such agent.")
        return spec

    def devices(self) -> dict[DeviceId, AgentName]:
        """The devices of the person's agents, by id."""
        known = self.registry.devices
        return {device: known[device] for device in sorted(known) if self.may(known[device])}

    def device(self, device: str) -> AgentName:
        """The agent of one of them.

        Raises:
            NotFoundException: there is none of this id for this person.
        """
        agent = self.registry.devices.get(DeviceId(device))
        if agent is None or not self.may(agent):
            raise NotFoundException("There is no such device.")
        return agent

    def mappings(self) -> list[Registered]:
        """The mappings of the person's agents, by name."""
        known = self.registry.mappings
        return [known[name] for name in sorted(known) if self.may(known[name].agent)]

    def mapping(self, name: str) -> Registered:
        """One of them.

        Raises:
            NotFoundException: there is none of this name for this person.
        """
        known = self.registry.mappings.get(MappingName(name))
        if known is None or not self.may(known.agent):
            raise NotFoundException("There is no such mapping.")
        return known

    def keys(self) -> list[Key]:
        """The keys of the person's agents, and the person's own; of an admin all."""
        return [key for key in self.registry.keys.values() if self._may_key(key)]

    def key(self, key_id: str) -> Key:
        """One of them.

        Raises:
            NotFoundException: there is none of this id for this person.
        """
        key = self.registry.key(KeyId(key_id))
        if key is None or not self._may_key(key):
            raise NotFoundException("There is no such key.")
        return key

    def claims(self) -> list[Standing]:
        """The claim tokens of the person's agents."""
        all_ = self.registry.claims.standing.values()
        return [one for one in all_ if self.may(one.claim.agent)]

    def claim(self, claim_id: str) -> Standing:
        """One of them.

        Raises:
            NotFoundException: there is none of this id for this person.
        """
        standing = self.registry.claims.standing.get(ClaimId(claim_id))
        if standing is None or not self.may(standing.claim.agent):
            raise NotFoundException("There is no such claim token.")
        return standing

    def admin(self) -> None:
        """Go on if this is an admin.

        Raises:
            NotFoundException: else.
        """
        if not self.is_admin:
            raise NotFoundException("There is no such page.")

    def rows(self) -> list[str] | None:
        """Agents whose rows of the log may be read; None = all, and those of no agent."""
        return self.registry.visible_to(self.user)

    def _may_key(self, key: Key) -> bool:
        if key.agent is not None:
            return self.may(key.agent)
        return self.is_admin or key.user == self.user.name
