"""A device's exchanges over HTTP: the native route, and Shepherd's two as its clients use them."""

from __future__ import annotations

from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec
from msgspec import Struct

from hub.demo.exchange import ANSWER_TIMEOUT_S, Busy, Said
from hub.errors import AccessDenied, DeviceFault
from hub.payloads import Act
from hub.words import Code

if TYPE_CHECKING:
    from hub.words import DeviceId


class HttpExchange:
    """`POST /v1/step` on one kept-alive connection."""

    numbered = True

    def __init__(self, device: DeviceId, key: str, *, host: str, port: int) -> None:
        self._device = device
        self._client = _Client(host, port, {"Authorization": f"Bearer {key}"})

    def ask(self, said: Said) -> Act:
        """The response to this step, as `Exchange.ask`."""
        body = _encoder.encode(msgspec.structs.replace(said, device=self._device))
        return _act.decode(self._client.post("/v1/step", body))

    def close(self) -> None:
        """Disconnect."""
        self._client.close()


class ShepherdExchange:
    """`login_user` once, then `env` for every step; the hub numbers the steps.

    The device's own count goes into `info.n`, which the log keeps, so that what was acknowledged
    can be looked up there.
    """

    numbered = False

    def __init__(self, device: DeviceId, key: str, *, host: str, port: int) -> None:
        self._device = device
        self._key = key
        self._client = _Client(host, port, {})
        self._session_key: str | None = None

    def ask(self, said: Said) -> Act:
        """The action for this observation, as `Exchange.ask`."""
        if self._session_key is None:
            login = self._post("login_user", {"apikey": self._key, "device": self._device})
            self._session_key = str(login["session_key"])
        answer = self._post(
            "env",
            {
                "session_key": self._session_key,
                "obs": said.o,
                "reward": said.r or 0.0,  # these clients always send one
                # A client that knows only `done` sends it for both: its time limits are ends.
                "done": bool(said.d),
                "truncated": bool(said.tr),
                "info": {"n": said.s},
            },
        )
        return Act(s=said.s, a=msgspec.convert(answer["action"], int | list[float] | None))

    def close(self) -> None:
        """Disconnect. The session key stays: it belongs to the login, and survives the hub."""
        self._client.close()

    def _post(self, route: str, document: dict[str, object]) -> dict[str, object]:
        answer = self._client.post(f"/shepherd/{route}/", _encoder.encode(document))
        fields = _document.decode(answer)
        if "error" in fields:
            # Here "wait a moment" and "never" look alike; `PATIENCE_S` tells them apart.
            raise Busy(str(fields["error"]))
        return fields


class _Client:
    """JSON POSTs on one connection; `http.client` sets TCP_NODELAY by itself."""

    def __init__(self, host: str, port: int, headers: dict[str, str]) -> None:
        self._connection = HTTPConnection(host, port, timeout=ANSWER_TIMEOUT_S)
        self._headers = {"Content-Type": "application/json", **headers}

    def post(self, path: str, body: bytes) -> bytes:
        """The body of a 200.

        Raises:
            OSError, Busy, DeviceFault, AccessDenied: as `Exchange.ask`. After an OSError the
                connection is closed, so that an answer that comes late is not taken for the next.
        """
        try:
            self._connection.request("POST", path, body, self._headers)
            response = self._connection.getresponse()
            answer = response.read()
        except HTTPException as error:
            self.close()
            raise ConnectionResetError(f"the hub broke off: {error!r}") from error
        except OSError:
            self.close()
            raise
        if response.status != HTTPStatus.OK:
            _raise_for(response.status, answer)
        return answer

    def close(self) -> None:
        self._connection.close()


class _Problem(Struct, frozen=True):
    """The part of an RFC 9457 problem document that a device reads."""

    title: str = ""
    detail: str = ""
    code: Code = Code.PAYLOAD


_encoder: Final = msgspec.json.Encoder()
_act: Final = msgspec.json.Decoder(Act)
_problem: Final = msgspec.json.Decoder(_Problem)
_document: Final = msgspec.json.Decoder(dict[str, object])

_WAIT: Final = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)
_DENIED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


def _raise_for(status: int, answer: bytes) -> NoReturn:
    try:
        problem = _problem.decode(answer)
    except msgspec.MsgspecError:
        problem = _Problem(title=answer[:200].decode(errors="replace"))
    text = f"HTTP {status}: {problem.detail or problem.title}"
    if status in _WAIT:
        raise Busy(text)
    if status in _DENIED:
        raise AccessDenied(text)
    raise DeviceFault(problem.code, text)
