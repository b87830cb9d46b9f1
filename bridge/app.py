"""The whole route table, and how the hub opens it.

POST /v1/step  /v1/reward                        native.py
POST /v1/claim  /v1/key/rotate                   provision.py
POST /v1/env/{device}/reset  …/step              remote.py
POST /remote/{device}/post_…_request/             multiserver.py
POST /v1/map/{mapping}                           mapped.py
POST /shepherd/login_user/  /shepherd/env/       shepherd.py
     /v1/ws                                      websocket.py, line.py
POST /v1/sql                                     sql.py
GET  /v1/actions/{seq}                           actions.py
GET  /v1/things/{device}                         things.py
GET  /healthz  /readyz                           health.py
GET  /metrics                                    metrics.py
GET  /schema/openapi.json                        openapi.py
GET  /reward/{device}  …/may                     buttons.py
GET  /                                           to the console
     /console/…                                  console/app.py
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import uvicorn
from litestar import Litestar, asgi, get
from litestar.datastructures import State
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, NotFoundException
from litestar.response import Redirect

from bridge import errors, shepherd
from bridge.actions import actions_route
from bridge.buttons import button_routes
from bridge.console.app import console_routes
from bridge.console.desk import Desk
from bridge.console.first_steps import announce
from bridge.console.templating import template_config
from bridge.front import DevicesFirst
from bridge.health import health_routes
from bridge.http import endpoint
from bridge.mapped import ROUTE, Mapped
from bridge.metrics import metrics_route
from bridge.multiserver import MultiServer
from bridge.native import Native
from bridge.openapi import document as openapi_document
from bridge.openapi import openapi_route
from bridge.origins import guarded, refuse
from bridge.patience import Patience, patient
from bridge.provision import Provisioning
from bridge.remote import Remote
from bridge.shepherd import Shepherd
from bridge.sql import Sql
from bridge.things import things_route
from bridge.websocket import WebSockets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from litestar.types import ControllerRouterHandler, Receive, Scope, Send

    from bridge.front import Application
    from bridge.http import Request, Response
    from hub.processes import Hub

__all__ = ["create_app", "open_bridge", "openapi_document"]

BACKLOG: Final = 1024
SHUTDOWN_S: Final = 2
PONG_S: Final = 300
"""A learner elsewhere does not read its WebSocket while it trains between two steps."""


@contextlib.asynccontextmanager
async def open_bridge(hub: Hub, listener: socket.socket) -> AsyncIterator[str]:
    """Serve HTTP on a bound socket while the block runs; named in the setting `http.app`.

    Yields what whoever started the hub is to be told; empty = nothing.
    """
    app = create_app(hub)
    tls = hub.tls
    config = uvicorn.Config(
        guarded(app, hub.settings.http.origins),
        http="httptools",
        ssl_context_factory=None if tls is None else lambda *_: tls.context,
        loop="none",
        lifespan="off",
        ws="websockets-sansio",
        ws_max_size=hub.settings.http.body_bytes_max,
        ws_per_message_deflate=False,
        ws_ping_timeout=PONG_S,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        limit_concurrency=hub.settings.http.connections_max,
        timeout_keep_alive=hub.settings.http.keep_alive_s,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    server = _Server(config)
    logging.getLogger("uvicorn.error").addFilter(_is_no_refusal)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            if serving.done():
                await serving
            await asyncio.sleep(0)
        connections = server.server_state.connections
        async with patient(Patience(connections, hub.settings.http.request_s_max, hub.clock)):
            yield announce(app.others.state.desk, listener.getsockname()[1])
    finally:
        server.should_exit = True
        await serving


def create_app(hub: Hub) -> DevicesFirst:
    """The application over a hub's rooms; device routes carry no middleware."""
    native = Native(hub.registry, hub.sessions, hub.receiver)
    logins = Shepherd(
        hub.registry,
        hub.sessions,
        hub.receiver,
        hub.clock,
        os.urandom,
        hub.settings.http.session_idle_s,
    )
    logins.reopen()
    body_bytes_max = hub.settings.http.body_bytes_max
    remote = Remote(hub.registry, hub.external, hub.sessions.quotas, body_bytes_max)
    desk = Desk(hub)
    provisioning = Provisioning(hub)
    mapped = Mapped(hub.registry, hub.receiver, native, body_bytes_max)

    def serve(
        handle: Callable[[Request], Awaitable[Response]],
        too_large: Callable[[int], Response] = errors.too_large,
    ) -> Application:
        return endpoint(handle, too_large, body_bytes_max)

    devices = {
        "/v1/step": serve(native.step),
        "/v1/reward": serve(native.reward),
        "/v1/claim": serve(provisioning.claim),
        "/v1/key/rotate": serve(provisioning.rotate),
        "/shepherd/login_user": serve(logins.login, shepherd.too_large),
        "/shepherd/env": serve(logins.env, shepherd.too_large),
    }
    litestar = Litestar(
        route_handlers=[
            *(_mounted(path, application) for path, application in devices.items()),
            _mounted(ROUTE, mapped.serve, below=True),
            _mounted("/v1/sql", Sql(hub, body_bytes_max).serve),
            *remote.routes(),
            *MultiServer(hub.registry, remote, body_bytes_max).routes(),
            _mounted("/v1/ws", WebSockets(hub, remote).serve, websocket=True),
            actions_route(hub),
            things_route(hub),
            *health_routes(hub),
            metrics_route(hub),
            openapi_route(),
            *button_routes(hub.registry),
            front_door,
            console_routes(desk),
        ],
        template_config=template_config(),
        state=State({"desk": desk}, deep_copy=False),
        exception_handlers={
            NotFoundException: errors.no_route,
            HTTPException: errors.no_request,
        },
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    return DevicesFirst(devices, litestar)


@get("/", status_code=HTTPStatus.SEE_OTHER, sync_to_thread=False, include_in_schema=False)
def front_door() -> Redirect:
    """Who opens the address that the hub prints is a person: to the console."""
    return Redirect("/console/", status_code=303)


def _mounted(
    path: str,
    application: Application,
    *,
    websocket: bool = False,
    below: bool = False,
) -> ControllerRouterHandler:
    @asgi(path, copy_scope=False, is_mount=below)
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.WEBSOCKET and not websocket:
            await refuse(scope, send, errors.not_found("there is no WebSocket here: /v1/ws is one"))
            return
        await application(scope, receive, send)

    return handler


def _is_no_refusal(record: logging.LogRecord) -> bool:
    """Of what uvicorn says: it takes a WebSocket that was refused with a reason for a mistake."""
    return record.getMessage() != "ASGI callable returned without completing handshake."


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the hub decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the hub."""
        yield
