"""Log in, log out, another password."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from litestar import Request, get, post
from litestar.datastructures import Cookie
from litestar.response import Redirect, Response, Template

from bridge.console.desk import ROOT, AtDesk, ByVisit, Desk, back, see
from hub.errors import LogUnavailable, OperatorFault
from hub.facts import LoggedIn, LoggedOut, LoginRefused
from hub.registry.user_acts import SetPassword

NAME_SHOWN: Final = 40
KNOWN_S: Final = 180 * 86_400
"""A browser is remembered for half a year, or until the hub is started again."""
WRONG: Final = "Name and password do not belong together."


@get("/login", opt={"open": True})
async def login_page(request: Request[Any, Any, Any], desk: AtDesk) -> Response[Any]:
    """The form."""
    if not desk.hub.registry.users:
        return see("/setup")
    if request.user is not None:
        return see("/")
    wanted = _next(request.query_params.get("next"))
    return desk.page(request, "login.html", next=wanted, name="", error=None)


@post("/login", opt={"open": True})
async def log_in(request: Request[Any, Any, Any], desk: AtDesk) -> Response[Any]:
    """Look at name and password, unless it is too early for that."""
    form = await request.form()
    name, password = str(form.get("name", "")).strip(), str(form.get("password", ""))
    wanted = _next(form.get("next"))
    keys = _keys(request, desk, name)
    wait_s = desk.backoff.wait_s(keys)
    if wait_s > 0:
        text = f"Too many wrong passwords. Try again in {wait_s:.0f} s."
        return _again(request, desk, name, wanted, text, HTTPStatus.TOO_MANY_REQUESTS)
    matched = await matched_hash(desk, keys, name, password)
    if matched is None:
        if desk.backoff.may_be_logged():
            await desk.note(LoginRefused(name[:NAME_SHOWN], "console"))
        return _again(request, desk, name, wanted, WRONG, HTTPStatus.UNAUTHORIZED)
    desk.backoff.passed([key for key in keys if not key.startswith("address ")])
    await desk.note(LoggedIn(name, name))
    return welcome(desk, name, matched, wanted)


def welcome(desk: Desk, name: str, password_hash: bytes, wanted: str) -> Response[Any]:
    """To the page that was wanted, logged in, with a new id: an old one may have been planted."""
    answer = see(wanted)
    token = desk.sessions.open(name, password_hash)
    answer.set_cookie(_cookie(desk, desk.cookie, token, None))
    answer.set_cookie(_cookie(desk, desk.known_cookie, desk.sessions.known(name), KNOWN_S))
    return answer


@post("/logout")
async def log_out(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Redirect:
    """Leave."""
    name = visit.sight.name
    desk.sessions.close(request.cookies.get(desk.cookie))
    await desk.note(LoggedOut(name, name))
    answer = see("/login")
    answer.delete_cookie(desk.cookie, path=ROOT)
    return answer


@get("/account")
async def account(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Template:
    """The person's own page."""
    return desk.page(request, "account.html", error=None)


@post("/account")
async def change_password(
    request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit
) -> Response[Any]:
    """Another password of one's own; ends the person's other logins."""
    form = await request.form()
    name, new = visit.sight.name, str(form.get("new", ""))
    keys = [f"account {name}"]
    error = None
    if desk.backoff.wait_s(keys) > 0:
        error = "Too many wrong passwords. Try again in a minute."
    elif new != str(form.get("again", "")):
        error = "The new password was typed in two ways."
    elif await matched_hash(desk, keys, name, str(form.get("password", ""))) is None:
        error = "That is not your password now."
    if error is None:
        try:
            await desk.act(visit, SetPassword(name, new), lambda: None)
        except OperatorFault as fault:
            error = str(fault)
    if error is not None:
        return desk.page(request, "account.html", HTTPStatus.UNPROCESSABLE_ENTITY, error=error)
    # This login stays, unless the person was removed meanwhile: nothing hashes to b"".
    visit.login.password_hash = desk.hub.registry.passwords.get(name, b"")
    return back(visit, "/account", "Your password was changed; other logins of yours are over.")


async def matched_hash(desk: Desk, keys: list[str], name: str, password: str) -> bytes | None:
    """As `Passwords.right`; counted as wrong before the look, for others that come during it.

    Raises:
        LogUnavailable: too many others are waiting; that counts for nothing.
    """
    counted = desk.backoff.failed(keys)
    try:
        matched = await desk.passwords.right(name, password)
    except LogUnavailable:
        desk.backoff.take_back(counted)
        raise
    if matched is not None:
        desk.backoff.take_back(counted)
    return matched


def _keys(request: Request[Any, Any, Any], desk: Desk, name: str) -> list[str]:
    """What has to wait after a wrong password: a known browser for itself, strangers together."""
    cookie = request.cookies.get(desk.known_cookie)
    if desk.sessions.is_known(cookie, name):
        return [f"browser {cookie}"]
    address = request.client.host if request.client else ""
    return [f"name {name[:NAME_SHOWN]}", f"address {address}"]


def _again(
    request: Request[Any, Any, Any],
    desk: Desk,
    name: str,
    wanted: str,
    error: str,
    status: HTTPStatus,
) -> Template:
    return desk.page(
        request, "login.html", status, next=wanted, name=name[:NAME_SHOWN], error=error
    )


def _next(wanted: object) -> str:
    """A page of the console and nothing else, below its root."""
    path = str(wanted or "")
    ours = path.startswith(f"{ROOT}/") and "//" not in path and "\\" not in path
    return path.removeprefix(ROOT) if ours and path.isprintable() else "/"


def _cookie(desk: Desk, name: str, value: str, max_age_s: int | None) -> Cookie:
    return Cookie(
        key=name,
        value=value,
        path=ROOT,
        max_age=max_age_s,
        secure=desk.cookie_secure,
        httponly=True,
        samesite="strict",
    )


ROUTES: Final = (login_page, log_in, log_out, account, change_password)
