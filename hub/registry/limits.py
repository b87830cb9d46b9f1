"""What may be declared of an agent's time, devices and learner: the bounds of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hub.errors import OperatorFault
from hub.words import EXTERNAL

if TYPE_CHECKING:
    from hub.words import Agent

LIMITS: Final = {
    "max_episode_steps": (1, 1_000_000_000),
    "silent_s": (0.001, 1e9),
    "cpu_percent": (1, 100),
    "memory_mb": (64, 1 << 20),
    "lag_max": (0, 1_000_000),
    "messages_per_s": (0, 1e9),
    "bytes_per_s": (0, 1e12),
    "devices_max": (1, 1_000_000),
}
"""By the name of the Agent's field; None is always allowed, and means no limit of its own."""
FRACTIONAL: Final = {"silent_s", "messages_per_s", "bytes_per_s"}
"""The others are whole numbers."""
OF_TRAINER: Final = ("cpu_percent", "memory_mb", "lag_max")
"""What a trainer may take; where nothing is learnt there is none."""


def check_limits(agent: Agent) -> None:
    """Refuse a limit that can't be kept.

    Raises:
        OperatorFault: with what would be right.
    """
    for name, (least, most) in LIMITS.items():
        value: float | None = getattr(agent, name)
        if value is not None and not least <= value <= most:
            raise OperatorFault(f"{name} is {least} to {most}, or none, not {value}")
        if value is not None and name in OF_TRAINER and agent.algorithm == EXTERNAL:
            raise OperatorFault(
                f"{name} has nothing to limit: agents of the algorithm {EXTERNAL!r} have no "
                "trainer; write none, or leave it out"
            )
