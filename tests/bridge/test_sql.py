"""`POST /v1/sql`: who may ask, in which form it is answered, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self, cast

import httpx
import pytest

from bridge.app import open_bridge
from bridge.sql import FORMS, accepted
from hub.frames import LENGTH
from hub.log.analyst.messages import (
    Ask,
    Chunk,
    End,
    Refused,
    framed,
    from_client,
    socket_path,
)
from hub.registry.access import fingerprint
from hub.words import Key, KeyId, User
from tests.bridge.rooms import BODY_BYTES_MAX, Rooms, bearer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hub.log.analyst.messages import ToClient
    from hub.processes import Hub

WAIT_S = 20.0
LAST_SEQ = 4711
NDJSON, CSV, ARROW, _PARQUET = FORMS


class Analyst:
    """A played one: answers each query with the same messages, then waits for the client to go."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.answer: list[ToClient] = [End()]
        self.asked: list[Ask] = []
        self.gone = asyncio.Event()

    async def __aenter__(self) -> Self:
        path = str(socket_path(self._data))
        self._server = await asyncio.start_unix_server(self._serve, path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
        self.asked.append(from_client.decode(await reader.readexactly(length)))
        with contextlib.suppress(ConnectionError):
            for message in self.answer:
                writer.write(framed(message))
                await writer.drain()
            await reader.read()
        self.gone.set()
        writer.close()


class SqlRooms(Rooms):
    """With users, a data folder and an analyst in it."""

    def __init__(self, data: Path) -> None:
        super().__init__()
        self.data = data
        self.log.last_seq = LAST_SEQ
        self.analyst = Analyst(data)

    def make_user(self, name: str, role: Any) -> str:
        """A user and the user's key."""
        self.registry.users[name] = User(name, role)
        self.registry.keys[fingerprint(f"{name}.secret")] = Key(KeyId(name), None, user=name)
        return f"{name}.secret"


@pytest.fixture
async def rooms(tmp_path: Path) -> AsyncIterator[SqlRooms]:
    async with SqlRooms(tmp_path) as rooms, rooms.analyst:
        yield rooms


@pytest.fixture
def admin(rooms: SqlRooms) -> dict[str, str]:
    """The headers of an admin."""
    return bearer(rooms.make_user("ann", "admin"))


QUERY = {"query": "SELECT 1"}


async def test_an_admin_asks_for_all_that_was_acknowledged(
    rooms: SqlRooms, admin: dict[str, str]
) -> None:
    rooms.analyst.answer = [Chunk(b'{"a":1}\n'), Chunk(b'{"a":2}\n'), End()]
    response = await rooms.post("/v1/sql", QUERY, admin)
    assert (response.status_code, response.text) == (200, '{"a":1}\n{"a":2}\n')
    assert response.headers["content-type"] == NDJSON
    assert response.headers["access-control-allow-origin"] == "*"
    assert rooms.analyst.asked == [Ask("SELECT 1", "json", LAST_SEQ, None)]


async def test_an_owner_asks_for_the_own_agents(rooms: SqlRooms) -> None:
    eve, bob, nobody = (rooms.make_user(name, "owner") for name in ("eve", "bob", "nobody"))
    rooms.make_agent("hers", owner="eve")
    rooms.make_agent("his", owner="bob")
    rooms.make_agent("hers-too", owner="eve")
    await rooms.post("/v1/sql", QUERY, bearer(eve))
    await rooms.post("/v1/sql", QUERY, bearer(bob))
    await rooms.post("/v1/sql", QUERY, bearer(nobody))
    agents = [sorted(ask.agents or []) for ask in rooms.analyst.asked]
    assert agents == [["hers", "hers-too"], ["his"], []]
    assert None not in [ask.agents for ask in rooms.analyst.asked]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Basic YTpi"}, 401),
        (bearer("nobody.secret"), 401),
        ({"X-Api-Key": "nobody.secret"}, 401),
    ],
)
async def test_nobody_unknown_may_ask(
    rooms: SqlRooms, headers: dict[str, str], status: int
) -> None:
    response = await rooms.post("/v1/sql", QUERY, headers)
    assert (response.status_code, response.json()["code"]) == (status, "auth")
    assert response.headers["content-type"] == "application/problem+json"
    assert rooms.analyst.asked == []


async def test_a_device_may_not_ask(rooms: SqlRooms) -> None:
    response = await rooms.post("/v1/sql", QUERY, bearer(rooms.make_agent("cart")))
    assert (response.status_code, response.json()["code"]) == (403, "auth")


async def test_an_api_key_header_will_do(rooms: SqlRooms) -> None:
    key = rooms.make_user("ann", "admin")
    assert (await rooms.post("/v1/sql", QUERY, {"X-Api-Key": key})).status_code == 200


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", NDJSON),
        ("*/*", NDJSON),
        ("application/*", NDJSON),
        ("text/*", CSV),
        ("text/csv", CSV),
        ("TEXT/CSV ; charset=utf-8", CSV),
        (ARROW, ARROW),
        (f"{ARROW}, */*;q=0.1", ARROW),
        ("text/csv;q=0.5, application/x-ndjson;q=0.9", NDJSON),
        ("text/csv;q=0.9, application/x-ndjson;q=0.5", CSV),
        ("application/x-ndjson;q=0, */*", CSV),
        ("text/html, application/xml;q=0.9, */*;q=0.8", NDJSON),
        ("application/json", None),
        ("text/html", None),
        ("*/*;q=0", None),
        ("text/csv;q=no", None),
        (",", NDJSON),
    ],
)
def test_accept_chooses_the_form(accept: str, chosen: str | None) -> None:
    assert accepted(accept) == chosen


