"""Starts the process for other hubs; numpy and paho wait for the child, the hub imports this file.

context.Process(target=run_federation, args=(theirs, …)).start()
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hub.errors import SheepfoldError
from hub.learner.processes.parent import FORK_SERVER, tie_to
from hub.learner.processes.start import HUB_ENDED, end_with

if TYPE_CHECKING:
    import socket

    from hub.settings.federation import FederationSettings

MB: Final = 1 << 20
NICE: Final = 5
"""Devices go before, trainers (10) after."""


def run_federation(
    connection: socket.socket,
    settings: FederationSettings,
    base: str,
    hub_id: str,
    data: str,
    last_seq: int,
    import_mb_max: int,
) -> None:
    """Process target: speak to other hubs until the hub closes the socket.

    Args:
        connection: the child's end of a socketpair.
        settings: `[federation]`.
        base: of topics.
        hub_id: id of the hub's log.
        data: the data folder.
        last_seq: the newest event.
        import_mb_max: `[learner]`'s, for a policy to begin with.
    """
    os.nice(NICE)
    end_with(connection)
    tie_to(FORK_SERVER)
    _bound_memory(settings.memory_mb)
    from hub.federation.process import speak

    bytes_max = import_mb_max * MB
    try:
        with contextlib.suppress(*HUB_ENDED):
            speak(connection, settings, base, hub_id, Path(data), last_seq, bytes_max)
    except SheepfoldError as error:  # the log has ended, say: the hub starts this again
        sys.stderr.write(f"federation: {error}\n")
        sys.exit(1)


def _bound_memory(more_mb: int) -> None:
    """Allow so much beyond what it has from the fork server; then it ends, and starts again."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmData:"))
        most = kilobytes * 1024 + more_mb * MB
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
