"""The operator's socket: `DATA/hub.sock`, mode 0600. Who may open it may do everything.

One request and one answer a connection, each a frame of JSON, so that any tool can speak it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, assert_never

import msgspec
from msgspec import Struct

from hub.errors import LogUnavailable, OperatorFault, SheepfoldError
from hub.frames import LENGTH, frame, receive_frame
from hub.log.address import unix_address
from hub.registry.acts import NewAgent

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.log.link import LogLink
    from hub.registry.acts import Acts
    from hub.registry.fold import Registry
    from hub.words import AgentName, Event

SOCKET_NAME: Final = "hub.sock"
REQUEST_BYTES_MAX: Final = 1 << 20
WAIT_S_MAX: Final = 60.0


class CreateAgent(Struct, frozen=True, tag="create_agent"):
    """`sheepfold agent create`."""

    agent: NewAgent


class ChangeAgent(Struct, frozen=True, tag="change_agent"):
    """`sheepfold agent update|pause|resume|delete`."""

    name: str
    changes: dict[str, Any]


class Show(Struct, frozen=True, tag="show"):
    """`sheepfold agent|device|key list`, `agent show`."""

    what: Literal["agents", "agent", "devices", "keys"]
    name: str = ""


class CreateKey(Struct, frozen=True, tag="create_key"):
    """`sheepfold key create`."""

    agent: str
    device: str | None = None


class RevokeKey(Struct, frozen=True, tag="revoke_key"):
    """`sheepfold key revoke`."""

    id: str


class AddDevice(Struct, frozen=True, tag="add_device"):
    """`sheepfold device add|move`."""

    device: str
    agent: str


class Query(Struct, frozen=True, tag="query"):
    """`sheepfold sql`."""

    sql: str
    form: Literal["table", "json", "csv", "arrow"] = "table"


class Status(Struct, frozen=True, tag="status"):
    """Process ids and counts, for operators and benchmarks."""


Act = CreateAgent | ChangeAgent | CreateKey | RevokeKey | AddDevice
Request = Act | Show | Query | Status


class Done(Struct, frozen=True, tag="done"):
    """It was done; what was asked for."""

    answer: Any


class Result(Struct, frozen=True, tag="result"):
    """A query's result, base64 in JSON."""

    body: bytes


class NotDone(Struct, frozen=True, tag="not_done"):
    """It was refused, and this is what to do."""

    message: str


Reply = Done | Result | NotDone

_request: Final = msgspec.json.Decoder(Request)
_reply: Final = msgspec.json.Decoder(Reply)


class Control:
    """Serves the operator's requests inside the hub."""

    def __init__(
        self,
        acts: Acts,
        registry: Registry,
        log: LogLink,
        changed: Callable[[AgentName], None],
        status: Callable[[], dict[str, Any]],
    ) -> None:
        self._acts = acts
        self._registry = registry
        self._log = log
        self._changed = changed
        self._status = status
        self._server: asyncio.Server | None = None
        self._acting = asyncio.Lock()
        """One act at a time: what it was checked against must still hold when it is folded."""

    async def open(self, data: Path) -> None:
        """Listen in the data folder."""
        path = data / SOCKET_NAME
        with suppress(FileNotFoundError):
            path.unlink()
        mask = os.umask(0o177)  # the socket must never be there with a wider mode
        try:
            with unix_address(path) as address:
                listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                listener.bind(address)
        finally:
            os.umask(mask)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener)

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(WAIT_S_MAX):
                (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                if length <= REQUEST_BYTES_MAX:
                    reply = await self._answer(await reader.readexactly(length))
                    writer.write(frame(msgspec.json.encode(reply)))
                    await writer.drain()
        writer.close()

    async def _answer(self, body: bytes) -> Reply:
        try:
            request = _request.decode(body)
            if isinstance(request, Query):
                return Result(await self._log.query(request.sql, request.form))
            if isinstance(request, Show):
                return Done(self._show(request.what, request.name))
            if isinstance(request, Status):
                return Done(self._status())
            async with self._acting:
                return Done(await self._act(request))
        except msgspec.MsgspecError as error:
            return NotDone(f"request not understood: {error}; is the command older than the hub?")
        except SheepfoldError as error:
            return NotDone(str(error))

    async def _act(self, request: Act) -> Any:
        by = "operator"
        match request:
            case CreateAgent(agent):
                events, answer = self._acts.create_agent(agent, by)
            case ChangeAgent(name, changes):
                events, answer = self._acts.change_agent(name, changes, by)
            case CreateKey(agent_name, device):
                events, answer = self._acts.create_key(agent_name, device, by)
            case RevokeKey(key_id):
                events, answer = self._acts.revoke_key(key_id, by)
            case AddDevice(device_id, agent_name):
                events, answer = self._acts.add_device(device_id, agent_name, by)
            case _:
                assert_never(request)
        await self._log_and_fold(events)
        return answer

    async def _log_and_fold(self, events: list[Event]) -> None:
        """An act is done when the log has it, and not before."""
        durable: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def committed(seq: int) -> None:
            for event in events:
                self._registry.apply(event)
            for name in {event.agent for event in events}:
                self._changed(name)  # type: ignore[arg-type]  # an event's agent is an AgentName
            if not durable.done():
                durable.set_result(seq)

        self._log.append(events, committed)
        await durable

    def _show(self, what: str, name: str) -> Any:
        match what:
            case "agents":
                return self._acts.list_agents()
            case "agent":
                return self._acts.show_agent(name)
            case "devices":
                return self._acts.list_devices()
            case _:
                return self._acts.list_keys()


def ask(data: Path, request: Request) -> Done | Result:
    """Have a running hub carry out a request; blocking, for the command line.

    Raises:
        OperatorFault: it refused, or no hub runs on this folder.
    """
    path = data / SOCKET_NAME
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(WAIT_S_MAX)
        try:
            with unix_address(path) as address:
                connection.connect(address)
            connection.sendall(frame(msgspec.json.encode(request)))
            body = receive_frame(connection)
        except (OSError, struct.error) as error:
            raise OperatorFault(
                f"no hub answers in {data} ({error}); start one with "
                f"'sheepfold serve --data {data}', or name its folder with --data"
            ) from error
    if body is None:
        raise LogUnavailable("the hub closed the connection; see its messages")
    reply: Reply = _reply.decode(body)
    if isinstance(reply, NotDone):
        raise OperatorFault(reply.message)
    return reply
