"""What an operator can do to keys: it becomes events, or is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, assert_never

import msgspec
from msgspec import Struct, structs

from hub.errors import AccessDenied, OperatorFault
from hub.facts import KeyMade, KeyReplaced, KeyRevoked
from hub.registry.access import fingerprint, make_secret
from hub.registry.admin import admin_event, agent_named, iso, user_named
from hub.registry.logged_keys import logged
from hub.registry.publishable import check as check_publishable
from hub.registry.rewarding import check as check_rewarding
from hub.topics import HUB_NAME, is_device_id
from hub.words import AgentName, DeviceId, Event, Key, KeyId, Publishable, Rewarding

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.registry.fold import Registry


class CreateKey(Struct, frozen=True, tag="create_key"):
    """`sheepfold key create AGENT`."""

    agent: str
    device: str | None = None
    publishable: Publishable | None = None
    rewarding: Rewarding | None = None


class CreateUserKey(Struct, frozen=True, tag="create_user_key"):
    """`sheepfold key create --user`."""

    user: str
    hub: str | None = None
    """For the user's other hub of this name, and not for programs."""


class RevokeKey(Struct, frozen=True, tag="revoke_key"):
    """`sheepfold key revoke`."""

    id: str


class RotateKey(Struct, frozen=True, tag="rotate_key"):
    """`sheepfold key rotate`."""

    id: str
    overlap_s: float | None = None
    """The old key is accepted for so long, a device's at most until the new one is used; None =
    as the hub's settings say."""


KeyAct = CreateKey | CreateUserKey | RevokeKey | RotateKey
OVERLAP_S_MAX: Final = 366 * 86_400.0


