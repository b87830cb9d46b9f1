"""Ties the fork server to the hub; it imports this first, and ends here if the hub already has.

By itself it looks for the hub's end only once it has imported torch, which takes 3 s.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

from hub.learner.start import HUB_PID

PR_SET_PDEATHSIG: Final = 1
"""prctl(2): a signal when the parent's thread ends; what the fork server starts has none."""


def _tie_to(hub: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != hub:  # it had ended before that
        os._exit(0)


_hub = os.getenv(HUB_PID)  # noqa: TID251 - no setting: how the hub tells its fork server who it is
if sys.platform == "linux" and _hub is not None:
    _tie_to(int(_hub))
