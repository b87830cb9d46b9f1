"""After how long without its policy's action a device is sent the fallback, as declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hub.errors import OperatorFault
from hub.words import EXTERNAL

if TYPE_CHECKING:
    from hub.words import Agent

DEADLINE_MS: Final = 250
DEADLINE_MS_MAX: Final = 3_600_000


def usual_deadline_ms(algorithm: str) -> int | None:
    """Where none is declared; None: a remote learner takes as long as it takes."""
    return None if algorithm == EXTERNAL else DEADLINE_MS


def check_deadline(agent: Agent) -> None:
    """Refuse a deadline that no agent may have, or that this one needs.

    Raises:
        OperatorFault: it is out of bounds, or none.
    """
    deadline_ms = agent.deadline_ms
    if deadline_ms is None and agent.algorithm != EXTERNAL:
        raise OperatorFault(
            f"only agents of the algorithm {EXTERNAL!r} may be without a deadline; give one of "
            f"1 to {DEADLINE_MS_MAX} ms"
        )
    if deadline_ms is not None and not 1 <= deadline_ms <= DEADLINE_MS_MAX:
        raise OperatorFault(f"deadline is 1 to {DEADLINE_MS_MAX} ms, not {deadline_ms}")
