"""`POST /v1/env/{device}/reset` and `/step`: a device as an environment of a remote learner.

    GET /v1/env          ─▶  {"agent", "observations", "actions", "devices"}
    reset  {}            ─▶  {"observation", "reward", "terminated", "truncated", "info"}
    step   {"action": 1} ─▶  the same, of the observation after

The latter two wait for the device for as long as it takes; a client that hangs up waits no more.
Keys and refusals are those of `/v1/step`.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import litestar
import msgspec
from litestar import Request, route

from bridge.bodies import RemoteObservation, RemoteSpaces
from bridge.errors import denied, problem, too_large, unauthorized
from bridge.http import ANY_ORIGIN, READ_ONLY, HungUp, Response, read_body
from bridge.http import Request as Read
from bridge.native import secret_of
from hub.errors import AccessDenied, DeviceFault
from hub.registry.access import admit, agent_of
from hub.spaces import as_json
from hub.words import EXTERNAL, Code, DeviceId

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from litestar.types import ControllerRouterHandler, Receive

    from hub.action.external import External, Seen
    from hub.registry.fold import Registry, Spec
    from hub.registry.quotas import Quotas
    from hub.words import Key

    CarryOut = Callable[[Read, Key, Spec, DeviceId], Awaitable[Response]]


STOPPING: Final = problem(DeviceFault(Code.BUSY, "the hub is stopping; reset when it is back"))


class Remote:
    """The routes, over the registry and the external agents' steps."""

    def __init__(
        self, registry: Registry, external: External, quotas: Quotas, body_bytes_max: int
    ) -> None:
        self._registry = registry
        self._quotas = quotas
        self._external = external
        self._body_bytes_max = body_bytes_max

    def routes(self) -> list[ControllerRouterHandler]:
        """All, for pages of any origin."""
        return [
            self._spaces_route(),
            self._route("/v1/env/{device:str}/reset", self._reset),
            self._route("/v1/env/{device:str}/step", self._step),
        ]

    def _route(self, path: str, carry_out: CarryOut) -> ControllerRouterHandler:
        async def answer(request: Read, device: str) -> Response:
            return await self._answer(request, device, carry_out)

        return routed(path, answer, self._body_bytes_max)

    def _spaces_route(self) -> ControllerRouterHandler:
        @route("/v1/env", http_method=["GET", "OPTIONS"], status_code=HTTPStatus.OK)
        async def spaces(request: Request[Any, Any, Any]) -> litestar.Response[bytes]:
            answer = Response(HTTPStatus.NO_CONTENT, b"")
            if request.method == "GET":
                answer = self._spaces(dict(request.scope["headers"]))
            return _as_litestar(answer, READ_ONLY)

        return spaces

    def _spaces(self, headers: dict[bytes, bytes]) -> Response:
        try:
            key, spec = agent_of(self._registry, secret_of(headers))
            self.admit(key, spec, 0)
            return Response(HTTPStatus.OK, msgspec.json.encode(self.describe(key, spec)))
        except AccessDenied as error:
            return unauthorized(str(error))
        except DeviceFault as fault:
            return problem(fault)

    async def _answer(self, request: Read, device: str, carry_out: CarryOut) -> Response:
        """What comes of a request, and every refusal as its problem document."""
        try:
            key, spec = agent_of(self._registry, secret_of(request.headers))
        except AccessDenied as error:
            return unauthorized(str(error))
        try:
            self.admit(key, spec, len(request.body))
            return await carry_out(request, key, spec, DeviceId(device))
        except DeviceFault as fault:
            return problem(fault, device=device)
        except AccessDenied as error:
            return denied(str(error), device=device)

    async def _reset(self, request: Read, key: Key, spec: Spec, device: DeviceId) -> Response:
        del request  # a device has no seed, and takes no options
        return _response(await self.reset(key, spec, device, {}))

    async def _step(self, request: Read, key: Key, spec: Spec, device: DeviceId) -> Response:
        return _response(await self.step(key, spec, device, request.document()))

    # --- over whatever protocol --------------------------------------------------------------

    def admit(self, key: Key, spec: Spec, size_bytes: int) -> None:
        """A request of this size is within the quotas that the agent's devices have with this key.

        Raises:
            DeviceFault: `rate`, with the time after which it is.
        """
        self._quotas.of(key.id, spec.agent.name).take(size_bytes)

    async def reset(self, key: Key, spec: Spec, device: str, document: object) -> RemoteObservation:
        """The observation that the device's next action is for; raises as `step`."""
        del document
        seen = await self._external.reset(spec, self._admitted(key, spec, device))
        return shown(spec, seen)

    async def step(self, key: Key, spec: Spec, device: str, document: object) -> RemoteObservation:
        """Have the device act by the document's `action`; the observation after.

        Raises:
            AccessDenied: the key is not for this device.
            DeviceFault: what is asked is none, or not to be done.
        """
        admitted = self._admitted(key, spec, device)
        if not isinstance(document, dict) or "action" not in document:
            raise DeviceFault(Code.PAYLOAD, "expected an object with 'action'")
        seq = document.get("seq")
        if not isinstance(seq, int | None):
            raise DeviceFault(Code.TYPE, "'seq' is that of the observation acted on, an int")
        by = f"remote learner with key {key.id}"
        before, after = await self._external.step(spec, admitted, document["action"], by, seq=seq)
        return shown(spec, after, before)

    def describe(self, key: Key, spec: Spec) -> RemoteSpaces:
        """What a learner needs to know of the agent; `devices` are those the key may speak for.

        Raises:
            DeviceFault: the agent is not external.
        """
        _check_external(spec)
        name = spec.agent.name
        of_agent = (d for d, agent in self._registry.devices.items() if agent == name)
        devices: list[str] = sorted(d for d in of_agent if key.device in (None, d))
        return RemoteSpaces(name, spec.agent.observations, spec.agent.actions, devices)

    def shown(self, key: Key, spec: Spec, device: str) -> Seen | None:
        """What the device's remote learner was shown last; None = nothing since the hub started.

        Raises:
            AccessDenied, DeviceFault: as `step`.
        """
        return self._external.shown(spec, self._admitted(key, spec, device))

    def _admitted(self, key: Key, spec: Spec, device: str) -> DeviceId:
        admitted = admit(self._registry, key, device, reserved=True)
        _check_external(spec)
        return admitted


