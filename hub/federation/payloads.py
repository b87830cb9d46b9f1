"""What hubs say to each other, and the bounds of it: whatever breaks one is refused by its name.

    announcement = read_announcement(payload, policy_bytes_max=16 << 20)
    digest_of(agent) == announcement.digest      # else its networks are of no use here

JSON, but for the parts of a network, which are its bytes.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from hub.errors import OperatorFault, Unheard
from hub.learner.algorithms.parameters import read_parameters
from hub.learner.versions.outline import SHAPING
from hub.words import Agent

OFFERS_MAX: Final = 4
"""Networks that one hub gives out of one agent: the best."""
ANNOUNCEMENT_BYTES_MAX: Final = 4096
WANT_BYTES_MAX: Final = 256
PART_BYTES: Final = 16_384
PARTS_AT_ONCE: Final = 8
"""What one `Want` is answered with."""
ALL_DEVICES: Final = "*"
"""In place of a device: the network is of all of them, or of the one that leads."""

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Meta(ge=0, le=1 << 53)]


class Offer(Struct, frozen=True):
    """A network that is given out."""

    device: Annotated[str, Meta(pattern=r"^([a-z0-9_-]{1,23}|\*)$")]
    version: Count
    sha256: Sha256
    bytes: Annotated[int, Meta(ge=1)]
    mean: Annotated[float, Meta(ge=-1e30, le=1e30)] | None
    """Return of its device's last episodes; None before it has had enough."""


class Announcement(Struct, frozen=True):
    """Topic `policy/<hub>`, retained: what a hub gives out of an agent; empty = nothing more."""

    log: Annotated[str, Meta(max_length=40)]
    """Id of the hub's log: versions count up within it, so an older announcement shows."""
    version: Count
    """Of the agent's policy."""
    digest: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    """Of what makes networks of use to each other: `digest_of`."""
    offers: Annotated[list[Offer], Meta(max_length=OFFERS_MAX)]


class Want(Struct, frozen=True):
    """Topic `want/<hub>`: the parts of a network from this number on, `PARTS_AT_ONCE` of them."""

    sha256: Sha256
    part: Annotated[int, Meta(ge=0, le=1 << 20)]


class Pair(Struct, frozen=True):
    """What an adviser was worth to a device."""

    device: str
    adviser: str
    episodes: int
    gain: float
    """Mean of how much more an episode brought than those without advice."""
    within: float | None
    """Half of its 90 % interval; None below two episodes."""


class Gains(Struct, frozen=True):
    """Topic `advice/<hub>`, retained: what advice gained an agent's devices there."""

    pairs: list[Pair]
    episodes: int
    """Advised ones, of all pairs that were ever seen."""
    gain: float | None
    """Mean over them; None before the first."""


_announcement: Final = msgspec.json.Decoder(Announcement)
_want: Final = msgspec.json.Decoder(Want)
encode: Final = msgspec.json.Encoder().encode


def read_announcement(payload: bytes, *, policy_bytes_max: int) -> Announcement:
    """The announcement in a payload.

    Raises:
        Unheard: it is none, or larger or other than one may be.
    """
    if len(payload) > ANNOUNCEMENT_BYTES_MAX:
        raise Unheard("size")
    try:
        announcement = _announcement.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unheard("payload", str(error)) from error
    devices = [offer.device for offer in announcement.offers]
    if len(set(devices)) < len(devices):
        raise Unheard("payload", "two networks of one device")
    if any(offer.bytes > policy_bytes_max for offer in announcement.offers):
        raise Unheard("size")
    return announcement


def read_want(payload: bytes) -> Want:
    """The request in a payload.

    Raises:
        Unheard: it is none.
    """
    if len(payload) > WANT_BYTES_MAX:
        raise Unheard("size")
    try:
        return _want.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unheard("payload", str(error)) from error


def digest_of(agent: Agent) -> str:
    """Two agents with the same can use each other's networks: algorithm, spaces and shape."""
    try:
        parameters = read_parameters(agent)
    except OperatorFault:  # its library is not installed any more: it fits nobody
        return ""
    shape = {name: getattr(parameters, name) for name in SHAPING}
    means = [agent.algorithm, agent.observations, agent.actions, shape]
    return hashlib.sha256(msgspec.json.encode(means, order="deterministic")).hexdigest()[:16]
