"""*API keys*: what they open; a new one, whose secret is shown once; and no more of an old one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from litestar import Request, get, post
from litestar.params import FromPath
from litestar.response import Redirect, Template

from bridge.console.desk import AtDesk, ByVisit, refused, see
from bridge.console.sessions import Flash
from hub.control import CreateKey, CreateUserKey, RevokeKey
from hub.errors import OperatorFault

if TYPE_CHECKING:
    from hub.words import Key

OPERATOR: Final = "operator"
"""Kind of a key for a person's programs; the other is `device`."""


@get("/keys")
async def keys_page(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Template:
    """Public ids and what they open."""
    names = [spec.agent.name for spec in visit.sight.agents()]
    rows = sorted(visit.sight.keys(), key=_order)
    return desk.page(request, "keys.html", rows=rows, agents=names)


def _order(key: Key) -> tuple[bool, str, str, str]:
    return key.agent is None, key.agent or "", key.device or "", key.id


@post("/keys")
async def make(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Redirect:
    """A key of an agent, of one of its devices, or of the person's own programs."""
    form = await request.form()
    agent, device = str(form.get("agent", "")), str(form.get("device", "")).strip() or None
    try:
        if form.get("kind") == OPERATOR:
            own = CreateUserKey(visit.sight.name)
            made = await desk.act(visit, own, lambda: None)
            said = "A key for your programs: it may ask and do what you may."
        else:
            visit.sight.agent(agent)
            act = CreateKey(agent, device)
            made = await desk.act(visit, act, lambda: visit.sight.agent(agent))
            said = f"A key of {f'device {device} of ' if device else ''}agent {agent}."
    except OperatorFault as fault:
        return refused(visit, "/keys", fault)
    visit.login.flash = Flash(said, secret=made["api_key"])
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


ROUTES: Final = (keys_page, make, revoke)
