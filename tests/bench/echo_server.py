"""`python -m tests.bench.echo_server`: prints its port, then sends back what it gets."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

import uvloop


class Echo(asyncio.Protocol):
    """The least an asyncio server can do."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


async def _serve() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    server = await asyncio.get_running_loop().create_server(Echo, sock=listening)
    print(listening.getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
