"""What systemd is told: that the hub is ready, that it still turns, that it ends (sd_notify(3)).

    supervisor = Supervisor(settings.supervised())
    supervisor.say("READY=1", "STATUS=listens on …")
    async with asyncio.TaskGroup() as group:
        group.create_task(supervisor.keep_alive())

The protocol is lines in one datagram, and stable. Without systemd nothing is said.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hub.settings import Supervised

log: Final = logging.getLogger("hub")

SIGNS_PER_LIMIT: Final = 3
"""Two may be late before systemd takes the hub for dead; sd_watchdog_enabled(3) asks for two."""


class Supervisor:
    """The hub's word to systemd.

    Args:
        supervised: where it is said; from the environment that systemd gave.
    """

    def __init__(self, supervised: Supervised) -> None:
        self._supervised = supervised

    def say(self, *lines: str) -> None:
        """Send them; a systemd that does not listen is no reason to stop."""
        if not self._supervised.socket:
            return
        address = self._supervised.socket
        if address.startswith("@"):
            address = "\0" + address[1:]  # in the abstract namespace, unix(7)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as told:
                told.connect(address)
                told.send("\n".join(lines).encode())
        except OSError as error:
            log.warning("systemd was not told %s: %s", lines[0], error)

    async def keep_alive(self) -> None:
        """As long as the loop turns, say so in time; a hub that hangs is started again."""
        limit_s = self._supervised.watchdog_s
        while limit_s:
            self.say("WATCHDOG=1")
            await asyncio.sleep(limit_s / SIGNS_PER_LIMIT)
