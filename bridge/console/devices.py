"""*Devices*: who is heard, live; add one before it is seen, move it, forget it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from litestar import Request, get, post
from litestar.response import Redirect, Template

from bridge.console.desk import AtDesk, ByVisit, Desk, Visit, back
from bridge.console.mistakes import Mistake, mistake_of, typed
from hub.control import AddDevice, ForgetDevice
from hub.errors import OperatorFault
from hub.words import DeviceId

if TYPE_CHECKING:
    from bridge.console.access import Sight

FIELDS: Final = {"device": "device", "agent": "agent"}
"""By what messages call them."""


@get("/devices")
async def devices_page(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Template:
    """All that the person may see."""
    return _page(request, desk, visit)


def _page(
    request: Request[Any, Any, Any], desk: Desk, visit: Visit, mistake: Mistake | None = None
) -> Template:
    desk.rates.look()
    names = [spec.agent.name for spec in visit.sight.agents()]
    return desk.form(request, "devices.html", mistake, agents=names, **heard(desk, visit.sight))


def heard(desk: Desk, sight: Sight) -> dict[str, Any]:
    """A row a device, those heard last first."""
    agents = sight.devices()
    shown = desk.rates.newest(agents)
    rows = [(device, agents[device], desk.rates.device(device)) for device in shown]
    return {"rows": rows, "count": len(agents)}


@post("/devices")
async def assign(
    request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit
) -> Redirect | Template:
    """Add a device, or give one of one's own to another agent of one's own."""
    form = await typed(request)
    device, agent = form.get("device", ""), form.get("agent", "")

    def allowed() -> None:
        visit.sight.agent(agent)
        owner = desk.hub.registry.devices.get(DeviceId(device))
        if owner is not None and not visit.sight.may(owner):
            raise OperatorFault(f"device {device!r} belongs to somebody else; choose another id")

    try:
        allowed()
        await desk.act(visit, AddDevice(device, agent), allowed)
    except OperatorFault as fault:
        return _page(request, desk, visit, mistake_of("assign", form, fault, FIELDS))
    return back(visit, "/devices", f"Device {device} is agent {agent}'s.")


@post("/devices/forget")
async def forget(
    request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit
) -> Redirect | Template:
    """Erase what it sent besides numbers, for ever, and let any key take it."""
    form = await typed(request)
    device = form.get("device", "")

    def allowed() -> None:
        if not visit.sight.may(desk.hub.registry.devices.get(DeviceId(device))):
            raise OperatorFault(f"there is no device {device!r}; see the list of devices")

    try:
        allowed()
        await desk.act(visit, ForgetDevice(device), allowed)
    except OperatorFault as fault:
        return _page(request, desk, visit, mistake_of("forget", form, fault, FIELDS))
    return back(visit, "/devices", f"Device {device} is forgotten.")


ROUTES: Final = (devices_page, assign, forget)
