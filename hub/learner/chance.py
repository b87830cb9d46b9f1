"""The randomness of an action: a function of who asks and when, not of a generator's history.

A shared generator would make an action depend on which other devices happened to ask before. The
key is BLAKE2b (RFC 7693) of device, boot and step under the agent's seed, so the same step draws
the same numbers in any batch, any order and after any restart.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hub.learner.messages import Question

DIGEST_BYTES_MAX: Final = 64
WORD_BYTES: Final = 8
UNIFORM_BITS: Final = 52
"""One fewer than float64's precision, so that half a unit can be added exactly."""
_KEY: Final = struct.Struct("<HQQ").pack


class Chance:
    """Draws `count` numbers for each question.

    Attributes:
        count: numbers that one action uses up.
    """

    def __init__(self, seed: int, count: int) -> None:
        self.count = count
        digest_bytes = min(WORD_BYTES * count, DIGEST_BYTES_MAX)
        self._blocks = -(-WORD_BYTES * count // digest_bytes) if count else 0
        self._keyed = hashlib.blake2b(key=str(seed).encode(), digest_size=max(digest_bytes, 1))

    def uniforms(self, questions: Sequence[Question]) -> NDArray[np.float64]:
        """Numbers in (0, 1), float64 (len(questions), count)."""
        blocks = range(self._blocks)
        digests = b"".join(
            [self._digest(block, question) for question in questions for block in blocks]
        )
        words = np.frombuffer(digests, dtype="<u8").reshape(len(questions), -1)[:, : self.count]
        # Half a unit up: 0 would have an infinite normal quantile.
        whole = (words >> np.uint64(64 - UNIFORM_BITS)).astype(np.float64)
        return (whole + 0.5) * 2.0**-UNIFORM_BITS

    def _digest(self, block: int, question: Question) -> bytes:
        keyed = self._keyed.copy()
        key = _KEY(block, question.boot, question.step)
        keyed.update(key + question.device.encode())
        return keyed.digest()


def normals(uniforms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard normal numbers, one from each two columns (Box & Muller 1958)."""
    half = uniforms.shape[1] // 2
    radius = np.sqrt(-2.0 * np.log(uniforms[:, :half]))
    return np.asarray(radius * np.cos(2.0 * np.pi * uniforms[:, half:]))
