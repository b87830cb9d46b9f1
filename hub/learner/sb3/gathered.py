"""What an on-policy learner has gathered for its next update, in the version of another replica.

Where all devices have one policy, a version is an update and nothing is gathered yet. Where some
have their own, the others' versions come in between, and a trainer that goes on from one of them
has to have what the others were in the middle of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from hub.learner.experience.transitions import Transition
from hub.learner.versions.parts import GATHERED
from hub.learner.versions.policy import as_bytes_tensor

if TYPE_CHECKING:
    from hub.learner.experience.fragments import Fragment, Fragments
    from hub.learner.versions.policy import Tensors

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[int, list[list[Transition]]]).decode


def tensor_of(fragments: Fragments) -> Tensors:
    """Nothing where nothing was gathered."""
    gathered = fragments.open_count, fragments.gathered
    return {GATHERED: as_bytes_tensor(_encode(gathered))} if fragments.gathered else {}


def take_back(fragments: Fragments, tensors: Tensors) -> None:
    """Go on from what `tensor_of` gave."""
    open_count: int = 0
    gathered: list[Fragment] = []
    if GATHERED in tensors:
        open_count, gathered = _decode(tensors[GATHERED].tobytes())
    fragments.go_on(gathered, open_count)
