"""What may be declared of a publishable key: the bounds, and what an origin looks like."""

from __future__ import annotations

import math
import re
from typing import Final

from hub.errors import OperatorFault
from hub.words import Publishable

ORIGIN: Final = re.compile(r"https?://[a-z0-9.-]{1,253}(:[0-9]{1,5})?")
"""RFC 6454, 6.2: scheme, host and port, in small letters as a browser sends it."""
ORIGINS_MAX: Final = 20
SESSIONS: Final = 100
SESSIONS_MAX: Final = 100_000
MESSAGES_PER_S: Final = 100.0
MESSAGES_PER_S_MAX: Final = 1e6


def publishable(origins: tuple[str, ...], sessions: int | None, rate: float | None) -> Publishable:
    """What such a key may do.

    Args:
        origins: of the pages that may use it.
        sessions: open at once; None = 100.
        rate: messages a second of all of them together; None = 100.

    Raises:
        OperatorFault: it can't be kept.
    """
    wanted = Publishable(
        origins=origins,
        sessions_max=SESSIONS if sessions is None else sessions,
        messages_per_s=MESSAGES_PER_S if rate is None else rate,
    )
    check(wanted)
    return wanted


def check(wanted: Publishable) -> None:
    """Refuse what can't be kept.

    Raises:
        OperatorFault: with what would be right.
    """
    if not 1 <= len(wanted.origins) <= ORIGINS_MAX:
        raise OperatorFault(
            f"a publishable key has 1 to {ORIGINS_MAX} origins, such as https://museum.example"
        )
    for origin in wanted.origins:
        if not ORIGIN.fullmatch(origin):
            raise OperatorFault(
                f"{origin[:100]!r} is no origin; write scheme and host in small letters, a port "
                "if need be and no path: https://museum.example"
            )
    if not 1 <= wanted.sessions_max <= SESSIONS_MAX:
        raise OperatorFault(f"sessions at once are 1 to {SESSIONS_MAX}, not {wanted.sessions_max}")
    rate = wanted.messages_per_s
    if not (math.isfinite(rate) and 0 < rate <= MESSAGES_PER_S_MAX):
        most = f"{MESSAGES_PER_S_MAX:g}"
        raise OperatorFault(f"messages a second are above 0 and up to {most}, not {rate}")
