"""Secrets: made here, shown once, kept as SHA-256.

A key has 256 bits of its own randomness, so a fast hash is enough: 0.4 µs, where argon2id takes
167 ms and would be a lever to stop the hub with.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Final

from hub.errors import AccessDenied
from hub.topics import is_device_id
from hub.words import DeviceId, Key, KeyId

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.registry.fold import Registry, Spec

ID_BYTES: Final = 5
SECRET_BYTES: Final = 32


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
        AccessDenied: unknown, revoked, an operator's key, or its agent is gone.
    """
    key = registry.keys.get(fingerprint(secret))
    if key is None or key.agent is None or key.agent not in registry.agents:
        raise AccessDenied(
            "this API key is not accepted; make one with 'sheepfold key create AGENT'"
        )
    return key, registry.agents[key.agent]


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
    return DeviceId(device)
