"""One WebSocket to a hub, and questions about many devices on it at once.

    link = Link(Address.parse("sheepfold://…"), timeout_s=60)
    answers = link.exchange({"cart-1": {"env": "reset"}, "cart-2": {"env": "reset"}})

It blocks, without a thread: the protocol is that of `websockets`, the socket Python's own. A
connection that is lost, and a hub that stops, are waited for and asked again within the time limit;
the hub does nothing twice, for a step names the observation that it is for. What is over a quota is
asked again when the hub has said that it may be.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from hub.remote.errors import DeviceSilent, HubUnreachable, RemoteFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.remote.address import Address

    Answers = dict[str, dict[str, Any]]

NO_DEVICE: Final = ""
"""Stands for the device in a question about none."""
RETRY_S: Final = 0.1
"""Before a hub that is away is looked for again."""
READ_BYTES: Final = 1 << 18
FRAME_BYTES_MAX: Final = 64 << 20
CONTINUED: Final = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)
_decode: Final = msgspec.json.Decoder(dict[str, Any])
_encode: Final = msgspec.json.Encoder().encode


class Link:
    """A connection that opens when it is used.

    Args:
        address: of the hub; its key goes with the first request.
        timeout_s: how long all answers together may take; None = for ever.
    """

    def __init__(self, address: Address, timeout_s: float | None) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._protocol: ClientProtocol | None = None
        self._pieces: list[bytes] = []
        """Of a message that came in several frames so far."""

    def exchange(self, asked: Mapping[str, Mapping[str, Any]]) -> Answers:
        """The answer to each question, by its device; a refusal is one of them.

        Raises:
            HubUnreachable: no hub at the address within the time limit.
            DeviceSilent: no answer about a device within it.
            RemoteFault: the key is not accepted.
        """
        answers: Answers = {}
        deadline = None if self._timeout_s is None else time.perf_counter() + self._timeout_s
        while len(answers) < len(asked):
            try:
                self._ask(asked, answers, deadline)
            except RemoteFault:
                self.close()  # it is of no use any more
                raise
            except OSError as error:
                opened = self._protocol is not None and self._protocol.state is State.OPEN
                self.close()
                # The kernel gives up as well, with an errno: that is a connection lost.
                over = isinstance(error, TimeoutError) and error.errno is None
                if over and opened:
                    raise self._in_vain(asked, answers) from None
                if deadline is not None and (over or time.perf_counter() + RETRY_S > deadline):
                    where = f"{self._address.host}:{self._address.port}"
                    message = f"no hub answers at {where} within {self._timeout_s:g} s ({error})"
                    raise HubUnreachable(message) from error
                time.sleep(RETRY_S)
        return answers

    def close(self) -> None:
        """Hang up; the next question opens it anew."""
        line, self._socket, self._protocol, self._pieces = self._socket, None, None, []
        if line is not None:
            line.close()

    def _ask(
        self,
        asked: Mapping[str, Mapping[str, Any]],
        answers: Answers,
        deadline: float | None,
    ) -> None:
        """Ask what is not answered yet, and listen until all is.

        Raises:
            OSError: the connection was lost, or could not be opened; `answers` has what came.
            TimeoutError: the time is over.
        """
        if self._socket is None:
            self._open(deadline)
        assert self._protocol is not None, "it is open"
        for device, question in asked.items():
            if device not in answers:
                self._send(device, question)
        later: dict[str, float] = {}
        while len(answers) < len(asked):
            for answer in self._hear_until(deadline, later):
                _check_served(answer)
                device = answer.get("device", NO_DEVICE)
                if device not in asked:
                    continue
                if answer.get("status") == HTTPStatus.TOO_MANY_REQUESTS:
                    later[device] = _when(answer, deadline)
                else:
                    answers[device] = answer
            for device in [one for one, when in later.items() if when <= time.perf_counter()]:
                del later[device]
                self._send(device, asked[device])

    def _send(self, device: str, question: Mapping[str, Any]) -> None:
        assert self._protocol is not None, "it is open"
        named = question if device == NO_DEVICE else {**question, "device": device}
        self._protocol.send_text(_encode(named))
        self._flush()

    def _hear_until(
        self, deadline: float | None, later: Mapping[str, float]
    ) -> list[dict[str, Any]]:
        """What comes next, or nothing when something is to be asked again before."""
        first = min(later.values(), default=None)
        if first is None or (deadline is not None and deadline < first):
            return self._hear(deadline)
        try:
            return self._hear(first)
        except TimeoutError as error:
            if error.errno is not None:
                raise
            return []

    def _hear(self, deadline: float | None) -> list[dict[str, Any]]:
        """The documents of whatever comes next."""
        assert self._protocol is not None, "it is open"
        self._receive(deadline)
        documents = []
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode in CONTINUED:
                self._pieces.append(bytes(event.data))
                if event.fin:
                    documents.append(_decode.decode(b"".join(self._pieces)))
                    self._pieces = []
        if not documents and self._protocol.state is not State.OPEN:
            raise ConnectionResetError("the hub closed the connection")
        return documents

    def _open(self, deadline: float | None) -> None:
        address = self._address
        where = (address.host, address.port)
        self._socket = socket.create_connection(where, _left_s(deadline))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address.tls:
            context = ssl.create_default_context()
            self._socket = context.wrap_socket(self._socket, server_hostname=address.host)
        scheme = "wss" if address.tls else "ws"
        uri = parse_uri(f"{scheme}://{address.host}:{address.port}/v1/ws")
        self._protocol = ClientProtocol(uri, max_size=FRAME_BYTES_MAX)
        request = self._protocol.connect()
        request.headers["Authorization"] = f"Bearer {address.key}"
        self._protocol.send_request(request)
        self._flush()
        while self._protocol.state is State.CONNECTING:
            self._receive(deadline)
            if self._protocol.handshake_exc is not None:
                self._explain(self._protocol)
        self._protocol.events_received()  # the response

    def _explain(self, protocol: ClientProtocol) -> None:
        """Why it did not open: try again, or not.

        Raises:
            OSError: the hub is there and does not serve now.
            RemoteFault: it does not want us.
        """
        error = protocol.handshake_exc
        for event in protocol.events_received():
            if isinstance(event, Response) and event.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
                detail = f"{self._address.host} answers {event.status_code}"
                with contextlib.suppress(msgspec.DecodeError):
                    detail = str(_decode.decode(event.body or b"").get("detail", detail))
                raise RemoteFault(detail, code="auth") from error
        if isinstance(error, InvalidHandshake | EOFError):
            raise ConnectionResetError(f"the connection did not open: {error}") from error
        raise ConnectionResetError("the connection did not open") from error

    def _receive(self, deadline: float | None) -> None:
        assert self._socket is not None, "it is open"
        assert self._protocol is not None, "it is open"
        self._socket.settimeout(_left_s(deadline))
        data = self._socket.recv(READ_BYTES)
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        self._flush()  # the answer to a ping, say
        if not data:
            raise ConnectionResetError("the hub closed the connection")

    def _flush(self) -> None:
        assert self._socket is not None, "it is open"
        assert self._protocol is not None, "it is open"
        data = b"".join(self._protocol.data_to_send())
        if data:
            self._socket.sendall(data)

    def _in_vain(self, asked: Mapping[str, Mapping[str, Any]], answers: Answers) -> RemoteFault:
        missing = sorted(set(asked) - set(answers))
        if missing == [NO_DEVICE]:
            where = f"{self._address.host}:{self._address.port}"
            return HubUnreachable(f"{where} did not answer within {self._timeout_s:g} s")
        named = ", ".join(map(repr, missing))
        return DeviceSilent(
            f"nothing came from device {named} within {self._timeout_s:g} s; is it running, and "
            "does it wait for an action?",
            device=missing[0],
        )


def _check_served(answer: Mapping[str, Any]) -> None:
    """Whether the hub serves, and serves us.

    Raises:
        OSError: not now.
        RemoteFault: the key is not accepted any more.
    """
    status = answer.get("status")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        raise ConnectionResetError(answer.get("detail", "the hub is busy"))
    if status == HTTPStatus.UNAUTHORIZED:
        raise RemoteFault(str(answer.get("detail")), code="auth")


def _when(refusal: Mapping[str, Any], deadline: float | None) -> float:
    """When to ask again what was over a quota, on the clock of the deadline.

    Raises:
        RemoteFault: not before it.
    """
    when = time.perf_counter() + float(refusal.get("retry_s", RETRY_S))
    if deadline is not None and when > deadline:
        device = str(refusal.get("device", NO_DEVICE))
        raise RemoteFault(str(refusal.get("detail")), code="rate", device=device)
    return when


def _left_s(deadline: float | None) -> float | None:
    """What is left of the time limit.

    Raises:
        TimeoutError: nothing.
    """
    if deadline is None:
        return None
    left = deadline - time.perf_counter()
    if left <= 0:
        raise TimeoutError
    return left
