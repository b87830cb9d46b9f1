"""What goes wrong on the way, by seed: the same seed makes the same mishaps, for the same traffic.

faults = Faults(lost=0.02, repeated=0.01, delay=read_delay("50ms±20"), boot_s=3600)
chance = Chance(seed)
chance.happens(faults.lost)         # this message, perhaps
chance.wait(faults.boot_s)          # seconds until the next reboot
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

import numpy as np
from msgspec import Struct

from hub.errors import OperatorFault

if TYPE_CHECKING:
    from collections.abc import Sequence

UNITS_S: Final = {"ms": 0.001, "s": 1.0}
PERIODS_S: Final = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
DELAY_S_MAX: Final = 60.0
_SHARE: Final = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<percent>%?)")
_DELAY: Final = re.compile(
    r"(?P<mean>\d+(\.\d+)?)(?P<unit>ms|s)((±|\+-|\+/-)(?P<spread>\d+(\.\d+)?)(?P<of>ms|s)?)?"
)
_RATE: Final = re.compile(r"(?P<count>\d+(\.\d+)?)/(?P<period>s|m|min|h|d)")


class Delay(Struct, frozen=True):
    """Between `mean_s - spread_s` and `mean_s + spread_s`, all alike, and never below 0."""

    mean_s: float = 0.0
    spread_s: float = 0.0


class Faults(Struct, frozen=True):
    """How often what goes wrong. Shares are of messages; without end = never."""

    lost: float = 0.0
    """On the way to the hub or back."""
    repeated: float = 0.0
    """Arrives twice; the second time late, where there is a delay."""
    delay: Delay = Delay()
    """Of each message, each way."""
    boot_s: float = math.inf
    """Mean time between two reboots of a device."""
    link_s: float = math.inf
    """Mean time between two losses of a device's connection."""


class Chance:
    """Draws from one seeded stream."""

    def __init__(self, seed: int | Sequence[int]) -> None:
        self.numbers = np.random.default_rng(seed)

    def happens(self, share: float) -> bool:
        """Whether something that rare does this time."""
        return bool(self.numbers.random() < share)

    def wait(self, mean_s: float) -> float:
        """A memoryless wait; without end where its mean is."""
        return float(self.numbers.exponential(mean_s))

    def delay_s(self, delay: Delay) -> float:
        """How long this message takes."""
        if not delay.mean_s:
            return 0.0
        spread = delay.spread_s * (2 * float(self.numbers.random()) - 1)
        return max(0.0, delay.mean_s + spread)


def read_share(text: str) -> float:
    """`2%` and `0.02` are the same.

    Raises:
        OperatorFault: it is none, or 1 and above: then nothing would ever arrive.
    """
    found = _SHARE.fullmatch(text.strip())
    share = float(found["number"]) / (100 if found["percent"] else 1) if found else math.nan
    if not 0 <= share < 1:
        raise OperatorFault(f"{text!r} is no share of messages; write 2% or 0.02, below 100%")
    return share


def read_delay(text: str) -> Delay:
    """`50ms`, `50ms±20` or `0.05s+-0.02`.

    Raises:
        OperatorFault: it is none, or longer than a minute.
    """
    found = _DELAY.fullmatch(text.strip())
    if found is None:
        raise OperatorFault(f"{text!r} is no delay; write 50ms, 50ms±20 or 1s+-0.5")
    unit = found["unit"]
    delay = Delay(
        float(found["mean"]) * UNITS_S[unit],
        float(found["spread"] or 0) * UNITS_S[found["of"] or unit],
    )
    if delay.mean_s + delay.spread_s > DELAY_S_MAX:
        raise OperatorFault(f"a delay of {text} is more than {DELAY_S_MAX:.0f} s")
    return delay


def read_rate(text: str) -> float:
    """Mean seconds between two, of `1/h`, `3/min` or `0.1/s`; `0/h` is never.

    Raises:
        OperatorFault: it is no rate.
    """
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise OperatorFault(f"{text!r} is no rate; write 1/h, 3/min or 0.1/s")
    count = float(found["count"])
    return PERIODS_S[found["period"]] / count if count else math.inf
