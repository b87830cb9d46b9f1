"""Agents, keys and devices as they stand: a fold of the log's facts, and of nothing else.

registry = Registry()
for event in facts: registry.apply(event)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import msgspec
from msgspec import Struct

from hub import spaces
from hub.spaces import Space
from hub.words import (
    Agent,
    AgentMade,
    AgentName,
    DeviceAdded,
    DeviceId,
    EpisodeEnded,
    Fact,
    Key,
    KeyId,
    KeyMade,
    KeyRevoked,
    Kind,
    PolicyMade,
    Refusal,
    SessionOpened,
    Updated,
)

if TYPE_CHECKING:
    from hub.words import Event

_facts: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(Fact)


class Spec(Struct, frozen=True):
    """An agent with its spaces parsed: what the step path needs at hand."""

    agent: Agent
    observations: Space
    actions: Space


class Policy(Struct, frozen=True):
    """The newest version of an agent's policy that the log knows."""

    version: int
    made: PolicyMade


class Registry:
    """Who may do what, and what learns."""

    def __init__(self) -> None:
        self.agents: dict[AgentName, Spec] = {}
        """Without the deleted ones."""
        self.deleted: set[AgentName] = set()
        """Their names stay taken: the log holds what they learnt."""
        self.keys: dict[bytes, Key] = {}
        """By the SHA-256 of their secret; without the revoked ones."""
        self._secrets: dict[KeyId, bytes] = {}
        self.devices: dict[DeviceId, AgentName] = {}
        self.logins: dict[bytes, Login] = {}
        """Shepherd sessions by the SHA-256 of their session key."""
        self.policies: dict[AgentName, Policy] = {}

    def apply(self, event: Event) -> None:
        """Take in one event; events that say nothing about the registry pass by."""
        if event.payload is None or event.kind not in (Kind.ADMIN, Kind.HELLO, Kind.POLICY):
            return
        fact = _facts.decode(event.payload)
        match fact:
            case AgentMade(agent=agent):
                self._apply_agent(agent)
            case KeyMade(key=key):
                assert event.secret is not None, "a key is known by its hash"
                self.keys[event.secret] = key
                self._secrets[key.id] = event.secret
            case KeyRevoked(id=key_id):
                self.keys.pop(self._secrets.pop(key_id, b""), None)
            case DeviceAdded(device=device):
                self.devices[device] = AgentName(event.agent)
            case SessionOpened():
                if event.secret is not None:
                    self.logins[event.secret] = Login(
                        AgentName(event.agent),
                        DeviceId(event.device),
                        event.session,
                        event.ts,
                        fact.key,
                    )
            case PolicyMade():
                assert event.policy is not None, "a policy event has a version"
                self.policies[AgentName(event.agent)] = Policy(event.policy, fact)
            case EpisodeEnded() | Refusal() | Updated():
                pass
            case _:
                assert_never(fact)

    def key(self, key_id: KeyId) -> Key | None:
        """The key with this public id, None when there is none or it was revoked."""
        return self.keys.get(self._secrets.get(key_id, b""))

    def _apply_agent(self, agent: Agent) -> None:
        if agent.status == "deleted":
            self.deleted.add(agent.name)
            self.agents.pop(agent.name, None)
            self.keys = {h: key for h, key in self.keys.items() if key.agent != agent.name}
            return
        self.agents[agent.name] = Spec(
            agent, spaces.parse(agent.observations), spaces.parse(agent.actions)
        )


class Login(Struct, frozen=True):
    """A Shepherd login: its session key opens this device's session again after a restart."""

    agent: AgentName
    device: DeviceId
    session: int
    opened_us: int
    key: KeyId | None
