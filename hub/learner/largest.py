"""Numbers that no network can take, so that one broken sensor costs its own device alone.

    if is_unbounded(space) and not fits(numbers): ...

An observation may be unbounded, and 3e38 is a float32. What a network makes of it is not: an action
would be no number, and the update of all that it went into be dropped, and each one after it. So
actors take such a number for `LARGEST`, and trainers leave the transition out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hub.spaces import Dict, bounds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hub.spaces import Space

LARGEST: Final = 1e12
"""Of a reward, and of an observation's length. Losses have squares of both in them, and gradients
their product: 1e36 is the last power of ten but two that float32 has."""


def is_unbounded(space: Space) -> bool:
    """Whether such numbers may be sent at all."""
    leaves = space.spaces.values() if isinstance(space, Dict) else [space]
    sides = [side for leaf in leaves for side in bounds(leaf)]
    return max(abs(bound) for side in sides for bound in side) > LARGEST


def fits(numbers: NDArray[np.float32]) -> bool:
    """Whether all of them, as one vector, are no longer than `LARGEST`.

    Of an overflow `vdot` says nothing. `dot` would warn, and to have that ignored takes longer than
    the product.
    """
    return bool(np.vdot(numbers, numbers) <= LARGEST**2)
