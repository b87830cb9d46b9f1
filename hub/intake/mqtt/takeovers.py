"""Connections of devices that newer ones took over: how often, and from which addresses.

    takeovers.note(agent, device, before="10.0.0.7", now="10.0.0.9", silent_s=0.4)
    for often in takeovers.often(8, within_s=600): …

Once is what every device does that lost its line before the hub noticed. Again and again it is
mostly two devices under one id, each of which comes in anew when the other has thrown it out. Not
so where the connection that ended had been silent: that is one device which sleeps, or went out of
reach, without a goodbye, and it may do so twice a minute for years.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.clock import Clock
    from hub.words import AgentName, DeviceId

DEVICES_MAX: Final = 1000
"""Those that were taken over last; of others nothing is known."""
KEPT: Final = 32
"""Takeovers of each that are remembered."""
SILENT_S: Final = 15.0
"""One that was silent for longer was nobody's any more, if the new one is from its address. Of two
devices each has said something, its CONNECT at least, since the other began to wait for its next
try: most wait 1 to 10 s."""


class Often(NamedTuple):
    """A device that was taken over as often as asked for."""

    agent: AgentName
    """Whose it was then."""
    device: DeviceId
    within_s: float
    """In which these takeovers were."""
    addresses: list[str]
    """From which they came, each once, the newest first; one that was only taken over too."""


class _Takeover(NamedTuple):
    at_s: float
    before: str
    now: str


class Takeovers:
    """Of all devices that have sockets here."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._of: dict[tuple[AgentName, DeviceId], deque[_Takeover]] = {}
        """In the order of their newest."""

    def note(
        self, agent: AgentName, device: DeviceId, *, before: str, now: str, silent_s: float
    ) -> None:
        """A connection from an address took over the device's one from another, or the same.

        Args:
            agent: the device's.
            device: whose connections both are.
            before: the address of the one that ended.
            now: the address of the new one.
            silent_s: nothing was heard for so long from the one that ended.
        """
        if before == now and silent_s > SILENT_S:
            return
        known = self._of.pop((agent, device), None) or deque(maxlen=KEPT)
        known.append(_Takeover(self._clock.monotonic(), before, now))
        self._of[agent, device] = known
        if len(self._of) > DEVICES_MAX:
            del self._of[next(iter(self._of))]

    def often(self, times: int, within_s: float) -> Iterator[Often]:
        """Devices whose last `times` takeovers all happened within so long until now.

        Args:
            times: from 1 to `KEPT`.
            within_s: seconds.
        """
        now_s = self._clock.monotonic()
        for (agent, device), known in self._of.items():
            last = list(known)[-times:]
            if len(last) < times or now_s - last[0].at_s > within_s:
                continue
            addresses = [
                one for takeover in reversed(last) for one in (takeover.now, takeover.before)
            ]
            yield Often(agent, device, last[-1].at_s - last[0].at_s, list(dict.fromkeys(addresses)))
