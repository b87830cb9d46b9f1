"""Which choices a device allows now, as it says in `i.mask` (docs/device-maker.md).

    mask = read_mask(agent, actions, message.i)     # a byte a choice, 1 = allowed; None = all are
    allowed(actions, action, mask)                  # the action, kept to it

The choices stand in the order of the action space, those of several numbers one after the other; a
switch has two, off and on (Huang & Ontañón 2022). What is not allowed has no probability.
"""

from __future__ import annotations

import struct
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Final

from hub.errors import DeviceFault
from hub.spaces import Box, Dict, choices, first_choice, shown
from hub.words import Code, Floats

if TYPE_CHECKING:
    from hub.spaces import Choices, Space
    from hub.words import Agent

TAKEN_BY: Final = ("MaskablePPO",)
"""Algorithms that look at a mask; for any other it is something that a device wants to be kept."""


def read_mask(agent: Agent, actions: Space, info: Any) -> bytes | None:
    """The mask in what a device sent beside an observation.

    Args:
        agent: whose algorithm may take a mask.
        actions: its action space.
        info: what the device sent; any JSON.

    Raises:
        DeviceFault: `shape` (as many as there are choices), `type` or `range` (nothing is allowed).
    """
    if agent.algorithm not in TAKEN_BY or not isinstance(info, dict) or info.get("mask") is None:
        return None
    assert not isinstance(actions, (Box, Dict)), "the algorithm takes no other"
    given = info["mask"]
    counts = choices(actions)
    if not isinstance(given, list):
        raise DeviceFault(
            Code.TYPE, f"mask is {shown(given)}, agent expects {sum(counts)} of 0 or 1"
        )
    if len(given) != sum(counts):
        message = f"mask has {len(given)} values, agent expects {sum(counts)}, one a choice"
        raise DeviceFault(Code.SHAPE, message)
    for i, value in enumerate(given):
        if not isinstance(value, (bool, int, float)) or value not in (0, 1):
            raise DeviceFault(Code.TYPE, f"mask[{i}] is {shown(value)}, agent expects 0 or 1")
    mask = bytes(map(int, given))
    for i, part in enumerate(_parts(actions, mask)):
        if not any(part):
            where = f" to number {i} of the action" if len(counts) > 1 else ""
            raise DeviceFault(Code.RANGE, f"mask leaves no choice{where}; it needs one 1 at least")
    return mask


def allowed(actions: Space, action: Floats, mask: bytes | None) -> Floats:
    """The action; each of its choices that is not allowed becomes the first one that is."""
    if mask is None:
        return action
    assert not isinstance(actions, (Box, Dict)), "only choices have a mask"
    parts, first = _parts(actions, mask), first_choice(actions)
    chosen = [int(number) - first for number in struct.unpack(f"<{len(parts)}f", action)]
    kept = [n if part[n] else part.index(1) for n, part in zip(chosen, parts, strict=True)]
    return Floats(struct.pack(f"<{len(parts)}f", *(first + n for n in kept)))


def _parts(actions: Choices, mask: bytes) -> list[bytes]:
    """Of each number of an action, the mask of its choices."""
    return [mask[start:end] for start, end in pairwise(accumulate(choices(actions), initial=0))]
