"""Whether a password is a person's: one look at a time, in a thread, never on the hub's loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from hub.errors import LogUnavailable
from hub.registry.access import hash_password, password_matches

if TYPE_CHECKING:
    from hub.registry.fold import Registry

WAITING_MAX: Final = 8
"""Each look takes 64 MiB and 0.1 s; who comes when so many wait is sent away."""
NOBODYS: Final = "a password that nobody has"


class Passwords:
    """Looks, over the users of a hub."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._looking = asyncio.Lock()
        self._waiting = 0
        self._nobodys: bytes | None = None

    async def right(self, name: str, password: str) -> bytes | None:
        """The hash that it matches, None unless it is the user's; as slow for nobody's name.

        Raises:
            LogUnavailable: too many others are waiting.
        """
        if self._waiting >= WAITING_MAX:
            raise LogUnavailable("too many people are logging in; try again in a moment")
        self._waiting += 1
        try:
            async with self._looking:
                return await self._look(name, password)
        finally:
            self._waiting -= 1

    async def _look(self, name: str, password: str) -> bytes | None:
        hashed = self._registry.passwords.get(name)
        if self._nobodys is None:
            self._nobodys = await asyncio.to_thread(hash_password, NOBODYS)
        matches = await asyncio.to_thread(password_matches, hashed or self._nobodys, password)
        # Asked again: meanwhile it may be another password, or nobody's.
        same = self._registry.passwords.get(name) == hashed
        return hashed if matches and same else None
