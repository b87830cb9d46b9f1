"""What is refused: said to its device, counted, and logged as often as one device may have it."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

import msgspec

from hub.facts import Refusal
from hub.words import Code, Event, Kind

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.errors import DeviceFault
    from hub.intake.session import Session
    from hub.step import Appender, Reply
    from hub.words import AgentName

WINDOW_US: Final = 60_000_000


class Refusals:
    """Of all devices.

    Args:
        log: has them.
        clock: of the window in which they are counted.
        per_minute: refusals of one device that are logged; the others are only said.
    """

    def __init__(self, log: Appender, clock: Clock, per_minute: int) -> None:
        self._log = log
        self._clock = clock
        self._per_minute = per_minute
        self._logged: dict[str, tuple[int, int]] = {}
        """When each device's minute began, and how many it has had since."""
        self._by_agent: defaultdict[AgentName, Counter[Code]] = defaultdict(Counter)

    def take(self, session: Session, fault: DeviceFault, reply: Reply) -> None:
        """Tell the device, log it within the limit, acknowledge it: or it is sent for ever."""
        session.device.refused += 1
        self._by_agent[session.agent][fault.code] += 1
        if fault.code is Code.BUSY:
            reply.refuse(fault, acknowledge=False)
            return
        if not self._may_log(session.device.id):
            reply.refuse(fault, acknowledge=True)
            return
        event = Event(
            kind=Kind.REFUSED,
            ts=self._clock.now_us(),
            agent=session.agent,
            device=session.device.id,
            session=session.id,
            boot=session.device.boot,
            step=fault.step,
            reason=fault.code,
            payload=msgspec.json.encode(Refusal(fault.code, fault.message)).decode(),
        )
        self._log.append([event], lambda _seq: reply.refuse(fault, acknowledge=True))

    def of(self, agent: AgentName) -> Counter[Code]:
        """What an agent's devices were refused since start, by code."""
        return self._by_agent.get(agent, Counter())

    def _may_log(self, device: str) -> bool:
        now_us = self._clock.now_us()
        since, count = self._logged.get(device, (now_us, 0))
        if not 0 <= now_us - since < WINDOW_US:
            since, count = now_us, 0
        self._logged[device] = (since, count + 1)
        return count < self._per_minute
