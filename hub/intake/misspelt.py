"""Fields that no message has: nothing is lost by them but what was meant, so the device is told.

It is told once of each name, beside the answer: the message itself is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from hub.errors import DeviceFault
from hub.words import Code, Message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.intake.device import Device

FIELDS: Final = frozenset(Message.__struct_fields__)
NAMES_MAX: Final = 8
"""Of a device that it is told of since the hub was started."""
NAME_CHARACTERS_MAX: Final = 40


class Misspelt(Message, frozen=True):
    """A message with fields beside those that a message has."""

    unknown: tuple[str, ...] = ()
    """Their names, `NAMES_MAX` at most, each cut where it is long."""


def noted(message: Message, names: Iterable[Any]) -> Message:
    """The message, and which of the names in it are no field's."""
    strange = [name for name in names if name not in FIELDS]
    if not strange:
        return message
    cut = dict.fromkeys(str(name)[:NAME_CHARACTERS_MAX] for name in strange[:NAMES_MAX])
    return Misspelt(**structs.asdict(message), unknown=tuple(cut))


def warning(device: Device, message: Message) -> DeviceFault | None:
    """What the device is to be told; None when there is nothing, or it was told already."""
    if not isinstance(message, Misspelt):
        return None
    told = device.misspelt or frozenset()
    new = [name for name in message.unknown if name not in told][: NAMES_MAX - len(told)]
    if not new:
        return None
    device.misspelt = told | set(new)
    named = ", ".join(map(repr, new))
    text = (
        f"left out, for a message has no field {named}; it has o (obs), s (step), r (reward), "
        "d (done), tr (truncated), x (executed), b (boot), f (first), i (info)"
    )
    return DeviceFault(Code.PAYLOAD, text, step=message.s)
