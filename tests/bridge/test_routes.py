"""What all routes share: methods, cross-origin requests, unknown paths, health, the document."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import jsonschema
import pytest

from bridge.openapi import document
from tests.architecture.tree import ROOT
from tests.bridge.rooms import bearer

if TYPE_CHECKING:
    from tests.bridge.rooms import Rooms

MOUNTED: Final = {"/v1/map": "/v1/map/{mapping}"}
"""Bare applications, with a name below them."""
DEVICE_ROUTES: Final = ("/v1/step", "/v1/reward", "/shepherd/login_user", "/shepherd/env")
PREFLIGHT: Final = {
    "Origin": "https://example.org",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type, x-api-key",
}


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("path", DEVICE_ROUTES)
async def test_preflight_allows_any_origin(rooms: Rooms, path: str, slash: str) -> None:
    response = await rooms.ask("OPTIONS", path + slash, headers=PREFLIGHT)
    assert (response.status_code, response.content) == (204, b"")
    assert "content-length" not in response.headers
    assert response.headers["access-control-allow-origin"] == "*"
    assert "POST" in response.headers["access-control-allow-methods"]
    allowed = response.headers["access-control-allow-headers"]
    assert {"authorization", "content-type", "x-api-key"} <= set(allowed.split(", "))


@pytest.mark.parametrize("path", DEVICE_ROUTES)
async def test_every_answer_can_be_read_across_origins(rooms: Rooms, path: str) -> None:
    bodies: tuple[object, ...] = (b"{", {})
    for body in bodies:
        response = await rooms.post(path, body, {"Origin": "https://example.org"})
        assert response.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
@pytest.mark.parametrize("path", DEVICE_ROUTES)
async def test_other_methods_are_405_and_say_what_is_allowed(
    rooms: Rooms, path: str, method: str
) -> None:
    response = await rooms.ask(method, path)
    assert response.status_code == 405
    assert "POST" in response.headers["allow"]
    assert response.headers["content-type"] == "application/problem+json"


async def test_a_wrong_method_is_refused_in_one_shape_by_every_path(rooms: Rooms) -> None:
    api = await described(rooms)
    problem = api["components"]["schemas"]["Problem"]
    for path, item in api["paths"].items():
        refused = await rooms.ask("PUT", re.sub(r"{\w+}", "d", path))
        if path == "/v1/ws":
            assert (refused.status_code, refused.json()["code"]) == (426, "payload")
            continue
        (method,) = item
        assert (refused.status_code, refused.json()["code"]) == (405, "payload"), path
        assert method.upper() in refused.headers["allow"], path
        assert method.upper() in refused.json()["detail"], path
        jsonschema.validate(refused.json(), problem)
        assert list(item[method]["responses"]["405"]["content"]) == ["application/problem+json"]


@pytest.mark.parametrize("path", ["/v2", "/v1", "/v1/steps", "/shepherd/", "/v1/step/more"])
async def test_unknown_path_is_a_404_problem(rooms: Rooms, path: str) -> None:
    response = await rooms.post(path, {})
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["type"], problem["status"], problem["code"]) == ("about:blank", 404, "range")
    assert f"there is no {path!r}" in problem["detail"]


async def test_whoever_opens_the_hub_s_address_is_led_to_the_console(rooms: Rooms) -> None:
    response = await rooms.ask("GET", "/")
    assert (response.status_code, response.headers["location"]) == (303, "/console/")


async def test_health_needs_no_key_and_tells_no_details(rooms: Rooms) -> None:
    assert (await rooms.ask("GET", "/healthz")).text == "ok"
    assert (await rooms.ask("GET", "/readyz")).text == "ready"


async def test_readyz_is_503_with_the_reason(rooms: Rooms) -> None:
    rooms.ready = "the log is behind"
    response = await rooms.ask("GET", "/readyz")
    assert (response.status_code, response.text) == (503, "the log is behind")


# --- /schema/openapi.json -------------------------------------------------------------------


async def described(rooms: Rooms) -> dict[str, Any]:
    """The served document."""
    response = await rooms.ask("GET", "/schema/openapi.json")
    assert response.headers["content-type"].startswith("application/json")
    served: dict[str, Any] = response.json()
    return served


async def test_document_served_is_the_one_in_the_repository(rooms: Rooms) -> None:
    response = await rooms.ask("GET", "/schema/openapi.json")
    assert response.content == document() == (ROOT / "schemas/openapi.json").read_bytes()


async def test_document_describes_every_route_and_no_other(rooms: Rooms) -> None:
    described_paths = {path.rstrip("/") for path in (await described(rooms))["paths"]}
    served = {
        MOUNTED.get(route.path) or re.sub(r":\w+}", "}", route.path).rstrip("/")
        for route in rooms.app.others.routes
        if not route.path.startswith(("/console", "/reward/"))  # pages for people
    }
    assert described_paths == served - {"", "/schema/openapi.json"}


async def test_document_is_openapi_3_1(rooms: Rooms) -> None:
    api = await described(rooms)
    assert re.fullmatch(r"3\.1\.\d+", api["openapi"])
    assert {"title", "version"} <= set(api["info"])
    for path, item in api["paths"].items():
        assert path.startswith("/")
        for operation in item.values():
            assert operation["responses"]
            for status, response in operation["responses"].items():
                assert re.fullmatch("[1-5][0-9][0-9]", status)
                assert response["description"]
            for needed in operation.get("security", []):
                assert set(needed) <= set(api["components"]["securitySchemes"])


async def test_every_schema_of_the_document_is_one_and_every_reference_leads_to_one(
    rooms: Rooms,
) -> None:
    api = await described(rooms)
    schemas = api["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for reference in re.findall(r'"\$ref": ?"([^"]+)"', document().decode()):
        assert reference.removeprefix("#/components/schemas/") in schemas


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/step", {"device": "d", "s": 1, "o": [0, 0], "r": 0.5, "b": 3, "f": True}),
        ("/v1/reward", {"device": "d", "r": 1}),
        ("/shepherd/login_user/", {"apikey": "KEY"}),
        ("/shepherd/env/", {"obs": None}),
    ],
)
async def test_requests_and_answers_are_as_the_document_says(
    rooms: Rooms, path: str, body: dict[str, Any]
) -> None:
    key = rooms.make_agent("cart")
    body = {name: key if value == "KEY" else value for name, value in body.items()}
    rooms.move("d", "cart")
    api = await described(rooms)
    operation = api["paths"][path]["post"]
    response = await rooms.post(path, body, bearer(key))
    answer = operation["responses"][str(response.status_code)]["content"]
    for content, instance in (
        (operation["requestBody"]["content"], body),
        (answer, response.json()),
    ):
        schema = content["application/json"]["schema"] | {"components": api["components"]}
        if body != {"obs": None} or instance is not body:  # the probe is no request by the book
            jsonschema.validate(instance, schema)


@pytest.mark.parametrize("status", [400, 401, 403, 409, 413, 422, 429, 503])
async def test_document_has_every_status_of_the_contract(rooms: Rooms, status: int) -> None:
    api = await described(rooms)
    for path in ("/v1/step", "/v1/reward"):
        content = api["paths"][path]["post"]["responses"][str(status)]["content"]
        assert list(content) == ["application/problem+json"]
