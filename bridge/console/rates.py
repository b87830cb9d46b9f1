"""Who is heard, how fast, and how well it goes: looked at when a page asks, from what the hub has.

Nothing is done for a step. A page that is open costs one look over the devices each second,
however many pages there are.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.intake.device import Device, Ended
    from hub.processes import Hub
    from hub.words import AgentName, DeviceId

ONLINE_S: Final = 60.0
"""A device without a connection of its own counts as online for so long after a message."""
LOOK_S: Final = 0.9
"""Looks are at least so far apart, whoever asks."""
STALE_S: Final = 10.0
"""A look before that says nothing of now."""
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

    def device(self, device: DeviceId) -> Pulse:
        """One device."""
        return self._pulse([device])

    def agents(self, names: Iterable[AgentName]) -> dict[AgentName, Pulse]:
        """All of an agent's devices together, for each agent."""
        theirs: defaultdict[AgentName, list[DeviceId]] = defaultdict(list)
        for device, agent in self._hub.registry.devices.items():
            theirs[agent].append(device)
        return {name: self._pulse(theirs[name]) for name in names}

    def ended(self, devices: Iterable[DeviceId]) -> dict[DeviceId, list[Ended]]:
        """The last episodes of each."""
        known = self._hub.sessions.devices
        return {i: list(known[i].ended or ()) for i in devices if i in known}

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
    ended = [one for device in devices for one in (device.ended or ())]
    newest = sorted(ended, key=lambda one: one.ended_us)[-RECENT:]
    return sum(one.total_reward for one in newest) / len(newest) if newest else None