class KeyActs:
    """The acts, over one registry.

    Args:
        registry: as the log has it.
        now_us: the hub's clock.
        random_bytes: for secrets.
        overlap_s: as `KeySettings` has it.
    """

    def __init__(
        self,
        registry: Registry,
        now_us: Callable[[], int],
        random_bytes: Callable[[int], bytes],
        overlap_s: float,
    ) -> None:
        self._registry = registry
        self._now_us = now_us
        self._random_bytes = random_bytes
        self._overlap_s = overlap_s
        self.url: Callable[[], str] = str
        """Of the hub's pages, as `http://hub:8000`; empty until it has some."""

    def decide(self, act: KeyAct, by: str) -> tuple[list[Event], Any]:
        """What is to be logged, and the answer.

        Raises:
            OperatorFault: it can't be done; the message says why.
        """
        match act:
            case CreateKey(agent, device, publishable, rewarding):
                return self.create(agent, device, by, publishable, rewarding)
            case CreateUserKey(user, hub):
                return self.create_for_user(user, by, hub)
            case RevokeKey(key_id):
                return self.revoke(key_id, by)
            case RotateKey(key_id, overlap_s):
                return self.rotate(key_id, overlap_s, by)
            case _:
                assert_never(act)

    def create(
        self,
        name: str,
        device: str | None,
        by: str,
        publishable: Publishable | None = None,
        rewarding: Rewarding | None = None,
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
        if rewarding is not None:
            if publishable is not None:
                raise OperatorFault("a key is publishable or for rewards, not both")
            check_rewarding(rewarding)
        of_device = None if device is None else DeviceId(device)
        event, secret = self.made(
            by, agent.name, of_device, publishable=publishable, rewarding=rewarding
        )
        answer = {"agent": name, "device": device, "api_key": secret}
        return [event], answer | self._rewards(agent.name, device, secret, rewarding)

    def create_for_user(
        self, name: str, by: str, hub: str | None = None
    ) -> tuple[list[Event], Any]:
        """A key for what the user may ask and do, or for a hub of the user's; shown once.

        Of two hubs with one name the newer connection would end the other's, again and again.
        """
        user = user_named(self._registry, name)
        if hub is not None and not HUB_NAME.fullmatch(hub):
            raise OperatorFault(f"name of a hub {hub[:60]!r} must match {HUB_NAME.pattern}")
        others = (key for key in self._registry.keys.values() if key.user != user.name)
        if hub is not None and any(key.hub == hub for key in others):
            raise OperatorFault(f"a hub of another user's is called {hub!r}; take another name")
        event, secret = self.made(by, user=user.name, hub=hub)
        whose = {"user": name} if hub is None else {"user": name, "hub": hub}
        return [event], {**whose, "api_key": secret}

    def revoke(self, key_id: str, by: str) -> tuple[list[Event], Any]:
        """The key is not accepted any more."""
        key = self._named(key_id)
        return [self._revoked(key.id, key, by)], {"revoked": key_id}

    def rotate(self, key_id: str, overlap_s: float | None, by: str) -> tuple[list[Event], Any]:
        """Another key for the same; the answer shows it, once. The old one ends by itself."""
        seconds = self._overlap_s if overlap_s is None else overlap_s
        if not 0 <= seconds <= OVERLAP_S_MAX:
            raise OperatorFault(f"an overlap is 0 to {OVERLAP_S_MAX:g} seconds, not {seconds}")
        key = self._named(key_id)
        if key.id in self._registry.successions:
            raise OperatorFault(
                f"key {key.id} has not been used yet, and {self._registry.successions[key.id].old} "
                "before it is still accepted: rotate that one, or revoke it first"
            )
        return self._replace(key, round(seconds * 1_000_000), by)

    def rotate_own(self, key: Key) -> tuple[list[Event], Any]:
        """The same as a device asks for it by its own key.

        The old one lives until the new one is used, however long that takes: the answer may have
        been lost, and nothing else would let the device in again.

        Raises:
            AccessDenied: it is the key of more than one device, and the others would be locked out;
                or an operator has given it an end, and a key that takes its place.
        """
        if key.device is None or key.rewarding is not None:
            raise AccessDenied(
                "this key is not of one device alone; its operator can 'sheepfold key rotate' it"
            )
        if self._registry.key(key.id) is None:
            raise AccessDenied("this key was revoked meanwhile")
        next_key = self._registry.successors.get(key.id)
        if next_key is not None and self._registry.successions[next_key].until is not None:
            raise AccessDenied(
                "an operator is changing this key; the device is to be given the new one"
            )
        by, before = f"device {key.device}", self._registry.successions.get(key.id)
        events, answer = self._replace(key, None, by)
        if before is not None:  # to ask is to use it
            events.insert(0, self._revoked(before.old, key, by))
        return events, answer

    def _replace(self, key: Key, overlap_us: int | None, by: str) -> tuple[list[Event], Any]:
        """A new key in place of another; one that was to be that before, and is unused, is not."""
        now_us, agent = self._now_us(), key.agent or ""
        until = None if overlap_us is None else now_us + overlap_us
        new_id, secret = make_secret(self._random_bytes)
        made = KeyReplaced(logged(structs.replace(key, id=new_id)), key.id, until, by)
        events = [admin_event(now_us, made, agent, key.device or "", fingerprint(secret))]
        unused = self._registry.successors.get(key.id)
        if unused is not None:
            events.insert(0, self._revoked(unused, key, by))
        if overlap_us == 0:
            events.append(self._revoked(key.id, key, by))
        whose = {"user": key.user} if key.agent is None else {"agent": agent, "device": key.device}
        answer = {"replaces": key.id, "until": None if until is None else iso(until)}
        answer |= self._rewards(key.agent, key.device, secret, key.rewarding)
        return events, {**whose, "api_key": secret, **answer}

    def listed(self) -> list[Any]:
        """All keys: public ids, what they open, and which takes whose place until when."""
        return [msgspec.to_builtins(key) | self._place(key) for key in self._registry.keys.values()]

    def _place(self, key: Key) -> dict[str, str | None]:
        """`until` it is accepted at the latest; None = for good, or until the other is used."""
        before = self._registry.successions.get(key.id)
        after = self._registry.successors.get(key.id)
        until = None if after is None else self._registry.successions[after].until
        return {
            "replaces": None if before is None else before.old,
            "replaced_by": after,
            "until": None if until is None else iso(until),
        }

    def _rewards(
        self, agent: str | None, device: str | None, secret: str, rewarding: Rewarding | None
    ) -> dict[str, str]:
        """Of a key for rewards: whom it rewards, and the link to their buttons."""
        if rewarding is None:
            return {}
        link = f"{self.url()}/reward/{device or 'DEVICE'}#{secret}"
        return {"rewards": device or f"any device of agent {agent}", "link": link}

    def made(
        self,
        by: str,
        agent: AgentName | None = None,
        device: DeviceId | None = None,
        user: str | None = None,
        publishable: Publishable | None = None,
        rewarding: Rewarding | None = None,
        hub: str | None = None,
    ) -> tuple[Event, str]:
        """The event of a new key, and the key's whole text."""
        key_id, secret = make_secret(self._random_bytes)
        key = Key(key_id, agent, device, user, publishable, rewarding=rewarding, hub=hub)
        fact = KeyMade(logged(key), by)
        event = admin_event(self._now_us(), fact, agent or "", device or "", fingerprint(secret))
        return event, secret

    def _revoked(self, key_id: KeyId, of: Key, by: str) -> Event:
        """The event by which a key of the same ends."""
        return admin_event(self._now_us(), KeyRevoked(key_id, by), of.agent or "")

    def _named(self, key_id: str) -> Key:
        key = self._registry.key(KeyId(key_id))
        if key is None:
            raise OperatorFault(f"there is no key {key_id!r}; see the list of keys")
        return key
