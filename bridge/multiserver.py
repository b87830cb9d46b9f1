"""The six routes of a MultiServerRL environment, `POST /remote/{device}/post_…_request/`.

    step   {"action": 1}       ─▶  {"observation", "reward", "done", "info"}
    reset  {}                  ─▶  {"observation"}
    state  {}                  ─▶  {"state"}      the observation shown last
    render {"mode": "human"}   ─▶  {"screen"}     the same where it is a picture, else null
    seed   {"seed": 3}         ─▶  {"success"}    false: a device has none
    close  {}                  ─▶  {"success"}

Its clients send JSON in a JSON string, and no key: `http://any:KEY@hub:8000/remote/cart-1` as the
environment's address has them send one. They look at no status: what is refused is `{"error": "a
sentence"}`, where their look-up fails. They ask again after a second when there is no JSON, so a
hub that is stopping sends none; and a step that nothing was shown for, as after a restart of the
hub, is answered as the end of an episode, so that they reset.
"""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridge.errors import STATUS
from bridge.http import Response
from bridge.native import secret_of
from bridge.remote import routed
from hub.errors import AccessDenied, DeviceFault
from hub.learner.algorithms.observed import is_image
from hub.registry.access import agent_of
from hub.spaces import Box, as_json
from hub.words import Code

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from litestar.types import ControllerRouterHandler

    from bridge.bodies import RemoteObservation
    from bridge.http import Request
    from bridge.remote import Remote
    from hub.registry.fold import Registry, Spec
    from hub.words import Key

    Answer = dict[str, Any]
    CarryOut = Callable[[Key, Spec, str, dict[str, Any]], Awaitable[Answer]]

BASIC: Final = b"basic "
STOPPING: Final = Response(HTTPStatus.SERVICE_UNAVAILABLE, b"", b"text/plain")


class MultiServer:
    """The routes, over what remote environments do."""

    def __init__(self, registry: Registry, remote: Remote, body_bytes_max: int) -> None:
        self._registry = registry
        self._remote = remote
        self._body_bytes_max = body_bytes_max

    def routes(self) -> list[ControllerRouterHandler]:
        """All six, for pages of any origin."""
        verbs = {
            "step": self._step,
            "reset": self._reset,
            "state": self._state,
            "render": self._render,
            "seed": self._seed,
            "close": self._close,
        }
        return [self._route(verb, carry_out) for verb, carry_out in verbs.items()]

    def _route(self, verb: str, carry_out: CarryOut) -> ControllerRouterHandler:
        async def answer(request: Request, device: str) -> Response:
            return await self._answer(request, device, carry_out)

        path = f"/remote/{{device:str}}/post_{verb}_request"
        return routed(path, answer, self._body_bytes_max, _too_large, STOPPING)

    async def _answer(self, request: Request, device: str, carry_out: CarryOut) -> Response:
        """What comes of a request, and every refusal in the protocol's shape."""
        try:
            key, spec = agent_of(self._registry, key_of(request.headers))
        except AccessDenied as error:
            return _refused(HTTPStatus.UNAUTHORIZED, str(error))
        try:
            self._remote.admit(key, spec, len(request.body))
            answer = await carry_out(key, spec, device, arguments(request.body))
        except DeviceFault as fault:
            if fault.code is Code.BUSY:
                return STOPPING
            return _refused(STATUS[fault.code], fault.message)
        except AccessDenied as error:
            return _refused(HTTPStatus.FORBIDDEN, str(error))
        return Response(HTTPStatus.OK, msgspec.json.encode(answer))

    async def _step(self, key: Key, spec: Spec, device: str, said: dict[str, Any]) -> Answer:
        if self._remote.shown(key, spec, device) is None:
            seen = await self._remote.reset(key, spec, device, said)
            return _stepped(seen, done=True)
        seen = await self._remote.step(key, spec, device, said)
        return _stepped(seen, done=seen.terminated or seen.truncated)

    async def _reset(self, key: Key, spec: Spec, device: str, said: dict[str, Any]) -> Answer:
        seen = await self._remote.reset(key, spec, device, said)
        return {"observation": seen.observation}

    async def _state(self, key: Key, spec: Spec, device: str, said: dict[str, Any]) -> Answer:
        del said
        seen = self._remote.shown(key, spec, device)
        values = None if seen is None else seen.step.observation.values
        return {"state": None if values is None else as_json(spec.observations, values)}

    async def _render(self, key: Key, spec: Spec, device: str, said: dict[str, Any]) -> Answer:
        shown = await self._state(key, spec, device, said)
        is_picture = isinstance(spec.observations, Box) and is_image(spec.observations)
        return {"screen": shown["state"] if is_picture else None}

    async def _seed(self, key: Key, spec: Spec, device: str, said: dict[str, Any]) -> Answer:
        del said
        self._remote.shown(key, spec, device)  # is it this key's to ask?
        return {"success": False, "why": "a device has no seed"}

    async def _close(self, key: Key, spec: Spec, device: str, said: dict[str, Any]) -> Answer:
        del said  # some clients seed with this route
        self._remote.shown(key, spec, device)
        return {"success": True}


def key_of(headers: dict[bytes, bytes]) -> str:
    """The API key of a request; also as the password of a URL, where a client knows no other way.

    Raises:
        AccessDenied: there is none.
    """
    authorization = headers.get(b"authorization", b"")
    if authorization[: len(BASIC)].lower() == BASIC:
        with suppress(binascii.Error):
            user_password = base64.b64decode(authorization[len(BASIC) :], validate=True)
            return user_password.partition(b":")[2].decode("latin-1")
    return secret_of(headers)


def arguments(body: bytes) -> dict[str, Any]:
    """The document in a body: JSON in a JSON string, as the clients send it, or JSON.

    Raises:
        DeviceFault: `payload`, it is neither.
    """
    try:
        document = msgspec.json.decode(body) if body.strip() else {}
        if isinstance(document, str):
            document = msgspec.json.decode(document.encode())
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise DeviceFault(Code.PAYLOAD, f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise DeviceFault(Code.PAYLOAD, "expected an object, as JSON in a JSON string")
    return document


def _stepped(seen: RemoteObservation, *, done: bool) -> Answer:
    cut = {"TimeLimit.truncated": True} if done and not seen.terminated else {}
    return {
        "observation": seen.observation,
        "reward": seen.reward,
        "done": done,
        "info": seen.info | cut,
    }


def _refused(status: HTTPStatus, sentence: str) -> Response:
    return Response(status, msgspec.json.encode({"error": sentence}))


def _too_large(body_bytes_max: int) -> Response:
    sentence = f"the body has over {body_bytes_max} bytes"
    return _refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, sentence)
