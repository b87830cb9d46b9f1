"""What an operator can do to mappings: it becomes events, or is refused.

A mapping is an agent's: its devices are those that send as the mapping says. All of an agent's have
the same numbers in the same order, for one policy sees them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, assert_never

import msgspec
from msgspec import Struct

from hub.errors import OperatorFault
from hub.facts import MappingMade, MappingRemoved
from hub.mappings import Mapping, MappingName
from hub.registry.admin import NAME_RULE, admin_event, agent_named
from hub.registry.fold import Registered, spec_of
from hub.words import AgentName, Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.registry.fold import Registry, Spec

    CheckMapping = Callable[[Registered, Spec], object]
    """Refuses a mapping that can't be carried out, or not for this agent (`OperatorFault`)."""

NAME: Final = re.compile(NAME_RULE)
MAPPINGS_MAX: Final = 100
"""Of one agent."""
MAPPING_BYTES_MAX: Final = 64 * 1024
"""Of one, as it stands in the log."""


class AddMapping(Struct, frozen=True, tag="add_mapping"):
    """`sheepfold mapping add`: a new one, or the next version of it."""

    name: str
    agent: str
    mapping: Mapping


class RemoveMapping(Struct, frozen=True, tag="remove_mapping"):
    """`sheepfold mapping remove`."""

    name: str


class ShowMappings(Struct, frozen=True, tag="show_mappings"):
    """`sheepfold mapping list|show`."""

    name: str | None = None
    """None = all of them."""


MappingAct = AddMapping | RemoveMapping


class MappingActs:
    """The acts, over one registry.

    Args:
        registry: as the log has it.
        now_us: the hub's clock.
        check: refuses what no device could be served by.
    """

    def __init__(self, registry: Registry, now_us: Callable[[], int], check: CheckMapping) -> None:
        self._registry = registry
        self._now_us = now_us
        self._check = check

    def decide(self, act: MappingAct, by: str) -> tuple[list[Event], Any]:
        """What is to be logged, and the answer.

        Raises:
            OperatorFault: it can't be done; the message says why.
        """
        match act:
            case AddMapping():
                return self._add(act, by)
            case RemoveMapping(name):
                return self._remove(name, by)
            case _:
                assert_never(act)

    def show(self, name: str | None) -> object:
        """One mapping, with what `mapping add` takes below `mapping`; or a line of each.

        Raises:
            OperatorFault: there is none of this name.
        """
        if name is not None:
            return msgspec.to_builtins(self._known(name))
        return [
            {"mapping": one.name, "agent": one.agent, "version": one.version}
            for _, one in sorted(self._registry.mappings.items())
        ]

    def _add(self, act: AddMapping, by: str) -> tuple[list[Event], Any]:
        name = MappingName(act.name)
        if not NAME.fullmatch(name):
            raise OperatorFault(f"mapping name {act.name!r:.60} must match {NAME_RULE}")
        spec = agent_named(self._registry, act.agent)
        version = self._registry.mapping_versions.get(name, 0) + 1
        made = Registered(name, spec.agent.name, version, act.mapping)
        self._check_beside(made)
        self._check(made, spec)
        spec_of(spec.agent, made.fields)  # its reward may be over names that were there before
        fact = MappingMade(name, version, act.mapping, by)
        event = self._event(fact, spec.agent.name)
        if len(event.payload or "") > MAPPING_BYTES_MAX:
            raise OperatorFault(f"mapping {name!r} is over {MAPPING_BYTES_MAX} bytes")
        return [event], {"mapping": name, "agent": spec.agent.name, "version": version}

    def _check_beside(self, made: Registered) -> None:
        """Refuse a mapping that can't stand beside those that are there."""
        before = self._registry.mappings.get(made.name)
        if before is not None and before.agent not in (made.agent, *self._registry.deleted):
            raise OperatorFault(
                f"mapping {made.name!r} is of agent {before.agent!r}; choose another name, or "
                "'sheepfold mapping remove' it first"
            )
        others = [one for one in self._of(made.agent) if one.name != made.name]
        if len(others) >= MAPPINGS_MAX:
            raise OperatorFault(f"agent {made.agent!r} has {MAPPINGS_MAX} mappings already")
        for other in others:
            if other.fields != made.fields:
                raise OperatorFault(
                    f"mapping {other.name!r} of the same agent has {', '.join(other.fields)!s:.400}"
                    f", not {', '.join(made.fields)!s:.400}: one policy sees them all alike"
                )
            shared = set(other.mapping.topics) & set(made.mapping.topics)
            if shared:
                raise OperatorFault(f"topic {min(shared)!r} is in mapping {other.name!r} already")

    def _remove(self, name: str, by: str) -> tuple[list[Event], Any]:
        known = self._known(name)
        spec = self._registry.agents.get(known.agent)
        others = [one for one in self._of(known.agent) if one.name != known.name]
        if spec is not None and not others:
            spec_of(spec.agent)
        fact = MappingRemoved(known.name, by)
        return [self._event(fact, known.agent)], {"removed": name}

    def _of(self, agent: AgentName) -> list[Registered]:
        return [one for one in self._registry.mappings.values() if one.agent == agent]

    def _known(self, name: str) -> Registered:
        known = self._registry.mappings.get(MappingName(name))
        if known is None:
            there = ", ".join(sorted(self._registry.mappings)) or "none yet"
            raise OperatorFault(f"there is no mapping {name!r}; there are: {there}")
        return known

    def _event(self, fact: MappingMade | MappingRemoved, agent: AgentName) -> Event:
        return admin_event(self._now_us(), fact, agent)
