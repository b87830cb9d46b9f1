"""Nonsense on every route of a real hub: nothing may crash, hang or answer with what it is made of.

The large form is `make fuzz`; a failure names the seed and the request that makes it happen again.
"""

from __future__ import annotations

import http.client
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Final

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import connect

from hub.registry import key_acts, user_acts
from hub.words import Publishable
from tests.acceptance.devices import Http, bearer
from tests.acceptance.nonsense import METHODS, PAGE, Fuzz
from tests.acceptance.real_hub import HOST

if TYPE_CHECKING:
    from tests.acceptance.real_hub import RealHub

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]

SEED: Final = 20_261_129
ANSWER_S_MAX: Final = 30.0
"""A request that is not answered by then hangs; the longest deadline here is a query's."""
POLICY_VIOLATION: Final = 1008
TOO_BIG: Final = 1009
FRAMES_EACH: Final = 20
"""Of one WebSocket."""
BESIDE: Final = (
    "/console/", "/console/login", "/console/setup", "/console/live/agents", "/console/static/x",
    "/metrics", "/schema/openapi.json", "/", "/v1/", "/shepherd", "/remote/d",
    "/..%2f..%2fetc/passwd",
)  # fmt: skip
"""Paths that the document does not name."""


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
