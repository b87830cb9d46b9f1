"""Secrets: keys are made here, shown once and kept as SHA-256; passwords are kept as argon2id.

A key has 256 bits of its own randomness, so a fast hash is enough: 0.4 µs, where argon2id takes
110 ms and 64 MiB and would be a lever to stop the hub with. A password is as guessable as its
person is lazy, so each guess at a stolen hash must cost that much (OWASP, password storage); it
is asked for once a login, and in a thread, never on the hub's loop.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from hub.errors import AccessDenied, OperatorFault
from hub.topics import is_device_id
from hub.words import AgentName, DeviceId, Key, KeyId, User

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.registry.fold import Registry, Spec

ID_BYTES: Final = 5
SECRET_BYTES: Final = 32
SECRET: Final = re.compile(r"[a-z2-7]{8}\.[A-Za-z0-9_-]{43}")
"""Shape of what `make_secret` makes."""
PASSWORD_CHARACTERS_MIN: Final = 8

_passwords: Final = PasswordHasher()
"""argon2id with the library's defaults, which follow RFC 9106, section 4."""


def make_secret(random_bytes: Callable[[int], bytes]) -> tuple[KeyId, str]:
    """A new key's public id and its whole text `id.secret`, which is shown once."""
    key_id = base64.b32encode(random_bytes(ID_BYTES)).decode().lower()
    secret = base64.urlsafe_b64encode(random_bytes(SECRET_BYTES)).rstrip(b"=").decode()
    return KeyId(key_id), f"{key_id}.{secret}"


def fingerprint(secret: str) -> bytes:
    """SHA-256: what the log keeps, and what a secret is looked up by."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def agent_of(registry: Registry, secret: str) -> tuple[Key, Spec]:
    """The key and agent a device's secret opens.

    Raises:
        AccessDenied: unknown, revoked, an operator's or a publishable key, one for rewards, or its
            agent is gone.
    """
    key, spec = rewarder_of(registry, secret)
    if key.rewarding is not None:
        raise AccessDenied("this key is for rewards, by POST /v1/reward, and nothing else")
    return key, spec


def rewarder_of(registry: Registry, secret: str) -> tuple[Key, Spec]:
    """The same for whoever gives a person's reward: a key for that alone is enough.

    Raises:
        AccessDenied: as `agent_of`.
    """
    key, spec = _opened(registry, secret)
    if key.publishable is not None:
        raise AccessDenied(
            "this key is publishable: it opens sessions for web pages, by POST "
            "/shepherd/login_user/, and nothing else"
        )
    return key, spec


def login_of(registry: Registry, secret: str, origin: str | None) -> tuple[Key, Spec]:
    """The same for whoever logs in; a publishable key may, from a page of one of its origins.

    Raises:
        AccessDenied: as `agent_of`, or the page is of another origin.
    """
    key, spec = _opened(registry, secret)
    if key.rewarding is not None:
        raise AccessDenied("this key is for rewards, by POST /v1/reward, and nothing else")
    check_origin(key, origin)
    return key, spec


def check_origin(key: Key, origin: str | None) -> None:
    """Refuse what a browser sends for a page that a publishable key is not for.

    A program can say what it likes about itself: what keeps it is what the key can't do.

    Raises:
        AccessDenied: it is not.
    """
    if key.publishable is not None and origin not in key.publishable.origins:
        raise AccessDenied(
            f"this key is for pages of {', '.join(key.publishable.origins)}; this request is "
            f"{'of no page' if origin is None else f'for a page of {origin[:100]}'}"
        )


def _opened(registry: Registry, secret: str) -> tuple[Key, Spec]:
    key = registry.keys.get(fingerprint(secret))
    if key is None or key.agent is None or key.agent not in registry.agents:
        raise AccessDenied(
            "this API key is not accepted; make one with 'sheepfold key create AGENT'"
        )
    return key, registry.agents[key.agent]


def operator_of(registry: Registry, secret: str) -> User:
    """The user an operator's secret stands for.

    Raises:
        AccessDenied: unknown, revoked, a device's key, or its user is gone.
    """
    key = registry.keys.get(fingerprint(secret))
    if key is not None and key.agent is not None:
        raise AccessDenied(  # no hint to a stranger: the key shown is accepted elsewhere
            "this is a device's key, not an operator's; "
            "make one with 'sheepfold key create --user USER'"
        )
    if key is not None and key.hub is not None:
        raise AccessDenied("this key is for a hub that meets others over MQTT, and nothing else")
    user = None if key is None or key.user is None else registry.users.get(key.user)
    if user is None:
        raise AccessDenied(
            "this operator key is not accepted; make one with 'sheepfold key create --user USER'"
        )
    return user


def hash_password(password: str) -> bytes:
    """The argon2id hash as a PHC string, its salt in it. Takes about 0.1 s: call it in a thread.

    Raises:
        OperatorFault: the password is too short.
    """
    if len(password) < PASSWORD_CHARACTERS_MIN:
        raise OperatorFault(f"a password has at least {PASSWORD_CHARACTERS_MIN} characters")
    return _passwords.hash(password.encode("utf-8", "surrogatepass")).encode()


def password_matches(hashed: bytes, password: str) -> bool:
    """Whether this is the password that was hashed. As slow as `hash_password`: a thread again."""
    try:
        return _passwords.verify(hashed, password.encode("utf-8", "surrogatepass"))
    except (VerificationError, InvalidHashError):
        return False


def admit(registry: Registry, key: Key, device: str, *, reserved: bool = False) -> DeviceId:
    """The device id, when this key may speak for it. The caller binds a device seen first.

    Raises:
        AccessDenied: malformed or reserved id, another device's key, or another agent's device.
    """
    if not is_device_id(device, reserved=reserved):
        raise AccessDenied(
            f"device id {device[:40]!r} must match [a-z0-9_-]{{1,23}}, not hub, agents, http-*"
        )
    if key.device is not None and key.device != device:
        raise AccessDenied(f"this key is device {key.device!r}'s, not {device!r}'s")
    owner = registry.devices.get(DeviceId(device))
    if owner is not None and owner != key.agent:
        raise AccessDenied(f"device {device!r} belongs to another agent; its operator can move it")
    if owner is None and key.agent is not None:
        check_room(registry, key.agent)
    return DeviceId(device)


def check_room(registry: Registry, agent: AgentName) -> None:
    """Refuse one more device where the agent has as many as it may have.

    Raises:
        AccessDenied: it has.
    """
    spec = registry.agents.get(agent)
    most = registry.devices_max if spec is None else spec.agent.devices_max or registry.devices_max
    if len(registry.devices) < most:
        return  # counting takes 0.3 ms at ten thousand
    if sum(owner == agent for owner in registry.devices.values()) >= most:
        raise AccessDenied(
            f"agent {agent!r} has {most} devices, as many as it may; "
            "its operator can forget some or raise its devices_max"
        )
