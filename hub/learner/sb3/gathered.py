"""What an on-policy learner has gathered for its next update, in the version of another replica.

Where all devices have one policy, a version is an update and nothing is gathered yet. Where each
has its own, the others' versions come in between, and a trainer that goes on from one of them has
to have what the others were in the middle of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from hub.learner.experience.transitions import Transition
from hub.learner.versions.parts import GATHERED
from hub.learner.versions.policy import as_bytes_tensor

if TYPE_CHECKING:
    from hub.learner.experience.fragments import Fragment
    from hub.learner.versions.policy import Tensors

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[list[Transition]]).decode


def tensor_of(gathered: list[Fragment]) -> Tensors:
    """Nothing where nothing was gathered."""
    return {GATHERED: as_bytes_tensor(_encode(gathered))} if gathered else {}


def gathered_of(tensors: Tensors) -> list[Fragment]:
    """What `tensor_of` gave."""
    return _decode(tensors[GATHERED].tobytes()) if GATHERED in tensors else []
