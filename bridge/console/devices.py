"""*Devices*: who is heard, live; add one before it is seen, move it, forget it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from litestar import Request, get, post
from litestar.response import Redirect, Template

from bridge.console.desk import AtDesk, ByVisit, back, refused
from hub.control import AddDevice, ForgetDevice
from hub.errors import OperatorFault

if TYPE_CHECKING:
    from bridge.console.access import Sight
    from bridge.console.desk import Desk


@get("/devices")
async def devices_page(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Template:
    """All that the person may see."""
    desk.rates.look()
    names = [spec.agent.name for spec in visit.sight.agents()]
    return desk.page(request, "devices.html", agents=names, **heard(desk, visit.sight))


def heard(desk: Desk, sight: Sight) -> dict[str, Any]:
    """A row a device, those heard last first."""
    agents = sight.devices()
    shown = desk.rates.newest(agents)
    rows = [(device, agents[device], desk.rates.device(device)) for device in shown]
    return {"rows": rows, "count": len(agents)}


@post("/devices")
async def assign(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Redirect:
    """Add a device, or give one of one's own to another agent of one's own."""
    form = await request.form()
    device, agent = str(form.get("device", "")).strip(), str(form.get("agent", ""))

    def allowed() -> None:
        visit.sight.agent(agent)
        if device in desk.hub.registry.devices:
            visit.sight.device(device)

    allowed()
    try:
        await desk.act(visit, AddDevice(device, agent), allowed)
    except OperatorFault as fault:
        return refused(visit, "/devices", fault)
    return back(visit, "/devices", f"Device {device} is agent {agent}'s.")


@post("/devices/forget")
async def forget(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Redirect:
    """Erase what it sent besides numbers, for ever, and let any key take it."""
    device = str((await request.form()).get("device", ""))
    visit.sight.device(device)
    try:
        await desk.act(visit, ForgetDevice(device), lambda: visit.sight.device(device))
    except OperatorFault as fault:
        return refused(visit, "/devices", fault)
    return back(visit, "/devices", f"Device {device} is forgotten.")


ROUTES: Final = (devices_page, assign, forget)
