"""A device's exchanges over HTTP: the native route, and Shepherd's two as its clients use them."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hub.payloads import Act
from hub.simulate.exchange import Busy, Said
from hub.simulate.http_client import HttpClient
from hub.simulate.problem import raise_problem

if TYPE_CHECKING:
    from hub.simulate.exchange import Endpoint
    from hub.words import DeviceId


class HttpExchange:
    """`POST /v1/step` on one kept-alive connection; copies have one of their own."""

    numbered = True
    ordered = False

    def __init__(self, device: DeviceId, key: str, endpoint: Endpoint) -> None:
        self._device = device
        headers = {"Authorization": f"Bearer {key}"}
        self._client = HttpClient(endpoint, headers)
        self._beside = HttpClient(endpoint, headers)

    async def ask(self, said: Said) -> Act:
        """The response to this step, as `Exchange.ask`."""
        return _act.decode(await _post(self._client, "/v1/step", self._body(said)))

    async def send(self, said: Said) -> None:
        """On the other connection, so that it may overtake or be overtaken."""
        with suppress(OSError):
            await self._beside.post("/v1/step", self._body(said))

    def abandon(self) -> None:
        """Leave it half open."""
        self._client.abandon()

    def close(self) -> None:
        """Disconnect."""
        self._client.close()
        self._beside.close()

    def _body(self, said: Said) -> bytes:
        return _encoder.encode(msgspec.structs.replace(said, device=self._device))


class ShepherdExchange:
    """`login_user` once, then `env` for every step; the hub numbers the steps.

    The device's own count goes into `info.n`, which the log keeps, so that what was acknowledged
    can be looked up there.
    """

    numbered = False
    ordered = False

    def __init__(self, device: DeviceId, key: str, endpoint: Endpoint) -> None:
        self._device = device
        self._key = key
        self._client = HttpClient(endpoint, {})
        self._beside = HttpClient(endpoint, {})
        self._session_key: str | None = None

    async def ask(self, said: Said) -> Act:
        """The action for this observation, as `Exchange.ask`."""
        if self._session_key is None:
            login = await self._post("login_user", {"apikey": self._key, "device": self._device})
            self._session_key = str(login["session_key"])
        answer = await self._post("env", self._document(said))
        return Act(s=said.s, a=msgspec.convert(answer["action"], int | list[Any] | None))

    async def send(self, said: Said) -> None:
        """On another connection; to the hub it is an observation of its own."""
        if self._session_key is not None:
            with suppress(OSError):
                await self._beside.post("/shepherd/env/", _encoder.encode(self._document(said)))

    def abandon(self) -> None:
        """Leave it half open."""
        self._client.abandon()

    def close(self) -> None:
        """Disconnect. The session key stays: it belongs to the login, and survives the hub."""
        self._client.close()
        self._beside.close()

    def _document(self, said: Said) -> dict[str, object]:
        return {
            "session_key": self._session_key,
            "obs": said.o,
            "reward": said.r or 0.0,  # these clients always send one
            # A client that knows only `done` sends it for both: its time limits are ends.
            "done": bool(said.d),
            "truncated": bool(said.tr),
            "info": {"n": said.s},
        }

    async def _post(self, route: str, document: dict[str, object]) -> dict[str, object]:
        answer = await _post(self._client, f"/shepherd/{route}/", _encoder.encode(document))
        fields = _fields.decode(answer)
        if "error" in fields:
            # Here "wait a moment" and "never" look alike; patience tells them apart.
            raise Busy(str(fields["error"]))
        return fields


async def _post(client: HttpClient, path: str, body: bytes) -> bytes:
    """The body of a 200.

    Raises:
        OSError, Busy, DeviceFault, AccessDenied: as `Exchange.ask`.
    """
    status, answer = await client.post(path, body)
    if status != HTTPStatus.OK:
        raise_problem(status, answer)
    return answer


_encoder: Final = msgspec.json.Encoder()
_act: Final = msgspec.json.Decoder(Act)
_fields: Final = msgspec.json.Decoder(dict[str, object])
