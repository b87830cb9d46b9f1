"""What a device sent besides numbers is encrypted at rest, with a key of that device alone.

Destroy the key and nobody can read it any more, wherever copies are: in the log, its segments and
backups. Everything else stays as it was, so learning and proofs are not touched.

    keys = PayloadKeys(data / "keys", os.urandom)
    text = keys.seal("boiler-2", '{"room":"7"}')     # sealed:1:…
    keys.reveal("boiler-2", text)                    # '{"room":"7"}', None once destroyed

    keys/boiler-2             the key
    keys/boiler-2.forgotten   a key was destroyed: payloads from before there were keys are gone too
    keys/boiler-2.gone        the key while it is being destroyed; nobody reads it
    keys/boiler-2.new         a key while it is being made; nothing is sealed with it

Rule 1: a key is on disk before anything sealed with it can be.
Rule 2: keys are in no log, segment or backup; `DATA/keys` is copied apart, or the payloads are lost
    with the machine.
Rule 3: a key is there whole or not at all, whenever the process is killed. What is no key – cut
    short, or zeros – counts as none.
Rule 4: one process makes and destroys keys. Its threads see one key at a time.
"""

from __future__ import annotations

import base64
import os
import threading
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
FORGOTTEN: Final = ".forgotten"
GONE: Final = ".gone"
DRAFT: Final = ".new"
"""Ends of names beside the keys; a device id has no dot."""


class PayloadKeys:
    """The keys of all devices.

    Args:
        folder: made when the first key is made or destroyed.
        random_bytes: for keys and nonces.
    """

    def __init__(self, folder: Path, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._folder = folder
        self._random_bytes = random_bytes
        self._lock = threading.RLock()
        """Of what follows, and of the files: a key that was read is the one that is there."""
        self._ciphers: dict[str, AESGCM | None] = {}
        self._forgotten: dict[str, bool] = {}
        self._folder_is_durable = False

    def seal(self, device: str, text: str) -> str:
        """The text, readable only while the device's key is there; makes the key at first.

        Raises:
            OSError: the key can't be made durable.
        """
        with self._lock:
            cipher = self._cipher(device) or self._make(device)
        nonce = self._random_bytes(NONCE_BYTES)
        sealed = nonce + cipher.encrypt(nonce, text.encode(), device.encode())
        return PREFIX + base64.b64encode(sealed).decode()

    def seal_old(self, device: str, text: str) -> str | None:
        """As `seal`, what was stored before there were keys; None once the device was forgotten.

        It is older than every key: a device that comes back with a new one doesn't bring it back.
        """
        with self._lock:
            if device not in self._forgotten:
                self._forgotten[device] = (self._folder / f"{device}{FORGOTTEN}").exists()
            return None if self._forgotten[device] else self.seal(device, text)

    def reveal(self, device: str, text: str | None) -> str | None:
        """What was sealed; None when the key is gone or another's. Other text stays as it is."""
        if text is None or not text.startswith(PREFIX):
            return text
        with self._lock:
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
        """Make all that was sealed for the device unreadable, for ever; again is no harm.

        Raises:
            OSError: it is uncertain whether the key is still on the disk; do it again.
        """
        with self._lock:
            self._make_folder()
            (self._folder / f"{device}{FORGOTTEN}").touch(mode=0o600)
            sync_folder(self._folder)  # before the key goes: none must be made for old payloads
            self._forgotten[device] = True
            self._erase(device)  # what a failure left
            self._ciphers.pop(device, None)
            path = self._folder / device
            if path.exists():
                path.rename(self._folder / f"{device}{GONE}")
                sync_folder(self._folder)  # CRUCIAL: before it is overwritten, or zeros are the key
                self._erase(device)

    def clean(self) -> None:
        """End what a kill interrupted; by the one process that makes keys, before it does.

        Raises:
            OSError: a key that was to be destroyed is still there.
        """
        with self._lock:
            for path in self._folder.glob(f"*{GONE}"):
                self._erase(path.name.removesuffix(GONE))
            for path in self._folder.glob(f"*{DRAFT}"):
                path.unlink()

    def _cipher(self, device: str) -> AESGCM | None:
        if device not in self._ciphers:
            try:
                key = (self._folder / device).read_bytes()
            except FileNotFoundError:
                key = b""
            whole = len(key) == KEY_BYTES and any(key)
            self._ciphers[device] = AESGCM(key) if whole else None
        return self._ciphers[device]

    def _make(self, device: str) -> AESGCM:
        self._make_folder()
        key = self._random_bytes(KEY_BYTES)
        draft = self._folder / f"{device}{DRAFT}"
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

    def _make_folder(self) -> None:
        if not self._folder_is_durable:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(self._folder.parent)
            self._folder_is_durable = True

    def _erase(self, device: str) -> None:
        """Overwrite what was the device's key, where blocks are written in place, and remove it."""
        path = self._folder / f"{device}{GONE}"
        if not path.exists():
            return
        with path.open("r+b") as file:  # in place: truncated, the blocks would be others
            file.write(bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
        sync_folder(self._folder)
