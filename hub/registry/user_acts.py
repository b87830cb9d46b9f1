"""What an operator can do to users: it becomes events, or is refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal, assert_never

from msgspec import Struct

from hub.errors import OperatorFault
from hub.facts import UserMade, UserRemoved
from hub.registry.admin import NAME_RULE, admin_event, user_named
from hub.registry.fold import ADMIN
from hub.words import Event, User

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.registry.fold import Registry

NAME: Final = re.compile(NAME_RULE)


class CreateUser(Struct, frozen=True, tag="create_user"):
    """`sheepfold user add`."""

    name: str
    role: Literal["admin", "owner"]
    password: str


class SetPassword(Struct, frozen=True, tag="set_password"):
    """`sheepfold user passwd`."""

    name: str
    password: str


class RemoveUser(Struct, frozen=True, tag="remove_user"):
    """`sheepfold user remove`."""

    name: str


UserAct = CreateUser | SetPassword | RemoveUser


class UserActs:
    """The acts, over one registry.

    Args:
        registry: as the log has it.
        now_us: the hub's clock.
    """

    def __init__(self, registry: Registry, now_us: Callable[[], int]) -> None:
        self._registry = registry
        self._now_us = now_us

    def decide(self, act: UserAct, password_hash: bytes, by: str) -> tuple[list[Event], Any]:
        """What is to be logged, and the answer.

        `password_hash` is of `hash_password`, which is too slow to be called from here.

        Raises:
            OperatorFault: it can't be done; the message says why.
        """
        match act:
            case CreateUser(name, role):
                return self.add(name, role, password_hash, by)
            case SetPassword(name):
                return self.set_password(name, password_hash, by)
            case RemoveUser(name):
                return self.remove(name, by)
            case _:
                assert_never(act)

    def add(
        self, name: str, role: Literal["admin", "owner"], password_hash: bytes, by: str
    ) -> tuple[list[Event], Any]:
        """A new user."""
        if not NAME.fullmatch(name):
            raise OperatorFault(f"user name {name!r} must match {NAME_RULE}")
        if name in self._registry.users:
            raise OperatorFault(
                f"user {name!r} exists; choose another name, or give it another password"
            )
        if name == ADMIN and role != "admin":
            raise OperatorFault(f"{ADMIN!r} owns what no other user owns: its role is admin")
        user = User(name, role)
        return [self._event(UserMade(user, by), password_hash)], _shown(user)

    def set_password(self, name: str, password_hash: bytes, by: str) -> tuple[list[Event], Any]:
        """The user has another password; keys stay as they are."""
        user = user_named(self._registry, name)
        return [self._event(UserMade(user, by), password_hash)], _shown(user)

    def remove(self, name: str, by: str) -> tuple[list[Event], Any]:
        """The user and the user's keys may do nothing any more; refused while it owns agents."""
        user_named(self._registry, name)
        agents = self._registry.agents.values()
        owned = sorted(spec.agent.name for spec in agents if spec.agent.owner == name)
        if owned and name != ADMIN:
            raise OperatorFault(
                f"user {name!r} owns {', '.join(owned)}; give each to another owner first"
            )
        return [self._event(UserRemoved(name, by))], {"removed": name}

    def listed(self) -> list[Any]:
        """All users and their roles; no hash."""
        return [_shown(user) for _, user in sorted(self._registry.users.items())]

    def _event(self, fact: UserMade | UserRemoved, password_hash: bytes | None = None) -> Event:
        return admin_event(self._now_us(), fact, secret=password_hash)


def _shown(user: User) -> dict[str, Any]:
    return {"user": user.name, "role": user.role}
