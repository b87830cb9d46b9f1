"""Mappings of agents, ready to serve: whose a topic is, and what an action is told in.

heard = mappings.hear(agent, "tele/kitchen/SENSOR")     # None: nobody wants it
heard.bound.mapper.read(payload, memory)
heard.bound.say(answer.action)                          # b"ON"
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from hub.errors import OperatorFault
from hub.intake.mapping.command import compile_command
from hub.intake.mapping.mapper import Mapper
from hub.intake.mapping.paths import compile_path
from hub.intake.mapping.topics import ANYBODY, DEVICE, check_command, compile_topic
from hub.intake.mapping.unread import Unread
from hub.spaces import Dict, size
from hub.topics import is_device_id
from hub.words import DeviceId

if TYPE_CHECKING:
    from hub.mappings import MappingName
    from hub.registry.fold import Registered, Registry, Spec
    from hub.words import AgentName

log: Final = logging.getLogger("hub")


class Bound:
    """A mapping of an agent.

    Raises:
        OperatorFault: it can't be carried out, or not for this agent.
    """

    def __init__(self, registered: Registered, spec: Spec) -> None:
        mapping = registered.mapping
        self.name = registered.name
        self.agent = registered.agent
        self.mapper = Mapper(registered.name, registered.version, mapping)
        _check_fits(self.mapper.fields, spec)
        self.topics = [compile_topic(topic) for topic in mapping.topics]
        self.status = None if mapping.status is None else compile_topic(mapping.status.topic)
        self.device_of = None if mapping.device is None else compile_path(mapping.device)
        action = mapping.action
        self.say = None if action is None else compile_command(action, spec.actions)
        self.command = None if action is None else action.topic
        if self.command is not None:
            check_command(self.command)

    @property
    def filters(self) -> list[str]:
        """For a SUBSCRIBE, of all that names its device."""
        patterns = [*self.topics, *([] if self.status is None else [self.status])]
        return [one.filter for one in patterns if "device" in one.expression.groupindex]

    def command_topic(self, spelled: str) -> str | None:
        """Where an action goes, of a device that spells itself so."""
        return None if self.command is None else self.command.replace(DEVICE, spelled)

    def device_in(self, payload: bytes) -> str | None:
        """The device that a payload itself names.

        Raises:
            DeviceFault: the payload can't be read.
        """
        return None if self.device_of is None else self.mapper.device_in(payload, self.device_of)

    def status_word(self, payload: bytes) -> bytes | None:
        """`online` or `offline`; None: it says neither."""
        status = self.mapper.mapping.status
        assert status is not None, "its topic was heard"
        words = {status.online.encode(): b"online", status.offline.encode(): b"offline"}
        return words.get(payload)


class Heard(NamedTuple):
    """A topic that a mapping wants."""

    bound: Bound
    spelled: str
    """The device, as the topic has it; `ANYBODY` where it has none."""
    is_status: bool

    @property
    def device(self) -> DeviceId | None:
        """The device that the topic names, whatever the case of its letters."""
        named = self.spelled.lower()
        return DeviceId(named) if is_device_id(named) else None

    def is_of(self, device: str) -> bool:
        """Whether it may be this device's: the topic names it, or nobody."""
        return self.spelled == ANYBODY or self.device == device


class Mappings:
    """All of them, compiled when they are first needed."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._seen: dict[MappingName, Registered] = {}
        self._by_agent: dict[AgentName, list[Bound]] = {}
        self.unread = Unread()

    def of(self, agent: AgentName) -> list[Bound]:
        """An agent's; none for most."""
        if self._seen is not self._registry.mappings:
            self._seen = self._registry.mappings
            self._by_agent = {}
            for registered in self._seen.values():
                bound = self._bind(registered)
                if bound is not None:
                    self._by_agent.setdefault(bound.agent, []).append(bound)
        return self._by_agent.get(agent, _NONE)

    def hear(self, agent: AgentName, topic: str) -> Heard | None:
        """Which of an agent's mappings wants what is published there."""
        for bound in self.of(agent):
            for pattern in bound.topics:
                spelled = pattern.match(topic)
                if spelled is not None:
                    return Heard(bound, spelled, is_status=False)
            spelled = None if bound.status is None else bound.status.match(topic)
            if spelled is not None:
                return Heard(bound, spelled, is_status=True)
        return None

    def overhear(self, topic: str) -> Heard | None:
        """The same where only the topic tells the device, and the device its agent.

        What is another's, or nobody's, counts as not read.
        """
        meant: AgentName | None = None
        for agent in {one.agent for one in self._registry.mappings.values()}:
            heard = self.hear(agent, topic)
            device = None if heard is None else heard.device
            if device is not None and self._registry.devices.get(device) == agent:
                return heard
            if heard is not None:
                meant = agent
        if meant is not None:
            self.unread.add(meant, topic)
        return None

    def named(self, agent: AgentName, name: str) -> Bound | None:
        """An agent's mapping of this name."""
        return next((bound for bound in self.of(agent) if bound.name == name), None)

    @property
    def filters(self) -> set[str]:
        """Of all topics that name their device."""
        agents = {one.agent for one in self._registry.mappings.values()}
        return {f for agent in agents for bound in self.of(agent) for f in bound.filters}

    def _bind(self, registered: Registered) -> Bound | None:
        spec = self._registry.agents.get(registered.agent)
        if spec is None:
            return None  # deleted
        try:
            return Bound(registered, spec)
        except OperatorFault as fault:  # a hub of another version took it
            log.error("mapping %s is not used: %s", registered.name, fault)  # noqa: TRY400 - no trace
            return None


def check_mapping(registered: Registered, spec: Spec) -> None:
    """Refuse a mapping that can't be carried out, or not for this agent.

    Raises:
        OperatorFault: with what would be right.
    """
    Bound(registered, spec)


def _check_fits(fields: list[str], spec: Spec) -> None:
    count = size(spec.observations)
    if len(fields) != count:
        raise OperatorFault(
            f"the mapping has {len(fields)} observations, agent {spec.agent.name!r} {count}"
        )
    if isinstance(spec.observations, Dict):
        parts = [name for name, part in spec.observations.spaces.items() if size(part) == 1]
        if len(parts) == count and fields != parts:
            raise OperatorFault(
                f"agent {spec.agent.name!r} observes {', '.join(parts)!s:.400}: give the mapping's "
                "observations these names, in this order"
            )


_NONE: Final[list[Bound]] = []
