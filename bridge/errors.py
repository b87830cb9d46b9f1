"""Everything a native route refuses, in one shape: RFC 9457 problem documents."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import structs

from bridge.http import PROBLEM, Response
from hub.words import Code

if TYPE_CHECKING:
    from hub.errors import DeviceFault

STATUS: Final = {
    Code.PAYLOAD: HTTPStatus.BAD_REQUEST,
    Code.AUTH: HTTPStatus.UNAUTHORIZED,
    Code.STEP: HTTPStatus.CONFLICT,
    Code.LATE: HTTPStatus.CONFLICT,
    Code.SIZE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Code.SHAPE: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.TYPE: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.RANGE: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.RATE: HTTPStatus.TOO_MANY_REQUESTS,
    Code.BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""As docs/legacy.md lists them."""


def problem(fault: DeviceFault, *, device: str | None = None) -> Response:
    """The document for a refused message."""
    refused = _document(STATUS[fault.code], fault.code, fault.message, device, fault.step)
    if fault.retry_s is None:
        return refused
    retry = (b"retry-after", b"%d" % math.ceil(fault.retry_s))  # whole seconds: RFC 9110, 10.2.3
    return structs.replace(refused, headers=(retry,))


def denied(message: str, *, device: str | None = None) -> Response:
    """403: the key is good, but not for this device."""
    return _document(HTTPStatus.FORBIDDEN, Code.AUTH, message, device, None)


def unauthorized(message: str) -> Response:
    """401: no key, or none that is accepted."""
    return _document(HTTPStatus.UNAUTHORIZED, Code.AUTH, message, None, None)


def not_found(message: str) -> Response:
    """404: nothing of that seq is there for this key."""
    return _document(HTTPStatus.NOT_FOUND, Code.RANGE, message, None, None)


def too_large(body_bytes_max: int) -> Response:
    """413."""
    message = f"the body has over {body_bytes_max} bytes"
    return _document(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, Code.SIZE, message, None, None)


def _document(
    status: HTTPStatus, code: Code, detail: str, device: str | None, step: int | None
) -> Response:
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    if device is not None:
        document["device"] = device
    if step is not None:
        document["step"] = step
    return Response(status, msgspec.json.encode(document), PROBLEM)