def routed(
    path: str,
    answer: Callable[[Read, str], Awaitable[Response]],
    body_bytes_max: int,
    too_large: Callable[[int], Response] = too_large,
    stopping: Response = STOPPING,
) -> ControllerRouterHandler:
    """A route whose answer may take long: `answer(request, device)` ends when the client hangs up.

    For pages of any origin.
    """

    @route(path, http_method=["POST", "OPTIONS"], status_code=HTTPStatus.OK)
    async def env(request: Request[Any, Any, Any]) -> litestar.Response[bytes]:
        answered = Response(HTTPStatus.NO_CONTENT, b"")
        if request.method == "POST":
            try:
                body = await read_body(request.receive, body_bytes_max)
            except HungUp:
                return _as_litestar(answered, ANY_ORIGIN)  # which nobody reads
            if body is None:
                answered = too_large(body_bytes_max)
            else:
                read = Read(dict(request.scope["headers"]), body)
                asked = answer(read, request.path_params["device"])
                answered = await _while_connected(asked, request.receive) or stopping
        return _as_litestar(answered, ANY_ORIGIN)

    return env


def _as_litestar(answer: Response, headers: list[tuple[bytes, bytes]]) -> litestar.Response[bytes]:
    return litestar.Response(
        answer.body,
        status_code=answer.status,
        media_type=answer.content_type.decode(),
        headers={name.decode(): value.decode() for name, value in (*answer.headers, *headers)},
    )


async def _while_connected(asked: Awaitable[Response], receive: Receive) -> Response | None:
    """The answer, or whatever when the client has hung up; None when the server stops."""
    answering = asyncio.ensure_future(asked)
    leaving = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return answering.result() if answering.done() else Response(HTTPStatus.OK, b"")
    except asyncio.CancelledError:
        return None
    finally:
        answering.cancel()  # without effect when it is done
        leaving.cancel()


def _check_external(spec: Spec) -> None:
    if spec.agent.algorithm != EXTERNAL:
        raise DeviceFault(
            Code.TYPE,
            f"agent {spec.agent.name!r} learns in the hub ({spec.agent.algorithm}); a remote "
            f"learner acts for agents of the algorithm {EXTERNAL!r} only",
        )


def _response(seen: RemoteObservation) -> Response:
    return Response(HTTPStatus.OK, msgspec.json.encode(seen))


def shown(spec: Spec, seen: Seen, before: Seen | None = None) -> RemoteObservation:
    """An observation in Gymnasium's words; `before` is the one that was acted on."""
    observation = seen.step.observation
    joined = before is not None and seen.follows(before)
    ours: dict[str, Any] = {"seq": seen.step.seq, "step": seen.step.number}
    if before is not None and before.answer is not None and before.answer.source is not None:
        ours["executed"] = before.answer.action
        ours["source"] = before.answer.source.name.lower()
    if joined and observation.executed is not None:
        ours["executed"] = as_json(spec.actions, observation.executed)
    info = {} if observation.info is None else msgspec.json.decode(observation.info)
    return RemoteObservation(
        observation=as_json(spec.observations, observation.values),
        reward=seen.reward or 0.0 if joined else 0.0,
        terminated=observation.terminated,
        truncated=observation.truncated or (before is not None and not joined),
        info=info | {"sheepfold": ours},
    )


async def _gone(receive: Receive) -> None:
    """Until the client hangs up."""
    while (await receive())["type"] != "http.disconnect":
        pass
