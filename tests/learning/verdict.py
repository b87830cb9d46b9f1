"""The statistics of the comparison with `learn()`.

verdict(pairs, random_return=22.0, margin=0.1).bound     # what the difference is above
floor(areas)                                             # what 99 of 100 runs are above
"""

from __future__ import annotations

import math
from statistics import NormalDist, mean, stdev
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE: Final = 0.95
POWER: Final = 0.8
SHARE: Final = 0.99
"""Of the runs of `learn()` that are above its floor."""


class Verdict(Struct, frozen=True):
    """An arrangement beside `learn()`, in shares of its gain over a random policy."""

    seeds: int
    learn_area: float
    area: float
    difference: float
    bound: float
    """What the difference is above, at 95 %."""
    seeds_wanted: int
    """For a power of 80 % at this spread, were there no difference."""


def verdict(pairs: Sequence[tuple[float, float]], random_return: float, margin: float) -> Verdict:
    """Of pairs (`learn()`, the arrangement) of one seed each; at least two."""
    learn_area, area = mean(one for one, _ in pairs), mean(other for _, other in pairs)
    gain = learn_area - random_return
    shares = [(other - one) / gain for one, other in pairs]
    spread = stdev(shares)
    z = NormalDist().inv_cdf
    wanted = ((z(CONFIDENCE) + z(POWER)) * spread / margin) ** 2
    error = spread / len(shares) ** 0.5
    return Verdict(
        seeds=len(pairs),
        learn_area=learn_area,
        area=area,
        difference=mean(shares),
        bound=mean(shares) - student(len(shares) - 1) * error,
        seeds_wanted=math.ceil(wanted),
    )


def student(freedom: int) -> float:
    """The 95 % quantile of Student's t (Abramowitz & Stegun 1964, 26.7.5)."""
    z = NormalDist().inv_cdf(CONFIDENCE)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160,
    )
    return float(z + sum(term / freedom**power for power, term in enumerate(terms, 1)))


def floor(areas: Sequence[float]) -> float:
    """What `SHARE` of a normal distribution is above, by a sample of it (Natrella 1963, 2-14)."""
    normal, count = NormalDist(), len(areas)
    z, share = normal.inv_cdf(CONFIDENCE), normal.inv_cdf(SHARE)
    a, b = 1 - z**2 / (2 * (count - 1)), share**2 - z**2 / count
    deviations = (share + math.sqrt(share**2 - a * b)) / a
    return mean(areas) - deviations * stdev(areas)
