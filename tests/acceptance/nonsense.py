"""Nonsense from a seed: requests, documents and texts that are nearly good, or are none.

fuzz = Fuzz(SEED, paths, secrets)
fuzz.path(), fuzz.body(), fuzz.headers()
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import numpy as np

from tests.acceptance.devices import bearer

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE: Final = "https://museum.example"
METHODS: Final = ("POST",) * 6 + (
    "GET", "GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "X",
)  # fmt: skip
NAMES: Final = (
    "device", "o", "obs", "s", "step", "r", "reward", "d", "done", "tr", "truncated", "x",
    "executed", "b", "boot", "i", "info", "f", "first", "apikey", "session_key", "action", "seq",
    "query", "env", "key", "mask", "json", "seed", "mode", "\N{SNOWMAN}", "",
)  # fmt: skip
RAW: Final = (
    b"", b" ", b"{", b"[", b"}", b"nul", b"NaN", b"\xff\xfe", b"\x00", b'"\\ud800"', b"1e400", b"-",
    b'{"o":NaN}', b'{"o":[1e999,0]}', b"[" * 3000, b'{"a":' * 2000, b"=", b"a=b=c", b"&" * 200,
    b"%ff=%00", b"json=", b"json=%7B", b"o=[0,0]&device=f", b'{"device":"f","o":[0,0],"o":[1,1]}',
    b"9" * 5000, b'"' + b"x" * 70_000 + b'"', b"\xef\xbb\xbf{}", b"{}\r\n\r\nGET / HTTP/1.1\r\n",
)  # fmt: skip
TYPES: Final = (
    "application/json", "text/plain", "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/json; charset=utf-16", "\xff", "",
)  # fmt: skip
TEXTS: Final = ("f", "hub", "http-1", "a" * 24, "F", "é", "\u202e", "x" * 500, "1", "[1]")
ORIGINS: Final = (PAGE, "https://elsewhere.example", "null", "x", "\xe9")


class Fuzz:
    """Requests, from a seed: who asks, for what, with which nonsense."""

    def __init__(self, seed: int, paths: list[str], secrets: list[str]) -> None:
        self.random = np.random.default_rng(seed)
        self._paths = paths
        self._secrets = secrets

    def one(self, of: Any) -> Any:
        return of[int(self.random.integers(len(of)))]

    def often(self, probability: float) -> bool:
        return bool(self.random.random() < probability)

    def value(self, depth: int = 0) -> Any:
        """Of any type; mostly small."""
        leaves: list[Callable[[], Any]] = [
            lambda: None,
            lambda: self.often(0.5),
            lambda: int(self.random.integers(-3, 300)),
            lambda: self.one((2**31, -(2**63), 2**63, 2**64 - 1, 1e308, -0.0, 1e-320, 10**18)),
            lambda: float(self.random.normal()),
            lambda: self.one(TEXTS),
            lambda: [0, 0],
            lambda: self.one(self._secrets),
        ]
        if depth > 3 or self.often(0.7):
            return self.one(leaves)()
        if self.often(0.5):
            return [self.value(depth + 1) for _ in range(int(self.random.integers(0, 5)))]
        return {
            self.one(NAMES): self.value(depth + 1) for _ in range(int(self.random.integers(0, 5)))
        }

    def document(self) -> Any:
        """A message that is nearly good, or is none."""
        if self.often(0.2):
            return self.value()
        good: dict[str, Any] = {"device": "f", "o": [0.5, -0.5]}
        for _ in range(int(self.random.integers(0, 5))):
            good[self.one(NAMES)] = self.value()
        return good

    def body(self) -> bytes:
        if self.often(0.2):
            return bytes(self.one(RAW))
        document = self.document()
        if self.often(0.15) and isinstance(document, dict):
            return urlencode({k: json.dumps(v) for k, v in document.items()}).encode()
        text = json.dumps(document, ensure_ascii=self.often(0.5))
        if self.often(0.1):
            text = json.dumps(text)
        body = bytearray(text.encode("utf-8", "surrogatepass"))
        if body and self.often(0.2):
            body[int(self.random.integers(len(body)))] = int(self.random.integers(256))
        return bytes(body)

    def path(self) -> str:
        path = str(self.one(self._paths))
        for name in ("{device}", "{seq}"):
            path = path.replace(
                name, quote(str(self.one(("f", "hub", "9" * 30, "..", "é", "-1", "1"))))
            )
        if self.often(0.1):
            path += str(self.one(("/", "//", "?a=b", "?" + "x" * 300, "%00", "%ff", "/..", ";x")))
        return path

    def headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        if self.often(0.8):
            headers |= bearer(self.one(self._secrets))
        if self.often(0.1):
            headers["Authorization"] = self.one(
                ("Bearer", "Basic !", "Basic eDp5", "\xff", "Bearer  ")
            )
        for name, values in (("Content-Type", TYPES), ("Origin", ORIGINS), ("Accept", TYPES)):
            if self.often(0.2):
                headers[name] = self.one(values)
        return headers
