"""What an operator can do: it becomes events, or is refused. Agents and devices are here.

Keys, claims, users and mappings have files of their own beside this one.
An act reads the registry and returns what to log; the registry changes by folding those events.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Protocol

import msgspec
from msgspec import Meta, Struct, field, structs

from hub import spaces
from hub.errors import DeviceFault, OperatorFault
from hub.expressions import check_defined
from hub.facts import (
    AgentMade,
    AgentRestarted,
    DeviceAdded,
    DeviceForgotten,
    Fact,
    Origin,
    PolicyChosen,
    PolicyMade,
)
from hub.log.segments.manifest import HUB
from hub.registry.admin import NAME_RULE, admin_event, agent_named
from hub.registry.claim_acts import ClaimActs
from hub.registry.deadline import check_deadline, usual_deadline_ms
from hub.registry.declared import read_safety
from hub.registry.fold import ADMIN, spec_of
from hub.registry.key_acts import KeyActs
from hub.registry.limits import check_limits
from hub.registry.mapping_acts import MappingActs
from hub.registry.user_acts import UserActs
from hub.settings import KeySettings
from hub.topics import is_device_id
from hub.words import Agent, AgentName, DeviceId, Event, Hubs, Kind, Sharing

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.registry.fold import Registry
    from hub.registry.mapping_acts import CheckMapping

NAME: Final = re.compile(NAME_RULE)
SHA256: Final = re.compile(r"[0-9a-f]{64}")
SEED_BYTES: Final = 4
CHANGEABLE: Final = {
    "parameters", "sharing", "owner", "fallback", "deadline_ms", "missing_reward", "learning",
    "status", "safety", "max_episode_steps", "silent_s", "cpu_percent", "memory_mb", "lag_max",
    "messages_per_s", "bytes_per_s", "devices_max",
    "hubs", "reward",
}  # fmt: skip


class Acts:
    """The acts, over one registry.

    Args:
        registry: as the log has it.
        now_us: the hub's clock.
        random_bytes: for seeds and secrets.
        check: refuses an agent no learner could run (`OperatorFault`).
        policies: the versions that are there, and those to come.
        check_mapping: as `MappingActs` has it.
        settings: of keys and claims; None = the defaults.
    """

    def __init__(
        self,
        registry: Registry,
        now_us: Callable[[], int],
        random_bytes: Callable[[int], bytes],
        check: Callable[[Agent], object],
        policies: Policies,
        check_mapping: CheckMapping,
        settings: KeySettings | None = None,
    ) -> None:
        self._registry = registry
        self._now_us = now_us
        self._random_bytes = random_bytes
        self._check = check
        self._policies = policies
        of_keys = settings or KeySettings()
        self.keys = KeyActs(registry, now_us, random_bytes, of_keys.overlap_s)
        self.claims = ClaimActs(registry, now_us, random_bytes, of_keys.claim_again_s)
        self.users = UserActs(registry, now_us)
        self.mappings = MappingActs(registry, now_us, check_mapping)

    def create_agent(self, declared: NewAgent, by: str) -> tuple[list[Event], Any]:
        """A new agent with its first, agent-wide key; the answer shows the key, once."""
        if not NAME.fullmatch(declared.name):
            raise OperatorFault(f"agent name {declared.name!r} must match {NAME_RULE}")
        if declared.name == HUB:
            raise OperatorFault(
                f"agent name {HUB!r} stands for no agent in the log; choose another"
            )
        if declared.name in self._registry.agents:
            raise OperatorFault(
                f"agent {declared.name!r} exists; choose another name, update it, or make another "
                f"key for its devices: sheepfold key create {declared.name}"
            )
        if declared.name in self._registry.deleted:
            raise OperatorFault(
                f"agent {declared.name!r} was deleted and the log keeps what it learnt; "
                "choose another name"
            )
        self._check_owner(declared.owner)
        usual = usual_deadline_ms(declared.algorithm)
        filled_in = {
            "seed": self._seed() if declared.seed is None else declared.seed,
            "deadline_ms": usual if declared.deadline_ms is None else declared.deadline_ms,
            "safety": read_safety(declared.safety),
        }
        agent = Agent(**structs.asdict(declared) | filled_in)
        self._check_agent(agent)
        _check_reward(agent)
        made = self._event(AgentMade(agent, by), agent.name)
        key_event, secret = self.keys.made(by, agent.name)
        return [made, key_event], {"agent": agent.name, "api_key": secret}

    def change_agent(self, name: str, changes: dict[str, Any], by: str) -> tuple[list[Event], Any]:
        """The agent with some fields changed: parameters, owner, fallback, status and the like."""
        agent = self._agent(name)
        unknown = set(changes) - CHANGEABLE
        if unknown:
            raise OperatorFault(f"{sorted(unknown)} can't be changed; create another agent")
        parameters = changes.get("parameters", {})
        if not isinstance(parameters, dict):
            raise OperatorFault(f"parameters are an object of name and value, not {parameters!r}")
        declared = structs.asdict(agent) | changes | {"parameters": agent.parameters | parameters}
        if "safety" in changes:
            declared["safety"] = read_safety(changes["safety"])
        try:
            changed = msgspec.convert(declared, Agent)
        except msgspec.ValidationError as error:
            raise OperatorFault(f"agent {name!r}: {error}") from error
        if "owner" in changes:
            self._check_owner(changed.owner)
        self._check_agent(changed)
        if "reward" in changes:
            _check_reward(changed)
        return [self._event(AgentMade(changed, by), agent.name)], _shown(changed)

    def restart_agent(self, name: str, by: str) -> tuple[list[Event], Any]:
        """The agent forgets its policy and begins anew; its logins are over, the log stays."""
        agent = structs.replace(self._agent(name), seed=self._seed())
        version = self._policies.next_version(agent.name, None)
        made = self._event(AgentRestarted(agent, version, by), agent.name)
        return [made], {"agent": name, "version": version}

    def choose_policy(self, name: str, chosen: Chosen, by: str) -> tuple[list[Event], Any]:
        """A policy file becomes the agent's next version, and acts."""
        return self._chosen(self._agent(name), chosen, by)

    def create_trained(
        self, declared: NewAgent, chosen: Chosen, by: str
    ) -> tuple[list[Event], Any]:
        """A new agent that acts by a policy file from its first step on: both, or neither."""
        made, shown = self.create_agent(declared, by)
        fact = msgspec.json.decode(made[0].payload or "", type=AgentMade)
        events, version = self._chosen(fact.agent, chosen, by)
        return [*made, *events], shown | version

    def _chosen(self, agent: Agent, chosen: Chosen, by: str) -> tuple[list[Event], Any]:
        if not SHA256.fullmatch(chosen.sha256):
            raise OperatorFault(f"{chosen.sha256!r} is no SHA-256 of a policy file")
        position = self._policies.check_fits(agent, chosen.sha256)
        trained = self._registry.trained.get(agent.name)
        version = self._policies.next_version(agent.name, chosen.sha256)
        fact = PolicyChosen(
            version=version,
            sha256=chosen.sha256,
            how=chosen.how,
            parent=chosen.parent,
            trained=None if trained is None else trained.version,
            trained_sha256=None if trained is None else trained.sha256,
            by=by,
            origin=chosen.origin,
        )
        policy = PolicyMade(chosen.sha256, chosen.parent, position)
        events = [
            self._event(fact, agent.name),
            Event(
                kind=Kind.POLICY,
                ts=self._now_us(),
                agent=agent.name,
                policy=version,
                payload=msgspec.json.encode(policy).decode(),
            ),
        ]
        return events, {"agent": agent.name, "version": version, "sha256": chosen.sha256}

    def show_policies(self, name: str) -> Any:
        """Which version acts, and which are kept for good."""
        agent = self._agent(name)
        policy = self._registry.policies.get(agent.name)
        chosen = self._registry.chosen.get(agent.name, {})
        return {
            "agent": msgspec.to_builtins(agent),
            "acts": None if policy is None else policy.version,
            "chosen": [msgspec.to_builtins(one) for one in chosen.values()],
        }

    def add_device(
        self, device: str, name: str, by: str, *, must_be_there: bool = False
    ) -> tuple[list[Event], Any]:
        """The device belongs to the agent from now on, whoever it belonged to."""
        agent = self._agent(name)
        if must_be_there and DeviceId(device) not in self._registry.devices:
            raise OperatorFault(
                f"there is no device {device!r} to move; see 'sheepfold device list', or add it "
                f"with 'sheepfold device add {device} --agent {name}'"
            )
        if not is_device_id(device):
            raise OperatorFault(f"device id {device!r} must match [a-z0-9_-]{{1,23}}, not reserved")
        fact = DeviceAdded(DeviceId(device), by)
        return [self._event(fact, agent.name, device)], {"device": device, "agent": name}

    def forget_device(self, device: str, by: str) -> tuple[list[Event], Any]:
        """The device belongs to nobody. The caller has destroyed the key of its payloads before.

        Again is no harm: a device may have been forgotten by a hub that did not get to its key.
        """
        id_ = DeviceId(device)
        agent = self._registry.devices.get(id_) or self._registry.forgotten.get(id_)
        if agent is None:
            raise OperatorFault(f"there is no device {device!r}; see the list of devices")
        fact = DeviceForgotten(id_, by)
        return [self._event(fact, agent, device)], {"forgotten": device}

    def list_agents(self) -> list[Any]:
        """All agents, as `show_agent`."""
        return [_shown(spec.agent) for spec in self._registry.agents.values()]

    def show_agent(self, name: str) -> Any:
        """One agent as declared, with its newest policy."""
        shown = _shown(self._agent(name))
        policy = self._registry.policies.get(AgentName(name))
        return shown | {"policy": None if policy is None else policy.version}

    def list_devices(self) -> list[Any]:
        """All devices and their agents."""
        return [{"device": d, "agent": a} for d, a in sorted(self._registry.devices.items())]

    def noted(self, fact: Fact, agent: str) -> Event:
        """What a person did that needs no check and changes nothing devices know."""
        return self._event(fact, agent)

    def _seed(self) -> int:
        return int.from_bytes(self._random_bytes(SEED_BYTES), "big")

    def _check_agent(self, agent: Agent) -> None:
        """Refuse an agent that could not be served or learnt."""
        actions = spec_of(agent, self._registry.names(agent.name)).actions
        if isinstance(actions, spaces.Dict):
            raise OperatorFault(
                "actions are an int (Discrete), [shape, low, high] (Box), "
                '{"multi_discrete": [3, 4]} or {"multi_binary": 5}, not a Dict'
            )
        check_deadline(agent)
        if agent.missing_reward is not None and not math.isfinite(agent.missing_reward):
            raise OperatorFault(f"missing_reward is a number, not {agent.missing_reward}")
        check_limits(agent)
        if agent.fallback not in ("hold", "none"):
            try:
                spaces.flatten(actions, agent.fallback, what="fallback")
            except DeviceFault as fault:
                message = f"fallback: {fault.message}; write hold, none or an action"
                raise OperatorFault(message) from fault
        self._check(agent)

    def _check_owner(self, owner: str) -> None:
        if owner != ADMIN and owner not in self._registry.users:
            known = ", ".join(sorted({ADMIN, *self._registry.users}))
            raise OperatorFault(
                f"there is no user {owner!r} to own the agent; there are: {known}; "
                "add the user first"
            )

    def _agent(self, name: str) -> Agent:
        return agent_named(self._registry, name).agent

    def _event(self, fact: Fact, agent: str = "", device: str = "") -> Event:
        return admin_event(self._now_us(), fact, agent, device)


