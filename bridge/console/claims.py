"""Claim tokens, on the page of the keys that come of them: a new one, and no more of an old one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from litestar import Request, post
from litestar.params import FromPath
from litestar.response import Redirect

from bridge.console.desk import AtDesk, ByVisit, back, refused
from hub.errors import OperatorFault
from hub.registry.claim_acts import CreateClaim, RevokeClaim

if TYPE_CHECKING:
    from litestar.datastructures import FormMultiDict

DAY_S: Final = 86_400


@post("/claims")
async def make(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Redirect:
    """A token for devices of an agent; it is shown this once."""
    form = await request.form()
    agent = str(form.get("agent", ""))
    visit.sight.agent(agent)
    try:
        act = _claim(agent, form)
        made = await desk.act(visit, act, lambda: visit.sight.agent(agent))
    except OperatorFault as fault:
        return refused(visit, "/keys", fault)
    text = f"A claim token for {act.uses} of agent {agent}'s devices, until {made['expires']}."
    return back(visit, "/keys", text, secret=made["token"])


def _claim(agent: str, form: FormMultiDict) -> CreateClaim:
    """What a form says.

    Raises:
        OperatorFault: a field has no number.
    """
    uses, days = (str(form.get(name, "")).strip() or "1" for name in ("uses", "days"))
    try:
        return CreateClaim(
            agent, int(uses), float(days) * DAY_S, str(form.get("prefix", "")).strip()
        )
    except ValueError as error:
        raise OperatorFault("devices is a whole number, days a number") from error


@post("/claims/{claim_id:str}/revoke")
async def revoke(desk: AtDesk, visit: ByVisit, claim_id: FromPath[str]) -> Redirect:
    """Nobody redeems it any more; the keys that came of it stay."""
    visit.sight.claim(claim_id)
    try:
        await desk.act(visit, RevokeClaim(claim_id), lambda: visit.sight.claim(claim_id))
    except OperatorFault as fault:
        return refused(visit, "/keys", fault)
    return back(visit, "/keys", f"Nobody redeems claim token {claim_id} any more.")


ROUTES: Final = (make, revoke)
