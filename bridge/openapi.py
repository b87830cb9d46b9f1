"""`/schema/openapi.json`: the HTTP routes, generated from the words they carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar import MediaType, Response, get
from msgspec import Struct

from bridge.bodies import (
    ClaimRequest,
    ClaimResponse,
    EnvRequest,
    EnvResponse,
    Explanation,
    LoginRequest,
    LoginResponse,
    Problem,
    RemoteObservation,
    RemoteReset,
    RemoteSpaces,
    RemoteStep,
    RewardRequest,
    RewardResponse,
    RotateRequest,
    RotateResponse,
    SqlRequest,
    StepRequest,
)
from bridge.errors import STATUS
from hub.payloads import Act

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

OPENAPI: Final = "3.1.0"
RESET: Final = "/v1/env/{device}/reset"
STEP: Final = "/v1/env/{device}/step"

_ROUTES: Final[list[tuple[str, str, type[Struct], type[Struct], bool]]] = [
    ("/v1/step", "One observation in, its action out.", StepRequest, Act, True),
    ("/v1/reward", "A person's reward.", RewardRequest, RewardResponse, True),
    ("/v1/claim", "A device's own key for a claim token.", ClaimRequest, ClaimResponse, True),
    ("/v1/key/rotate", "Another key, by the device's own.", RotateRequest, RotateResponse, True),
    (RESET, "The observation that the next action is for.", RemoteReset, RemoteObservation, True),
    (STEP, "Act; the observation after.", RemoteStep, RemoteObservation, True),
    ("/shepherd/login_user/", "Shepherd: open a session.", LoginRequest, LoginResponse, False),
    ("/shepherd/env/", "Shepherd: one step.", EnvRequest, EnvResponse, False),
]


MULTISERVER: Final = {
    "step": "observation, reward, done and info",
    "reset": "observation",
    "state": "state",
    "render": "screen",
    "seed": "success",
    "close": "success",
}
"""What the answer to each of MultiServerRL's six verbs has."""


def document() -> bytes:
    """The OpenAPI document, as JSON with sorted keys."""
    carried: set[type[Struct]] = {
        Problem,
        SqlRequest,
        Explanation,
        RemoteSpaces,
        *(t for route in _ROUTES for t in route[2:4]),
    }
    types = sorted(carried, key=lambda t: t.__name__)
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    references = dict(zip((t.__name__ for t in types), schemas, strict=True))
    paths = {
        path: {"post": _operation(summary, references, request, response, native=native)}
        for path, summary, request, response, native in _ROUTES
    }
    device = {"name": "device", "in": "path", "required": True, "schema": {"type": "string"}}
    for path in (RESET, STEP):
        paths[path]["post"]["parameters"] = [device]
    refused = paths["/v1/reward"]["post"]["responses"]
    refused["404"] = {**refused["403"], "description": "There is no such device."}
    paths["/v1/claim"]["post"]["security"] = []  # the token is in its body
    paths["/v1/env"] = {"get": _spaces_operation(references)}
    for verb, answer in MULTISERVER.items():
        paths[f"/remote/{{device}}/post_{verb}_request/"] = {
            "post": _multiserver_operation(verb, answer) | {"parameters": [device]}
        }
    paths["/v1/map/{mapping}"] = {"post": _mapped_operation(references)}
    paths["/v1/ws"] = {"get": _websocket_operation(references)}
    paths["/v1/sql"] = {"post": _sql_operation(references)}
    paths["/v1/actions/{seq}"] = {"get": _explanation_operation(references)}
    paths["/v1/things/{device}"] = {"get": _thing_operation(references) | {"parameters": [device]}}
    for path, summary in (("/healthz", "The hub runs."), ("/readyz", "Steps are answered.")):
        paths[path] = {"get": {"summary": summary, "responses": {"200": {"description": "yes"}}}}
    paths["/metrics"] = {"get": _metrics_operation()}
    problem = {"application/problem+json": {"schema": references["Problem"]}}
    for path in paths.keys() - {"/v1/ws"}:  # a WebSocket has no method of its own
        (operation,) = paths[path].values()
        operation["responses"]["405"] = {"description": "See Allow.", "content": problem}
    api = {
        "openapi": OPENAPI,
        "info": {"title": "Sheepfold", "version": "1", "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
                "password": {"type": "http", "scheme": "basic"},
            },
        },
    }
    return msgspec.json.format(msgspec.json.encode(api, order="sorted"), indent=2) + b"\n"


def openapi_route() -> ControllerRouterHandler:
    """Serves the document."""
    body = document()

    @get("/schema/openapi.json", media_type=MediaType.JSON, sync_to_thread=False)
    def schema() -> Response[bytes]:
        return Response(body, media_type=MediaType.JSON)

    return schema


def _spaces_operation(references: dict[str, Any]) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": references["Problem"]}}
    refused = {"description": "Refused.", "content": problem}
    found = {"application/json": {"schema": references["RemoteSpaces"]}}
    return {
        "summary": "The spaces of the key's external agent, and its devices.",
        "responses": {
            "200": {"description": "As declared.", "content": found},
            **dict.fromkeys(("401", "422", "429"), refused),
        },
        "security": [{"bearer": []}, {"header": []}],
    }


