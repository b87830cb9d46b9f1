"""A device's request and answer as bare ASGI: half the CPU of a typed handler (44 µs against 95).

Litestar routes to these handlers; reading, limits and cross-origin headers are the same for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from hub.errors import DeviceFault
from hub.intake.observation import NAN, NAN_HINT
from hub.words import Code

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from litestar.types import Receive, Scope, Send

JSON: Final = b"application/json"
PROBLEM: Final = b"application/problem+json"
FORM_FIELDS_MAX: Final = 64
"""Of one form; splitting a megabyte of them would hold up every other device."""
TEXT_FIELDS: Final = frozenset({"device", "apikey", "session_key", "token", "nonce", "dt"})
"""Form fields that are text even where they look like JSON: a device may be called `42`."""


def any_origin(methods: bytes) -> list[tuple[bytes, bytes]]:
    """Headers by which pages of any origin may use a route."""
    return [
        (b"access-control-allow-origin", b"*"),
        (b"access-control-allow-methods", methods),
        (b"access-control-allow-headers", b"authorization, content-type, x-api-key"),
        (b"access-control-max-age", b"86400"),
        (b"allow", methods),
    ]


ANY_ORIGIN: Final = any_origin(b"POST, OPTIONS")
READ_ONLY: Final = any_origin(b"GET, OPTIONS")
_decode: Final = msgspec.json.Decoder()


class Request(Struct, frozen=True):
    """What a device sent: its headers (lower case) and its whole body."""

    headers: dict[bytes, bytes]
    body: bytes
    peer: str = ""
    """Address that it came from; of a proxy, where there is one."""

    def document(self) -> object:
        """The body as a document: JSON or form fields of JSON, whatever the content type says.

        Form fields are what MATLAB, Octave and PLCs can send: `json=<document>` or a field a name.

        Raises:
            DeviceFault: `payload`, it is neither.
        """
        if self.body.lstrip()[:1] in (b"{", b"[") or b"=" not in self.body:
            return _json(self.body)
        fields = _form(self.body)
        if "json" in fields:
            return _json(fields["json"].encode())
        return {name: _field(name, text) for name, text in fields.items()}


class HungUp(Exception):
    """The client did, before its request was whole: nothing counts, and nobody is answered."""


class Response(Struct, frozen=True):
    """A status, a body and its type."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


WRONG_METHOD: Final = Response(
    405,
    b'{"type":"about:blank","title":"Method Not Allowed","status":405,"detail":"use POST",'
    b'"code":"payload"}',
    PROBLEM,
)


def endpoint(
    handle: Callable[[Request], Awaitable[Response]],
    too_large: Callable[[int], Response],
    body_bytes_max: int,
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """An ASGI application around `handle`: POST only, cross-origin allowed, bounded body."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        method = scope.get("method")  # None for a WebSocket
        if method == "OPTIONS":
            await respond(send, Response(204, b""))
            return
        if method != "POST":
            await respond(send, WRONG_METHOD)
            return
        try:
            body = await read_body(receive, body_bytes_max)
        except HungUp:
            return
        if body is None:
            await respond(send, too_large(body_bytes_max))
            return
        peer = (scope.get("client") or ("",))[0]
        await respond(send, await handle(Request(dict(scope["headers"]), body, peer)))

    return serve


async def read_body(receive: Receive, body_bytes_max: int) -> bytes | None:
    """The body, None when it is too large; then nothing more of it is read.

    Raises:
        HungUp: it did not come whole.
    """
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise HungUp
        body += message["body"]
        if len(body) > body_bytes_max:
            return None
        if not message["more_body"]:
            return body


async def respond(send: Send, response: Response) -> None:
    """Send it whole, for pages of any origin to read."""
    headers = ANY_ORIGIN
    if response.body:  # a 204 must not even say that its length is 0 (RFC 9110, 8.6)
        headers = [
            (b"content-type", response.content_type),
            (b"content-length", b"%d" % len(response.body)),
            *response.headers,
            *ANY_ORIGIN,
        ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": False})


def _json(text: bytes) -> object:
    try:
        return _decode.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = NAN_HINT if NAN.search(text) else ""
        raise DeviceFault(Code.PAYLOAD, f"not JSON: {error}{hint}") from error


def _form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            body.decode("utf-8", "replace"),
            keep_blank_values=True,
            max_num_fields=FORM_FIELDS_MAX,
        )
    except ValueError as error:
        raise DeviceFault(Code.PAYLOAD, f"over {FORM_FIELDS_MAX} form fields") from error
    return dict(pairs)


def _field(name: str, text: str) -> object:
    """A form field's JSON value; text that is none, as a name often is, stays text."""
    if name in TEXT_FIELDS:
        return text
    try:
        return _decode.decode(text.encode())
    except msgspec.DecodeError:
        return text
