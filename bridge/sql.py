"""`POST /v1/sql`: one query of an operator, its result as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec

from bridge.http import (
    ANY_ORIGIN,
    PROBLEM,
    WRONG_METHOD,
    HungUp,
    Request,
    Response,
    read_body,
    respond,
)
from bridge.native import secret_of
from hub.errors import AccessDenied, DeviceFault, LogUnavailable, OperatorFault
from hub.log.analyst.ask import stream
from hub.log.analyst.messages import Ask
from hub.registry.access import agent_of, operator_of
from hub.words import Code

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from litestar.types import Receive, Scope, Send

    from hub.log.analyst.messages import ResultForm
    from hub.processes import Hub

FORMS: Final[Mapping[str, ResultForm]] = {
    "application/x-ndjson": "json",
    "text/csv": "csv",
    "application/vnd.apache.arrow.stream": "arrow",
    "application/vnd.apache.parquet": "parquet",
}
"""By media type; of several that are accepted alike, the first."""
log: Final = logging.getLogger("bridge.sql")

UTF_8: Final = "; charset=utf-8"
"""Behind `text/csv` (RFC 7111); JSON is nothing else, Arrow is no text."""


class Sql:
    """The route. A client that hangs up has cancelled its query."""

    def __init__(self, hub: Hub, body_bytes_max: int) -> None:
        self._hub = hub
        self._body_bytes_max = body_bytes_max

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        method = scope.get("method")  # None for a WebSocket
        if method != "POST":
            await respond(send, Response(204, b"") if method == "OPTIONS" else WRONG_METHOD)
            return
        try:
            body = await read_body(receive, self._body_bytes_max)
        except HungUp:
            return
        if body is None:
            detail = f"the body has over {self._body_bytes_max} bytes"
            await respond(send, _problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, Code.SIZE, detail))
            return
        answering = asyncio.create_task(self._answer(Request(dict(scope["headers"]), body), send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            answering.cancel()  # without effect when it is done
            with contextlib.suppress(asyncio.CancelledError):
                await answering

    async def _answer(self, request: Request, send: Send) -> None:
        try:
            ask, media_type = self._asked(request)
            async with aclosing(stream(self._hub.data, ask)) as pieces:
                first = await _first(pieces)
                await _begin(send, media_type)
                try:
                    await _send_all(send, first, pieces)
                except (OperatorFault, LogUnavailable) as fault:
                    # There is no status any more. Without the last chunk the server cuts the
                    # connection, and the client knows that this is not all (RFC 9112, 8).
                    log.warning("a result was cut short: %s; the query: %.200s", fault, ask.sql)
        except _Refused as refusal:
            await respond(send, refusal.response)

    def _asked(self, request: Request) -> tuple[Ask, str]:
        """What is asked by whom, and the media type of the answer.

        Raises:
            _Refused: not so.
        """
        agents = self._visible(request.headers)
        media_type = accepted(request.headers.get(b"accept", b"").decode("latin-1"))
        if media_type is None:
            detail = f"there are: {', '.join(FORMS)}"
            raise _Refused(_problem(HTTPStatus.NOT_ACCEPTABLE, Code.TYPE, detail))
        sql = _query(request)
        return Ask(sql, FORMS[media_type], self._hub.log.last_seq, agents), media_type

    def _visible(self, headers: dict[bytes, bytes]) -> list[str] | None:
        """Agents whose rows the client may see; None = all."""
        registry = self._hub.registry
        secret = ""
        try:
            secret = secret_of(headers)
            return registry.visible_to(operator_of(registry, secret))
        except AccessDenied as error:
            status = HTTPStatus.UNAUTHORIZED
            with contextlib.suppress(AccessDenied):
                agent_of(registry, secret)
                status = HTTPStatus.FORBIDDEN  # it is good, but a device's
            raise _Refused(_problem(status, Code.AUTH, str(error))) from error


class _Refused(Exception):
    """Answered with a status and a problem document."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def accepted(accept: str) -> str | None:
    """The best media type for an Accept header (RFC 9110, 12.5.1); None when there is none."""
    ranges: dict[str, float] = {}
    for part in accept.lower().split(","):
        media_range, *parameters = (piece.strip() for piece in part.split(";"))
        if media_range:
            ranges[media_range] = _quality(parameters)
    best: str | None = None
    best_quality = 0.0
    for media_type in FORMS:
        kind = media_type.partition("/")[0]
        named = (ranges.get(name) for name in (media_type, f"{kind}/*", "*/*"))
        quality = next((q for q in named if q is not None), 0.0 if ranges else 1.0)
        if quality > best_quality:
            best, best_quality = media_type, quality
    return best


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _query(request: Request) -> str:
    try:
        document = request.document()
    except DeviceFault as fault:
        raise _Refused(_problem(HTTPStatus.BAD_REQUEST, fault.code, fault.message)) from fault
    sql = document.get("query") if isinstance(document, dict) else None
    if not isinstance(sql, str):
        detail = 'expected {"query": "SELECT …"}, or a form field query'
        raise _Refused(_problem(HTTPStatus.BAD_REQUEST, Code.PAYLOAD, detail))
    return sql


async def _first(pieces: AsyncIterator[bytes]) -> bytes:
    """The first piece, empty when there is none; until then an error has a status of its own.

    Raises:
        _Refused: with it.
    """
    try:
        return await anext(pieces, b"")
    except OperatorFault as fault:
        raise _Refused(_problem(HTTPStatus.BAD_REQUEST, Code.PAYLOAD, str(fault))) from fault
    except LogUnavailable as fault:
        raise _Refused(_problem(HTTPStatus.SERVICE_UNAVAILABLE, Code.BUSY, str(fault))) from fault


async def _begin(send: Send, media_type: str) -> None:
    content_type = media_type + (UTF_8 if media_type == "text/csv" else "")
    headers = [(b"content-type", content_type.encode()), *ANY_ORIGIN]
    await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers})


async def _send_all(send: Send, first: bytes, pieces: AsyncIterator[bytes]) -> None:
    """What the analyst sends, at the client's pace.

    Raises:
        OperatorFault, LogUnavailable: it did not send all.
    """
    await send({"type": "http.response.body", "body": first, "more_body": True})
    async for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    """Until the client hangs up."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _problem(status: HTTPStatus, code: Code, detail: str) -> Response:
    """RFC 9457."""
    document = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    return Response(status, msgspec.json.encode(document), PROBLEM)
