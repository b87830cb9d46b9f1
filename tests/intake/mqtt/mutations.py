"""Packets with a few bytes changed, cut out or put in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence


@st.composite
def mutations(draw: st.DrawFn, packets: Sequence[bytes]) -> bytes:
    """One of the packets with one to four such changes."""
    mutated = bytearray(draw(st.sampled_from(packets)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(mutated) - 1))
        match draw(st.sampled_from(["set", "cut", "insert"])):
            case "set":
                mutated[at] = draw(st.integers(0, 255))
            case "cut" if len(mutated) > 1:
                del mutated[at]
            case _:
                mutated.insert(at, draw(st.integers(0, 255)))
    return bytes(mutated)