@pytest.mark.parametrize(
    ("accept", "form", "content_type"),
    [
        (NDJSON, "json", NDJSON),
        (CSV, "csv", "text/csv; charset=utf-8"),
        (ARROW, "arrow", ARROW),
    ],
)
async def test_each_form_is_asked_for_and_named(
    rooms: SqlRooms, admin: dict[str, str], accept: str, form: str, content_type: str
) -> None:
    response = await rooms.post("/v1/sql", QUERY, {**admin, "Accept": accept})
    assert rooms.analyst.asked[0].form == form
    assert response.headers["content-type"] == content_type


async def test_another_form_is_406(rooms: SqlRooms, admin: dict[str, str]) -> None:
    response = await rooms.post("/v1/sql", QUERY, {**admin, "Accept": "application/json"})
    assert (response.status_code, response.json()["status"]) == (406, 406)
    assert "text/csv" in response.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"query":"SELECT 1"}',
        b"query=SELECT+1",
        b"query=SELECT%201&x=2",
        b'json={"query":"SELECT 1"}',
    ],
)
async def test_json_and_forms_will_do(rooms: SqlRooms, admin: dict[str, str], body: bytes) -> None:
    assert (await rooms.ask("POST", "/v1/sql", body, admin)).status_code == 200
    assert rooms.analyst.asked[0].sql == "SELECT 1"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"query":1}', b'{"sql":"SELECT 1"}'])
async def test_a_body_without_a_query_is_400(
    rooms: SqlRooms, admin: dict[str, str], body: bytes
) -> None:
    response = await rooms.ask("POST", "/v1/sql", body, admin)
    assert (response.status_code, response.json()["code"]) == (400, "payload")


async def test_a_body_that_is_too_large_is_413(rooms: SqlRooms, admin: dict[str, str]) -> None:
    response = await rooms.post("/v1/sql", {"query": "x" * BODY_BYTES_MAX}, admin)
    assert (response.status_code, response.json()["code"]) == (413, "size")


@pytest.mark.parametrize(
    ("refused", "status", "code"),
    [(Refused("there is no view 'log'"), 400, "payload"), (Refused("behind", True), 503, "busy")],
)
async def test_what_is_refused_at_once_has_its_status(
    rooms: SqlRooms, admin: dict[str, str], refused: Refused, status: int, code: str
) -> None:
    rooms.analyst.answer = [refused]
    response = await rooms.post("/v1/sql", QUERY, admin)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.json()["detail"] == refused.message


async def test_without_an_analyst_it_is_503(tmp_path: Path) -> None:
    async with SqlRooms(tmp_path) as rooms:
        response = await rooms.post("/v1/sql", QUERY, bearer(rooms.make_user("ann", "admin")))
    assert (response.status_code, response.json()["code"]) == (503, "busy")


async def test_other_methods_are_not_allowed(rooms: SqlRooms) -> None:
    refused = await rooms.ask("GET", "/v1/sql")
    assert (refused.status_code, refused.json()["code"]) == (405, "payload")
    assert (await rooms.ask("OPTIONS", "/v1/sql")).status_code == 204


# --- over a real socket -----------------------------------------------------------------------


@asynccontextmanager
async def served(rooms: SqlRooms) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the bridge on a real server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with (
            open_bridge(cast("Hub", rooms), listener),
            httpx.AsyncClient(base_url=address, timeout=WAIT_S) as client,
        ):
            yield client


async def test_pieces_come_as_they_are_made(rooms: SqlRooms, admin: dict[str, str]) -> None:
    rooms.analyst.answer = [Chunk(b"first\n")]  # and then nothing
    async with (
        served(rooms) as client,
        client.stream("POST", "/v1/sql", json=QUERY, headers=admin) as response,
    ):
        assert await anext(response.aiter_bytes()) == b"first\n"
        assert response.headers["transfer-encoding"] == "chunked"


async def test_a_client_that_hangs_up_has_cancelled_its_query(
    rooms: SqlRooms, admin: dict[str, str]
) -> None:
    for answer in ([Chunk(b"first\n")], []):
        rooms.analyst.answer = answer  # type: ignore[assignment]  # Chunks are for clients
        rooms.analyst.gone.clear()
        rooms.analyst.asked.clear()
        async with served(rooms) as client:
            asking = asyncio.create_task(client.post("/v1/sql", json=QUERY, headers=admin))
            async with asyncio.timeout(WAIT_S):
                while not rooms.analyst.asked:  # noqa: ASYNC110 - what a client would see
                    await asyncio.sleep(0)
                asking.cancel()
                await rooms.analyst.gone.wait()


@pytest.mark.parametrize("refused", [Refused("it took too long"), Refused("gone", True)])
async def test_a_fault_in_the_middle_cuts_the_connection(
    rooms: SqlRooms, admin: dict[str, str], refused: Refused
) -> None:
    rooms.analyst.answer = [Chunk(b"first\n"), refused]
    async with served(rooms) as client:
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked"):
            await client.post("/v1/sql", json=QUERY, headers=admin)


async def test_a_slow_client_holds_the_analyst_up_and_not_the_memory(
    rooms: SqlRooms, admin: dict[str, str]
) -> None:
    told = 0

    class Told(list[Any]):
        def __iter__(self) -> Any:
            nonlocal told
            for told in range(1000):  # noqa: B007 - counted
                yield Chunk(bytes(1 << 20))
            yield End()

    rooms.analyst.answer = Told()
    async with (
        served(rooms) as client,
        client.stream("POST", "/v1/sql", json=QUERY, headers=admin) as response,
    ):
        pieces = response.aiter_bytes()
        await anext(pieces)
        before = -1
        while before != told:
            before = told
            await asyncio.wait([asyncio.ensure_future(rooms.analyst.gone.wait())], timeout=0.2)
        assert told < 100
