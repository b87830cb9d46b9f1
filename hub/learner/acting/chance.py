"""The randomness of an action: a function of who asks and when, not of a generator's history.

A shared generator would make an action depend on which other devices happened to ask before. Here
every boot of a device has a stream of its own, keyed by BLAKE2b (RFC 7693) of device and boot under
the agent's seed, and a step's numbers stand at its place in that stream. So the same step draws the
same numbers in any batch, any order and after any restart.

A stream is SplitMix64 (Steele, Lea & Flood 2014, figure 16): number i is a mix of key + i * GAMMA,
so that any of them can be had without those before it, and many in one go. (A BLAKE2b for each row
was half of what an action costs in a batch.)

A key is remembered by device, and the device's slot stands behind it: what is to be looked up for
each question of a batch is found at once.
"""

from __future__ import annotations

import hashlib
import struct
from itertools import repeat
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from hub.learner.columns import unpacked
from hub.learner.slots import NOBODY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hub.learner.columns import Questions

WORD: Final = (1 << 64) - 1
GAMMA: Final = 0x9E3779B97F4A7C15
MIX_1: Final = 0xBF58476D1CE4E5B9
MIX_2: Final = 0x94D049BB133111EB
UNIFORM_BITS: Final = 52
"""One fewer than float64's precision, so that half a unit can be added exactly."""
KEYS_MAX: Final = 65_536
"""Devices whose key is remembered; then all are made anew."""
ALONE_MAX: Final = 4
"""So many numbers are mixed one by one: numpy's calls would cost more than they save."""
BOOT, BEGINS, SLOT = range(3)
"""Columns of what `find` says: the boot, where its stream begins, and the device's slot."""
NO_SLOTS: Final[Mapping[str, int]] = {}
U64: Final = struct.Struct("<Q").pack
KEY_BYTES: Final = 8
FOUND_ONE: Final = struct.Struct("=Qq").unpack_from
"""Where a stream begins, and the slot; the boot stands before them."""
SHIFT: Final = 64 - UNIFORM_BITS
UNIT: Final = 2.0**-UNIFORM_BITS


def _u64(number: int) -> NDArray[np.uint64]:
    """As an array: with a scalar, a call of numpy's for 256 numbers takes half as long again."""
    return np.array(number, dtype=np.uint64)


MIXING: Final = ((_u64(30), _u64(MIX_1)), (_u64(27), _u64(MIX_2)))
LAST_SHIFT: Final = _u64(31)
SHIFT_ALL: Final = _u64(SHIFT)


class FoundOne(NamedTuple):
    """What `find` says of one question."""

    begins: int
    slot: int


class Chance:
    """Draws `count` numbers for each question.

    Attributes:
        count: numbers that one action uses up.
    """

    def __init__(self, seed: int, count: int, slots: Mapping[str, int] = NO_SLOTS) -> None:
        """`slots` of devices that have one; the others' is `NOBODY`."""
        self.count = count
        self._slots = slots
        self._keyed = hashlib.blake2b(key=str(seed).encode(), digest_size=KEY_BYTES)
        self._found: dict[str, bytes] = {}
        """Of each device, what `find` says of its newest boot."""
        self._stride = count * GAMMA & WORD
        self._stride_all = _u64(self._stride)
        self._ahead = [i * GAMMA & WORD for i in range(1, count + 1)]
        self._ahead_all = np.array(self._ahead, dtype=np.uint64)

    def find(self, questions: Questions) -> NDArray[np.uint64]:
        """Of each, its boot, where the stream of that begins, and its device's slot: (batch, 3)."""
        known = b"".join(map(self._found.get, questions.devices, repeat(b"")))
        found = np.frombuffer(known, dtype=np.uint64).reshape(-1, 3)
        # All boots at once: one by one they took 0.03 µs each, in a batch of 256. Where a device
        # has not asked before, there is one too few.
        if found[:, BOOT].tobytes() == questions.boots:
            return found
        each = zip(questions.devices, unpacked(questions.boots), strict=True)
        known = b"".join([self._look_up(device, U64(boot)) for device, boot in each])
        return np.frombuffer(known, dtype=np.uint64).reshape(-1, 3)

    def find_one(self, question: Questions) -> FoundOne:
        """The same of one."""
        found = self._look_up(question.devices[0], question.boots)
        return FoundOne(*FOUND_ONE(found, KEY_BYTES))

    def uniforms(
        self, questions: Questions, found: NDArray[np.uint64] | None = None
    ) -> NDArray[np.float64]:
        """Numbers in (0, 1), float64 (len(questions), count); `found` = what `find` says."""
        begins = (self.find(questions) if found is None else found)[:, BEGINS]
        if len(begins) * self.count <= ALONE_MAX:
            each = zip(begins.tolist(), unpacked(questions.steps), strict=True)
            return np.array([self._alone(*one) for one in each], dtype=np.float64)
        starts = np.frombuffer(questions.steps, dtype=np.uint64) * self._stride_all
        starts += begins
        words = mixed_all(starts[:, None] + self._ahead_all)
        words >>= SHIFT_ALL
        numbers = words.astype(np.float64)
        numbers += 0.5  # half a unit up: 0 would have an infinite normal quantile
        numbers *= UNIT
        return numbers

    def uniforms_of_one(self, question: Questions, begins: int) -> list[float]:
        """The same of one question, whose stream begins there."""
        return self._alone(begins, *unpacked(question.steps))

    def _alone(self, start: int, step: int) -> list[float]:
        """The same of one question, without numpy."""
        start += step * self._stride
        return [((mixed(start + ahead) >> SHIFT) + 0.5) * UNIT for ahead in self._ahead]

    def _look_up(self, device: str, boot: bytes) -> bytes:
        """Of one, whose boot is given as its eight bytes; and remember it."""
        found = self._found.get(device, b"")
        if found.startswith(boot):
            return found
        if len(self._found) >= KEYS_MAX:
            self._found.clear()
        keyed = self._keyed.copy()
        keyed.update(boot + device.encode())
        found = boot + keyed.digest() + U64(self._slots.get(device, NOBODY))
        self._found[device] = found
        return found


def mixed(word: int) -> int:
    """Of SplitMix64, one word."""
    word &= WORD
    word = (word ^ word >> 30) * MIX_1 & WORD
    word = (word ^ word >> 27) * MIX_2 & WORD
    return word ^ word >> 31


def mixed_all(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The same of many at once, in place."""
    for shift, factor in MIXING:
        words ^= words >> shift
        words *= factor
    words ^= words >> LAST_SHIFT
    return words


def normals(uniforms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard normal numbers, one from each two columns (Box & Muller 1958)."""
    half = uniforms.shape[1] // 2
    radius = np.sqrt(-2.0 * np.log(uniforms[:, :half]))
    return np.asarray(radius * np.cos(2.0 * np.pi * uniforms[:, half:]))
