"""Users, agents, keys and devices as they stand: a fold of the log's facts and nothing else.

registry = Registry()
for event in facts: registry.apply(event)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

import msgspec
from msgspec import Struct

from hub import spaces
from hub.errors import NEWER, HubFault, OperatorFault
from hub.facts import (
    Advised,
    AgentMade,
    AgentRestarted,
    Alert,
    AlertCleared,
    AlertRaised,
    CheckpointsDeleted,
    Claimed,
    ClaimMade,
    ClaimRefused,
    ClaimRevoked,
    CurveCleared,
    DeviceAdded,
    DeviceForgotten,
    EpisodeEnded,
    Fact,
    Guarded,
    Guest,
    GuestsTaken,
    KeyMade,
    KeyReplaced,
    KeyRevoked,
    LoggedIn,
    LoggedOut,
    LoginRefused,
    MappingMade,
    MappingRemoved,
    Overridden,
    PolicyChosen,
    PolicyMade,
    Refusal,
    Rewarded,
    Sealed,
    SessionOpened,
    Updated,
    UserMade,
    UserRemoved,
)
from hub.mappings import Mapping, MappingName
from hub.over_observation import Number, read_reward
from hub.registry.claims import Claims
from hub.registry.logged_keys import read
from hub.spaces import Space
from hub.words import Agent, AgentName, DeviceId, Floats, Key, KeyId, Kind, User

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hub.words import Event

HUB: Final = "hub"
"""Who acts, in the log, where the hub does so by itself."""
ADMIN: Final = "admin"
"""Owns what belongs to no user of its own: all admins see that anyway."""

DEVICES_MAX: Final = 10_000
VERSIONS_TIMED_MAX: Final = 64
"""Newest versions of each policy of which it is known when they were made."""

_facts: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(Fact)


class Spec(Struct, frozen=True):
    """An agent with its spaces parsed: what the step path needs at hand."""

    agent: Agent
    observations: Space
    actions: Space
    reward: Number | None = None
    """Computes it of an observation; None = the device sends it."""


def spec_of(agent: Agent, names: Sequence[str] = ()) -> Spec:
    """The agent with its spaces.

    `names` are what its mappings call the numbers of an observation.

    Raises:
        OperatorFault: its declaration means none, or its reward can't be read.
    """
    observations, reward = spaces.parse(agent.observations), None
    if agent.reward is not None:
        try:
            reward = read_reward(agent.reward, observations, names)
        except OperatorFault as fault:
            raise OperatorFault(f"reward of agent {agent.name!r}: {fault}") from fault
    return Spec(agent, observations, spaces.parse(agent.actions), reward)


class Policy(Struct, frozen=True):
    """The newest version of an agent's policy that the log knows: the one that acts."""

    version: int
    made: PolicyMade


class Trained(Struct, frozen=True):
    """The newest version that the agent's trainer made."""

    version: int
    sha256: str


class Registered(Struct, frozen=True):
    """A mapping as it stands."""

    name: MappingName
    agent: AgentName
    version: int
    mapping: Mapping

    @property
    def fields(self) -> tuple[str, ...]:
        """What its numbers are called, in order."""
        return tuple(field.name for field in self.mapping.observations)


class Override(Struct, frozen=True):
    """A person acts for a device of this agent."""

    agent: AgentName
    action: Floats
    """It is told this."""
    until_us: int
    """Hub time at which it ends."""
    by: str


class Succession(Struct, frozen=True):
    """A key that another is to take the place of."""

    old: KeyId
    until: int | None
    """Hub time, us, at which it goes at the latest; None = not for time."""


class Begun(Struct, frozen=True):
    """Where an agent's learning began: at its declaration, or when it was restarted."""

    agent: Agent
    """As it was then; what was changed since, the trainer reads in the log."""
    seq: int = 0
    version: int = 0
    """Of its first policy."""


