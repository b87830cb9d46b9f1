"""Everything a native route refuses, in one shape: RFC 9457 problem documents."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import litestar
import msgspec
from msgspec import structs

from bridge.http import PROBLEM, Response
from hub.words import Code

if TYPE_CHECKING:
    from litestar.exceptions import HTTPException, NotFoundException

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
    """The answer to a refused message."""
    refused = Response(
        STATUS[fault.code], msgspec.json.encode(document(fault, device=device)), PROBLEM
    )
    if fault.retry_s is None:
        return refused
    retry = (b"retry-after", b"%d" % math.ceil(fault.retry_s))  # whole seconds: RFC 9110, 10.2.3
    return structs.replace(refused, headers=(retry,))


def document(fault: DeviceFault, *, device: str | None = None) -> dict[str, Any]:
    """The document alone, for what has no status line."""
    return _document(STATUS[fault.code], fault.code, fault.message, device, fault.step)


def denied(message: str, *, device: str | None = None) -> Response:
    """403: the key is good, but not for this device."""
    return _response(HTTPStatus.FORBIDDEN, Code.AUTH, message, device)


def unauthorized(message: str) -> Response:
    """401: no key, or none that is accepted."""
    return _response(HTTPStatus.UNAUTHORIZED, Code.AUTH, message)


def not_found(message: str, *, device: str | None = None) -> Response:
    """404: nothing of that name or seq is there for this key."""
    return _response(HTTPStatus.NOT_FOUND, Code.RANGE, message, device)


def no_route(
    request: litestar.Request[Any, Any, Any], error: NotFoundException
) -> litestar.Response[bytes]:
    """404 in the same shape, of a path that there is not, or with the page's own words."""
    detail = error.detail
    if detail == HTTPStatus.NOT_FOUND.phrase:
        detail = f"there is no {request.url.path[:100]!r}; /schema/openapi.json has every path"
    return _as_litestar(not_found(detail))


def no_request(
    _request: litestar.Request[Any, Any, Any], error: HTTPException
) -> litestar.Response[bytes]:
    """Whatever else the router refuses in the same shape: a method that the path has not, say."""
    status, headers = HTTPStatus(error.status_code), dict(error.headers or {})
    allowed = headers.get("allow")
    detail = error.detail if allowed is None else f"use {allowed}"
    code = next((code for code, of in STATUS.items() if of is status), Code.PAYLOAD)
    return _as_litestar(_response(status, code, detail), headers)


def too_large(body_bytes_max: int) -> Response:
    """413."""
    message = f"the body has over {body_bytes_max} bytes"
    return _response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, Code.SIZE, message)


def _response(status: HTTPStatus, code: Code, detail: str, device: str | None = None) -> Response:
    refused = _document(status, code, detail, device, None)
    return Response(status, msgspec.json.encode(refused), PROBLEM)


def _as_litestar(
    answer: Response, headers: dict[str, str] | None = None
) -> litestar.Response[bytes]:
    media_type = answer.content_type.decode()
    return litestar.Response(
        answer.body, status_code=answer.status, media_type=media_type, headers=headers
    )


def _document(
    status: HTTPStatus, code: Code, detail: str, device: str | None, step: int | None
) -> dict[str, Any]:
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
    return document
