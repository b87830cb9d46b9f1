"""Ties the fork server to the hub; it imports this first, and ends here if the hub already has.

By itself it looks for the hub's end only once it has imported torch, which takes 3 s.
"""

from __future__ import annotations

import os

from hub.learner.processes.parent import HUB_PID, tie_to

_hub = os.getenv(HUB_PID)  # noqa: TID251 - no setting: how the hub tells its fork server who it is
if _hub is not None:
    tie_to(int(_hub))
