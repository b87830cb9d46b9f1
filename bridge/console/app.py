"""The routes of the console, who may reach them, and what stands around every answer.

Rule 1: a route is for people who are logged in unless it says `opt={"open": True}`.
Rule 2: a form is taken only with the token of the page it stood on (CSRF), and no cookie leaves
        its own site.
Rule 3: nothing on a page runs or loads but what the hub itself serves (Content-Security-Policy).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from litestar import Router
from litestar.config.csrf import CSRFConfig
from litestar.di import Provide
from litestar.exceptions import HTTPException, NotAuthorizedException, NotFoundException
from litestar.middleware import ASGIMiddleware, DefineMiddleware
from litestar.middleware.authentication import (
    AbstractAuthenticationMiddleware,
    AuthenticationResult,
)
from litestar.middleware.csrf import CSRFMiddleware
from litestar.static_files import create_static_files_router

from bridge.console import (
    agent_form,
    agents,
    claims,
    devices,
    first_steps,
    health,
    keys,
    live,
    log,
    login,
    mappings,
    policies,
    take_along,
    users,
)
from bridge.console.body import BodyInTime
from bridge.console.desk import ROOT, STATIC, Desk, Visit, desk_of
from bridge.console.errors import bug_page, fault_page, http_error_page
from hub.errors import SheepfoldError

if TYPE_CHECKING:
    from litestar.connection import ASGIConnection, Request
    from litestar.handlers import BaseRouteHandler
    from litestar.types import ASGIApp, Message, Receive, Scope, Send

Anyone = Any
"""Litestar's connections are generic in what they carry."""


def console_routes(desk: Desk) -> Router:
    """All pages, below `/console`; the application's state has the same desk.

    It is not in the router itself, which Litestar copies with all that is in it.
    """
    csrf = CSRFConfig(
        secret=secrets.token_hex(32),
        cookie_name=f"{desk.cookie}-form",
        cookie_path=ROOT,
        cookie_secure=desk.cookie_secure,
        cookie_httponly=True,
        cookie_samesite="strict",
    )
    static = create_static_files_router(
        "/static", directories=[STATIC], opt={"open": True}, include_in_schema=False
    )
    return Router(
        ROOT,
        route_handlers=[
            *login.ROUTES,
            *devices.ROUTES,
            *keys.ROUTES,
            *claims.ROUTES,
            *users.ROUTES,
            *log.ROUTES,
            *health.ROUTES,
            *agents.ROUTES,
            *agent_form.ROUTES,
            *first_steps.ROUTES,
            *live.ROUTES,
            *mappings.ROUTES,
            *policies.ROUTES,
            *take_along.ROUTES,
            Router(
                "/",
                route_handlers=policies.WITH_FILES,
                request_max_body_size=(desk.settings.upload_mb_max << 20) + policies.FORM_BYTES,
            ),
            static,
        ],
        dependencies={
            "desk": Provide(desk_of, sync_to_thread=False),
            "visit": Provide(_visit, sync_to_thread=False),
        },
        middleware=[
            Headers(),
            BodyInTime(),
            Authentication,
            DefineMiddleware(CSRFMiddleware, config=csrf),
        ],
        guards=[_logged_in],
        exception_handlers={
            HTTPException: http_error_page,
            SheepfoldError: fault_page,
            Exception: bug_page,
        },
        request_max_body_size=desk.hub.settings.http.body_bytes_max,
        include_in_schema=False,
    )


HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
        "base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class Headers(ASGIMiddleware):
    """What every answer of the console says to the browser."""

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass the request on."""
        static = "/static/" in scope["path"]
        if "\0" in scope["path"]:
            raise NotFoundException("No file has a NUL in its name.")  # to the system an error

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                cache = {"cache-control": "no-cache" if static else "no-store"}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.encode(), text.encode())
                        for name, text in (HEADERS | cache).items()
                        if name.encode() not in there
                    ),
                ]
            await send(message)

        await next_app(scope, receive, send_with_headers)


class Authentication(AbstractAuthenticationMiddleware):
    """Who is there, by the cookie; `request.user` is a Visit, or None."""

    async def authenticate_request(
        self, connection: ASGIConnection[Anyone, Anyone, Anyone, Anyone]
    ) -> AuthenticationResult:
        """Look the cookie up."""
        desk = desk_of(connection)
        known = desk.sessions.find(connection.cookies.get(desk.cookie))
        visit = None if known is None else desk.visit(known)
        if visit is None and not connection.scope["route_handler"].opt.get("open"):
            raise NotAuthorizedException("Log in first.")  # before a form of theirs is read
        return AuthenticationResult(user=visit, auth=known)


def _logged_in(
    connection: ASGIConnection[Anyone, Anyone, Anyone, Anyone], handler: BaseRouteHandler
) -> None:
    # Not `connection.user`: an OPTIONS is not authenticated, and that would be an error.
    if connection.scope.get("user") is None and not handler.opt.get("open"):
        raise NotAuthorizedException("Log in first.")


def _visit(request: Request[Anyone, Anyone, Anyone]) -> Visit:
    visit = request.user
    assert isinstance(visit, Visit), "the guard lets no other in"
    return visit
