"""Sockets in the middle of a TLS handshake: counted like all others.

asyncio's own servers tell a protocol of its socket when the handshake is over. Whoever never ends
one would hold sockets that nobody counts; so they are accepted here.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    import socket
    import ssl

    from hub.intake.mqtt.gate import Gate

log: Final = logging.getLogger("hub")

AGAIN_S: Final = 1.0
"""After a socket could not be accepted: the process has too many open, most likely."""


async def serve_tls(gate: Gate, listener: socket.socket, context: ssl.SSLContext) -> NoReturn:
    """Bring sockets to the gate once TLS stands; ends by being cancelled only."""
    loop = asyncio.get_running_loop()
    listener.setblocking(False)  # noqa: FBT003 - the socket's own signature
    shaking: set[asyncio.Task[None]] = set()
    try:
        while True:
            try:
                plain, address = await loop.sock_accept(listener)
            except OSError as error:
                log.warning(
                    "no socket can be accepted for MQTT: %s; tried again in %g s; if too many "
                    "files are open, raise the limit (LimitNOFILE, ulimit -n)",
                    error,
                    AGAIN_S,
                )
                await asyncio.sleep(AGAIN_S)
                continue
            task = loop.create_task(Handshake(gate, plain, address).shake(context))
            shaking.add(task)
            task.add_done_callback(shaking.discard)
    finally:
        for task in shaking:
            task.cancel()


class Handshake(asyncio.Protocol):
    """One socket until TLS stands; a `hub.intake.mqtt.strangers.Socket`."""

    def __init__(self, gate: Gate, plain: socket.socket, address: tuple[str, int]) -> None:
        self._gate = gate
        self._plain = plain
        self._task: asyncio.Task[None] | None = None
        self._counted = False
        self.peer = (address[0], address[1])

    def close(self) -> None:
        """There are too many."""
        if self._task is not None:
            self._task.cancel()

    async def shake(self, context: ssl.SSLContext) -> None:
        """Returns when the socket is the gate's, or closed."""
        self._task = asyncio.current_task()
        self._counted = True
        try:
            if self._gate.strangers.enter(self):
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: self,
                    self._plain,
                    ssl=context,
                    ssl_handshake_timeout=self._gate.settings.connect_timeout_s,
                )
            else:
                self._plain.close()
        except OSError:
            pass  # a stranger's, and there may be any number of them
        finally:
            self._leave()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS stands: from now on the socket is the gate's, which counts it anew."""
        self._leave()
        connection = self._gate.accept()
        transport.set_protocol(connection)
        connection.connection_made(transport)

    def _leave(self) -> None:
        if self._counted:
            self._counted = False
            self._gate.strangers.leave(self)
