"""The outboxes of all devices: each stands for as long as its device's session is to last."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hub.intake.mqtt.dialect import Dialect
    from hub.intake.mqtt.outbox import Outbox
    from hub.intake.mqtt.wire import Connect
    from hub.settings import MqttSettings
    from hub.words import DeviceId


class Outboxes(dict["DeviceId", "Outbox"]):
    """By device; `open` when it connects, `close` when that connection has ended."""

    def __init__(self, settings: MqttSettings) -> None:
        super().__init__()
        self._settings = settings

    def open(self, device: DeviceId, packet: Connect, dialect: Dialect) -> tuple[Outbox, bool]:
        """What goes to the device, and whether it is resumed (3.1.2.4)."""
        outbox = self.get(device)
        if outbox is not None:
            outbox.keep()
            if outbox.lasts_s and not packet.clean_session and dialect.can_resume(outbox):
                outbox.lasts_s = packet.lasts_s
                return outbox, True
        outbox = self[device] = dialect.outbox(device, packet.lasts_s, self._settings)
        return outbox, False

    def close(self, device: DeviceId, outbox: Outbox) -> None:
        """Forget it, at once or in time, unless it is to last for ever."""
        if self.get(device) is not outbox or outbox.lasts_s == math.inf:
            return
        if outbox.lasts_s:
            loop = asyncio.get_running_loop()
            outbox.forgetting = loop.call_later(outbox.lasts_s, self.forget, device)
        else:
            del self[device]

    def forget(self, device: DeviceId) -> None:
        """The device's next connection does not find it."""
        outbox = self.pop(device, None)
        if outbox is not None:
            outbox.keep()
