"""What a device sent besides numbers is encrypted at rest, with a key of that device alone.

Destroy the key and nobody can read it any more, wherever copies are: in the log, its segments and
backups. Everything else stays as it was, so learning and proofs are not touched.

    keys = PayloadKeys(data / "keys", os.urandom)
    text = keys.seal("boiler-2", '{"room":"7"}')     # sealed:1:…
    keys.reveal("boiler-2", text)                    # '{"room":"7"}', None once destroyed

Rule 1: a key is on disk before anything sealed with it can be.
Rule 2: keys are in no log, segment or backup; `DATA/keys` is copied apart, or the payloads are lost
    with the machine.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hub.log.segments.manifest import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FOLDER: Final = "keys"
PREFIX: Final = "sealed:1:"
"""Version 1: AES-256-GCM (NIST SP 800-38D), nonce in front, device id as associated data."""
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12


class PayloadKeys:
    """The keys of all devices.

    Args:
        folder: one file a device; made when the first key is.
        random_bytes: for keys and nonces.
    """

    def __init__(self, folder: Path, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._folder = folder
        self._random_bytes = random_bytes
        self._ciphers: dict[str, AESGCM | None] = {}

    def seal(self, device: str, text: str) -> str:
        """The text, readable only while the device's key is there; makes the key at first.

        Raises:
            OSError: the key can't be made durable.
        """
        cipher = self._cipher(device) or self._make(device)
        nonce = self._random_bytes(NONCE_BYTES)
        sealed = nonce + cipher.encrypt(nonce, text.encode(), device.encode())
        return PREFIX + base64.b64encode(sealed).decode()

    def reveal(self, device: str, text: str | None) -> str | None:
        """What was sealed; None when the key is gone or another's. Other text stays as it is."""
        if text is None or not text.startswith(PREFIX):
            return text
        cipher = self._cipher(device)
        if cipher is None:
            return None
        try:
            sealed = base64.b64decode(text[len(PREFIX) :], validate=True)
            plain = cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], device.encode())
        except (InvalidTag, ValueError):
            return None
        return plain.decode()

    def destroy(self, device: str) -> None:
        """Make all that was sealed for the device unreadable, for ever."""
        self._ciphers.pop(device, None)
        path = self._folder / device
        if path.exists():
            path.write_bytes(bytes(KEY_BYTES))  # where blocks are written in place
            path.unlink()
            sync_folder(self._folder)

    def look_again(self) -> None:
        """Forget what was read: another process may have destroyed keys since."""
        self._ciphers.clear()

    def _cipher(self, device: str) -> AESGCM | None:
        if device not in self._ciphers:
            try:
                self._ciphers[device] = AESGCM((self._folder / device).read_bytes())
            except FileNotFoundError:
                self._ciphers[device] = None
        return self._ciphers[device]

    def _make(self, device: str) -> AESGCM:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = self._random_bytes(KEY_BYTES)
        draft = self._folder / f"{device}.new"
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, key)
            os.fsync(fd)
        finally:
            os.close(fd)
        draft.rename(self._folder / device)
        sync_folder(self._folder)  # CRUCIAL: before the first payload can be committed
        cipher = self._ciphers[device] = AESGCM(key)
        return cipher
