"""What an actor is asked and what it answers, in columns: however many, a batch is few parts.

    questions = Questions.of([(1, "heater", 0, 7, values, None, False), …])    # hub
    choices = chooser.choose(questions, greedy=False)                          # actor
    zip(unpacked(questions.ids), choices)                                      # hub

An object for each question and for each choice was a third of what an action costs in a batch of
256. Who needs them one by one, as a flock does, goes over the columns as over a list.

Neither torch nor numpy is imported here, because the hub imports this file.
"""

from __future__ import annotations

import struct
from array import array
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct

from hub.step import Choice
from hub.words import Floats, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

U64s = bytes
"""One u64 after the other, in the machine's order of bytes: hub and actor are on the same one."""
U64: Final = struct.Struct("=Q").pack


class Question(NamedTuple):
    """One observation that wants an action."""

    id: int
    """The asker's own number for it, returned with the choice."""
    device: str
    boot: int
    step: int
    """Unwrapped; with device and boot it is the key of the action's randomness."""
    values: Floats
    """float32 (n,), already checked against the agent's observation space."""
    mask: bytes | None = None
    """A byte a choice, 1 = allowed; None = all are."""
    first: bool = False
    """Nothing before it belongs to it: a recurrent policy forgets."""


Row = tuple[int, str, int, int, Floats, bytes | None, bool]
"""A Question, or a plain tuple of the same, which is made in a quarter of the time."""


class Questions(Struct, frozen=True, array_like=True, tag="questions", gc=False):
    """Choose an action for each. Asked before any `Load`, it gets no answer: the fallback does.

    One at least. A column has of each what `Question` says, and all have as many values.
    """

    ids: U64s
    devices: tuple[str, ...]
    boots: U64s
    steps: U64s
    values: Floats
    """float32 (batch, n)."""
    masks: tuple[bytes | None, ...] | None = None
    """None = nobody has one."""
    firsts: tuple[bool, ...] | None = None
    """None = nobody is."""

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Questions:
        """The same in columns."""
        if len(rows) == 1:  # as in most frames: 0.2 µs instead of 1
            ((number, device, boot, step, values, mask, first),) = rows
            masks = None if mask is None else (mask,)
            firsts = (True,) if first else None
            return cls(U64(number), (device,), U64(boot), U64(step), values, masks, firsts)
        table = zip(*rows)  # noqa: B905 - all are of seven; to look takes 0.2 µs a frame
        ids, devices, boots, steps, several, masks, firsts = table
        return cls(
            array("Q", ids).tobytes(),
            devices,
            array("Q", boots).tobytes(),
            array("Q", steps).tobytes(),
            Floats(b"".join(several)),
            masks if any(masks) else None,
            firsts if any(firsts) else None,
        )

    def __len__(self) -> int:
        """How many they are."""
        return len(self.devices)

    def __iter__(self) -> Iterator[Question]:
        """One by one."""
        return map(
            Question,
            unpacked(self.ids),
            self.devices,
            unpacked(self.boots),
            unpacked(self.steps),
            _parts(self.values, len(self)),
            self.masks or (None,) * len(self),
            self.firsts or (False,) * len(self),
        )


def joined(several: Sequence[Questions]) -> Questions:
    """All of these, at least one, in their order."""
    if len(several) == 1:
        return several[0]
    masks = firsts = None
    if any(one.masks for one in several):
        masks = tuple(chain.from_iterable(one.masks or (None,) * len(one) for one in several))
    if any(one.firsts for one in several):
        firsts = tuple(chain.from_iterable(one.firsts or (False,) * len(one) for one in several))
    return Questions(
        b"".join([one.ids for one in several]),
        tuple(chain.from_iterable([one.devices for one in several])),
        b"".join([one.boots for one in several]),
        b"".join([one.steps for one in several]),
        Floats(b"".join([one.values for one in several])),
        masks,
        firsts,
    )


class ManyChoices(Struct, frozen=True, gc=False):
    """What one network chose for a large batch: a collection of `Choice` in the batch's order."""

    batch: int
    """How many they are."""
    source: Source
    policy: int
    actions: Floats
    """float32 (batch, m)."""
    logprobs: Floats | None
    """float32 (batch,); None as in `Choice`, of all, and so below."""
    values: Floats | None
    payloads: tuple[str | None, ...] | None

    def __len__(self) -> int:
        """How many they are."""
        return self.batch

    def __iter__(self) -> Iterator[Choice]:
        """One by one."""
        return map(
            Choice,
            _parts(self.actions, self.batch),
            repeat(self.source),
            repeat(self.policy),
            repeat(None) if self.logprobs is None else array("f", self.logprobs),
            repeat(None) if self.values is None else array("f", self.values),
            repeat(None),
            repeat(None) if self.payloads is None else self.payloads,
        )


Chosen = list[Choice] | ManyChoices


def unpacked(column: U64s) -> Sequence[int]:
    """Its numbers."""
    return array("Q", column)


def _parts(values: Floats, count: int) -> Iterable[Floats]:
    """What each of so many has of all values.

    By one format for all, which takes a third of what slices do; `struct` itself would keep the
    last hundred of them.
    """
    return struct.Struct(f"{len(values) // count}s" * count).unpack(values)
