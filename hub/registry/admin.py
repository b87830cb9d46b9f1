"""What all acts have in common: the event of one, and a look-up that says what there is instead."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from hub.errors import OperatorFault
from hub.words import AgentName, Event, Kind

if TYPE_CHECKING:
    from hub.facts import Fact
    from hub.registry.fold import Registry, Spec
    from hub.words import User

NAME_RULE: Final = r"[a-z0-9_-]{1,40}"
"""Of an agent, a user or a mapping."""


def admin_event(
    ts: int, fact: Fact, agent: str = "", device: str = "", secret: bytes | None = None
) -> Event:
    """What the log keeps of an act; `secret` is a hash."""
    return Event(
        kind=Kind.ADMIN,
        ts=ts,
        agent=agent,
        device=device,
        payload=msgspec.json.encode(fact).decode(),
        secret=secret,
    )


def agent_named(registry: Registry, name: str) -> Spec:
    """The agent that an act names.

    Raises:
        OperatorFault: there is none.
    """
    spec = registry.agents.get(AgentName(name))
    if spec is None:
        known = ", ".join(sorted(registry.agents)) or "none yet"
        raise OperatorFault(f"there is no agent {name!r}; there are: {known}")
    return spec


def user_named(registry: Registry, name: str) -> User:
    """The user that an act names.

    Raises:
        OperatorFault: there is none.
    """
    user = registry.users.get(name)
    if user is None:
        known = ", ".join(sorted(registry.users)) or "none yet"
        raise OperatorFault(f"there is no user {name!r}; there are: {known}")
    return user


def iso(us: int) -> str:
    """A hub time as people read it: `2026-11-29T10:00:00+00:00`."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).isoformat()
