"""`GET /v1/things/{device}`: a device as a W3C Thing Description 1.1, for gateways that read one.

By https://www.w3.org/TR/wot-thing-description11/: the spaces of the device's agent are data schemas
(5.3.2), a step and a person's reward are actions with HTTP forms (5.3.4.2). MQTT stands in
`schemas/asyncapi.yaml`: W3C has not recommended a vocabulary for it.

A device's key may ask about what it may speak for, an operator about the own agents' devices, an
admin about all. Whatever else there is looks to them as if it were not there.
"""

from __future__ import annotations

import math
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, assert_never

import litestar
import msgspec
from litestar import Request, route

from bridge.errors import not_found, unauthorized
from bridge.http import READ_ONLY, Response
from bridge.native import secret_of
from hub.errors import AccessDenied
from hub.registry.access import agent_of, operator_of
from hub.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from hub.words import AgentName, DeviceId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litestar.types import ControllerRouterHandler

    from hub.processes import Hub
    from hub.registry.fold import Registry, Spec
    from hub.spaces import Space

CONTEXT: Final = "https://www.w3.org/2022/wot/td/v1.1"
MEDIA_TYPE: Final = b"application/td+json"
APART_MAX: Final = 64
"""Numbers of a box that have bounds of their own here; of more, the widest hold for all."""

Document = dict[str, Any]


def things_route(hub: Hub) -> ControllerRouterHandler:
    """The route, for pages of any origin to read."""

    @route("/v1/things/{device:str}", http_method=["GET", "OPTIONS"], status_code=HTTPStatus.OK)
    async def thing(request: Request[Any, Any, Any]) -> litestar.Response[bytes]:
        answer = Response(HTTPStatus.NO_CONTENT, b"")
        if request.method == "GET":
            headers = dict(request.scope["headers"])
            base = str(request.base_url).rstrip("/")
            answer = answer_of(hub.registry, headers, request.path_params["device"], base)
        return litestar.Response(
            answer.body,
            status_code=answer.status,
            media_type=answer.content_type.decode(),
            headers={name.decode(): value.decode() for name, value in READ_ONLY},
        )

    return thing


def answer_of(registry: Registry, headers: dict[bytes, bytes], device: str, base: str) -> Response:
    """What whoever asks is answered; `base` is the hub's address as it was asked at."""
    try:
        spec = _seen(registry, secret_of(headers), device)
    except AccessDenied as error:
        return unauthorized(str(error))
    if spec is None:
        return not_found(f"there is no device {device[:40]!r} that this key may see")
    described = msgspec.json.encode(describe(device, spec, base))
    return Response(HTTPStatus.OK, described, MEDIA_TYPE)


def describe(device: str, spec: Spec, base: str) -> Document:
    """The Thing Description of a device of this agent."""
    agent = spec.agent
    named = {"device": {"type": "string", "const": device}}
    step: Document = {"type": "integer", "minimum": 0}
    return {
        "@context": CONTEXT,
        "id": f"{base}/v1/things/{device}",
        "title": device,
        "description": f"A device of agent {agent.name!r}, which learns by {agent.algorithm}.",
        "base": f"{base}/",
        "securityDefinitions": {"key": {"scheme": "bearer", "in": "header", "format": "opaque"}},
        "security": "key",
        "actions": {
            "step": {
                "title": "One observation in, its action out",
                "input": _object(
                    {
                        **named,
                        "o": schema_of(spec.observations),
                        "s": step,
                        "r": {"type": "number"},
                        "d": {"type": "boolean"},
                        "tr": {"type": "boolean"},
                        "b": step,
                    },
                    required=("device", "o"),
                ),
                "output": _object(
                    {
                        "s": step,
                        "a": {"oneOf": [schema_of(spec.actions), {"type": "null"}]},
                        "pv": step,
                        "seq": {"type": "integer", "minimum": 1},
                    },
                    required=("s", "a", "seq"),
                ),
                "safe": False,
                "idempotent": False,
                "forms": [_form("v1/step")],
            },
            "reward": {
                "title": "A person's reward",
                "input": _object({**named, "r": {"type": "number"}}, required=("device", "r")),
                "output": _object({"seq": {"type": "integer"}}, required=("seq",)),
                "safe": False,
                "idempotent": False,
                "forms": [_form("v1/reward")],
            },
        },
    }


def schema_of(space: Space) -> Document:
    """The data schema of a space's values, as a device sends or is sent them."""
    match space:
        case Discrete(n, start):
            return {"type": "integer", "minimum": start, "maximum": start + n - 1}
        case MultiDiscrete(counts):
            each = [{"type": "integer", "minimum": 0, "maximum": n - 1} for n in counts]
            return _array(each, len(counts))
        case MultiBinary(n):
            return _array({"type": "integer", "minimum": 0, "maximum": 1}, n)
        case Dict(spaces):
            return _object(
                {name: schema_of(part) for name, part in spaces.items()}, required=tuple(spaces)
            )
        case Box():
            return _box(space)
        case _:
            assert_never(space)


def _box(space: Box) -> Document:
    if len(space.shape) == 1 and len(space.low) <= APART_MAX:
        bounds = zip(space.low, space.high, strict=True)
        return _array([_number(low, high) for low, high in bounds], len(space.low))
    schema = _number(min(space.low), max(space.high))
    for length in reversed(space.shape):
        schema = _array(schema, length)
    return schema


def _number(low: float, high: float) -> Document:
    number: Document = {"type": "number"}
    if math.isfinite(low):
        number["minimum"] = low
    if math.isfinite(high):
        number["maximum"] = high
    return number


def _array(items: Document | Sequence[Document], length: int) -> Document:
    return {"type": "array", "items": items, "minItems": length, "maxItems": length}


def _object(properties: Document, *, required: tuple[str, ...]) -> Document:
    return {"type": "object", "properties": properties, "required": list(required)}


def _form(path: str) -> Document:
    return {
        "href": path,
        "op": "invokeaction",
        "htv:methodName": "POST",
        "contentType": "application/json",
    }


def _seen(registry: Registry, secret: str, device: str) -> Spec | None:
    """The device's agent; None where there is none that the secret may see.

    Raises:
        AccessDenied: no key, or one that is not accepted.
    """
    agent = registry.devices.get(DeviceId(device), AgentName(""))
    spec = registry.agents.get(agent)
    with suppress(AccessDenied):
        key, own = agent_of(registry, secret)
        return spec if spec is own and key.device in (None, device) else None
    visible = registry.visible_to(operator_of(registry, secret))
    return spec if visible is None or agent in visible else None
