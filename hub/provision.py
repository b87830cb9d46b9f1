"""How devices come by keys of their own without an operator beside them, and change them.

    given = await provision.claim(asked(token, "pump-7", nonce, None))   # its first key
    secret = await provision.rotate(key)                                 # another in its place

Rule 1: what comes of it is in the log, and folded, when it is answered.
Rule 2: of two keys that are accepted for a while the old one ends as soon as its device uses the
    new one, and when its time is over; what is connected by it is disconnected then.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, TypeVar

from hub.errors import DeviceFault, SheepfoldError
from hub.facts import ClaimRefused
from hub.registry.admin import admin_event
from hub.registry.buckets import Buckets
from hub.registry.claim_acts import NotForThis
from hub.registry.key_acts import RevokeKey
from hub.words import Code

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import NoReturn

    from hub.clock import Clock
    from hub.control import Control
    from hub.registry.acts import Acts
    from hub.registry.claim_acts import Asked, Given
    from hub.registry.fold import Registry
    from hub.step import Appender
    from hub.words import Key, KeyId

Answer = TypeVar("Answer")

log: Final = logging.getLogger("hub")

WAIT_S_MAX: Final = 10.0
"""So long it may take until a key is durable."""
LOOK_S: Final = 1.0
"""A key whose time is over is accepted for so much longer at most."""
ROTATIONS_PER_MINUTE: Final = 6.0
ROTATIONS_BURST_S: Final = 30.0
REFUSED_PER_MINUTE: Final = 1.0
REFUSED_BURST_S: Final = 1800.0
"""Thirty refusals of a claim are logged as they come, then one a minute."""
REMEMBERED_MAX: Final = 10_000
"""Keys, and claims, of which it is remembered how often they were used."""


class Provision:
    """What devices are given, over whatever protocol they ask.

    Args:
        control: logs and folds.
        acts: decide.
        registry: as the log has it.
        log: takes what was refused.
        clock: of the limits.
    """

    def __init__(
        self, control: Control, acts: Acts, registry: Registry, log: Appender, clock: Clock
    ) -> None:
        self._control = control
        self._acts = acts
        self._registry = registry
        self._log = log
        self._clock = clock
        self._refused: Buckets[str] = Buckets(
            REFUSED_PER_MINUTE / 60, burst_s=REFUSED_BURST_S, most=REMEMBERED_MAX
        )
        self._rotated: Buckets[str] = Buckets(
            ROTATIONS_PER_MINUTE / 60, burst_s=ROTATIONS_BURST_S, most=REMEMBERED_MAX
        )
        self._ending: dict[KeyId, asyncio.Task[None]] = {}
        """Old keys that are being revoked."""

    def check_claim(self, token: str, device: str) -> str:
        """The agent that the token may make the device one of; looks only.

        Raises:
            AccessDenied: it would not be given a key, whatever else it says.
        """
        try:
            return self._acts.claims.check(token, device).claim.agent
        except NotForThis as refused:
            self._note(device, refused)
            raise

    async def claim(self, asked: Asked) -> Given:
        """The device's own key; durable when it returns.

        Raises:
            AccessDenied: the token gives it none.
            DeviceFault: `busy`, nothing can be made durable now.
        """
        try:
            self._acts.claims.check(asked.token, asked.device)  # the turn is not a stranger's
            decided = self._control.settle(lambda: self._acts.claims.redeem(asked))
            return await _in_time(decided)
        except NotForThis as refused:
            self._note(asked.device, refused)
            raise

    async def rotate(self, key: Key) -> str:
        """Another key for the device whose this is; durable when it returns.

        Raises:
            AccessDenied: the key is not of one device, or was revoked meanwhile.
            DeviceFault: `rate`, too often; `busy`, nothing can be made durable now.
        """
        wait_s = self._rotated.take(key.device or key.id, self._clock.monotonic())
        if wait_s:
            text = f"a key is rotated {ROTATIONS_PER_MINUTE:g} times a minute at most"
            raise DeviceFault(Code.RATE, text, retry_s=wait_s)
        made = await _in_time(
            self._control.settle(lambda: self._acts.keys.rotate_own(key), ends_keys=True)
        )
        return str(made["api_key"])

    def used(self, key: KeyId) -> None:
        """A device has come in by a key: of a new one that is the end of the one before."""
        succession = self._registry.successions.get(key)
        shown = self._registry.key(key)
        if succession is not None and shown is not None and shown.device is not None:
            self._end(succession.old, f"key {key}")

    async def run(self) -> NoReturn:
        """End the keys whose time is over, for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """End the keys whose time is over by now."""
        now_us = self._clock.now_us()
        for new, succession in self._registry.successions.items():
            if succession.until is not None and succession.until <= now_us:
                self._end(succession.old, f"key {new}")

    def _end(self, key: KeyId, by: str) -> None:
        if key not in self._ending:
            task = asyncio.get_running_loop().create_task(self._revoke(key, by))
            self._ending[key] = task
            task.add_done_callback(lambda _: self._ending.pop(key))

    async def _revoke(self, key: KeyId, by: str) -> None:
        try:
            await self._control.act(RevokeKey(key), by, lambda: None)
        except SheepfoldError as error:  # it is gone already; or the log is, and we look again
            log.warning("key %s, which %s replaces, could not be revoked: %s", key, by, error)

    def _note(self, device: str, refused: NotForThis) -> None:
        """An operator should see it, and not too often: who has a token may try for ever."""
        claim = refused.claim
        if self._refused.take(claim.id, self._clock.monotonic()):
            return
        fact = ClaimRefused(claim.id, device[:40], str(refused), f"claim {claim.id}")
        self._log.append([admin_event(self._clock.now_us(), fact, claim.agent)], lambda _: None)


async def _in_time(decided: Awaitable[Answer]) -> Answer:
    try:
        async with asyncio.timeout(WAIT_S_MAX):
            return await decided
    except TimeoutError as error:
        raise DeviceFault(Code.BUSY, "the log can't commit now; ask again") from error
