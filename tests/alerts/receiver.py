"""A program that is told of alerts: a real HTTP server on loopback, in a thread of its own.

with Receiver() as receiver:
    …                                # the webhook is receiver.url, its secret SECRET
    receiver.bodies                  # what came and was signed as it should be
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SECRET: Final = "0123456789abcdef"


class Receiver:
    """Checks the signature of each body.

    Args:
        answers: statuses of the first answers; then 204.
        mute: takes what comes and never answers.
        certificate: its file and its key's, for TLS.
    """

    def __init__(
        self,
        *,
        answers: Sequence[int] = (),
        mute: bool = False,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self.bodies: list[bytes] = []
        self.forged = 0
        self._answers = list(answers)
        self._mute = mute
        self._ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}/alerts"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def _status(self, signature: str, body: bytes) -> int:
        expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(signature, f"sha256={expected}"):
            self.forged += 1
            return 401
        if self._mute:
            self._ended.wait()
        self.bodies.append(body)
        return self._answers.pop(0) if self._answers else 204

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                signature = self.headers.get("X-Sheepfold-Signature", "")
                self.send_response(receiver._status(signature, body))
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's
                """Nothing is printed."""

        return Handler
