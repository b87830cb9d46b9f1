"""What happens to one simulated device: messages lost, doubled and late, reboots, half-open links.

    fate = Fate(faults, chance, made, clock=clock, pause=asyncio.sleep)
    exchange = BadLine(MqttExchange(…), fate)
    if fate.reboots(): …

Rule 1: a device notices of it what a real one would: no answer in time, so it asks again.
Rule 2: all that is made is counted, for the summary.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from hub.simulate.exchange import ANSWER_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hub.clock import Clock
    from hub.payloads import Act
    from hub.simulate.exchange import Exchange, Said
    from hub.simulate.faults import Chance, Faults

COPIES_MAX: Final = 32
"""Of one device on their way; more are not made."""


class Made(Struct):
    """Faults that were made, of all devices; it grows."""

    lost: int = 0
    """Messages and answers that never arrived."""
    repeated: int = 0
    """Messages that arrived twice."""
    delayed: int = 0
    """Messages, answers and copies that came late."""
    reboots: int = 0
    half_open: int = 0
    """Connections whose end nobody told the hub of."""


class Fate:
    """Draws what happens to one device.

    Args:
        faults: how often.
        chance: of this device.
        made: counts, of all devices.
        clock: for what happens so many times an hour.
        pause: sleeps while something is on its way.
    """

    def __init__(
        self,
        faults: Faults,
        chance: Chance,
        made: Made,
        *,
        clock: Clock,
        pause: Callable[[float], Awaitable[object]],
    ) -> None:
        self.made = made
        self.pause = pause
        self._faults = faults
        self._chance = chance
        self._clock = clock
        now = clock.monotonic()
        self._reboots_at = now + chance.wait(faults.boot_s)
        self._link_ends_at = now + chance.wait(faults.link_s)

    def reboots(self) -> bool:
        """Whether the device reboots now."""
        now = self._clock.monotonic()
        if now < self._reboots_at:
            return False
        self._reboots_at = now + self._chance.wait(self._faults.boot_s)
        self.made.reboots += 1
        return True

    def loses_link(self) -> bool:
        """Whether the connection is half open from now on."""
        now = self._clock.monotonic()
        if now < self._link_ends_at:
            return False
        self._link_ends_at = now + self._chance.wait(self._faults.link_s)
        self.made.half_open += 1
        return True

    def loses(self) -> bool:
        """Whether a message, or an answer, is lost."""
        lost = self._chance.happens(self._faults.lost)
        self.made.lost += lost
        return lost

    def repeats(self) -> bool:
        """Whether a message arrives once more."""
        repeated = self._chance.happens(self._faults.repeated)
        self.made.repeated += repeated
        return repeated

    async def travel(self) -> None:
        """For as long as a message is on its way."""
        delay_s = self._chance.delay_s(self._faults.delay)
        if delay_s:
            self.made.delayed += 1
            await self.pause(delay_s)


class BadLine:
    """An `Exchange` on which all of that happens."""

    def __init__(self, exchange: Exchange, fate: Fate) -> None:
        self.numbered = exchange.numbered
        self.ordered = exchange.ordered
        self._exchange = exchange
        self._fate = fate
        self._copies: set[asyncio.Task[None]] = set()

    async def ask(self, said: Said) -> Act:
        """As `Exchange.ask`, when nothing happens."""
        fate = self._fate
        if fate.loses_link():
            self.abandon()
        await fate.travel()
        if fate.loses():
            await self._wait_in_vain(said)
        if len(self._copies) < COPIES_MAX and fate.repeats():
            copy = asyncio.create_task(self.send(said))
            self._copies.add(copy)
            copy.add_done_callback(self._copies.discard)
        act = await self._exchange.ask(said)
        if fate.loses():
            await self._wait_in_vain(said)
        await fate.travel()
        return act

    async def send(self, said: Said) -> None:
        """A copy, on a way of its own."""
        await self._fate.travel()
        await self._exchange.send(said)

    def abandon(self) -> None:
        """Leave the connection half open."""
        self._drop_copies()
        self._exchange.abandon()

    def close(self) -> None:
        """Disconnect."""
        self._drop_copies()
        self._exchange.close()

    def _drop_copies(self) -> None:
        """What is on a connection goes down with it; a request of its own arrives."""
        if self.ordered:
            for copy in self._copies:
                copy.cancel()

    async def _wait_in_vain(self, said: Said) -> None:
        await self._fate.pause(ANSWER_TIMEOUT_S)
        raise TimeoutError(f"step {said.s} was lost on the way")
