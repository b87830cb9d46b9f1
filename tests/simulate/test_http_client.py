"""The connection of a simulated device over HTTP, against a server that counts its own."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from hub.simulate.exchange import Endpoint
from hub.simulate.http_client import HttpClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOST = "127.0.0.1"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers each request, and knows which connections there were and are."""

    def __init__(self) -> None:
        self.opened = 0
        self.ended: list[asyncio.Task[None]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        task = asyncio.current_task()
        assert task is not None
        self.ended.append(task)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\nbody")
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Server, HttpClient]]:
    counting = Server()
    async with await asyncio.start_server(counting.serve, HOST) as server:
        port = server.sockets[0].getsockname()[1]
        yield counting, HttpClient(Endpoint(HOST, port), {})


async def test_copies_that_are_sent_at_once_share_one_connection() -> None:
    async with serving() as (server, client):
        answers = await asyncio.gather(*(client.post("/v1/step", b"body") for _ in range(8)))
        assert answers == [(200, b"ok")] * 8
        assert server.opened == 1
        client.close()
        await asyncio.gather(*server.ended)


async def test_a_copy_that_was_on_its_way_leaves_no_connection_behind() -> None:
    async with serving() as (server, client):
        client.close()
        assert await client.post("/v1/step", b"body") == (200, b"ok")
        await asyncio.gather(*server.ended)


@pytest.mark.parametrize(("host", "written"), [("hub.local", "hub.local:1"), ("::1", "[::1]:1")])
def test_an_endpoint_is_written_as_in_a_url(host: str, written: str) -> None:
    assert str(Endpoint(host, 1)) == written
