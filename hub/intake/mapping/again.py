"""What the log keeps of what legacy devices sent, to be read once more by a corrected mapping.

for sent in sent_in(lines_of(SENT.format(device=device, limit=100))):
    mapper.read(sent.raw, memory)       # beside `sent.obs`, what was made of it then
"""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from hub.errors import DeviceFault
from hub.intake.mapping.mapper import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hub.intake.mapping.mapper import Mapper, Memory

SENT: Final = """
    SELECT * FROM (
        SELECT seq, obs, payload FROM events
        WHERE kind = 'observation' AND device = '{device}' AND payload LIKE '{{"mapping":%'
        ORDER BY seq DESC LIMIT {limit}
    ) ORDER BY seq
"""
"""Newest observations whose payload begins as `Mapper.message` has it."""
REFUSED: Final = """
    SELECT count(*) AS count, max_by(payload, seq) AS newest FROM events
    WHERE kind = 'refused' AND source IS NULL AND device = '{device}'
"""
"""Of what it sent; an action that came too late is of this kind as well, and has a source."""


class Sent(Struct, frozen=True):
    """What was sent, and what was made of it."""

    seq: int
    obs: list[float]
    raw: bytes


class _Row(Struct, frozen=True):
    seq: int
    obs: list[float]
    payload: str


class _Kept(Struct, frozen=True):
    """As `Mapper.message` has it."""

    raw: str = ""
    raw64: str = ""


class _Refused(Struct, frozen=True):
    count: int
    newest: str | None


class _Why(Struct, frozen=True):
    """Of `hub.facts.Refusal` what a person needs."""

    message: str


def sent_in(lines: Iterable[bytes]) -> Iterator[Sent]:
    """Of the rows of `SENT`, one JSON line each; a forgotten device's can't be read any more."""
    for line in lines:
        row = msgspec.json.decode(line, type=_Row)
        with suppress(msgspec.DecodeError, binascii.Error):  # a native device's own info, alike
            kept = msgspec.json.decode(row.payload, type=_Kept)
            raw = kept.raw.encode() or base64.b64decode(kept.raw64, validate=True)
            yield Sent(row.seq, row.obs, raw)


def read_again(mapper: Mapper, sent: Iterable[Sent]) -> Iterator[dict[str, Any]]:
    """A line for each: `seq`, `was`, and what the mapping makes of it now, or why it does not."""
    memory: Memory | None = None
    for one in sent:
        was = {"seq": one.seq, "was": one.obs}
        try:
            mapped = mapper.read(one.raw, memory)
        except DeviceFault as fault:
            yield was | {"e": fault.code, "m": fault.message}
            continue
        if mapped is not None:
            memory = mapped.memory
        yield was | ({"o": None} if mapped is None else shown(mapper, mapped))


def nothing_of(device: str, line: bytes) -> str:
    """Why there is nothing to read again, by the row of `REFUSED`."""
    refused = msgspec.json.decode(line, type=_Refused)
    said = f"nothing that a mapping read of device {device!r} is in the log"
    if not refused.count or refused.newest is None:
        return said
    why = msgspec.json.decode(refused.newest, type=_Why).message
    return f"{said}; of {refused.count} refused messages, which are not kept, the last: {why}"
