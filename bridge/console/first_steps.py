"""From nothing to the first observation: the first admin, and how a device connects.

The first admin is made by whoever has the token that the hub printed at its start, and wrote into
its folder: there is no secret that comes with the product. Where a request comes from says nothing:
through a proxy or a tunnel a stranger looks like somebody at the machine.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import os
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from litestar import Request, get, post
from litestar.params import FromPath
from litestar.response import Redirect, Response, Template

from bridge.console.desk import ROOT, AtDesk, ByVisit, Desk, refused, see
from bridge.console.login import welcome
from bridge.console.sessions import Flash
from bridge.console.snippets import snippets
from hub.errors import OperatorFault
from hub.facts import LoggedIn
from hub.registry.key_acts import CreateKey
from hub.registry.user_acts import CreateUser

if TYPE_CHECKING:
    from hub.registry.fold import Spec

log: Final = logging.getLogger("bridge.console")

LINK: Final = "first-account.url"
"""`DATA/first-account.url`, mode 0600: the link to make the first account by; gone once it is."""
ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask a hub that is bound so
STAND_IN: Final = "YOUR-KEY"


def announce(desk: Desk, port: int) -> str:
    """While there is nobody yet, write down what lets the first person in; what to say of it.

    Nothing once somebody has an account.
    """
    link = "" if desk.hub.registry.users else setup_link(desk, port)
    file = desk.hub.data / LINK
    try:
        file.unlink(missing_ok=True)
        if link:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                out.write(f"{link}\n")
    except OSError as error:
        log.warning("%s can't be written: %s", file, error)
    return f"first account {link}" if link else ""


def setup_link(desk: Desk, port: int) -> str:
    """Where the first account is made, token and all."""
    host = ANY.get(desk.hub.settings.hub.host, desk.hub.settings.hub.host)
    scheme = "http" if desk.hub.tls is None else "https"
    named = f"[{host}]" if ":" in host else host
    return f"{scheme}://{named}:{port}{ROOT}/setup?token={desk.setup_token}"


@get("/setup", opt={"open": True})
async def setup_page(request: Request[Any, Any, Any], desk: AtDesk) -> Response[Any]:
    """The form for the first admin; gone once there is one."""
    if desk.hub.registry.users:
        return see("/login")
    return _setup(request, desk, token=request.query_params.get("token", ""))


@post("/setup", opt={"open": True})
async def setup(request: Request[Any, Any, Any], desk: AtDesk) -> Response[Any]:
    """Make the first admin, and let that person in."""
    form = await request.form()
    name, password = str(form.get("name", "")).strip(), str(form.get("password", ""))
    token = str(form.get("token", ""))
    if not hmac.compare_digest(token.encode(), desk.setup_token.encode()):
        text = "That is not the token which the hub printed at its start; open the link it printed."
        return _setup(request, desk, name, token, text, HTTPStatus.FORBIDDEN)
    if password != str(form.get("again", "")):
        text = "The password was typed in two ways."
        return _setup(request, desk, name, token, text, HTTPStatus.UNPROCESSABLE_ENTITY)
    try:
        act = CreateUser(name, "admin", password)
        await desk.hub.control.act(act, "first run", lambda: _nobody_yet(desk))
    except OperatorFault as fault:
        return _setup(request, desk, name, token, str(fault), HTTPStatus.UNPROCESSABLE_ENTITY)
    _used_up(desk)
    hashed = desk.hub.registry.passwords.get(name, b"")  # of nobody: removed already
    await desk.note(LoggedIn(name, name))
    return welcome(desk, name, hashed, "/new-agent")


def _nobody_yet(desk: Desk) -> None:
    if desk.hub.registry.users:
        raise OperatorFault("somebody was faster: there is a first user now; log in")


def _used_up(desk: Desk) -> None:
    """The token is for one account: should all users go, the next start has another."""
    desk.renew_setup_token()
    with contextlib.suppress(OSError):
        (desk.hub.data / LINK).unlink(missing_ok=True)


def _setup(
    request: Request[Any, Any, Any],
    desk: Desk,
    name: str = "admin",
    token: str = "",
    error: str | None = None,
    status: HTTPStatus = HTTPStatus.OK,
) -> Template:
    context = {"name": name[:40], "token": token, "error": error}
    return desk.page(request, "setup.html", status, **context)


@get("/agents/{name:str}/connect")
async def connect(
    request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit, name: FromPath[str]
) -> Template:
    """How a device connects: ten lines in each language, and whether one has."""
    spec = visit.sight.agent(name)
    flash = visit.login.flash
    key = flash.secret if flash is not None and flash.secret else STAND_IN
    url = f"{request.url.scheme}://{request.url.netloc}/v1/step"
    context = connected(desk, spec) | {"snippets": snippets(spec.observations, url, key)}
    return desk.page(request, "connect.html", **context, has_key=key != STAND_IN)


def connected(desk: Desk, spec: Spec) -> dict[str, Any]:
    """Whether any device of the agent was heard since the hub was started."""
    name = spec.agent.name
    known = desk.hub.sessions.devices
    theirs = (i for i, agent in desk.hub.registry.devices.items() if agent == name)
    ids = sorted(i for i in theirs if i in known and known[i].taken)
    heard = [(device, known[device]) for device in ids[:1]]
    return {"agent": spec.agent, "heard": heard, "others": len(ids) - len(heard)}


@post("/agents/{name:str}/connect")
async def make_key(desk: AtDesk, visit: ByVisit, name: FromPath[str]) -> Redirect:
    """A new key of the agent, filled in."""
    page = f"/agents/{name}/connect"
    try:
        made = await desk.act(visit, CreateKey(name), lambda: visit.sight.agent(name))
    except OperatorFault as fault:
        return refused(visit, page, fault)
    visit.login.flash = Flash(f"A key of agent {name}, filled in below.", secret=made["api_key"])
    return see(page)


ROUTES: Final = (setup_page, setup, connect, make_key)
