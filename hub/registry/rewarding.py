"""What a key may be declared to reward: the bounds of a button that stands in a link."""

from __future__ import annotations

import math
from typing import Final

from hub.errors import OperatorFault
from hub.words import Rewarding

MOST: Final = 1.0
MOST_MAX: Final = 1e6
PER_MINUTE: Final = 60.0
PER_MINUTE_MAX: Final = 6000.0


def rewarding(most: float | None = None, per_minute: float | None = None) -> Rewarding:
    """What such a key may do.

    Args:
        most: of one reward, either way; None = 1.
        per_minute: rewards; None = 60.

    Raises:
        OperatorFault: it can't be kept.
    """
    wanted = Rewarding(
        most=MOST if most is None else most,
        per_minute=PER_MINUTE if per_minute is None else per_minute,
    )
    check(wanted)
    return wanted


def check(wanted: Rewarding) -> None:
    """Refuse what can't be kept.

    Raises:
        OperatorFault: with what would be right.
    """
    for what, value, most in (
        ("the most of one reward", wanted.most, MOST_MAX),
        ("rewards a minute", wanted.per_minute, PER_MINUTE_MAX),
    ):
        if not (math.isfinite(value) and 0 < value <= most):
            raise OperatorFault(f"{what}: above 0 and up to {most:g}, not {value}")
