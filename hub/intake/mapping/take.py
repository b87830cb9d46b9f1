"""A legacy payload goes the main path; what it says is remembered once it is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from hub.intake.mapping.mapper import Memory, numbers_of

if TYPE_CHECKING:
    from hub.intake.mapping.mapper import Mapper
    from hub.intake.receive import Receiver
    from hub.intake.session import Session
    from hub.step import Reply
    from hub.words import Floats


def take(
    receiver: Receiver,
    session: Session,
    mapper: Mapper,
    payload: bytes,
    reply: Reply,
    *,
    packet: tuple[int, int] | None = None,
    duplicate: bool = False,
) -> bool:
    """Take an observation; False: there is none in the payload, and nobody is told anything.

    Legacy devices number no steps: the hub does, by arrival.

    Raises:
        DeviceFault: it was refused; `Receiver.refuse` tells the device and the log.
    """
    device = session.device
    mapped = mapper.read(payload, device.memory)
    if mapped is None:
        return False
    taken = device.taken
    message = mapper.message(payload, mapped)
    receiver.take(session, message, reply, packet=packet, duplicate=duplicate)
    # CRUCIAL: not what was refused or repeated, or the log could not be read again alike.
    if device.taken != taken:
        device.memory = mapped.memory
    return True


class _Kept(Struct, frozen=True):
    """What the log keeps beside a mapped observation."""

    mapping: str
    version: int


_kept = msgspec.json.Decoder(_Kept)


def remembered(values: Floats, info: str | None) -> Memory | None:
    """What may be held of a device's last observation in the log; None: no mapping read it.

    Aliases are not in it: a Sparkplug node is asked for a BIRTH after the hub's restart.
    """
    if info is None:
        return None
    try:
        kept = _kept.decode(info)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
    return Memory(kept.mapping, kept.version, numbers_of(values))
