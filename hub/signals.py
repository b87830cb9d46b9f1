"""What signals tell the hub: to stop in good order, at once, or to read its certificate anew."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import TYPE_CHECKING, Final

from hub.errors import OperatorFault
from hub.settings import supervised

if TYPE_CHECKING:
    from hub.tls import Tls

log: Final = logging.getLogger("hub")

STOP_S_MAX: Final = 9.0
"""From the first signal to the end, whatever hangs; docs/operator.md promises 10 s."""


def stop_on_signals(stopping: asyncio.Event, tls: Tls | None) -> None:
    """The first signal drains; a second one ends at once."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if stopping.is_set():
            os._exit(1)
        stopping.set()
        loop.call_later(STOP_S_MAX, give_up)

    def give_up() -> None:
        log.error("not stopped after %g s: ended by force; the log has all it promised", STOP_S_MAX)
        os._exit(1)

    def renew() -> None:
        try:
            if tls is not None:
                tls.reload()
        except OperatorFault as error:
            log.error("the certificate before still holds: %s", error)  # noqa: TRY400 - no trace

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    # From a terminal that is closed it means the end; from systemd, `systemctl reload`.
    if tls is not None or supervised().socket:
        loop.add_signal_handler(signal.SIGHUP, renew)
