"""Who is heard, how fast, and how well it goes: looked at when a page asks, from what the hub has.

Nothing is done for a step. While pages are open there is one look over the devices each second,
however many pages there are. What pages show of a look is made once for each look: an agent's or a
device's Pulse, whose devices are an agent's, and the whole of a part that several pages have alike.
"""

from __future__ import annotations

from collections import defaultdict
from heapq import nlargest, nsmallest
from math import inf
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from hub.intake.device import Device
    from hub.intake.endings import Ended
    from hub.processes import Hub
    from hub.words import AgentName, DeviceId

ONLINE_S: Final = 60.0
"""A device without a connection of its own counts as online for so long after a message."""
LOOK_S: Final = 0.9
"""Looks are at least so far apart, whoever asks."""
STALE_S: Final = 10.0
"""A look before that says nothing of now."""
DEVICES_SHOWN: Final = 500
"""Of a page those heard last; thousands help nobody, the log has them all."""
RECENT: Final = 20
"""Last episodes that a return is the mean of."""


class Pulse(Struct, frozen=True):
    """A device, or all of an agent, as it stands."""

    devices: int
    online: int
    steps_per_s: float | None
    """None before the second look."""
    seen_s: float | None
    """Since the last message; None = not since the hub was started."""
    episodes: int
    taken: int
    refused: int
    """Both since the hub was started."""
    returns: float | None
    """Mean of the last episodes since the hub was started; None before any."""


class Rates:
    """Looks, and what came between two of them."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._at_s = float("-inf")
        self._taken: dict[DeviceId, int] = {}
        self._per_s: dict[DeviceId, float] | None = None
        self._of_device: dict[DeviceId, Pulse] = {}
        self._of_agent: dict[AgentName, Pulse] = {}
        self._theirs: dict[AgentName, list[DeviceId]] | None = None
        self._parts: dict[Hashable, str] = {}
        """All made since the last look."""

    def look(self) -> None:
        """Count what was taken since the last look."""
        now = self._hub.clock.monotonic()
        since_s = now - self._at_s
        if since_s < LOOK_S:
            return
        taken = {id_: device.taken for id_, device in self._hub.sessions.devices.items()}
        self._per_s = None
        if since_s < STALE_S:
            before = self._taken
            self._per_s = {i: (n - before.get(i, 0)) / since_s for i, n in taken.items()}
        self._taken, self._at_s = taken, now
        self._of_device, self._of_agent = {}, {}
        self._theirs, self._parts = None, {}

    def once(self, key: Hashable, make: Callable[[], str]) -> str:
        """A part of pages: that with this key is made once for each look."""
        part = self._parts.get(key)
        if part is None:
            part = self._parts[key] = make()
        return part

    def theirs(self, agent: AgentName) -> list[DeviceId]:
        """The agent's devices as they were when they were first asked for after the last look."""
        if self._theirs is None:
            theirs = defaultdict(list)
            for device, owner in self._hub.registry.devices.items():
                theirs[owner].append(device)
            self._theirs = dict(theirs)
        return self._theirs.get(agent, [])

    def newest(self, devices: Iterable[DeviceId]) -> list[DeviceId]:
        """Those heard last, the last first, then those not heard; `DEVICES_SHOWN` at most."""
        known = self._hub.sessions.devices

        def silence(id_: DeviceId) -> float:
            device = known.get(id_)
            spoke = device is not None and (device.taken or device.refused)
            return -device.heard_s if device is not None and spoke else inf

        return nsmallest(DEVICES_SHOWN, devices, key=silence)

    def device(self, device: DeviceId) -> Pulse:
        """One device, as it was when it was first asked for after the last look."""
        pulse = self._of_device.get(device)
        if pulse is None:
            pulse = self._of_device[device] = self._pulse([device])
        return pulse

    def agents(self, names: Iterable[AgentName]) -> dict[AgentName, Pulse]:
        """All of an agent's devices together, for each agent."""
        pulses = {}
        for name in names:
            if name not in self._of_agent:
                self._of_agent[name] = self._pulse(self.theirs(name))
            pulses[name] = self._of_agent[name]
        return pulses

    def ended(self, agent: AgentName, after: Mapping[DeviceId, int]) -> dict[DeviceId, list[Ended]]:
        """The last episodes of each device that has newer ones than the number that is given."""
        known = self._hub.sessions.devices
        found = {}
        for device in self.theirs(agent):
            ended = known[device].ended if device in known else None
            if ended is not None and ended.last.number > after.get(device, 0):
                found[device] = list(ended)
        return found

    def _pulse(self, ids: list[DeviceId]) -> Pulse:
        known = self._hub.sessions.devices
        devices = [known[i] for i in ids if i in known]
        now = self._hub.clock.monotonic()
        heard = [now - device.heard_s for device in devices if device.taken or device.refused]
        per_s = self._per_s
        return Pulse(
            devices=len(ids),
            online=sum(1 for i in ids if self._online(i, known.get(i), now)),
            steps_per_s=None if per_s is None else sum(per_s.get(i, 0.0) for i in ids),
            seen_s=min(heard, default=None),
            episodes=sum(device.episodes for device in devices),
            taken=sum(device.taken for device in devices),
            refused=sum(device.refused for device in devices),
            returns=_mean(devices),
        )

    def _online(self, id_: DeviceId, device: Device | None, now: float) -> bool:
        if id_ in self._hub.gate.connections:
            return True
        return device is not None and device.taken > 0 and now - device.heard_s < ONLINE_S


def _mean(devices: list[Device]) -> float | None:
    # The newest episodes are of devices whose last ones are.
    all_ended = [device.ended for device in devices if device.ended is not None]
    last = nlargest(RECENT, all_ended, key=lambda ended: ended.last.ended_us)
    ended = [one for of_device in last for one in of_device]
    newest = sorted(ended, key=lambda one: one.ended_us)[-RECENT:]
    return sum(one.total_reward for one in newest) / len(newest) if newest else None
