"""`/reward/<device>`: a page with two large buttons, for whoever has its link and no account.

    http://hub/reward/lamp-7#KEY

The key stands behind the `#`, so that no server is told it and no log has it; it may reward that
device, within its bounds, and nothing else (`Rewarding`). The page is the same for all; by the key
it asks `/reward/<device>/may` what a press gives: as much as the key may.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import litestar
import msgspec
from litestar import Request, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response import Template
from msgspec import Struct

from bridge.console.app import HEADERS
from bridge.console.desk import ROOT
from bridge.errors import denied, not_found, unauthorized
from bridge.http import Response
from bridge.native import NoDevice, rewarded, secret_of
from hub.errors import AccessDenied
from hub.registry.access import rewarder_of
from hub.registry.rewarding import MOST
from hub.topics import is_device_id

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

    from hub.registry.fold import Registry

PAGE_HEADERS: Final = HEADERS | {"referrer-policy": "no-referrer", "cache-control": "no-store"}


class May(Struct, frozen=True):
    """What a key may do for a device."""

    most: float
    """Of one reward, either way."""


def button_routes(registry: Registry) -> list[ControllerRouterHandler]:
    """The page, and what it asks."""

    @get("/reward/{device:str}/may", include_in_schema=False, sync_to_thread=False)
    def may(request: Request[Any, Any, Any], device: FromPath[str]) -> litestar.Response[bytes]:
        answer = answer_of(registry, dict(request.scope["headers"]), device)
        return litestar.Response(
            answer.body,
            status_code=answer.status,
            media_type=answer.content_type.decode(),
            headers={"cache-control": "no-store"},
        )

    return [buttons_page, may]


@get("/reward/{device:str}", include_in_schema=False)
async def buttons_page(device: FromPath[str]) -> Template:
    """The page; whether there is such a device, a key is needed to learn."""
    if not is_device_id(device, reserved=True):
        raise NotFoundException("No device is called that.")
    context: dict[str, Any] = {"device": device, "root": ROOT}
    return Template("reward.html", context=context, headers=PAGE_HEADERS)


def answer_of(registry: Registry, headers: dict[bytes, bytes], device: str) -> Response:
    """What the key of a request may do for the device; an agent's own key gives what is usual."""
    try:
        key, spec = rewarder_of(registry, secret_of(headers))
    except AccessDenied as error:
        return unauthorized(str(error))
    try:
        rewarded(registry, key, spec, device)
    except NoDevice as error:
        return not_found(str(error), device=device)
    except AccessDenied as error:
        return denied(str(error), device=device)
    most = MOST if key.rewarding is None else key.rewarding.most
    return Response(HTTPStatus.OK, msgspec.json.encode(May(most)))
