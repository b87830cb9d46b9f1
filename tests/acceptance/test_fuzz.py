"""Nonsense on every route of a real hub: nothing may crash, hang or answer with what it is made of.

The large form is `make fuzz`; a failure names the seed and the request that makes it happen again.
"""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import msgspec
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import connect

from hub.registry import key_acts, user_acts
from hub.words import Publishable
from tests.acceptance.devices import Http, bearer
from tests.acceptance.real_hub import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.real_hub import RealHub

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]

SEED: Final = 20_261_129
ANSWER_S_MAX: Final = 30.0
"""A request that is not answered by then hangs; the longest deadline here is a query's."""
POLICY_VIOLATION: Final = 1008
TOO_BIG: Final = 1009
FRAMES_EACH: Final = 20
"""Of one WebSocket."""
PAGE: Final = "https://museum.example"
BESIDE: Final = (
    "/console/", "/console/login", "/console/setup", "/console/live/agents", "/console/static/x",
    "/metrics", "/schema/openapi.json", "/", "/v1/", "/shepherd", "/remote/d",
    "/..%2f..%2fetc/passwd",
)  # fmt: skip
"""Paths that the document does not name."""
METHODS: Final = ("POST",) * 6 + (
    "GET",
    "GET",
    "PUT",
    "DELETE",
    "PATCH",
    "HEAD",
    "OPTIONS",
    "TRACE",
    "X",
)
NAMES: Final = (
    *[
        "device",
        "o",
        "obs",
        "s",
        "step",
        "r",
        "reward",
        "d",
        "done",
        "tr",
        "truncated",
        "x",
        "executed",
        "b",
        "boot",
        "i",
        "info",
        "f",
        "first",
    ],
    *[
        "apikey",
        "session_key",
        "action",
        "seq",
        "query",
        "env",
        "key",
        "mask",
        "json",
        "seed",
        "mode",
    ],
    "\N{SNOWMAN}",
    "",
)
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
            lambda: self.one(
                ("f", "hub", "http-1", "a" * 24, "F", "é", "\u202e", "x" * 500, "1", "[1]")
            ),
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


def test_no_request_makes_the_hub_fail(hub: RealHub, fuzz: Fuzz, requests: int) -> None:
    statuses: dict[int, int] = {}
    with closing(http.client.HTTPConnection(HOST, hub.ready.http, timeout=ANSWER_S_MAX)) as line:
        for number in range(requests):
            asked = (fuzz.one(METHODS), fuzz.path(), fuzz.body(), fuzz.headers())
            what = f"seed {SEED}, request {number}: {asked}"
            status, answer = answered(line, *asked, what=what)
            statuses[status] = statuses.get(status, 0) + 1
            assert status < 500 or status == 503, f"{status} {answer[:500]!r}; {what}"
            assert b"Traceback" not in answer, what
            assert b'File "/' not in answer, what
    assert statuses[200] > requests / 50, f"hardly anything came through: {statuses}"
    still_good(hub, fuzz)


def answered(
    line: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes,
    headers: dict[str, str],
    *,
    what: str,
) -> tuple[int, bytes]:
    """Status and body; a connection that the hub closed is opened again, once."""
    for attempt in (1, 2):
        try:
            line.request(method, path, body, headers)
            response = line.getresponse()
            return response.status, response.read()
        except TimeoutError as error:
            raise AssertionError(f"it hangs; {what}") from error
        except (http.client.HTTPException, OSError, UnicodeError):
            line.close()
            if attempt == 2:
                return 400, b""  # it is no HTTP, and is hung up on
    raise AssertionError(what)


