"""What went wrong, as a page; to a script the status is enough."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from litestar.exceptions import PermissionDeniedException
from litestar.response import Redirect
from litestar.status_codes import HTTP_303_SEE_OTHER as SEE_OTHER

from bridge.console.desk import ROOT, desk_of
from hub.errors import LogUnavailable, SheepfoldError

if TYPE_CHECKING:
    from litestar.connection import Request
    from litestar.exceptions import HTTPException
    from litestar.response import Response

log: Final = logging.getLogger("bridge.console")


def http_error_page(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Nobody logged in, no such page, a form without its token."""
    status = error.status_code
    if status == HTTPStatus.UNAUTHORIZED and request.method == "GET" and not _script(request):
        wanted = quote(request.url.path, safe="/")
        return Redirect(f"{ROOT}/login?next={wanted}", status_code=SEE_OTHER)
    text = error.detail
    if isinstance(error, PermissionDeniedException):
        text = "This form is too old, or did not come from this page. Reload it and try again."
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        text = "The form has more in it than is taken at once; go back and shorten it."
    return _page(request, status, text)


def fault_page(request: Request[Any, Any, Any], error: SheepfoldError) -> Response[Any]:
    """What the hub refused where a page had no better place to say so."""
    later = isinstance(error, LogUnavailable)
    status = HTTPStatus.SERVICE_UNAVAILABLE if later else HTTPStatus.UNPROCESSABLE_ENTITY
    return _page(request, status, str(error))


def bug_page(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """What should not happen; the hub's own messages have all of it, the page nothing."""
    log.error("a page of the console failed: %s", request.url.path, exc_info=error)
    text = "This page failed. The hub's messages say why."
    return _page(request, HTTPStatus.INTERNAL_SERVER_ERROR, text)


def _page(request: Request[Any, Any, Any], status: int, text: str) -> Response[Any]:
    request.scope.setdefault("user", None)  # refused before it was known who is there
    title = HTTPStatus(status).phrase
    return desk_of(request).page(request, "error.html", status, title=title, text=text)


def _script(request: Request[Any, Any, Any]) -> bool:
    accepted = request.headers.get("accept", "")
    return "hx-request" in request.headers or "text/event-stream" in accepted
