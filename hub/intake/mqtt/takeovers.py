"""Connections of devices that newer ones took over: how often, and from which addresses.

    takeovers.note(device, before="10.0.0.7", now="10.0.0.9")
    for often in takeovers.often(8, within_s=600): …

Once is what every device does that lost its line before the hub noticed. Again and again it is
mostly two devices under one id, each of which comes in anew when the other has thrown it out.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.clock import Clock
    from hub.words import DeviceId

DEVICES_MAX: Final = 1000
"""Those that were taken over last; of others nothing is known."""
KEPT: Final = 32
"""Takeovers of each that are remembered."""


class Often(NamedTuple):
    """A device that was taken over as often as asked for."""

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
        self._of: dict[DeviceId, deque[_Takeover]] = {}
        """In the order of their newest."""

    def note(self, device: DeviceId, *, before: str, now: str) -> None:
        """A connection from an address took over the device's one from another, or the same."""
        known = self._of.pop(device, None)
        self._of[device] = deque(maxlen=KEPT) if known is None else known
        self._of[device].append(_Takeover(self._clock.monotonic(), before, now))
        if len(self._of) > DEVICES_MAX:
            del self._of[next(iter(self._of))]

    def often(self, times: int, within_s: float) -> Iterator[Often]:
        """Devices whose last `times` takeovers all happened within so long until now.

        Args:
            times: from 1 to `KEPT`.
            within_s: seconds.
        """
        now_s = self._clock.monotonic()
        for device, known in self._of.items():
            last = list(known)[-times:]
            if len(last) < times or now_s - last[0].at_s > within_s:
                continue
            addresses = [
                one for takeover in reversed(last) for one in (takeover.now, takeover.before)
            ]
            yield Often(device, last[-1].at_s - last[0].at_s, list(dict.fromkeys(addresses)))