def test_no_frame_makes_the_hub_fail(hub: RealHub, fuzz: Fuzz, requests: int) -> None:
    """Each frame has one answer, or the socket is closed with a reason."""
    url = f"ws://{HOST}:{hub.ready.http}/v1/ws"
    codes: list[int | None] = []
    for number in range(requests // FRAMES_EACH // 5):
        shown = bearer(fuzz.one(fuzz._secrets)) if fuzz.often(0.9) else {}
        try:
            with connect(url, additional_headers=shown, open_timeout=ANSWER_S_MAX) as line:
                for _ in range(FRAMES_EACH):
                    frame = fuzz.body()
                    line.send(frame)
                    answer = msgspec.json.decode(line.recv(ANSWER_S_MAX))
                    assert isinstance(answer, dict), f"seed {SEED}, socket {number}: {frame!r}"
                    assert answer.get("status", 400) != 500, f"seed {SEED}, {number}: {frame!r}"
        except ConnectionClosed as closed:
            codes.append(None if closed.rcvd is None else closed.rcvd.code)
        except WebSocketException:
            continue  # its key was refused
        except TimeoutError as error:
            raise AssertionError(f"it hangs; seed {SEED}, socket {number}") from error
    assert set(codes) <= {POLICY_VIOLATION, TOO_BIG}, "closed otherwise than by its own rules"
    still_good(hub, fuzz)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01 no HTTP\r\n\r\n",
        b"POST /v1/step HTTP/9.9\r\n\r\n",
        b"POST /v1/step HTTP/1.1\r\nHost: h\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/step HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\nabcde",
        b"POST /v1/step HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/step HTTP/1.1\r\n" + b"a: b\r\n" * 20_000,
        b"GET /" + b"x" * 200_000,
        b"GET /v1/ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\r\n" * 5000,
    ],
    ids=range(10),
)
def test_bytes_that_are_no_request_cost_their_sender_only(
    hub: RealHub, fuzz: Fuzz, sent: bytes
) -> None:
    with socket.create_connection((HOST, hub.ready.http), ANSWER_S_MAX) as line:
        try:
            line.sendall(sent)
            line.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: line.recv(4096), b""))
        except ConnectionError:
            answer = b""
        assert b"Traceback" not in answer
        assert not answer.startswith(b"HTTP/1.1 500")
    still_good(hub, fuzz)


@pytest.mark.parametrize("path", ["/console/static/x%00", "/v1/step%00", "/shepherd/env%00/"])
def test_a_path_with_a_nul_is_not_found(hub: RealHub, fuzz: Fuzz, path: str) -> None:
    with Http(hub.ready.http) as http_:
        assert http_.ask("GET", path)[0] in (404, 405)
    still_good(hub, fuzz)


def test_a_refused_websocket_is_no_error_in_the_hubs_messages(hub: RealHub, fuzz: Fuzz) -> None:
    with pytest.raises(InvalidStatus):
        connect(f"ws://{HOST}:{hub.ready.http}/v1/step")
    still_good(hub, fuzz)
    assert "handshake" not in hub.says.read_text(errors="replace")


def still_good(hub: RealHub, fuzz: Fuzz) -> None:
    """An honest device is answered."""
    with Http(hub.ready.http) as device:
        status, answer = device.step(fuzz._secrets[0], {"device": "honest", "o": [0, 0]})
    assert status == 200, answer


@pytest.fixture(scope="module")
def fuzz(hub: RealHub) -> Fuzz:
    """Its keys: a device's, another agent's, an operator's, a page's, and some that are none."""
    box = [[2], -1, 1]
    mine = hub.make_agent("fuzzed", observations=box, deadline_ms=5)
    other = hub.make_agent("other", observations=box, deadline_ms=5)
    hub.ask(user_acts.CreateUser("ann", "owner", "correct horse"))
    operator = hub.ask(key_acts.CreateUserKey("ann"))["api_key"]
    page = Publishable((PAGE,), sessions_max=50, messages_per_s=1e6)
    shown = hub.ask(key_acts.CreateKey("fuzzed", publishable=page))["api_key"]
    with Http(hub.ready.http) as http_:
        document = http_.ask("GET", "/schema/openapi.json")[1]
        login = http_.shepherd("login_user", {"apikey": mine})
    paths = [*document["paths"], *document["paths"], *BESIDE]
    nonsense = ["", "x", mine[:-1], "é" * 40]
    return Fuzz(SEED, paths, [mine, mine, other, operator, shown, login["session_key"], *nonsense])
