"""What an operator can do to keys: it becomes events, or is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

import msgspec
from msgspec import Struct

from hub.errors import OperatorFault
from hub.facts import KeyMade, KeyRevoked
from hub.registry.access import fingerprint, make_secret
from hub.registry.admin import admin_event, agent_named, user_named
from hub.registry.publishable import check as check_publishable
from hub.topics import is_device_id
from hub.words import AgentName, DeviceId, Event, Key, KeyId, Publishable

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.registry.fold import Registry


class CreateKey(Struct, frozen=True, tag="create_key"):
    """`sheepfold key create AGENT`."""

    agent: str
    device: str | None = None
    publishable: Publishable | None = None


class CreateUserKey(Struct, frozen=True, tag="create_user_key"):
    """`sheepfold key create --user`."""

    user: str


class RevokeKey(Struct, frozen=True, tag="revoke_key"):
    """`sheepfold key revoke`."""

    id: str


KeyAct = CreateKey | CreateUserKey | RevokeKey


class KeyActs:
    """The acts, over one registry.

    Args:
        registry: as the log has it.
        now_us: the hub's clock.
        random_bytes: for secrets.
    """

    def __init__(
        self,
        registry: Registry,
        now_us: Callable[[], int],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._registry = registry
        self._now_us = now_us
        self._random_bytes = random_bytes

    def decide(self, act: KeyAct, by: str) -> tuple[list[Event], Any]:
        """What is to be logged, and the answer.

        Raises:
            OperatorFault: it can't be done; the message says why.
        """
        match act:
            case CreateKey(agent, device, publishable):
                return self.create(agent, device, by, publishable)
            case CreateUserKey(user):
                return self.create_for_user(user, by)
            case RevokeKey(key_id):
                return self.revoke(key_id, by)
            case _:
                assert_never(act)

    def create(
        self, name: str, device: str | None, by: str, publishable: Publishable | None = None
    ) -> tuple[list[Event], Any]:
        """A key of the agent, or of one device of it; the answer shows it, once.

        A publishable one is of no device: each of its sessions is a device of its own.
        """
        agent = agent_named(self._registry, name).agent
        if device is not None and not is_device_id(device):
            raise OperatorFault(f"device id {device!r} must match [a-z0-9_-]{{1,23}}, not reserved")
        if publishable is not None:
            if device is not None:
                raise OperatorFault("a publishable key is of no device: its sessions are")
            check_publishable(publishable)
        of_device = None if device is None else DeviceId(device)
        event, secret = self.made(by, agent.name, of_device, publishable=publishable)
        return [event], {"agent": name, "device": device, "api_key": secret}

    def create_for_user(self, name: str, by: str) -> tuple[list[Event], Any]:
        """A key for what the user may ask and do; the answer shows it, once."""
        user = user_named(self._registry, name)
        event, secret = self.made(by, user=user.name)
        return [event], {"user": name, "api_key": secret}

    def revoke(self, key_id: str, by: str) -> tuple[list[Event], Any]:
        """The key is not accepted any more."""
        key = self._registry.key(KeyId(key_id))
        if key is None:
            raise OperatorFault(f"there is no key {key_id!r}; see the list of keys")
        fact = KeyRevoked(key.id, by)
        return [admin_event(self._now_us(), fact, key.agent or "")], {"revoked": key_id}

    def list(self) -> list[Any]:
        """All keys: public ids and what they open, no secret."""
        return [msgspec.to_builtins(key) for key in self._registry.keys.values()]

    def made(
        self,
        by: str,
        agent: AgentName | None = None,
        device: DeviceId | None = None,
        user: str | None = None,
        publishable: Publishable | None = None,
    ) -> tuple[Event, str]:
        """The event of a new key, and the key's whole text."""
        key_id, secret = make_secret(self._random_bytes)
        fact = KeyMade(Key(key_id, agent, device, user, publishable), by)
        event = admin_event(self._now_us(), fact, agent or "", device or "", fingerprint(secret))
        return event, secret
