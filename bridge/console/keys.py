"""*API keys*: what they open; a new one, whose secret is shown once; and no more of an old one.

One for web pages is no secret: it is shown beside its origins and its quota.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from litestar import Request, get, post
from litestar.params import FromPath
from litestar.response import Redirect, Template

from bridge.console.desk import AtDesk, ByVisit, refused, see
from bridge.console.sessions import Flash
from hub.errors import OperatorFault
from hub.registry.key_acts import CreateKey, CreateUserKey, RevokeKey
from hub.registry.publishable import MESSAGES_PER_S, SESSIONS, publishable

if TYPE_CHECKING:
    from litestar.datastructures import FormMultiDict

    from hub.words import Key, Publishable

OPERATOR: Final = "operator"
PUBLISHABLE: Final = "publishable"
"""Kinds of a key for a person's programs and for web pages; the third is `device`."""


@get("/keys")
async def keys_page(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Template:
    """Public ids and what they open."""
    names = [spec.agent.name for spec in visit.sight.agents()]
    rows = sorted(visit.sight.keys(), key=_order)
    usual = {"sessions": SESSIONS, "rate": MESSAGES_PER_S}
    return desk.page(request, "keys.html", rows=rows, agents=names, usual=usual)


def _order(key: Key) -> tuple[bool, str, str, str]:
    return key.agent is None, key.agent or "", key.device or "", key.id


@post("/keys")
async def make(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Redirect:
    """A key of an agent, of one of its devices, for web pages, or of the person's own programs."""
    form = await request.form()
    agent, device = str(form.get("agent", "")), str(form.get("device", "")).strip() or None
    try:
        if form.get("kind") == OPERATOR:
            own = CreateUserKey(visit.sight.name)
            made = await desk.act(visit, own, lambda: None)
            said = "A key for your programs: it may ask and do what you may."
        else:
            visit.sight.agent(agent)
            pages = _for_pages(form) if form.get("kind") == PUBLISHABLE else None
            act = CreateKey(agent, device, pages)
            made = await desk.act(visit, act, lambda: visit.sight.agent(agent))
            said = f"A key of {f'device {device} of ' if device else ''}agent {agent}."
            if pages is not None:
                said = f"A key of agent {agent} for pages of {', '.join(pages.origins)}."
    except OperatorFault as fault:
        return refused(visit, "/keys", fault)
    visit.login.flash = Flash(said, secret=made["api_key"])
    return see("/keys")


def _for_pages(form: FormMultiDict) -> Publishable:
    """What a form allows a key to do that stands in a web page.

    Raises:
        OperatorFault: it can't be kept.
    """
    origins = tuple(str(form.get("origins", "")).replace(",", " ").split())
    sessions, rate = (str(form.get(name, "")).strip() for name in ("sessions", "rate"))
    try:
        return publishable(
            origins, int(sessions) if sessions else None, float(rate) if rate else None
        )
    except ValueError as error:
        raise OperatorFault("sessions is a whole number, messages a second a number") from error


@post("/keys/{key_id:str}/revoke")
async def revoke(desk: AtDesk, visit: ByVisit, key_id: FromPath[str]) -> Redirect:
    """It is not accepted any more."""
    visit.sight.key(key_id)
    try:
        await desk.act(visit, RevokeKey(key_id), lambda: visit.sight.key(key_id))
    except OperatorFault as fault:
        return refused(visit, "/keys", fault)
    visit.login.flash = Flash(f"Key {key_id} is not accepted any more.")
    return see("/keys")


ROUTES: Final = (keys_page, make, revoke)