class Registry:
    """Who may do what, and what learns."""

    def __init__(self, *, devices_max: int = DEVICES_MAX) -> None:
        self.devices_max = devices_max
        """Of an agent that does not say."""
        self.agents: dict[AgentName, Spec] = {}
        """Without the deleted ones."""
        self.deleted: set[AgentName] = set()
        """Their names stay taken: the log holds what they learnt."""
        self.owners: dict[AgentName, str] = {}
        """Of all agents, the deleted ones too: their rows are still to be seen."""
        self.users: dict[str, User] = {}
        self.passwords: dict[str, bytes] = {}
        """argon2id hashes as PHC strings, by the user's name."""
        self.keys: dict[bytes, Key] = {}
        """By the SHA-256 of their secret; without the revoked ones."""
        self._secrets: dict[KeyId, bytes] = {}
        self.successions: dict[KeyId, Succession] = {}
        """By the new key, while the one before it is accepted too."""
        self.successors: dict[KeyId, KeyId] = {}
        """The same, old to new."""
        self.claims = Claims()
        self.devices: dict[DeviceId, AgentName] = {}
        self.forgotten: dict[DeviceId, AgentName] = {}
        """Devices that nobody has now, and whose they were."""
        self.overrides: dict[DeviceId, Override] = {}
        """For whom a person acts; those that have ended by themselves, too."""
        self.logins: dict[bytes, Login] = {}
        """Shepherd sessions by the SHA-256 of their session key."""
        self.policies: dict[AgentName, Policy] = {}
        """Without the restarted agents that have no new one yet."""
        self.trained: dict[AgentName, Trained] = {}
        """Where a trainer goes on; an operator may have put another policy in place since."""
        self.begun: dict[AgentName, Begun] = {}
        self.paused_by_hub: dict[AgentName, str] = {}
        """Agents that the hub itself has paused and nobody has resumed since, and why."""
        self.chosen: dict[AgentName, dict[int, PolicyChosen]] = {}
        """Policies that operators put in place, by version; their files are never removed."""
        self.guests: dict[AgentName, list[Guest]] = {}
        """Who may advise an agent's replicas from other hubs."""
        self.mappings: dict[MappingName, Registered] = {}
        """Another dict whenever one is added or removed, so that one look tells."""
        self.mapping_versions: dict[MappingName, int] = {}
        """The last of each name there ever was: none is given twice."""
        self._made_us: dict[AgentName, dict[int, int]] = {}
        self.cleared_us: dict[AgentName, int] = {}
        """Hub time from which on the console shows an agent's curve, where it was cleared."""

    def apply(self, event: Event) -> None:
        """Take in one event; events that say nothing about the registry pass by.

        Raises:
            HubFault: a newer Sheepfold wrote it.
        """
        if event.payload is None or event.kind not in (Kind.ADMIN, Kind.HELLO, Kind.POLICY):
            return
        fact = _fact_of(event)
        match fact:
            case AgentMade() | AgentRestarted():
                self._apply_agent(fact.agent)
                self._begin(fact, event.seq)
                self._note_pause(fact, event.reason)
            case (
                ClaimMade() | ClaimRevoked() | Claimed() | KeyMade() | KeyReplaced() | KeyRevoked()
            ):
                self._apply_key(fact, event)
            case DeviceAdded() | DeviceForgotten():
                self._apply_device(AgentName(event.agent), fact)
            case UserMade() | UserRemoved():
                self._apply_user(fact, event.secret)
            case SessionOpened():
                self._open_login(event, fact)
            case PolicyMade() | PolicyChosen():
                self._apply_policy(event, fact)
            case CurveCleared() | GuestsTaken() | MappingMade() | MappingRemoved() | Overridden():
                self._apply_newest(event, fact)
            case (
                Advised()
                | Alert()
                | AlertCleared()
                | AlertRaised()
                | CheckpointsDeleted()
                | ClaimRefused()
                | EpisodeEnded()
                | Guarded()
                | LoggedIn()
                | LoggedOut()
                | LoginRefused()
                | Refusal()
                | Rewarded()
                | Updated()
                | Sealed()
            ):
                pass
            case _:
                assert_never(fact)

    def key(self, key_id: KeyId) -> Key | None:
        """The key with this public id, None when there is none or it was revoked."""
        return self.keys.get(self._secrets.get(key_id, b""))

    def names(self, agent: AgentName) -> tuple[str, ...]:
        """What its mappings call the numbers of an observation, all alike; () without any."""
        return next((one.fields for one in self.mappings.values() if one.agent == agent), ())

    def is_mapped(self, agent: AgentName) -> bool:
        """Whether its devices may send as a mapping says."""
        return any(one.agent == agent for one in self.mappings.values())

    def made_us(self, agent: AgentName, version: int) -> int | None:
        """Hub time a policy version was made at; of one long superseded, the latest it may be.

        None when the agent has no policy.
        """
        made = self._made_us.get(agent)
        return None if made is None else made.get(version, min(made.values()))

    def visible_to(self, user: User) -> list[str] | None:
        """Agents whose rows the user may see, sorted, deleted ones too; None = all there are."""
        if user.role == "admin":
            return None
        return sorted(name for name, owner in self.owners.items() if owner == user.name)

    def _apply_agent(self, agent: Agent) -> None:
        self.owners[agent.name] = agent.owner
        if agent.status == "deleted":
            self.deleted.add(agent.name)
            self.agents.pop(agent.name, None)
            self._drop_keys(lambda key: key.agent == agent.name)
            self.claims.drop_agent(agent.name)
            return
        self.agents[agent.name] = spec_of(agent, self.names(agent.name))

    def _note_pause(self, fact: AgentMade | AgentRestarted, reason: str | None) -> None:
        name = fact.agent.name
        if fact.agent.status != "paused":
            self.paused_by_hub.pop(name, None)
        elif fact.by == HUB:
            self.paused_by_hub[name] = reason or "it was paused by the hub"

    def _apply_newest(
        self,
        event: Event,
        fact: CurveCleared | GuestsTaken | MappingMade | MappingRemoved | Overridden,
    ) -> None:
        """Of these only the last of an agent, a device or a mapping counts."""
        name = AgentName(event.agent)
        if isinstance(fact, CurveCleared):
            self.cleared_us[name] = event.ts
        elif isinstance(fact, GuestsTaken):
            self.guests[name] = fact.guests
        elif isinstance(fact, Overridden):
            self._apply_override(event, fact)
        else:
            self._apply_mapping(name, fact)

    def _apply_device(self, agent: AgentName, fact: DeviceAdded | DeviceForgotten) -> None:
        device = fact.device
        self.overrides.pop(device, None)
        if isinstance(fact, DeviceAdded):
            self.devices[device] = agent
            self.forgotten.pop(device, None)
            return
        self.devices.pop(device, None)
        self.forgotten[device] = agent
        self.logins = {h: it for h, it in self.logins.items() if it.device != device}

    def _apply_override(self, event: Event, fact: Overridden) -> None:
        device, agent = DeviceId(event.device), AgentName(event.agent)
        if event.action is None:
            self.overrides.pop(device, None)
        else:
            self.overrides[device] = Override(agent, event.action, fact.until_us, fact.by)

    def _apply_mapping(self, agent: AgentName, fact: MappingMade | MappingRemoved) -> None:
        mappings = {name: one for name, one in self.mappings.items() if name != fact.name}
        if isinstance(fact, MappingMade):
            self.mapping_versions[fact.name] = fact.version
            mappings[fact.name] = Registered(fact.name, agent, fact.version, fact.mapping)
        self.mappings = mappings
        spec = self.agents.get(agent)
        if spec is not None and spec.agent.reward is not None:
            self.agents[agent] = spec_of(spec.agent, self.names(agent))

    def _begin(self, fact: AgentMade | AgentRestarted, seq: int) -> None:
        name = fact.agent.name
        if isinstance(fact, AgentMade):
            self.begun.setdefault(name, Begun(fact.agent, seq))
            return
        self.begun[name] = Begun(fact.agent, seq, fact.version)
        self.policies.pop(name, None)
        self.trained.pop(name, None)
        self.logins = {h: it for h, it in self.logins.items() if it.agent != name}

    def _apply_policy(self, event: Event, fact: PolicyMade | PolicyChosen) -> None:
        agent = AgentName(event.agent)
        chosen = self.chosen.setdefault(agent, {})
        if isinstance(fact, PolicyChosen):
            chosen[fact.version] = fact
            if fact.trained is not None and fact.trained_sha256 is not None:
                # Said again for the hub's next start, which is given the newest policy only.
                self.trained[agent] = Trained(fact.trained, fact.trained_sha256)
            return
        assert event.policy is not None, "a policy event has a version"
        self.policies[agent] = Policy(event.policy, fact)
        if event.policy not in chosen:
            self.trained[agent] = Trained(event.policy, fact.sha256)
        times = self._made_us.setdefault(agent, {})
        times[event.policy] = event.ts
        if len(times) > VERSIONS_TIMED_MAX:
            del times[next(iter(times))]

    def _apply_key(
        self,
        fact: ClaimMade | ClaimRevoked | Claimed | KeyMade | KeyReplaced | KeyRevoked,
        event: Event,
    ) -> None:
        if isinstance(fact, ClaimMade | ClaimRevoked | Claimed):
            self.claims.apply(fact, event.secret, event.ts)
        if isinstance(fact, ClaimMade | ClaimRevoked):
            return
        if isinstance(fact, KeyRevoked):
            self._drop_key(fact.id)
            return
        assert event.secret is not None, "a key is known by its hash"
        self.keys[event.secret] = read(fact.key)
        self._secrets[fact.key.id] = event.secret
        if isinstance(fact, KeyReplaced):
            self.successions[fact.key.id] = Succession(fact.replaces, fact.until)
            self.successors[fact.replaces] = fact.key.id

    def _drop_key(self, key_id: KeyId) -> None:
        self.keys.pop(self._secrets.pop(key_id, b""), None)
        # Whichever of two keys goes, the other is alone from now on.
        succession = self.successions.pop(key_id, None)
        if succession is not None and self.successors.get(succession.old) == key_id:
            del self.successors[succession.old]
        self.successions.pop(self.successors.pop(key_id, KeyId("")), None)

    def _drop_keys(self, gone: Callable[[Key], bool]) -> None:
        for key in [key for key in self.keys.values() if gone(key)]:
            self._drop_key(key.id)

    def _apply_user(self, fact: UserMade | UserRemoved, secret: bytes | None) -> None:
        if isinstance(fact, UserMade):
            assert secret is not None, "a password is known by its hash"
            self.users[fact.user.name] = fact.user
            self.passwords[fact.user.name] = secret
            return
        # Nothing of this is for a later user of the same name: keys, or rows of deleted agents.
        self.users.pop(fact.name, None)
        self.passwords.pop(fact.name, None)
        self._drop_keys(lambda key: key.user == fact.name)
        self.owners = {a: ADMIN if o == fact.name else o for a, o in self.owners.items()}

    def _open_login(self, event: Event, opened: SessionOpened) -> None:
        if event.secret is not None:
            self.logins[event.secret] = Login(
                AgentName(event.agent), DeviceId(event.device), event.session, event.ts, opened.key
            )


def _fact_of(event: Event) -> Fact:
    """CRUCIAL: what is not understood is not passed over: it may revoke a key."""
    assert event.payload is not None, "looked at before"
    try:
        return _facts.decode(event.payload)
    except msgspec.DecodeError as error:
        raise HubFault(
            f"event {event.seq} says what this version does not understand ({error}): a newer "
            f"Sheepfold wrote it. {NEWER}"
        ) from error


class Login(Struct, frozen=True):
    """A Shepherd login: its session key opens this device's session again after a restart."""

    agent: AgentName
    device: DeviceId
    session: int
    opened_us: int
    key: KeyId | None
