"""*API keys*: what they open; a new one, whose secret is shown once; and no more of an old one.

One for web pages is no secret: it is shown beside its origins and its quota.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from litestar import Request, get, post
from litestar.params import FromPath
from litestar.response import Redirect, Template

from bridge.console.desk import AtDesk, ByVisit, Desk, Visit, refused, see
from bridge.console.mistakes import Mistake, mistake_of, typed
from bridge.console.sessions import Flash
from hub.errors import OperatorFault
from hub.registry.key_acts import CreateKey, CreateUserKey, RevokeKey, RotateKey
from hub.registry.publishable import MESSAGES_PER_S, SESSIONS, publishable
from hub.registry.rewarding import rewarding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.words import Key, Publishable

OPERATOR: Final = "operator"
PUBLISHABLE: Final = "publishable"
REWARDS: Final = "rewards"
DEVICE: Final = "device"
"""Kinds of a key: for a person's programs, web pages, rewards, and for whatever else is said."""
FIELDS: Final = {
    "agent": "agent",
    "device": "device",
    "origins": "origin",
    "sessions": "sessions at once",
    "rate": "messages a second",
}
"""By what messages call them."""


@get("/keys")
async def keys_page(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Template:
    """Public ids and what they open."""
    return _page(request, desk, visit)


def _page(
    request: Request[Any, Any, Any], desk: Desk, visit: Visit, mistake: Mistake | None = None
) -> Template:
    names = [spec.agent.name for spec in visit.sight.agents()]
    rows = sorted(visit.sight.keys(), key=_order)
    usual = {"sessions": SESSIONS, "rate": MESSAGES_PER_S}
    now_us = desk.hub.clock.now_us()
    claims = [(one.claim, one.state(now_us), one.redeemed) for one in visit.sight.claims()]
    lists = {"rows": rows, "agents": names, "usual": usual, "claims": claims}
    registry = desk.hub.registry
    lists |= {"successions": registry.successions, "successors": registry.successors}
    return desk.form(request, "keys.html", mistake, **lists)


def _order(key: Key) -> tuple[bool, str, str, str]:
    return key.agent is None, key.agent or "", key.device or "", key.id


@post("/keys")
async def make(
    request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit
) -> Redirect | Template:
    """A key of an agent, of one of its devices, for web pages, or of the person's own programs."""
    form = await typed(request)
    agent, device, kind = form.get("agent", ""), form.get("device") or None, form.get("kind", "")
    try:
        if kind == OPERATOR:
            own = CreateUserKey(visit.sight.name)
            made = await desk.act(visit, own, lambda: None)
            said = "A key for your programs: it may ask and do what you may."
        else:
            visit.sight.agent(agent)
            pages = _for_pages(form) if kind == PUBLISHABLE else None
            if kind == REWARDS:
                return await _make_link(request, desk, visit, agent, device)
            act = CreateKey(agent, device, pages)
            made = await desk.act(visit, act, lambda: visit.sight.agent(agent))
            said = f"A key of {f'device {device} of ' if device else ''}agent {agent}."
            if pages is not None:
                said = f"A key of agent {agent} for pages of {', '.join(pages.origins)}."
    except OperatorFault as fault:
        which = kind if kind in (OPERATOR, PUBLISHABLE, REWARDS) else DEVICE
        return _page(request, desk, visit, mistake_of(which, form, fault, FIELDS))
    visit.login.flash = Flash(said, secret=made["api_key"])
    return see("/keys")


async def _make_link(
    request: Request[Any, Any, Any], desk: Desk, visit: Visit, agent: str, device: str | None
) -> Redirect:
    """A link to the two buttons of a device; its key may do what they do."""
    if device is None:
        raise OperatorFault("a link is for one device; say which")
    act = CreateKey(agent, device, rewarding=rewarding())
    made = await desk.act(visit, act, lambda: visit.sight.agent(agent))
    link = f"{request.url.scheme}://{request.url.netloc}/reward/{device}#{made['api_key']}"
    said = f"Two buttons for device {device}: whoever has this link may reward it, no more."
    visit.login.flash = Flash(said, secret=link)
    return see("/keys")


def _for_pages(form: Mapping[str, str]) -> Publishable:
    """What a form allows a key to do that stands in a web page.

    Raises:
        OperatorFault: it can't be kept.
    """
    origins = tuple(form.get("origins", "").replace(",", " ").split())
    sessions, rate = form.get("sessions"), form.get("rate")
    try:
        sessions_max = int(sessions) if sessions else None
    except ValueError as error:
        raise OperatorFault(f"sessions at once are a whole number, not {sessions!r}") from error
    try:
        messages_per_s = float(rate) if rate else None
    except ValueError as error:
        raise OperatorFault(f"messages a second are a number, not {rate!r}") from error
    return publishable(origins, sessions_max, messages_per_s)


@post("/keys/{key_id:str}/rotate")
async def rotate(desk: AtDesk, visit: ByVisit, key_id: FromPath[str]) -> Redirect:
    """Another takes its place; it ends by itself."""
    visit.sight.key(key_id)
    try:
        made = await desk.act(visit, RotateKey(key_id), lambda: visit.sight.key(key_id))
    except OperatorFault as fault:
        return refused(visit, "/keys", fault)
    text = f"Takes the place of key {key_id}, which is accepted until {made['until']} at most."
    visit.login.flash = Flash(text, secret=made["api_key"])
    return see("/keys")


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


ROUTES: Final = (keys_page, make, rotate, revoke)