class Policies(Protocol):
    """The learners' side of what an operator does to policies, `Pool` in the product."""

    def check_fits(self, agent: Agent, sha256: str) -> int:
        """The seq up to which a policy file was learnt.

        Raises:
            OperatorFault: it is not there, or the agent can't use it.
        """
        ...

    def next_version(self, name: AgentName, sha256: str | None) -> int:
        """The number of the version that is put in place and logged now; None = a new one."""
        ...


class Chosen(Struct, frozen=True):
    """A policy file that is to act."""

    sha256: str
    """Of the file, which lies in the data folder already."""
    how: Literal["imported", "promoted", "rolled_back", "trained_again", "joined"]
    parent: int | None = None
    """The version that has this file; None for one from outside."""
    origin: Origin | None = None
    """Of one that was trained from another agent's log."""


class NewAgent(Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator declares; the rest of an Agent is the hub's to fill in."""

    name: str
    algorithm: str
    observations: Any
    actions: Any
    parameters: dict[str, str] = field(default_factory=dict)
    sharing: Sharing = "shared"
    owner: str = "admin"
    fallback: Any = "hold"
    deadline_ms: int | None = None
    """None = 250, or of an external agent none."""
    missing_reward: float | None = None
    safety: Any = None
    """As `hub.words.Safety`, in JSON's types; None = no rules."""
    max_episode_steps: int | None = None
    silent_s: float | None = None
    cpu_percent: int | None = None
    memory_mb: int | None = None
    lag_max: int | None = None
    messages_per_s: float | None = None
    bytes_per_s: float | None = None
    devices_max: int | None = None
    hubs: Hubs = "none"
    reward: str | None = None
    seed: Annotated[int, Meta(ge=0, lt=1 << 32)] | None = None
    """None = one is drawn."""


def _check_reward(agent: Agent) -> None:
    """Refuse a reward that can be computed of no observation.

    One that was declared before this was looked at must not stand in the way of a pause.
    """
    if agent.reward is not None:
        try:
            check_defined(agent.reward)
        except OperatorFault as fault:
            raise OperatorFault(f"reward of agent {agent.name!r}: {fault}") from fault


def _shown(agent: Agent) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(agent)
    return shown
