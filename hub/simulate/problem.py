"""What a device makes of an RFC 9457 problem document: wait, give up, or mend what it sends."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, NoReturn

import msgspec
from msgspec import Struct

from hub.errors import AccessDenied, DeviceFault
from hub.simulate.exchange import Busy
from hub.words import Code

SHOWN_BYTES_MAX: Final = 200
_WAIT: Final = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)
_DENIED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class Problem(Struct, frozen=True):
    """The part of it that a device reads."""

    title: str = ""
    detail: str = ""
    status: int = 0
    code: Code = Code.PAYLOAD
    step: int | None = None
    """Of the observation it is about, where that is known."""


def raise_problem(status: int, body: bytes) -> NoReturn:
    """Raise what it means.

    Raises:
        Busy: the same may be sent again.
        AccessDenied: the key is not accepted, or not for this device.
        DeviceFault: the content is refused.
    """
    try:
        problem = _problem.decode(body)
    except msgspec.MsgspecError:
        problem = Problem(title=body[:SHOWN_BYTES_MAX].decode(errors="replace"))
    text = f"HTTP {status}: {problem.detail or problem.title}"
    if status in _WAIT:
        raise Busy(text)
    if status in _DENIED:
        raise AccessDenied(text)
    raise DeviceFault(problem.code, text, step=problem.step)


_problem: Final = msgspec.json.Decoder(Problem)
