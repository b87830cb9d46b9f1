"""How a process ends with the one that started it, even while it stands still.

The hub starts the fork server, which starts actors and trainers. Each notices the end of its socket
by itself, but a trainer that its quota has stopped would not. So it is killed with the fork server,
which is killed with the hub.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

HUB_PID: Final = "SHEEPFOLD_HUB_PID"
"""Environment variable for the fork server alone, which has no other way to be told something."""
PR_SET_PDEATHSIG: Final = 1
"""prctl(2): a signal when the parent's thread ends; a fork does not inherit it."""
FORK_SERVER: Final = os.getpid()
"""Where this is imported first: in the fork server, and so in all that it starts."""


def tie_to(parent: int) -> None:
    """Have this process killed when its parent ends; at once if that has been."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