def _multiserver_operation(verb: str, answer: str) -> dict[str, Any]:
    sent = {"schema": {"type": ["string", "object"]}}
    given = {"application/json": {"schema": {"type": "object"}}}
    refused = {"description": "Refused: `error`.", "content": given}
    return {
        "summary": f"MultiServerRL: {verb}; the body is JSON in a JSON string.",
        "requestBody": {"content": {"application/json": sent}},
        "responses": {
            "200": {"description": f"{answer}.", "content": given},
            **dict.fromkeys(("400", "401", "403", "409", "413", "422"), refused),
            "503": {"description": "Ask again."},
        },
        "security": [{"bearer": []}, {"header": []}, {"password": []}],
    }


def _mapped_operation(references: dict[str, Any]) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": references["Problem"]}}
    refused = {"description": "Refused.", "content": problem}
    name = {"name": "mapping", "in": "path", "required": True, "schema": {"type": "string"}}
    device = {"name": "device", "in": "query", "schema": {"type": "string"}}
    act = {"application/json": {"schema": references["Act"]}, "text/plain": {}}
    return {
        "summary": "What a legacy device posts, read by a mapping (docs/legacy.md).",
        "parameters": [name, device],
        "requestBody": {"required": True, "content": {"*/*": {}}},
        "responses": {
            "200": {"description": "The action, in the words of the mapping.", "content": act},
            "204": {"description": "Nothing of the mapping was there, or the episode is over."},
            **dict.fromkeys(("400", "401", "403", "404", "413", "422", "429", "503"), refused),
        },
        "security": [{"bearer": []}, {"header": []}, {"password": []}],
    }


def _websocket_operation(references: dict[str, Any]) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": references["Problem"]}}
    refused = {"description": "Refused.", "content": problem}
    return {
        "summary": "A WebSocket of the native messages, one a frame (docs/legacy.md).",
        "responses": {
            "101": {"description": "Open; without a key in the headers the first frame has it."},
            **dict.fromkeys(("401", "403"), refused),
            "426": {"description": "This is no WebSocket.", "content": problem},
        },
        "security": [{"bearer": []}, {"header": []}, {}],
    }


def _sql_operation(references: dict[str, Any]) -> dict[str, Any]:
    forms = {
        "application/x-ndjson": "One object a row.",
        "text/csv": "With a header.",
        "application/vnd.apache.arrow.stream": "An IPC stream.",
        "application/vnd.apache.parquet": "A file, zstd.",
    }
    rows = {form: {"schema": {"type": "string", "description": d}} for form, d in forms.items()}
    problem = {"application/problem+json": {"schema": references["Problem"]}}
    refused = {"description": "Refused.", "content": problem}
    body = {"schema": references["SqlRequest"]}
    return {
        "summary": "One query of an operator, its rows by Accept.",
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {
            "200": {"description": "The rows; cut off when the query fails on.", "content": rows},
            **dict.fromkeys(("400", "401", "403", "406", "413", "503"), refused),
        },
        "security": [{"bearer": []}, {"header": []}],
    }


def _metrics_operation() -> dict[str, Any]:
    return {
        "summary": "What the hub counts, for Prometheus; for admins and the hub's own machine.",
        "security": [{"bearer": []}, {"header": []}, {}],
        "responses": {
            "200": {
                "description": "Its text format, or OpenMetrics by `Accept`.",
                "content": {"text/plain": {}},
            },
            "401": {"description": "No admin's key, and not from this machine."},
            "404": {"description": "They are off."},
        },
    }


def _explanation_operation(references: dict[str, Any]) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": references["Problem"]}}
    refused = {"description": "Refused.", "content": problem}
    found = {"application/json": {"schema": references["Explanation"]}}
    seq = {"name": "seq", "in": "path", "required": True, "schema": {"type": "integer"}}
    return {
        "summary": "Why a device was told what it was told.",
        "parameters": [seq],
        "responses": {
            "200": {"description": "The action and what it answered.", "content": found},
            "404": {"description": "No action that this key may see.", "content": problem},
            **dict.fromkeys(("401", "503"), refused),
        },
        "security": [{"bearer": []}, {"header": []}],
    }


def _thing_operation(references: dict[str, Any]) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": references["Problem"]}}
    refused = {"description": "Refused.", "content": problem}
    found = {"application/td+json": {"schema": {"type": "object"}}}
    return {
        "summary": "A device as a W3C Thing Description 1.1.",
        "responses": {
            "200": {"description": "Its spaces, and what can be done over HTTP.", "content": found},
            "404": {"description": "No device that this key may see.", "content": problem},
            "401": refused,
        },
        "security": [{"bearer": []}, {"header": []}],
    }


def _operation(
    summary: str,
    references: dict[str, Any],
    request: type[Struct],
    response: type[Struct],
    *,
    native: bool,
) -> dict[str, Any]:
    def content(of: type[Struct], media_type: str = "application/json") -> dict[str, Any]:
        return {media_type: {"schema": references[of.__name__]}}

    responses: dict[str, Any] = {"200": {"description": "Durable.", "content": content(response)}}
    if native:
        problem = content(Problem, "application/problem+json")
        for status in sorted({*STATUS.values(), 403}):
            responses[str(int(status))] = {"description": "Refused.", "content": problem}
    operation: dict[str, Any] = {
        "summary": summary,
        "requestBody": {"required": True, "content": content(request)},
        "responses": responses,
    }
    if native:
        operation["security"] = [{"bearer": []}, {"header": []}]
    return operation
